"""Find the brain in a scan: skull-stripped or a whole head, a slice or a volume."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.prepare.head import close_mm, distance, fill_slices, head_brain, largest
from mmocnet.prepare.orient import block_means, is_axial, slices_back, slices_first
from mmocnet.prepare.sampling import resampling_matrix, sample_positions
from mmocnet.types import IntTriple, Mask3D, Triple
from mmocnet.volume import Volume

BrainMethod = Literal["stripped", "classical"]

COARSE_MM = 2.0
"""Voxel at which the brain is looked for."""

_STRIPPED_BORDER_SHARE = 0.97
_CLOSE_MM = 10.0
"""Closes a black lesion of 10 mm at the surface but for its last half millimetre."""

_PART_SHARE = 0.1
"""Hemispheres may be apart in a slice; smaller parts are not brain."""

_SKULL_SHELL_MM = np.arange(2.0, 24.0, 2.0)


def is_stripped(volume: Volume) -> bool:
    """Return whether all outside the brain has been set to one value.

    The border of the slices must be constant; and where one goes inwards from what is not
    constant, no dark layer (skull) may lie under a brighter one (scalp), as scanners also blank
    the air around a head.
    """
    array, spacing_mm = slices_first(volume)
    border = _border(array)
    background = _background(array)
    if float(np.mean(border == background)) < _STRIPPED_BORDER_SHARE:
        return False
    coarse, coarse_mm = block_means(np.abs(array - background), spacing_mm, COARSE_MM)
    return not _has_skull(coarse, coarse_mm)


def brain_method(volume: Volume) -> BrainMethod:
    """Return how `brain_mask` will find the brain of a volume."""
    if is_stripped(volume):
        return "stripped"
    return "classical"


def brain_mask(volume: Volume, method: BrainMethod | None = None) -> Mask3D:
    """Return the brain of a scan.

    Args:
        volume: SWI or T2*-weighted magnitude, one slice or more, any orientation.
        method: None takes `brain_method`. "stripped": all that is not background, closed and
            filled, so that black veins and lesions are inside, at the surface too. "classical":
            see `mmocnet.prepare.head`.

    Returns:
        Bool, shape (I, J, K).
    """
    chosen = brain_method(volume) if method is None else method
    array, spacing_mm = slices_first(volume)
    if chosen == "stripped":
        found = _stripped_brain(array, spacing_mm)
    else:
        coarse, coarse_mm = block_means(array, spacing_mm, COARSE_MM)
        found = _fine(
            head_brain(coarse, coarse_mm, has_neck=is_axial(volume)),
            coarse_mm,
            array.shape,
            spacing_mm,
        )
    return slices_back(found, volume)


def _stripped_brain(array: NDArray[np.float32], spacing_mm: Triple) -> Mask3D:
    inside = array != _background(array)
    coarse, coarse_mm = block_means(inside.astype(np.float32), spacing_mm, COARSE_MM)
    # Specks outside the brain are noise or what the stripping forgot.
    closed = close_mm(largest(coarse >= 0.5, _PART_SHARE), _CLOSE_MM, coarse_mm)
    near = _fine(distance(~closed, coarse_mm) <= 2 * COARSE_MM, coarse_mm, array.shape, spacing_mm)
    return fill_slices(_fine(closed, coarse_mm, array.shape, spacing_mm) | (inside & near))


def _has_skull(coarse: NDArray[np.float32], spacing_mm: Triple) -> bool:
    """Return whether a dark layer lies under a brighter one all around."""
    # Blanked bone parts scalp and brain: the scalp's ring is filled before one part is chosen.
    head = largest(fill_slices(coarse > 0))
    depth = distance(head, (1e6, spacing_mm[1], spacing_mm[2]))
    levels = [
        float(np.median(coarse[shell])) if shell.any() else np.nan
        for shell in ((depth > mm - 2) & (depth <= mm) for mm in _SKULL_SHELL_MM)
    ]
    deep = coarse[(depth > _SKULL_SHELL_MM[-1]) & np.isfinite(depth)]
    if not deep.size or np.isnan(levels).any():
        return False
    darkest = int(np.argmin(levels[1:])) + 1
    return levels[darkest] < 0.6 * float(np.median(deep)) and levels[darkest] < 0.8 * max(
        levels[:darkest]
    )


def _border(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the outermost pixels of every slice."""
    edges = (array[:, 0], array[:, -1], array[:, :, 0], array[:, :, -1])
    return np.concatenate([edge.ravel() for edge in edges])


def _background(array: NDArray[np.float32]) -> float:
    values, counts = np.unique(_border(array), return_counts=True)
    return float(values[counts.argmax()])


def _fine(mask: Mask3D, coarse_mm: Triple, shape: IntTriple, spacing_mm: Triple) -> Mask3D:
    """Return a coarse mask on the full grid, its steps smoothed."""
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.7, mode="nearest")
    for axis in range(3):
        places = sample_positions(shape[axis], 0, spacing_mm[axis], coarse_mm[axis])
        # Blocks at the end may be cut: the outermost voxels take the outermost block.
        places = np.clip(places, -0.49, soft.shape[axis] - 0.51)
        weights = resampling_matrix(places, soft.shape[axis], 1)
        soft = np.moveaxis(np.tensordot(weights, soft, axes=(1, axis)), 0, axis)
    return np.asarray(soft >= 0.5)
