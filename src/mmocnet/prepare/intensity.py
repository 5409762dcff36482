"""Bring intensities to 0..1."""

import numpy as np

from mmocnet.config import Normalisation
from mmocnet.errors import InputError
from mmocnet.types import Mask3D, Volume3D

MEDIAN_LEVEL = 0.5
"""Where the brain's median goes: tissue and CSF brighter than twice the median are cut off."""


def normalise(
    array: Volume3D, mask: Mask3D | None, method: Normalisation, name: str = "an image"
) -> Volume3D:
    """Return an image scaled to 0..1.

    Args:
        array: Any scale; one image (a volume, or a slice as a volume of one).
        mask: Brain; None, or a mask without a voxel, takes the voxels above 0. Only "median"
            uses it.
        method: "minmax": smallest value to 0, largest to 1 (the article's). "median": the
            brain's median to 0.5 and 0 to 0, cut at 0 and 1.
        name: What errors call it.

    Returns:
        float32, same shape. A constant image is 0 by "minmax".

    Raises:
        InputError: If the brain's median is not above 0.

    >>> normalise(np.array([[[0.0, 2.0, 4.0, 9.0]]]), None, "median").tolist()
    [[[0.0, 0.25, 0.5, 1.0]]]
    """
    if method == "minmax":
        low, high = float(array.min()), float(array.max())
        scale = 1.0 / (high - low) if high > low else 0.0
        return ((array - low) * scale).astype(np.float32)
    inside = array[array > 0] if mask is None or not mask.any() else array[mask]
    median = float(np.median(inside)) if inside.size else 0.0
    if not median > 0:
        raise InputError(f"expected a brain with a median above 0, got {median:g} in {name}")
    return np.clip(array * (MEDIAN_LEVEL / median), 0.0, 1.0).astype(np.float32)
