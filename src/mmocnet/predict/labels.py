"""Lesions that are given as a label image, in place of being segmented."""

from pathlib import Path

import numpy as np

from mmocnet.io.lesion_labels import numbered, whole_numbers
from mmocnet.io.nifti import read_nifti
from mmocnet.lesion import Certainty, Lesion
from mmocnet.predict.findings import MAXIMUM_MM
from mmocnet.predict.measure import measure
from mmocnet.volume import Volume, on_grid


def read_labels(path: Path, scan: Volume) -> Volume:
    """Return a label image on a scan's grid.

    Where several pieces have one value between them they are numbered; one piece keeps its value.

    Raises:
        InputError: If it cannot be read, lies on another grid, or holds other than whole numbers.
    """
    labels = on_grid(read_nifti(path), scan, "labels").array
    own, lesions = whole_numbers(labels, path.name), numbered(labels, path.name)
    # What is numbered keeps its numbers: a reader's notes go by them.
    are_pieces = lesions.max(initial=0) > len(np.unique(own[own > 0]))
    return scan.like(lesions if are_pieces else own, path.name)


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
                Certainty.MACROHAEMORRHAGE
                if one.sure_diameter_mm > MAXIMUM_MM
                else Certainty.DEFINITE
            ),
        )
        for number, one in measure(labels.array, labels.affine).items()
    )
