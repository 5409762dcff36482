"""A scan's brain on a grid along the world's axes, as it is registered."""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mmocnet.types import FloatArray, Mask3D
from mmocnet.volume import Volume

STEP_MM = 2.0
MARGIN_MM = 10.0
"""Air kept about the brain: its edge is what position and size are found by."""


@dataclass(frozen=True)
class Head:
    """A scan on a grid along the world's axes.

    Attributes:
        image: About 0 to 1; shape (I, J, K), float32, like the rest.
        brain: The brain.
        seen: Where the scan has voxels.
        low_mm: World mm of the first voxel.
    """

    image: FloatArray
    brain: Mask3D
    seen: Mask3D
    low_mm: FloatArray


def resampled(volume: Volume, brain: Mask3D) -> Head:
    """Return the scan's brain, 0 outside it, with a margin of air at 2 mm.

    Args:
        volume: The scan, shape (I, J, K).
        brain: Its brain, shape (I, J, K), not empty.
    """
    spacing = np.asarray(volume.spacing_mm)
    blur = np.maximum(0.4 * STEP_MM / spacing, 0) * (spacing < STEP_MM)
    inside = volume.array[brain]
    top = float(np.percentile(inside, 99.5)) or 1.0
    array = np.clip(volume.array / top, 0, 1).astype(np.float32) * brain
    box = [
        np.flatnonzero(brain.any(tuple(np.delete(range(3), axis))))[[0, -1]] for axis in range(3)
    ]
    corners = volume.world(np.array(list(itertools.product(*box)), np.float64))
    low, high = corners.min(0) - MARGIN_MM, corners.max(0) + MARGIN_MM
    shape = np.ceil((high - low) / STEP_MM).astype(int) + 1
    inverse = np.linalg.inv(volume.affine)
    matrix = inverse[:3, :3] * STEP_MM
    offset = inverse[:3, :3] @ low + inverse[:3, 3]

    def moved(values: FloatArray) -> FloatArray:
        # Beyond a slab's last slices it goes on, or smoothing would draw an edge there.
        smooth = ndimage.gaussian_filter(values, blur, mode="nearest")
        return np.asarray(
            ndimage.affine_transform(smooth, matrix, offset, tuple(shape), order=1, mode="nearest")
        )

    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    at = index @ matrix.T + offset
    limits = np.asarray(volume.shape) - 0.5
    seen = np.asarray(((at >= -0.5) & (at <= limits)).all(-1))
    return Head(
        image=moved(array),
        brain=(moved(brain.astype(np.float32)) >= 0.5) & seen,
        seen=seen,
        low_mm=low,
    )
