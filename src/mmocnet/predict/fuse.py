"""Stage 2's patches become one probability map, and the map becomes outlined candidates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.lesion import Roi
from mmocnet.prepare.geometry import WorkingGrid
from mmocnet.types import FloatArray, IntTriple, Labels3D, Volume3D

CANDIDATE_FLOOR = 0.05
"""Stage-2 probability below which nothing is kept (product decision, not calibrated)."""
OUTLINE_LEVEL = 0.5
"""Stage-2 probability that outlines a lesion (the article's threshold)."""
TINY = 1e-6
"""What is divided by at least."""
NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
"""26 neighbours in a volume, 8 in a slice."""


@dataclass(frozen=True)
class Outlines:
    """Candidates of stage 2, the most confident first.

    Attributes:
        labels: Shape (S, R, C), each candidate its number from 1, int32.
        confidence: Highest stage-2 probability of each, shape (N,), falling.
        level: Probability at which each is outlined, shape (N,).
        peak: Where the highest probability is, shape (N, 3).
    """

    labels: Int[np.ndarray, "s r c"]
    confidence: Float[np.ndarray, " n"]
    level: Float[np.ndarray, " n"]
    peak: Int[np.ndarray, "n 3"]


def paste_rois(
    shape: IntTriple, rois: Sequence[Roi], patches: Float[np.ndarray, "n size size"]
) -> Float[np.ndarray, "s r c"]:
    """Return the fused probability: the highest where patches overlap, 0 outside all of them.

    Args:
        shape: (S, R, C) of the working grid.
        rois: Where each patch belongs; what leaves the slice is dropped.
        patches: Stage-2 probability, shape (N, size, size).
    """
    fused = np.zeros(shape, dtype=np.float32)
    for roi, patch in zip(rois, patches, strict=True):
        row, col = max(roi.row, 0), max(roi.col, 0)
        end_row, end_col = min(roi.row + roi.size, shape[1]), min(roi.col + roi.size, shape[2])
        if row >= end_row or col >= end_col:
            continue
        target = fused[roi.slice_index, row:end_row, col:end_col]
        source = patch[row - roi.row : end_row - roi.row, col - roi.col : end_col - roi.col]
        np.maximum(target, source, out=target)
    return fused


def outline_candidates(probability: Float[np.ndarray, "s r c"]) -> Outlines:
    """Return every candidate of a probability of 0.05 or more with its outline.

    Its confidence is the highest probability of stage 2, until what knows more replaces it.
    Components of probability >= 0.5 come first (26 neighbours; 8 in a slice). What is left
    of the components of probability >= 0.05 that touch none of those is outlined at half of
    its own peak, around that peak, so that a faint lesion has a body and not one voxel.
    """
    broad, count = ndimage.label(probability >= CANDIDATE_FLOOR, NEIGHBOURS)
    summit = np.zeros(count + 1, dtype=probability.dtype)
    np.maximum.at(summit, broad[broad > 0], probability[broad > 0])
    level = np.where(
        summit >= OUTLINE_LEVEL, OUTLINE_LEVEL, np.maximum(summit / 2, CANDIDATE_FLOOR)
    )
    labels, count = ndimage.label((broad > 0) & (probability >= level[broad]), NEIGHBOURS)
    peak = _peaks(probability, labels, count)
    height, parent = probability[tuple(peak.T)], broad[tuple(peak.T)]
    # A side hill of a faint component reaches half of the component's peak without holding
    # that peak: it is no candidate of its own.
    kept = np.flatnonzero(height >= np.minimum(summit[parent], OUTLINE_LEVEL))
    kept = kept[np.argsort(-height[kept], kind="stable")]
    lookup = np.zeros(count + 1, dtype=np.int32)
    lookup[kept + 1] = np.arange(1, len(kept) + 1)
    return Outlines(
        labels=lookup[labels],
        confidence=height[kept].astype(float),
        level=level[parent[kept]].astype(float),
        peak=peak[kept],
    )


def _peaks(probability: FloatArray, labels: NDArray[np.int32], count: int) -> NDArray[np.intp]:
    """Return where each component is highest, shape (N, 3)."""
    peaks = np.zeros((count, 3), dtype=np.intp)
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        values = np.where(labels[box] == number, probability[box], -1.0)
        at = np.unravel_index(np.argmax(values), values.shape)
        peaks[number - 1] = [part.start + step for part, step in zip(box, at, strict=True)]
    return peaks


def place_on_input(
    outlines: Outlines, probability: Float[np.ndarray, "s r c"], grid: WorkingGrid
) -> tuple[Labels3D, Volume3D]:
    """Return the candidates' labels and the probability on the scan's own grid.

    A voxel belongs to a candidate where the resampled probability reaches the candidate's
    level and the nearest working pixel, or one beside it, is the candidate's. A candidate
    that this leaves without a voxel, on a grid much coarser than the working one, keeps the
    voxel of its peak, or the nearest free one.

    Args:
        outlines: From `outline_candidates`.
        probability: Fused, shape (S, R, C).
        grid: The way back.

    Returns:
        Labels, int32, and probability, float32, both of shape (I, J, K).
    """
    placed = grid.to_input(probability, order=1)
    grown = ndimage.maximum_filter(outlines.labels, size=(1, 3, 3))
    grown = np.where(outlines.labels > 0, outlines.labels, grown)
    # Exact: float32 holds every integer to 2^24.
    nearest = grid.to_input(grown.astype(np.float32), order=0).astype(np.int32)
    level = np.concatenate([[np.inf], outlines.level])
    labels = np.where(placed >= level[nearest], nearest, 0).astype(np.int32)
    count = len(outlines.confidence)
    missing = np.flatnonzero(np.bincount(labels.ravel(), minlength=count + 1)[1:] == 0)
    for at in missing:
        voxel = _nearest_free(labels, np.rint(grid.to_voxel(outlines.peak[at])).astype(np.intp))
        labels[voxel] = at + 1
        placed[voxel] = max(placed[voxel], outlines.confidence[at])
    return labels, np.clip(placed, 0.0, 1.0)


def by_confidence(
    probability: Volume3D, labels: Labels3D, confidence: Float[np.ndarray, " n"]
) -> Volume3D:
    """Return the probability scaled so that the highest of each candidate is its confidence.

    What surrounds a candidate's outline goes with the surest one that it touches.

    Args:
        probability: On the scan's grid, from `place_on_input`, shape (I, J, K).
        labels: Likewise; each candidate has a voxel.
        confidence: Of each, shape (N,).

    Returns:
        Float32, shape (I, J, K), 0 where no candidate is.
    """
    said = np.concatenate([[0.0], confidence])
    around, count = ndimage.label((probability >= CANDIDATE_FLOOR) | (labels > 0), NEIGHBOURS)
    at = np.nonzero(around)
    values, candidate, piece = probability[at].astype(float), labels[at], around[at]
    # Of each candidate, and of each piece of voxels that touch; 0 stands for none.
    own = said / np.maximum(_highest(values, candidate, len(said)), TINY)
    spread = _highest(said[candidate], piece, count + 1)
    spread /= np.maximum(_highest(values, piece, count + 1), TINY)
    share = np.where(candidate > 0, own[candidate], spread[piece])
    scaled = np.zeros_like(probability)
    scaled[at] = np.clip(values * share, 0.0, 1.0)
    return scaled


def _highest(values: FloatArray, numbers: NDArray[np.int32], count: int) -> FloatArray:
    """Return the highest value of each number from 0 on, 0 where there is none."""
    highest = np.zeros(count)
    np.maximum.at(highest, numbers, values)
    return highest


def _nearest_free(labels: Labels3D, voxel: NDArray[np.intp], reach: int = 8) -> IntTriple:
    """Return the voxel, or the nearest to it that has no label; itself where none is free."""
    voxel = np.clip(voxel, 0, np.array(labels.shape) - 1)
    corner = np.maximum(voxel - reach, 0)
    box = tuple(slice(a, b) for a, b in zip(corner, voxel + reach + 1, strict=True))
    free = np.argwhere(labels[box] == 0) + corner
    if len(free):
        voxel = free[np.argmin(((free - voxel) ** 2).sum(axis=1))]
    i, j, k = voxel.tolist()
    return i, j, k
