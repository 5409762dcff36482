"""Run a trained cascade on whole scans while training: mining and the choice of thresholds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.config import Thresholds
from mmocnet.lesion import Candidate
from mmocnet.predict.candidates import find_candidates
from mmocnet.predict.engine import Engine
from mmocnet.predict.fuse import outline_candidates
from mmocnet.predict.second_stage import outlined
from mmocnet.train.patches import Places, TrainingScan, as_unit
from mmocnet.types import FloatArray

LOWEST_CANDIDATE = 0.02
HIGHEST_CANDIDATE = 0.5
"""Limits of the candidate threshold: below, components grow together; above, the article's."""
CANDIDATES_A_SLICE = 20
"""At most so many candidates of a slice are kept: a poor stage 1 must not fill hours or memory."""
LEVELS = np.array([*np.linspace(0.05, 0.95, 19), 0.97, 0.98, 0.99])
"""Confidence thresholds that are compared."""


@dataclass(frozen=True)
class ScanFindings:
    """What a cascade found in one scan.

    Attributes:
        confidence: Of each found object, shape (N,).
        hit: Reference lesion that each object covers most of, 0 for none, shape (N,).
        lesions: Numbers of the reference lesions.
        overlap: Pixels of found outlines inside reference lesions, all at level 0.5.
        found_px: Pixels of found outlines.
        reference_px: Pixels of reference lesions.
    """

    confidence: FloatArray
    hit: NDArray[np.integer]
    lesions: NDArray[np.integer]
    overlap: int
    found_px: int
    reference_px: int


def brain_of(image: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return the pixels above 0 with their holes filled in each slice, shape (S, R, C)."""
    return np.stack([ndimage.binary_fill_holes(plane > 0) for plane in image])


def detect_scan(
    engine: Engine, scan: TrainingScan, slices: Sequence[int]
) -> Float[np.ndarray, "s r c"]:
    """Return stage 1's probability on chosen slices, shape (len(slices), R, C)."""
    index = np.asarray(slices, np.intp)
    image = np.asarray(scan.image)
    # Where the brain is empty the engine skips a slice; it still sees it beside its neighbours.
    brain = np.zeros(image.shape, dtype=bool)
    brain[index] = brain_of(image[index])
    return engine.detect(as_unit(image), brain, step=scan.step)[index]


def lesion_peaks(probability: FloatArray, labels: NDArray[np.integer]) -> FloatArray:
    """Return stage 1's highest probability inside each lesion of these slices."""
    return np.array(
        [
            probability[box][labels[box] == number].max()
            for number, box in enumerate(ndimage.find_objects(labels), start=1)
            if box is not None
        ]
    )


def candidate_threshold(peaks: FloatArray, sensitivity: float) -> float:
    """Return the highest threshold at which the wanted share of lesions has a candidate.

    Args:
        peaks: Stage 1's highest probability in each lesion, shape (N,).
        sensitivity: Share wanted.

    Returns:
        Within 0.02 to 0.5; 0.5 where there is no lesion to choose on.

    >>> candidate_threshold(np.array([0.1, 0.2, 0.3, 0.9]), 0.75)
    0.2
    """
    if len(peaks) == 0:
        return HIGHEST_CANDIDATE
    allowed_misses = int(np.floor((1 - sensitivity) * len(peaks) + 1e-9))
    value = float(np.sort(peaks)[allowed_misses])
    return float(np.clip(value, LOWEST_CANDIDATE, HIGHEST_CANDIDATE))


def split_candidates(
    candidates: Sequence[Candidate], labels: NDArray[np.integer], roi_size: int
) -> tuple[list[Candidate], list[Candidate]]:
    """Return the candidates near a lesion's pixels and those with none nearby.

    Near is within a quarter of a patch: there the lesion is the patch's subject.
    """
    reach = roi_size // 4
    found: list[Candidate] = []
    false: list[Candidate] = []
    for candidate in candidates:
        row, col = round(candidate.row), round(candidate.col)
        around = labels[
            candidate.slice_index,
            max(0, row - reach) : row + reach + 1,
            max(0, col - reach) : col + reach + 1,
        ]
        (found if around.any() else false).append(candidate)
    return found, false


def as_places(candidates: Sequence[Candidate], scan: int, slices: Sequence[int]) -> list[Places]:
    """Return candidates of chosen slices as places of a patch sampler."""
    return [np.array([[scan, slices[c.slice_index], c.row, c.col]], np.float32) for c in candidates]


def strongest(candidates: Sequence[Candidate], per_slice: int) -> list[Candidate]:
    """Return at most so many candidates of each slice, the most probable ones."""
    seen: Counter[int] = Counter()
    kept = []
    for candidate in sorted(candidates, key=lambda c: -c.probability):
        seen[candidate.slice_index] += 1
        if seen[candidate.slice_index] <= per_slice:
            kept.append(candidate)
    return kept


def find_in_scan(
    engine: Engine,
    scan: TrainingScan,
    probability: Float[np.ndarray, "s r c"],
    threshold: float,
    roi_size: int,
) -> ScanFindings:
    """Run stage 2 on a whole scan and hold what is found against its reference.

    Args:
        engine: Both networks.
        scan: The scan.
        probability: Stage 1's, on the scan's grid.
        threshold: Of candidates.
        roi_size: Side of a patch.
    """
    image = as_unit(np.asarray(scan.image))
    labels = np.asarray(scan.labels)
    candidates = find_candidates(probability, threshold, roi_size)
    kept = strongest(candidates, CANDIDATES_A_SLICE)
    fused = outlined(engine, image, kept, roi_size, scan.step)
    outlines = outline_candidates(fused)
    firm = fused >= 0.5
    return ScanFindings(
        confidence=outlines.confidence,
        hit=lesions_hit(outlines.labels, labels, len(outlines.confidence)),
        lesions=np.unique(labels[labels > 0]),
        overlap=int((firm & (labels > 0)).sum()),
        found_px=int(firm.sum()),
        reference_px=int((labels > 0).sum()),
    )


def lesions_hit(
    found: NDArray[np.integer], labels: NDArray[np.integer], count: int
) -> NDArray[np.integer]:
    """Return which reference lesion each found object covers most of, 0 for none: (count,)."""
    hits = np.zeros(count, np.int64)
    for number, box in enumerate(ndimage.find_objects(found), start=1):
        inside = labels[box][found[box] == number]
        inside = inside[inside > 0]
        if len(inside):
            hits[number - 1] = np.bincount(inside).argmax()
    return hits


@dataclass(frozen=True)
class LesionScores:
    """Lesion-level scores at one confidence threshold; undefined is NaN."""

    threshold: float
    sensitivity: float
    precision: float
    f1: float
    f2: float
    fp_per_scan: float


def lesion_scores(findings: Sequence[ScanFindings], threshold: float) -> LesionScores:
    """Return lesion-level scores over scans; an object hits a lesion where they overlap."""
    lesions = sum(len(f.lesions) for f in findings)
    hit, false = 0, 0
    for f in findings:
        hits = f.hit[f.confidence >= threshold]
        hit += len(np.unique(hits[hits > 0]))
        false += int((hits == 0).sum())
    sensitivity = hit / lesions if lesions else float("nan")
    precision = hit / (hit + false) if hit + false else float("nan")
    missed = lesions - hit
    return LesionScores(
        threshold=threshold,
        sensitivity=sensitivity,
        precision=precision,
        f1=_f_beta(hit, missed, false, 1.0),
        f2=_f_beta(hit, missed, false, 2.0),
        fp_per_scan=false / len(findings) if findings else float("nan"),
    )


def _f_beta(hit: int, missed: int, false: int, beta: float) -> float:
    weight = beta * beta
    total = (1 + weight) * hit + weight * missed + false
    return (1 + weight) * hit / total if total else float("nan")


def operating_points(findings: Sequence[ScanFindings]) -> Thresholds:
    """Return confidence thresholds: best F2 (screening), best F1 (balanced), best F0.5 (report).

    Each is the middle of the levels that reach the best value within 0.005, because the best
    one alone depends on single lesions. Without a lesion the defaults stay.
    """
    if not any(len(f.lesions) for f in findings):
        return Thresholds()
    scores = [lesion_scores(findings, float(level)) for level in LEVELS]
    screening = _middle_of_best([s.f2 for s in scores])
    balanced = max(_middle_of_best([s.f1 for s in scores]), screening)
    half = [_f_half(s) for s in scores]
    report = max(_middle_of_best(half), balanced)
    return Thresholds(screening=screening, balanced=balanced, report=report)


def _f_half(scores: LesionScores) -> float:
    precision, sensitivity = scores.precision, scores.sensitivity
    total = 0.25 * precision + sensitivity
    return 1.25 * precision * sensitivity / total if total > 0 else float("nan")


def _middle_of_best(values: Sequence[float]) -> float:
    array = np.nan_to_num(np.array(values), nan=-1.0)
    return round(float(np.median(LEVELS[array >= array.max() - 0.005])), 3)
