"""Outlined lesions as files have them, a mask or numbers, told apart one by one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.io.dataset import DatasetScan
from mmocnet.io.nifti import read_nifti
from mmocnet.volume import Volume, on_grid

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


def numbered(array: NDArray[Any], name: str = "a mask") -> NDArray[np.int64]:
    """Return the lesions of a mask or label image, numbered from 1 without a gap.

    Several values are lesion numbers, whose order stays; a single one is a mask, whose connected
    pieces (8 neighbours in 2D, 26 in 3D) are the lesions.

    Args:
        array: Any shape and type.
        name: What errors call it.

    Raises:
        InputError: If it holds other than whole numbers from 0 up.

    >>> numbered(np.array([255, 0, 255])), numbered(np.array([2, 0, 65535, 2]))
    (array([1, 0, 2]), array([1, 0, 2, 1]))
    """
    numbers = whole_numbers(array, name)
    marked = numbers > 0
    values, lesion = np.unique(numbers[marked], return_inverse=True)
    if len(values) == 1:
        pieces, _ = ndimage.label(marked, np.ones((3,) * array.ndim))
        return np.asarray(pieces, np.int64)
    numbers[marked] = lesion + 1
    return numbers


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
    return numbered(labels.array, labels.name)
