"""Slices first, and coarse: what finding the brain and judging the contrast share."""

import numpy as np
from numpy.typing import NDArray

from mmocnet.prepare.geometry import slice_axis, world_axes
from mmocnet.types import Mask3D, Triple
from mmocnet.volume import Volume


def slices_first(volume: Volume) -> tuple[NDArray[np.float32], Triple]:
    """Return the array with its slices first, growing upwards, and its spacing likewise."""
    axis = slice_axis(volume)
    array = np.moveaxis(np.asarray(volume.array, dtype=np.float32), axis, 0)
    if world_axes(volume.affine)[1][axis]:
        array = array[::-1]
    rest = [volume.spacing_mm[a] for a in range(3) if a != axis]
    return array, (volume.spacing_mm[axis], rest[0], rest[1])


def slices_back(mask: Mask3D, volume: Volume) -> Mask3D:
    """Return a mask from `slices_first`'s order to the volume's."""
    axis = slice_axis(volume)
    if world_axes(volume.affine)[1][axis]:
        mask = mask[::-1]
    return np.ascontiguousarray(np.moveaxis(mask, 0, axis))


def is_axial(volume: Volume) -> bool:
    """Return whether slices are stacked from inferior to superior."""
    return world_axes(volume.affine)[0][slice_axis(volume)] == 2


def block_means(
    array: NDArray[np.float32], spacing_mm: Triple, block_mm: float
) -> tuple[NDArray[np.float32], Triple]:
    """Return means of whole blocks of about `block_mm`, and their size.

    The last block of an axis holds what is left.
    """
    factors = [
        min(count, max(1, round(block_mm / mm)))
        for count, mm in zip(array.shape, spacing_mm, strict=True)
    ]
    for axis, factor in enumerate(factors):
        if factor > 1:
            starts = np.arange(0, array.shape[axis], factor)
            sizes = np.diff([*starts, array.shape[axis]]).astype(np.float32)
            sums = np.add.reduceat(array, starts, axis=axis)
            means = sums / np.expand_dims(sizes, [a for a in range(3) if a != axis])
            array = means.astype(np.float32)
    s, r, c = (mm * factor for mm, factor in zip(spacing_mm, factors, strict=True))
    return array, (s, r, c)
