"""References: where blood is (source) and what a reader outlines (apparent)."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.simulate.lesions import Source
from mmocnet.types import FloatArray, Mask3D
from mmocnet.volume import Volume

PEAK_SHARE, SIGNAL_SHARE = 0.5, 0.15
"""A voxel belongs to the apparent lesion where the noise-free images with and without it differ
by more than these shares of the difference's peak and of the lesion-free signal."""


def _box(grid: Volume, centre_mm: FloatArray, half_mm: float) -> tuple[slice, slice, slice]:
    """Return the voxels around a point, cut at the border."""
    centre = grid.voxel(centre_mm)
    half = half_mm / np.asarray(grid.spacing_mm)
    low = np.maximum(np.floor(centre - half), 0).astype(int)
    high = np.minimum(np.ceil(centre + half) + 1, grid.shape).astype(int)
    i, j, k = (slice(int(a), max(int(a), int(b))) for a, b in zip(low, high, strict=True))
    return i, j, k


def _distance_mm(
    grid: Volume, box: tuple[slice, slice, slice], centre_mm: FloatArray
) -> FloatArray:
    voxel = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), -1)
    return np.asarray(np.linalg.norm(grid.world(voxel) - centre_mm, axis=-1))


def _outline(
    difference: FloatArray, signal: FloatArray, distance: FloatArray, source: Source
) -> Mask3D | None:
    """Return the apparent mask of one lesion in its box, None where nothing is visible."""
    core = distance <= source.reach_mm + 1.5
    if not core.any():
        return None
    peak = float(difference[core].max())
    mask = (difference > PEAK_SHARE * peak) & (difference > SIGNAL_SHARE * signal) & (signal > 0)
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    inside = labels[core & mask]
    if count == 0 or inside.size == 0:
        return None
    keep = int(np.bincount(inside).argmax())
    return np.asarray(labels == keep)


def apparent_labels(
    difference: FloatArray, signal: FloatArray, grid: Volume, sources: list[Source]
) -> NDArray[np.int16]:
    """Return what a reader would outline, each microbleed its index from 1.

    Args:
        difference: Lesion-free minus lesion-bearing noise-free image, shape (I, J, K).
        signal: The lesion-free one.
        grid: Any volume on the same grid.
        sources: The microbleeds.

    Returns:
        Int16, shape (I, J, K). Where outlines overlap the nearer centre wins.
    """
    labels = np.zeros(difference.shape, np.int16)
    nearest = np.zeros(difference.shape, np.float32)  # only read where there is a label
    for index, source in enumerate(sources, 1):
        box = _box(grid, source.centre_mm, 5 * source.reach_mm + 4.0)
        if any(s.stop - s.start < 1 for s in box):
            continue
        distance = _distance_mm(grid, box, source.centre_mm)
        mask = _outline(difference[box], signal[box], distance, source)
        if mask is None:
            continue
        mine = mask & ((labels[box] == 0) | (distance < nearest[box]))
        labels[box][mine] = index
        nearest[box][mine] = distance[mine]
    return labels


def source_labels(grid: Volume, sources: list[Source]) -> NDArray[np.int16]:
    """Return where blood is, each microbleed its index from 1; at least its centre's voxel."""
    labels = np.zeros(grid.shape, np.int16)
    for index, source in enumerate(sources, 1):
        box = _box(grid, source.centre_mm, source.reach_mm + 1.0)
        for offset, radius, _ in source.spheres:
            distance = _distance_mm(grid, box, source.centre_mm + np.asarray(offset))
            labels[box][distance <= radius] = index
        i, j, k = np.round(grid.voxel(source.centre_mm)).astype(int)
        if all(0 <= v < n for v, n in zip((i, j, k), grid.shape, strict=True)):
            labels[i, j, k] = index
    return labels
