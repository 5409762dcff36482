"""Outlined lesions as files have them, a mask or numbers, told apart one by one."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.io.dataset import DatasetScan, read_tsv
from mmocnet.io.nifti import read_nifti
from mmocnet.volume import Volume, on_grid

MICROBLEED = "microbleed"
"""`kind` of a reference table's rows that are lesions; others are mimics."""
ROUNDING = 0.01
"""As far as a file's scale may put a number off a whole one."""


def whole_numbers(array: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Return the whole numbers that a file holds; NaN, as outside a field of view, is 0.

    Args:
        array: Any shape and type.
        name: What errors call it.

    Raises:
        InputError: If it holds fractions, negatives or infinity.
    """
    marked = array != 0
    given = array[marked].astype(np.float64)
    given[np.isnan(given)] = 0
    nearest = np.rint(given)
    wrong = given[(nearest < 0) | np.isinf(given) | ~np.isclose(given, nearest, 0, ROUNDING)]
    if wrong.size:
        raise InputError(f"expected whole lesion numbers from 0 up, got {wrong[0]:g} in {name}")
    numbers = np.zeros(array.shape, np.int64)
    numbers[marked] = nearest
    return numbers


def are_numbers(array: NDArray[Any], table: Path | None) -> bool:
    """Return whether the values of a file are lesion numbers, however many pieces one has.

    Several values are. A single one is where the table beside it lists a microbleed of that
    number and its place; a look-up table of classes, as BIDS has them, knows no places.

    Args:
        array: Any shape and type, as read.
        table: Where the table would be, or None.

    Raises:
        InputError: If there is a table that cannot be read.
    """
    marked = array[array > 0]
    if not marked.size:
        return False
    # A file's scale may put one number off itself.
    lowest, highest = np.rint([marked.min(), marked.max()])
    if lowest != highest:
        return True
    rows = read_tsv(table) if table is not None and table.is_file() else []
    listed = [
        row.get("index")
        for row in rows
        if "x_mm" in row and row.get("kind", MICROBLEED) == MICROBLEED
    ]
    return f"{highest:.0f}" in listed


def numbered(array: NDArray[Any], name: str = "a mask", numbers: bool = False) -> NDArray[np.int64]:
    """Return the lesions of a mask or label image, numbered from 1 without a gap.

    Several values are lesion numbers, whose order stays; a single one is a mask, whose connected
    pieces (8 neighbours in 2D, 26 in 3D) are the lesions, unless it is known to be a number.

    Args:
        array: Any shape and type.
        name: What errors call it.
        numbers: Whether a single value is a number too; see `are_numbers`.

    Raises:
        InputError: If it holds other than whole numbers from 0 up.

    >>> numbered(np.array([255, 0, 255])), numbered(np.array([2, 0, 65535, 2]))
    (array([1, 0, 2]), array([1, 0, 2, 1]))
    """
    labels = whole_numbers(array, name)
    marked = labels > 0
    values, lesion = np.unique(labels[marked], return_inverse=True)
    if len(values) == 1 and not numbers:
        pieces, _ = ndimage.label(marked, np.ones((3,) * array.ndim))
        return np.asarray(pieces, np.int64)
    labels[marked] = lesion + 1
    return labels


def read_reference(scan: DatasetScan, image: Volume) -> NDArray[np.int64]:
    """Return the reference lesions of a scan, numbered from 1, on the image's grid.

    Args:
        scan: Whose.
        image: As it was read.

    Raises:
        InputError: If there is none, it cannot be read, it lies on another grid, or it holds other
            than whole numbers from 0 up.
    """
    if scan.labels is None:
        raise InputError(f"expected a reference of {scan.image.name}, got none")
    labels = on_grid(read_nifti(scan.labels), image, "the reference")
    return numbered(labels.array, labels.name, are_numbers(labels.array, scan.table))
