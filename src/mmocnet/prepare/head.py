"""Find the brain in a whole head without a trained network.

Made for SWI and T2*-weighted GRE, where skull and air are dark and brain and scalp are not: the
brain is what remains in one piece in the middle when everything is eroded. Works on (S, R, C)
arrays of about 2 mm, from one slice to a whole head.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.types import FloatArray, Mask3D, Triple, Volume3D

EROSIONS_MM = (4.0, 6.0, 8.0, 10.0)
"""Tried in turn until scalp and neck come off; a skull is 4 to 10 mm thick."""

SCALP_MM = 4.0
"""Thinnest scalp: what is nearer the outside is not brain."""

BRAIN_HEIGHT_MM = 165.0
"""From vertex to foramen magnum, adults; below it is neck."""

CORD_AREA_MM2 = 300.0
"""Below it a cross-section of the eroded brain is brainstem or cord."""

WHOLE_AREA_MM2 = 4000.0
"""Above it a cross-section of the eroded brain is a cerebrum's."""

SLAB_MM = 40.0
PART_SHARE = 0.2
"""A scan lower than `SLAB_MM` may hold a brain in parts: those of this share of the largest."""

_BIAS_SIGMA_MM = 25.0
_TISSUE_LEVEL = 0.55
_RIM_LEVEL = 0.35
_RIM_MM = 5.0
_SHALLOW_MM = 9.0
_SHALLOW_SHARE = 0.02
_SHALLOW_TIMES = 2.5
"""What stays shallow however much is eroded is brain under a thin or cut skull."""
_CLOSE_MM = 8.0
_OPEN_MM = 4.0
_HOLE_MM2 = 120.0

_SCALP_GAP_MM = 16.0
"""Widest gap in the scalp's ring that is closed."""


def head_brain(array: Volume3D, spacing_mm: Triple, *, has_neck: bool = True) -> Mask3D:
    """Return the brain of a head.

    Args:
        array: Shape (S, R, C), slices from inferior to superior where axial.
        spacing_mm: Voxel along S, R and C.
        has_neck: Whether the first slices may be neck: axial ones.

    Returns:
        Bool, same shape; the whole head where no brain stands out.
    """
    level = otsu(array)
    head = _whole_head(largest(open_mm(array > 0.5 * level, 2.0, spacing_mm)), spacing_mm)
    depth = _depth(head, spacing_mm)
    ratio = array / _local_level(array, head & (array > 0.6 * level), spacing_mm)
    tissue = (ratio > _TISSUE_LEVEL) & (depth > SCALP_MM)
    tissue = _fill_small(tissue, _HOLE_MM2 / (spacing_mm[1] * spacing_mm[2]))
    # The falx parts the hemispheres of a high slice; in a whole head they meet, and a second
    # part would be neck.
    share = PART_SHARE if array.shape[0] * spacing_mm[0] < SLAB_MM else 1.0
    core, erosion_mm = _core(tissue, depth, spacing_mm, share)
    if not core.any():
        return head
    if has_neck:
        core = _without_neck(core, spacing_mm)
    near = distance(~core, spacing_mm) <= erosion_mm + 1.5
    brain = close_mm(largest(tissue & near, share), _CLOSE_MM, spacing_mm)
    brain = open_mm(fill_slices(brain & (depth > SCALP_MM)), _OPEN_MM, spacing_mm)
    brain = largest(brain, share)
    # The cortex is darker than what lies under it, as veins and CSF share its voxels.
    rim = (distance(~brain, spacing_mm) <= _RIM_MM) & (ratio > _RIM_LEVEL) & (depth > SCALP_MM)
    # The scalp is near too where the skull is thin, but the skull lies between.
    return fill_slices(close_mm(largest(brain | rim, share), _RIM_MM, spacing_mm))


def distance(mask: Mask3D, spacing_mm: Triple) -> FloatArray:
    """Return the distance in mm of each voxel of a mask to the nearest voxel outside it.

    The array's border is no outside; without any outside the distance is infinite.
    """
    if mask.all():
        return np.full(mask.shape, np.inf, dtype=np.float32)
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=spacing_mm), dtype=np.float32)


def close_mm(mask: Mask3D, radius_mm: float, spacing_mm: Triple) -> Mask3D:
    """Return a mask closed by a ball."""
    if not mask.any():
        return mask
    grown = distance(~mask, spacing_mm) <= radius_mm
    return np.asarray(mask | (distance(grown, spacing_mm) > radius_mm))


def open_mm(mask: Mask3D, radius_mm: float, spacing_mm: Triple) -> Mask3D:
    """Return a mask opened by a ball; the mask itself where nothing is that thick."""
    core = distance(mask, spacing_mm) > radius_mm
    return np.asarray(mask & (distance(~core, spacing_mm) <= radius_mm)) if core.any() else mask


def largest(mask: Mask3D, share: float = 1.0) -> Mask3D:
    """Return the connected parts of a mask that have `share` of the largest one's size."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= share * sizes.max())[labels] & mask)


def fill_slices(mask: Mask3D) -> Mask3D:
    """Return a mask with the holes of each slice (axis 0) filled."""
    return np.stack([mask_slice | _holes(mask_slice, np.inf) for mask_slice in mask])


def _fill_small(mask: Mask3D, area_px: float) -> Mask3D:
    """Fill what veins, sulci and ventricles leave open; the gap of the skull is larger."""
    return np.stack([mask_slice | _holes(mask_slice, area_px) for mask_slice in mask])


def _holes(mask: NDArray[np.bool_], area_px: float) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(~mask)
    hole = np.bincount(labels.ravel()) <= area_px
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        hole[edge] = False
    hole[0] = False
    return np.asarray(hole[labels])


def otsu(array: FloatArray) -> float:
    """Return the level that best parts dark from bright (Otsu 1979), outliers cut."""
    top = float(np.percentile(array, 99))
    counts, edges = np.histogram(np.clip(array, 0, top), bins=256)
    centres = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)
    above = below[-1] - below
    moment = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = (moment[-1] - moment) / above - moment / below
    between = np.nan_to_num(below * above * gap**2)
    return float(centres[between.argmax()])


def _local_level(array: Volume3D, tissue: Mask3D, spacing_mm: Triple) -> FloatArray:
    """Return the local mean of tissue, so that the coils' sensitivity does not matter."""
    typical = float(np.median(array[tissue])) if tissue.any() else 1.0
    sigma = [_BIAS_SIGMA_MM / mm for mm in spacing_mm]
    weight = ndimage.gaussian_filter(tissue.astype(np.float32), sigma, truncate=2.5)
    # Fat and vessels may shine: they must not raise the level of the brain beside them.
    total = ndimage.gaussian_filter(
        np.where(tissue, np.minimum(array, 1.5 * typical), 0).astype(np.float32),
        sigma,
        truncate=2.5,
    )
    return np.asarray(np.maximum(total / np.maximum(weight, 1e-3), 0.2 * typical))


def _whole_head(bright: Mask3D, spacing_mm: Triple) -> Mask3D:
    """Return what the scalp encloses in each slice, skull and all.

    Chemical shift and air beside it break the scalp's ring: through a gap all within would count
    as outside, and the brain as if it lay as shallow as a scalp.
    """
    in_slice = (1e6, spacing_mm[1], spacing_mm[2])
    return fill_slices(close_mm(bright, _SCALP_GAP_MM / 2, in_slice))


def _depth(head: Mask3D, spacing_mm: Triple) -> FloatArray:
    """Return the distance to the outside of the head within each slice."""
    # Slices are set far apart: the head is cut off above and below, and that is no skin.
    return distance(head, (1e6, spacing_mm[1], spacing_mm[2]))


def _core(
    tissue: Mask3D, depth: FloatArray, spacing_mm: Triple, share: float
) -> tuple[Mask3D, float]:
    """Return the eroded brain and by how much it is eroded."""
    inner = distance(tissue, spacing_mm)
    found = [(largest(inner > erosion_mm, share), erosion_mm) for erosion_mm in EROSIONS_MM]
    found = [(core, erosion_mm) for core, erosion_mm in found if core.any()]
    if not found:
        return np.zeros(tissue.shape, dtype=bool), 0.0
    shallow = [float(np.mean(depth[core] < _SHALLOW_MM + mm)) for core, mm in found]
    limit = max(_SHALLOW_SHARE, _SHALLOW_TIMES * min(shallow))
    return next(item for item, part in zip(found, shallow, strict=True) if part <= limit)


def _without_neck(core: Mask3D, spacing_mm: Triple) -> Mask3D:
    """Cut an eroded brain where it is a cord, or too far below the vertex."""
    area_mm2 = core.sum(axis=(1, 2)) * spacing_mm[1] * spacing_mm[2]
    slices = np.flatnonzero(area_mm2)
    first = int(slices[-1] - BRAIN_HEIGHT_MM / spacing_mm[0]) + 1
    widest = int(area_mm2.argmax())
    if area_mm2[widest] > WHOLE_AREA_MM2:
        thin = np.flatnonzero(area_mm2[:widest] < CORD_AREA_MM2)
        first = max(first, int(thin[-1]) + 1 if thin.size else 0)
    core = core.copy()
    core[: max(0, first)] = False
    return core
