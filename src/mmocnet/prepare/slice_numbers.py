"""Where a slice is, in words that hold in a viewer too."""

from collections.abc import Sequence

from mmocnet.prepare.geometry import world_axes
from mmocnet.volume import Volume

ENDS = (("left", "right"), ("back", "front"), ("feet", "head"))
"""Of each world axis."""
DICOM_AXIS = 2
"""Voxel axis along which the slices of a series lie."""


def slice_words(image: Volume, axis: int, index: int, numbers: Sequence[int] = ()) -> str:
    """Return the number of a slice from 1, and its image number where that is known.

    Args:
        image: The scan.
        axis: Voxel axis across which it is cut.
        index: From 0.
        numbers: Of `DicomSource`; none where the scan is not DICOM.

    >>> import numpy as np
    >>> scan = Volume(np.zeros((8, 8, 20)), np.diag([-1.0, 1.0, 3.0, 1.0]), "scan")
    >>> slice_words(scan, 2, 4)
    'slice 5 of 20'
    >>> slice_words(scan, 2, 4, range(20, 0, -1))
    'image 16 (slice 5 of 20, counted from the feet)'
    """
    text = f"slice {index + 1} of {image.shape[axis]}"
    if axis != DICOM_AXIS or not numbers:
        return text
    nearest, against = world_axes(image.affine)
    return f"image {numbers[index]} ({text}, counted from the {ENDS[nearest[axis]][against[axis]]})"
