"""What lies around a candidate in three dimensions: a vein goes on, a microbleed ends.

Both networks see one slice, on which a vein that crosses it is a microbleed. In a volume each
candidate's confidence is therefore taken from its stage-2 probability and from a few measures of
its surroundings, by a logistic regression whose weights are part of the model.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.config import CascadeSettings, ContextSettings, Thresholds
from mmocnet.predict.fuse import Outlines
from mmocnet.prepare.slices import PreparedSlices
from mmocnet.types import FloatArray

MIN_SLICES = 8
"""Fewer slices are no volume: confidence stays the stage-2 probability."""
REACH_MM = 9.0
"""How far around a candidate its surroundings are measured."""
DARK = 0.8
"""Share of the local brightness below which a voxel is dark."""
AHEAD_MM = (1.0, 4.5)
"""Distance beyond a candidate's last slices in which its continuation is sought."""
FEATURES = (
    "logit of the stage-2 probability",
    "radius on its slice, mm",
    "extent across slices, mm",
    "darkest voxel over local brightness",
    "darkness beyond, darker side",
    "darkness beyond, brighter side",
    "reach of the connected dark structure, mm",
    "log volume of that structure over the candidate's",
    "brightness around it on its slice",
    "dark share around it on its slice",
    "distance to the brain's edge, mm",
    "log number of its voxels",
)


@dataclass(frozen=True)
class _Box:
    """The surroundings of one candidate.

    Attributes:
        relative: Intensity over the local median, 1 outside the brain, shape (S, R, C).
        mine: The candidate's voxels.
        brain: Brain mask.
        offset_mm: Distance of each voxel along each axis from the candidate's peak.
    """

    relative: FloatArray
    mine: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    offset_mm: tuple[FloatArray, FloatArray, FloatArray]


def _box(slices: PreparedSlices, outlines: Outlines, number: int) -> _Box:
    peak = outlines.peak[number]
    spacing = (slices.grid.thickness_mm, *slices.grid.pixel_mm)
    parts, offsets = [], []
    for axis, (at, step, size) in enumerate(zip(peak, spacing, slices.array.shape, strict=True)):
        reach = int(np.ceil(REACH_MM / step))
        low, high = max(0, int(at) - reach), min(size, int(at) + reach + 1)
        parts.append(slice(low, high))
        shape = [1, 1, 1]
        shape[axis] = -1
        offsets.append(((np.arange(low, high) - at) * step).reshape(shape))
    box = (parts[0], parts[1], parts[2])
    brain = slices.brain[box]
    values = slices.array[box]
    level = float(np.median(values[brain])) if brain.any() else 1.0
    relative = np.where(brain, values / max(level, 1e-3), 1.0)
    # Noise would break thin structures: a little in-plane smoothing.
    relative = ndimage.gaussian_filter(relative, (0.0, 0.6, 0.6))
    mine = outlines.labels[box] == number + 1
    return _Box(relative, mine, brain, (offsets[0], offsets[1], offsets[2]))


def _ahead(box: _Box, radius: float, side: int) -> float:
    """Return how dark it is beyond the candidate on one side across slices, 0 to 1."""
    across = side * box.offset_mm[0].ravel()
    inside = box.mine.any(axis=(1, 2))
    edge = float(across[inside].max()) if inside.any() else 0.0
    beyond = across - edge
    planes = np.flatnonzero((beyond > 0) & (beyond <= AHEAD_MM[1]))
    chosen = planes[beyond[planes] >= AHEAD_MM[0]]
    # Thick slices: the next one, whatever its distance.
    chosen = chosen if len(chosen) else np.flatnonzero(beyond > 0)[:: side or 1][:1]
    if len(chosen) == 0:
        return 0.0
    lateral = np.hypot(box.offset_mm[1], box.offset_mm[2])[0]
    depths = []
    for plane in chosen:
        # An oblique vein moves sideways as it leaves.
        near = lateral <= radius + 0.8 + 0.6 * beyond[plane]
        depths.append(1.0 - float(box.relative[plane][near].min()))
    return float(np.clip(np.mean(depths), 0.0, 1.0))


def _structure(box: _Box, radius: float) -> tuple[float, float]:
    """Return reach in mm and log relative volume of the dark structure through the candidate."""
    dark = (box.relative < DARK) | box.mine
    labels, _ = ndimage.label(dark, np.ones((3, 3, 3)))
    own = np.unique(labels[box.mine])
    connected = np.isin(labels, own[own > 0])
    s, r, c = box.offset_mm
    distance = np.sqrt(s**2 + r**2 + c**2)
    reach = float(np.quantile(distance[connected], 0.98)) - radius
    return reach, float(np.log(connected.sum() / max(1, int(box.mine.sum()))))


def _measure(slices: PreparedSlices, outlines: Outlines, number: int) -> list[float]:
    box = _box(slices, outlines, number)
    middle = int(np.argmin(np.abs(box.offset_mm[0].ravel())))
    row_mm, col_mm = slices.grid.pixel_mm
    radius = float(np.sqrt(max(1, box.mine[middle].sum()) * row_mm * col_mm / np.pi))
    planes = int(box.mine.any(axis=(1, 2)).sum())
    ahead = sorted((_ahead(box, radius, 1), _ahead(box, radius, -1)))
    reach, growth = _structure(box, radius)
    lateral = np.hypot(box.offset_mm[1], box.offset_mm[2])[0]
    ring = (lateral > radius + 0.8) & (lateral <= radius + 3.0)
    around = box.relative[middle][ring]
    outside = lateral[~box.brain[middle]]
    p = float(np.clip(outlines.confidence[number], 1e-4, 1 - 1e-4))
    return [
        float(np.log(p / (1 - p))),
        radius,
        planes * slices.grid.thickness_mm,
        float(box.relative[box.mine].min()) if box.mine.any() else 1.0,
        ahead[1],
        ahead[0],
        reach,
        growth,
        float(around.mean()) if around.size else 1.0,
        float((around < DARK).mean()) if around.size else 0.0,
        float(outside.min()) if outside.size else REACH_MM,
        float(np.log(max(1, int(box.mine.sum())))),
    ]


def context_features(
    slices: PreparedSlices, outlines: Outlines
) -> Float[np.ndarray, "candidates features"]:
    """Return the measures named in FEATURES of every candidate."""
    rows = [_measure(slices, outlines, n) for n in range(len(outlines.confidence))]
    return np.array(rows, float).reshape(-1, len(FEATURES))


def expanded(features: FloatArray, settings: ContextSettings) -> FloatArray:
    """Return standardised features, their products in pairs and a one: what the weights weigh."""
    x = (features - np.array(settings.mean)) / np.array(settings.scale)
    x = np.clip(x, -4.0, 4.0)
    first, second = np.triu_indices(x.shape[1])
    return np.concatenate([x, x[:, first] * x[:, second], np.ones((len(x), 1))], axis=1)


def with_context(
    outlines: Outlines, slices: PreparedSlices, settings: ContextSettings | None
) -> Outlines:
    """Return the candidates with their confidence in context; unchanged without weights.

    Args:
        outlines: From `fuse.outline_candidates`.
        slices: What they were found on.
        settings: The model's weights, or None. Fewer than MIN_SLICES slices are left alone.
    """
    few = slices.array.shape[0] < MIN_SLICES
    if settings is None or few or len(outlines.confidence) == 0:
        return outlines
    features = context_features(slices, outlines)
    score = expanded(features, settings) @ np.array(settings.weights)
    return replace(outlines, confidence=1 / (1 + np.exp(-np.clip(score, -30, 30))))


def limits_for(settings: CascadeSettings, slices: int) -> Thresholds:
    """Return the operating points for a scan of so many slices."""
    # The classifier sees as many slices as there are; only one alone is another matter.
    few = slices == 1 if settings.classifier is not None else slices < MIN_SLICES
    if few and settings.slice_thresholds is not None:
        return settings.slice_thresholds
    return settings.thresholds
