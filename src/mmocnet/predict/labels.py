"""Lesions that are given as a label image, in place of being segmented."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.io.nifti import read_nifti
from mmocnet.lesion import Certainty, Lesion
from mmocnet.predict.findings import MAXIMUM_MM
from mmocnet.predict.measure import measure
from mmocnet.volume import Volume, check_grid


def read_labels(path: Path, scan: Volume) -> Volume:
    """Return a label image on a scan's grid.

    Where several pieces have one value between them they are numbered; one piece keeps its value.

    Raises:
        InputError: If it cannot be read, lies on another grid, or holds other than whole numbers.
    """
    labels = read_nifti(path)
    check_grid(labels, scan, "labels")
    array = np.asarray(labels.array)
    if (array < 0).any() or not np.array_equal(array, np.rint(array)):
        raise InputError(f"expected whole numbers from 0, got others in {path.name}")
    array = array.astype(np.int32)
    if len(np.unique(array[array > 0])) == 1:
        pieces, count = ndimage.label(array > 0, np.ones((3, 3, 3)))
        array = array if count == 1 else np.asarray(pieces, np.int32)
    return scan.like(array, path.name)


def measured_lesions(labels: Volume) -> tuple[Lesion, ...]:
    """Return the lesions of a label image; their confidence is not known, so NaN."""
    return tuple(
        Lesion(
            index=number,
            name=f"CMB {number}",
            centre_mm=one.centre_mm,
            centre_voxel=one.centre_voxel,
            volume_mm3=one.volume_mm3,
            diameter_mm=one.diameter_mm,
            diameter_eq_mm=one.diameter_eq_mm,
            confidence=float("nan"),
            certainty=(
                Certainty.MACROHAEMORRHAGE if one.diameter_mm > MAXIMUM_MM else Certainty.DEFINITE
            ),
        )
        for number, one in measure(labels.array, labels.affine).items()
    )
