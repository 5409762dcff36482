"""What the classifier sees of each candidate, and the confidence that it gives.

A vein goes on through the slices, a microbleed ends: planes at fixed distances through the
candidate show it, whatever the slice thickness. Of a single slice there is but one plane.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.config import BurdenSettings, ClassifierSettings, LocalConfidence
from mmocnet.nets.classifier import PLACE_CHANNELS, mean_logits
from mmocnet.predict.confidence import PerCandidate, probability
from mmocnet.predict.engine import Engine
from mmocnet.predict.fuse import Outlines
from mmocnet.predict.place import places
from mmocnet.predict.second_stage import StageMaps
from mmocnet.prepare.geometry import slice_axis
from mmocnet.prepare.slices import PreparedSlices
from mmocnet.types import FloatArray, Triple
from mmocnet.volume import Volume

THICKNESS_SCALE_MM = 4.0
"""The thickness channel is the slice thickness over this; 0 says that there is one slice."""
PHASE_SCALE = np.pi
"""Radians of phase that are 1 in its channels."""
SAME_VOXEL = 0.05
"""Voxels whose sides differ by less than this share are of one protocol."""


@dataclass(frozen=True)
class Surroundings:
    """The arrays that candidates lie in, all of shape (S, R, C).

    Attributes:
        image: Prepared slices, 0..1.
        probability: Stage 2's, fused.
        marks: Stage 1's probability.
        phase: High-passed, radians; None where there is none.
        thickness_mm: Distance of slices.
        brain: bool; None where slices are not axial, and places in them not what was learned.
        pixel_mm: Along rows and columns.
    """

    image: FloatArray
    probability: FloatArray
    marks: FloatArray
    phase: FloatArray | None
    thickness_mm: float
    brain: NDArray[np.bool_] | None = None
    pixel_mm: tuple[float, float] = (0.5, 0.5)


def surroundings(slices: PreparedSlices, maps: StageMaps, phase: FloatArray | None) -> Surroundings:
    """Return what candidates lie in.

    Args:
        slices: Prepared, shape (S, R, C).
        maps: Of both stages, same shape.
        phase: High-passed, radians, same shape; None where there is none.
    """
    grid = slices.grid
    brain = slices.brain if grid.axial else None
    return Surroundings(
        slices.array,
        maps.outlines,
        maps.marks,
        phase,
        grid.thickness_mm,
        brain,
        grid.pixel_mm,
    )


def candidate_centres(outlines: Outlines) -> NDArray[np.intp]:
    """Return the middle of each candidate on the slice of its highest probability, (N, 3)."""
    centres = outlines.peak.copy()
    for number, box in enumerate(ndimage.find_objects(outlines.labels), 1):
        plane = outlines.peak[number - 1][0]
        rows, cols = np.nonzero(outlines.labels[plane][box[1:]] == number)
        centres[number - 1, 1:] = (
            round(box[1].start + rows.mean()),
            round(box[2].start + cols.mean()),
        )
    return centres


def candidate_patches(
    around: Surroundings,
    centres: NDArray[np.intp],
    settings: ClassifierSettings,
    margin: int = 0,
) -> Float[np.ndarray, "n channels side side"]:
    """Return what the classifier reads of each candidate.

    Args:
        around: What they lie in.
        centres: Slice, row, column of each, shape (N, 3).
        settings: Planes and patch.
        margin: Pixels more on each side, which training shifts the patch within.

    Returns:
        Channels as `Classifier` has them, float32; 0 outside the scan.
    """
    side = settings.size + 2 * margin
    phase = np.zeros(0) if around.phase is None else around.phase / PHASE_SCALE
    single = len(around.image) == 1
    parts = [
        _planes(around.image, centres, _slices(around, settings.offsets_mm), side),
        _planes(around.probability, centres, _slices(around, settings.offsets_mm), side),
        _planes(phase, centres, _slices(around, settings.phase_offsets_mm), side),
        np.full(
            (len(centres), 1, side, side),
            0.0 if single else around.thickness_mm / THICKNESS_SCALE_MM,
            np.float32,
        ),
    ]
    if settings.place:
        parts.append(_place(around, centres, side))
    parts.append(_planes(around.marks, centres, _slices(around, settings.mark_offsets_mm), side))
    return np.concatenate(parts, axis=1)


def _place(around: Surroundings, centres: NDArray[np.intp], side: int) -> NDArray[np.float32]:
    """Return planes that say where each candidate lies, (N, PLACE_CHANNELS, side, side)."""
    found = np.zeros((len(centres), PLACE_CHANNELS), np.float32)
    if around.brain is not None:
        found = places(around.brain, centres, around.pixel_mm)
    return np.tile(found[:, :, None, None], (1, 1, side, side))


def _slices(around: Surroundings, offsets_mm: Sequence[float]) -> FloatArray:
    """Return the distances of planes in slices; of a single slice only the one through it."""
    offsets = np.asarray(offsets_mm, float)
    if len(around.image) == 1:
        return np.where(offsets == 0, 0.0, np.inf)
    return offsets / around.thickness_mm


def _planes(
    array: FloatArray, centres: NDArray[np.intp], steps: FloatArray, side: int
) -> NDArray[np.float32]:
    """Return planes through each centre, linear between slices, 0 outside: (N, P, side, side)."""
    planes = np.zeros((len(centres), len(steps), side, side), np.float32)
    if array.ndim != 3:
        return planes
    half = side // 2
    count, height, width = array.shape
    for patch, (s, row, col) in zip(planes, centres.tolist(), strict=True):
        top, left = row - half, col - half
        r0, c0 = max(top, 0), max(left, 0)
        r1, c1 = min(top + side, height), min(left + side, width)
        at = s + steps
        inside = np.flatnonzero((at >= 0) & (at <= count - 1))
        low = at[inside].astype(np.intp)
        share = (at[inside] - low).astype(np.float32)[:, None, None]
        # Of a plane on a slice the next one counts nothing, and need not be there.
        high = np.minimum(low + 1, count - 1)
        box = array[:, r0:r1, c0:c1]
        target = patch[:, r0 - top : r1 - top, c0 - left : c1 - left]
        target[inside] = (1 - share) * box[low] + share * box[high]
    return planes


def voxel_of(volume: Volume) -> Triple:
    """Return the smaller and the larger side of a voxel in its slice, and the thickness.

    In mm, rounded to a micrometre: files hold the same sides with another last digit.

    >>> voxel_of(Volume(np.zeros((9, 9, 4)), np.diag([0.6, 0.5, 2.0, 1.0])))
    (0.5, 0.6, 2.0)
    """
    axis = slice_axis(volume)
    smaller, larger = sorted(np.delete(volume.spacing_mm, axis).tolist())
    return round(smaller, 3), round(larger, 3), round(float(volume.spacing_mm[axis]), 3)


@dataclass(frozen=True)
class ConfidenceLine:
    """What makes confidence of the classifier's logits of a scan.

    Attributes:
        slope: What a logit is multiplied with.
        intercept: What is then added.
        burden: What the other candidates then say; None leaves them out.
        local: The calibration fine-tuned for such voxels that slope and intercept come from; None
            where there is none.
    """

    slope: float
    intercept: float
    burden: BurdenSettings | None = None
    local: LocalConfidence | None = None


def calibration_of(volume: Volume, settings: ClassifierSettings) -> ConfidenceLine:
    """Return the calibration for a scan: one slice, or more."""
    if volume.shape[slice_axis(volume)] == 1:
        return ConfidenceLine(settings.slice_slope, settings.slice_intercept)
    voxel = voxel_of(volume)
    for local in settings.local:
        if any(np.allclose(voxel, other, rtol=SAME_VOXEL, atol=0) for other in local.voxels_mm):
            return ConfidenceLine(local.slope, local.intercept, settings.burden, local)
    return ConfidenceLine(settings.slope, settings.intercept, settings.burden)


def confidence_of(
    logits: PerCandidate, volume: Volume, settings: ClassifierSettings
) -> PerCandidate:
    """Return the confidence of the candidates of a scan, shape (N,).

    Args:
        logits: The classifier's, of all candidates, shape (N,).
        volume: The scan.
        settings: Of the classifier, with its calibration.
    """
    line = calibration_of(volume, settings)
    return probability(logits, line.slope, line.intercept, line.burden)


def with_classifier(
    outlines: Outlines,
    around: Surroundings,
    engine: Engine,
    settings: ClassifierSettings,
    volume: Volume,
) -> Outlines:
    """Return the candidates with the classifier's calibrated probability as confidence.

    Args:
        outlines: The candidates.
        around: What they lie in.
        engine: Runs the classifier.
        settings: Of the classifier.
        volume: The scan.
    """
    if len(outlines.confidence) == 0:
        return outlines
    logits = classifier_logits(outlines, around, engine, settings)
    return replace(outlines, confidence=confidence_of(logits, volume, settings))


def classifier_logits(
    outlines: Outlines, around: Surroundings, engine: Engine, settings: ClassifierSettings
) -> Float[np.ndarray, " n"]:
    """Return the classifier's logit of each candidate, not calibrated."""
    patches = candidate_patches(around, candidate_centres(outlines), settings)
    return mean_logits(engine.classify, patches, settings)
