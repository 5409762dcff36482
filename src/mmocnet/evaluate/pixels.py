"""Pixel scores from TP, FP, FN and TN, and the precision-recall curve."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mmocnet.errors import InputError
from mmocnet.evaluate.statistics import DRAWS, Interval, bootstrap_sums, ratio
from mmocnet.types import FloatArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Counts:
    """Pixels by outcome. Counts add up: the sum over images is the pooled count.

    >>> (Counts(2, 1, 1, 4) + Counts(0, 1, 0, 7)).fp
    2
    """

    tp: int
    fp: int
    fn: int
    tn: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn
        )


@dataclass(frozen=True)
class PixelScores:
    """The article's pixel scores, each NaN where it is undefined.

    Attributes:
        sen: Sensitivity, TP / (TP + FN).
        pre: Precision, TP / (TP + FP).
        dsc: Dice similarity coefficient, 2 TP / (2 TP + FP + FN).
        f2: 5 TP / (5 TP + 4 FN + FP), which is 5 PRE SEN / (4 PRE + SEN).
        jsc: Jaccard similarity coefficient, TP / (TP + FP + FN).
        mcc: Matthews correlation coefficient.
    """

    sen: float
    pre: float
    dsc: float
    f2: float
    jsc: float
    mcc: float


SCORE_NAMES = tuple(field.name for field in fields(PixelScores))


def count_pixels(
    reference: BoolArray, predicted: BoolArray, valid: BoolArray | None = None
) -> Counts:
    """Count outcomes over the pixels of one image.

    Args:
        reference: Any shape.
        predicted: The same shape.
        valid: The same shape; False leaves a pixel out. None counts all.

    Raises:
        InputError: If the shapes differ.
    """
    if reference.shape != predicted.shape:
        raise InputError(f"expected a prediction of {reference.shape}, got {predicted.shape}")
    if valid is not None:
        reference, predicted = reference[valid], predicted[valid]
    tp = int(np.count_nonzero(reference & predicted))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(reference)) - tp
    return Counts(tp, fp, fn, reference.size - tp - fp - fn)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def pixel_scores(counts: Counts) -> PixelScores:
    """Return the scores of counts.

    Two empty masks have no sensitivity, precision, Dice, F2 or Jaccard: NaN, not 0 and not 1.

    >>> pixel_scores(Counts(tp=3, fp=1, fn=1, tn=95)).dsc
    0.75
    """
    tp, fp, fn, tn = counts.tp, counts.fp, counts.fn, counts.tn
    product = float(tp + fp) * float(tp + fn) * float(tn + fp) * float(tn + fn)
    return PixelScores(
        sen=_ratio(tp, tp + fn),
        pre=_ratio(tp, tp + fp),
        dsc=_ratio(2 * tp, 2 * tp + fp + fn),
        f2=_ratio(5 * tp, 5 * tp + 4 * fn + fp),
        jsc=_ratio(tp, tp + fp + fn),
        mcc=_ratio(float(tp) * tn - float(fp) * fn, product**0.5),
    )


def pooled_scores(images: Iterable[Counts]) -> PixelScores:
    """Return the scores of all pixels of all images taken together."""
    return pixel_scores(sum(images, Counts(0, 0, 0, 0)))


def mean_scores(images: Iterable[Counts]) -> PixelScores:
    """Return each score averaged over the images in which it is defined."""
    table = _score_table(images)
    defined = np.isfinite(table)
    total, count = np.where(defined, table, 0.0).sum(axis=0), defined.sum(axis=0)
    return PixelScores(*(_ratio(t, n) for t, n in zip(total, count, strict=True)))


def undefined_images(images: Iterable[Counts]) -> dict[str, int]:
    """Return in how many images each score is undefined: what `mean_scores` leaves out.

    >>> undefined_images([Counts(0, 0, 0, 9), Counts(1, 0, 0, 8)])["dsc"]
    1
    """
    left_out = (~np.isfinite(_score_table(images))).sum(axis=0)
    return dict(zip(SCORE_NAMES, left_out.tolist(), strict=True))


def _score_table(images: Iterable[Counts]) -> FloatArray:
    rows = [[getattr(pixel_scores(c), name) for name in SCORE_NAMES] for c in images]
    return np.array(rows, dtype=float).reshape(-1, len(SCORE_NAMES))


POOLED_FORMULAS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "sen": lambda s: ratio(s[..., 0], s[..., 0] + s[..., 2]),
    "pre": lambda s: ratio(s[..., 0], s[..., 0] + s[..., 1]),
    "dsc": lambda s: ratio(2 * s[..., 0], 2 * s[..., 0] + s[..., 1] + s[..., 2]),
    "f2": lambda s: ratio(5 * s[..., 0], 5 * s[..., 0] + s[..., 1] + 4 * s[..., 2]),
    "jsc": lambda s: ratio(s[..., 0], s[..., 0] + s[..., 1] + s[..., 2]),
}
"""Scores of the sums over images of the columns of `pooled_table`."""


def _mean_of(position: int) -> Callable[[FloatArray], FloatArray]:
    return lambda s: ratio(s[..., 2 * position], s[..., 2 * position + 1])


MEAN_FORMULAS = {name: _mean_of(position) for position, name in enumerate(POOLED_FORMULAS)}
"""Scores of the sums over images of the columns of `mean_table`."""


def pooled_table(groups: Sequence[Iterable[Counts]]) -> FloatArray:
    """Return TP, FP and FN summed over each group of images, shape (N, 3)."""
    sums = [sum(group, Counts(0, 0, 0, 0)) for group in groups]
    return np.array([(s.tp, s.fp, s.fn) for s in sums], dtype=float).reshape(-1, 3)


def mean_table(groups: Sequence[Iterable[Counts]]) -> FloatArray:
    """Return, for each score, its sum over each group's images and where it is defined."""
    rows = []
    for group in groups:
        values = pooled_table([[image] for image in group])
        scores = np.stack([formula(values) for formula in POOLED_FORMULAS.values()])
        defined = np.isfinite(scores)
        both = np.stack([np.where(defined, scores, 0.0).sum(axis=1), defined.sum(axis=1)], axis=1)
        rows.append(both.ravel())
    return np.array(rows, dtype=float).reshape(-1, 2 * len(POOLED_FORMULAS))


def pixel_intervals(
    groups: Sequence[Sequence[Counts]],
    subjects: Sequence[str],
    pooled: bool,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Interval]:
    """Return pixel scores with their intervals over subjects.

    Args:
        groups: The images of each scan.
        subjects: Whose each scan is.
        pooled: All pixels taken together; False averages over the images.
        seed: Of the bootstrap.
        draws: Of the bootstrap.

    >>> pixel_intervals([[Counts(3, 1, 1, 95)]], ["a"], True)["dsc"].value
    0.75
    """
    table = pooled_table(groups) if pooled else mean_table(groups)
    formulas = POOLED_FORMULAS if pooled else MEAN_FORMULAS
    return bootstrap_sums(formulas, table, subjects, seed, draws)


@dataclass(frozen=True)
class PixelSample:
    """The pixels of one or more images as a precision-recall curve needs them.

    Most pixels have probability 0, so those are only counted.

    Attributes:
        probability: Shape (N,), the probabilities above 0.
        positive: Shape (N,), whether each is in the reference.
        zeros: Pixels with probability 0.
        zero_positives: Those of them that are in the reference.
    """

    probability: FloatArray
    positive: BoolArray
    zeros: int
    zero_positives: int


@dataclass(frozen=True)
class PrecisionRecall:
    """A precision-recall curve, from the highest threshold to the lowest.

    Attributes:
        threshold: Shape (K,), pixels at or above it are called positive.
        precision: Shape (K,).
        recall: Shape (K,); NaN without a positive pixel.
        average_precision: Area as the sum of precision times the steps of recall.
        recall_ceiling: Highest recall at a threshold above 0: what stage 1 never marked cannot
            be found by stage 2.
    """

    threshold: FloatArray
    precision: FloatArray
    recall: FloatArray
    average_precision: float
    recall_ceiling: float


def sample_pixels(
    reference: BoolArray, probability: FloatArray, valid: BoolArray | None = None
) -> PixelSample:
    """Take the pixels of one image for a precision-recall curve.

    Raises:
        InputError: If the shapes differ or a probability is outside 0 to 1.
    """
    if reference.shape != probability.shape:
        raise InputError(f"expected a probability of {reference.shape}, got {probability.shape}")
    if valid is not None:
        reference, probability = reference[valid], probability[valid]
    if probability.size and not (probability.min() >= 0.0 and probability.max() <= 1.0):
        raise InputError("expected probabilities between 0 and 1, got some outside or NaN")
    above = probability > 0
    positives = int(np.count_nonzero(reference[above]))
    return PixelSample(
        probability=probability[above],
        positive=reference[above],
        zeros=int(above.size - np.count_nonzero(above)),
        zero_positives=int(np.count_nonzero(reference)) - positives,
    )


def precision_recall(samples: Iterable[PixelSample]) -> PrecisionRecall:
    """Return the curve of all pixels of all images taken together."""
    kept = list(samples)
    # Single precision where the maps are: a map without zeros is a million values a scan.
    values = np.concatenate([np.zeros(0, np.float32)] + [s.probability for s in kept])
    positive = np.concatenate([np.zeros(0, dtype=bool)] + [s.positive for s in kept])
    zeros, zero_positives = sum(s.zeros for s in kept), sum(s.zero_positives for s in kept)
    order = np.argsort(-values, kind="stable")
    values, tp = values[order], np.cumsum(positive[order])
    # Pixels of equal probability pass the threshold together.
    last = np.flatnonzero(np.diff(values, append=-1.0) != 0)
    threshold, called, tp = values[last], last + 1.0, tp[last].astype(float)
    found = float(tp[-1]) if len(tp) else 0.0
    if zeros:
        threshold = np.append(threshold, 0.0)
        called = np.append(called, float(len(values) + zeros))
        tp = np.append(tp, found + zero_positives)
    total = found + zero_positives
    precision = tp / called
    recall = tp / total if total else np.full(len(tp), np.nan)
    area = float(np.sum(precision * np.diff(recall, prepend=0.0))) if total else float("nan")
    return PrecisionRecall(threshold, precision, recall, area, _ratio(found, total))
