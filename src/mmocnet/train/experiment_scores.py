"""Score whole scans as the article's experiments do: its pixel scores, and lesions beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from mmocnet.evaluate.lesions import ScanLesions, outcome
from mmocnet.evaluate.matching import components, pairing
from mmocnet.evaluate.pixels import (
    PixelSample,
    PrecisionRecall,
    count_pixels,
    precision_recall,
    sample_pixels,
)
from mmocnet.io.atomic import replacing
from mmocnet.predict.candidates import find_candidates
from mmocnet.predict.engine import Engine
from mmocnet.predict.second_stage import outlined
from mmocnet.train.experiment_result import ImageScore
from mmocnet.train.operate import LEVELS
from mmocnet.train.patches import TrainingScan, as_unit

CURVE_POINTS = 200
"""Most points of a precision-recall curve that are kept."""

ProbabilityOf = Callable[[TrainingScan], Float[np.ndarray, "s r c"]]
"""Gives the probability of a whole scan, on its grid."""


@dataclass(frozen=True)
class Scores:
    """What scans scored.

    Attributes:
        images: Each slice with a reference lesion.
        scans: Each scan's lesions.
        curve: Precision and recall over the pixels of the images.
    """

    images: tuple[ImageScore, ...]
    scans: tuple[ScanLesions, ...]
    curve: PrecisionRecall


def fused_map(
    engine: Engine,
    scan: TrainingScan,
    probability: Float[np.ndarray, "s r c"],
    threshold: float,
    roi_size: int,
) -> Float[np.ndarray, "s r c"]:
    """Return stage 2's probability of a whole scan, 0 outside every patch.

    Args:
        engine: Both networks.
        scan: The scan.
        probability: Stage 1's.
        threshold: Of candidates.
        roi_size: Side of a patch.
    """
    candidates = find_candidates(probability, threshold, roi_size)
    return outlined(engine, as_unit(np.asarray(scan.image)), candidates, roi_size, scan.step)


def score_scans(
    scans: Sequence[TrainingScan], probability_of: ProbabilityOf, threshold: float
) -> Scores:
    """Score scans at a threshold of their probability.

    The article's images are slices with a lesion, so pixels are those of such slices alone.
    Lesions are those of whole scans, matched one to one where they overlap.
    """
    images: list[ImageScore] = []
    lesions: list[ScanLesions] = []
    samples: list[PixelSample] = []
    for scan in scans:
        probability = probability_of(scan)
        labels = np.asarray(scan.labels)
        called = probability >= threshold
        pair = pairing(labels, components(called), scan.spacing_mm)
        lesions.append(outcome(pair, scan.subject, scan.name))
        for index in lesion_slices(labels):
            truth = labels[index] > 0
            counts = count_pixels(truth, called[index])
            images.append(ImageScore(scan.subject, scan.name, index, **vars(counts)))
            samples.append(sample_pixels(truth, probability[index]))
    return Scores(tuple(images), tuple(lesions), precision_recall(samples))


def lesion_slices(labels: NDArray[np.integer]) -> list[int]:
    """Return the numbers of the slices that hold a lesion."""
    return [int(k) for k in np.flatnonzero((labels > 0).any(axis=(1, 2)))]


def own_threshold(scans: Sequence[TrainingScan], probability_of: ProbabilityOf) -> float:
    """Return the level of the best pooled pixel Dice over slices with a lesion; 0.5 without one.

    Stage 1 leans to sensitivity, so that 0.5 would not do it justice on its own.
    """
    overlap, called, positives = np.zeros(len(LEVELS)), np.zeros(len(LEVELS)), 0
    for scan in scans:
        labels = np.asarray(scan.labels)
        chosen = lesion_slices(labels)
        truth, probability = labels[chosen] > 0, probability_of(scan)[chosen]
        positives += int(truth.sum())
        for i, level in enumerate(LEVELS):
            above = probability >= level
            overlap[i] += np.count_nonzero(above & truth)
            called[i] += np.count_nonzero(above)
    if positives == 0:
        return 0.5
    return round(float(LEVELS[np.argmax(2 * overlap / (called + positives))]), 3)


def thinned_curve(curve: PrecisionRecall) -> tuple[list[float], list[float]]:
    """Return recall and precision at no more than 200 points, evenly spread over recall."""
    recall, precision = curve.recall, curve.precision
    if len(recall) > CURVE_POINTS:
        if np.isfinite(recall).all():
            wanted = np.linspace(recall[0], recall[-1], CURVE_POINTS - 2)
            chosen = np.searchsorted(recall, wanted).clip(max=len(recall) - 1)
        else:
            chosen = np.linspace(0, len(recall) - 1, CURVE_POINTS - 2).astype(np.intp)
        # The last point before the pixels of probability 0 is where the curve really ends.
        ends = np.flatnonzero(curve.threshold > 0)[-1:]
        chosen = np.unique([*chosen, *ends, len(recall) - 1])
        recall, precision = recall[chosen], precision[chosen]
    return [round(float(r), 5) for r in recall], [round(float(p), 5) for p in precision]


def panel_slices(scans: Sequence[TrainingScan], count: int) -> list[tuple[TrainingScan, int]]:
    """Return the slice with most lesion pixels of each of the first scans that have one."""
    chosen = []
    for scan in scans:
        pixels = (np.asarray(scan.labels) > 0).sum(axis=(1, 2))
        if pixels.any():
            chosen.append((scan, int(pixels.argmax())))
    return chosen[:count]


def add_panel(
    folder: Path, scan: TrainingScan, index: int, variant: str, predicted: NDArray[np.bool_]
) -> None:
    """Put a variant's mask of a slice into the slice's file, beside image and reference."""
    path = folder / f"{scan.name}-slice-{index}.npz"
    arrays: dict[str, NDArray[np.generic]] = {
        "image": as_unit(np.asarray(scan.image[index])).astype(np.float16),
        "reference": np.asarray(scan.labels[index]) > 0,
    }
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
    arrays[f"predicted_{variant}"] = predicted
    with replacing(path) as partial:
        np.savez_compressed(partial, allow_pickle=False, **arrays)
