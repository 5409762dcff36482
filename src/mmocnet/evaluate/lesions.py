"""Lesion scores over scans, and the FROC."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmocnet.evaluate.matching import Pairing, match
from mmocnet.evaluate.statistics import DRAWS, Interval, bootstrap_sums, ratio
from mmocnet.types import FloatArray

MAX_LEVELS = 60
"""Most thresholds where confidences are thinned: ever fewer of the lower ranks."""
FAINT = 0.02
"""A FROC thins the confidences below: most candidates have such a one, hardly a lesion has."""
SURE_LEVELS = 2000
"""Most thresholds of a FROC that are not faint."""


@dataclass(frozen=True)
class ScanLesions:
    """What was found in one scan.

    Attributes:
        subject: Whose scan.
        scan: Its name.
        references: Lesions in the reference.
        found: Those with a match.
        false_positives: Predicted lesions without one.
        matched_dice: Dice of each matched pair.
        volume_error_mm3: Predicted less reference volume of each matched pair; empty where the
            voxel size was not known.
    """

    subject: str
    scan: str
    references: int
    found: int
    false_positives: int
    matched_dice: tuple[float, ...] = ()
    volume_error_mm3: tuple[float, ...] = ()


@dataclass(frozen=True)
class Froc:
    """Free-response curve over thresholds, ascending.

    Attributes:
        threshold: Shape (K,).
        lesion_sensitivity: Shape (K,); NaN where no scan has a lesion.
        fp_per_scan: Shape (K,), scans without lesions included.
        lesion_f1: Shape (K,).
    """

    threshold: FloatArray
    lesion_sensitivity: FloatArray
    fp_per_scan: FloatArray
    lesion_f1: FloatArray

    @property
    def best_threshold(self) -> float:
        """Threshold of the highest lesion F1 (the highest of several); NaN without one."""
        if not np.isfinite(self.lesion_f1).any():
            return float("nan")
        best = np.nanmax(self.lesion_f1)
        return float(self.threshold[np.flatnonzero(self.lesion_f1 == best)[-1]])


def outcome(
    pair: Pairing,
    subject: str,
    scan: str,
    keep: NDArray[np.bool_] | None = None,
    voxel_mm3: float | None = None,
) -> ScanLesions:
    """Match one scan's lesions one to one, those of the predicted that are kept, and count.

    With the volume of a voxel, volume errors are listed too.
    """
    result = match(pair, keep)
    rows, columns = result.pairs.T
    error = (pair.predicted.sizes[columns] - pair.reference.sizes[rows]) * (voxel_mm3 or 0.0)
    return ScanLesions(
        subject=subject,
        scan=scan,
        references=len(pair.reference.ids),
        found=len(result.pairs),
        false_positives=len(result.false),
        matched_dice=tuple(pair.dice()[rows, columns].tolist()),
        volume_error_mm3=() if voxel_mm3 is None else tuple(error.tolist()),
    )


def _f_score(beta: float) -> Callable[[FloatArray], FloatArray]:
    def score(sums: FloatArray) -> FloatArray:
        references, found, false = (sums[..., column] for column in range(3))
        weighted = (1 + beta**2) * found
        return ratio(weighted, weighted + beta**2 * (references - found) + false)

    return score


LESION_FORMULAS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "lesion_sensitivity": lambda s: ratio(s[..., 1], s[..., 0]),
    "lesion_precision": lambda s: ratio(s[..., 1], s[..., 1] + s[..., 2]),
    "lesion_f1": _f_score(1.0),
    "lesion_f2": _f_score(2.0),
    "fp_per_scan": lambda s: ratio(s[..., 2], s[..., 3]),
    "fp_per_lesion_free_scan": lambda s: ratio(s[..., 5], s[..., 4]),
    "matched_dice": lambda s: ratio(s[..., 6], s[..., 1]),
    "matched_volume_bias_mm3": lambda s: ratio(s[..., 7], s[..., 9]),
    "matched_volume_error_mm3": lambda s: ratio(s[..., 8], s[..., 9]),
}
"""Each score of the sums over scans of the columns of `lesion_table`."""
LESION_COLUMNS = 10


def lesion_table(scans: Sequence[ScanLesions]) -> FloatArray:
    """Return what each scan adds to the sums that scores are made of, shape (N, 10).

    Columns: references, found, false positives, scans, lesion-free scans, false positives in
    those, sums of matched Dice, of matched volume errors and of their sizes, volume errors.
    """
    rows = [
        (
            scan.references,
            scan.found,
            scan.false_positives,
            1,
            scan.references == 0,
            scan.false_positives if scan.references == 0 else 0,
            sum(scan.matched_dice),
            sum(scan.volume_error_mm3),
            sum(map(abs, scan.volume_error_mm3)),
            len(scan.volume_error_mm3),
        )
        for scan in scans
    ]
    return np.array(rows, dtype=float).reshape(-1, LESION_COLUMNS)


def lesion_scores(
    scans: Sequence[ScanLesions], seed: int = 0, draws: int = DRAWS
) -> dict[str, Interval]:
    """Return each lesion score, lesions pooled over scans, with its interval over subjects.

    Sensitivity is NaN without a reference lesion, precision without a predicted one, matched
    Dice and volume errors without a match; F1 and F2 when neither side has a lesion. The volume
    bias is the mean of predicted less reference, the volume error the mean of its size.

    >>> scan = ScanLesions("a", "a", references=4, found=3, false_positives=1)
    >>> lesion_scores([scan])["lesion_f1"].value
    0.75
    """
    subjects = [scan.subject for scan in scans]
    return bootstrap_sums(LESION_FORMULAS, lesion_table(scans), subjects, seed, draws)


def froc(pairs: Sequence[Pairing], confidences: Sequence[FloatArray]) -> Froc:
    """Return the FROC: at each threshold the lesions at or above it are matched anew.

    Every confidence that occurs is a threshold but for the faint ones; see `froc_levels`.

    Args:
        pairs: Every candidate of a scan against its reference lesions, one entry a scan.
        confidences: Of each scan's candidates, in the order of the pairing's predicted objects.
    """
    levels = froc_levels(np.concatenate([np.zeros(0), *confidences]))
    sums = np.zeros((len(levels), LESION_COLUMNS))
    for pair, confidence in zip(pairs, confidences, strict=True):
        sums += _table_at(pair, confidence, levels)
    names = ("lesion_sensitivity", "fp_per_scan", "lesion_f1")
    return Froc(levels, *(LESION_FORMULAS[name](sums) for name in names))


def _table_at(pair: Pairing, confidence: FloatArray, levels: FloatArray) -> FloatArray:
    """Return one scan's row of `lesion_table` at each level, shape (K, 10)."""
    kept = len(confidence) - np.searchsorted(np.sort(confidence), levels)
    # Most levels are another scan's confidence and change nothing in this one.
    _, first, row = np.unique(kept, return_index=True, return_inverse=True)
    scans = [outcome(pair, "", "", confidence >= levels[at]) for at in first]
    return lesion_table(scans)[row]


def froc_levels(confidence: FloatArray) -> FloatArray:
    """Return the distinct confidences, ascending: every one from `FAINT` on, few of those below.

    There are at most `SURE_LEVELS` and `MAX_LEVELS` of them.

    >>> froc_levels(np.array([0.5, 0.001, 0.5]))
    array([0.001, 0.5  ])
    """
    distinct = np.unique(confidence)
    sure = distinct[distinct >= FAINT]
    faint = distinct[distinct < FAINT]
    if len(faint) > MAX_LEVELS:
        faint = _at_ranks(distinct, len(sure) + 1, MAX_LEVELS)
    return np.concatenate([faint, thinned(sure, SURE_LEVELS)])


def thinned(levels: FloatArray, most: int = MAX_LEVELS) -> FloatArray:
    """Return the distinct thresholds, ascending, at most so many of them.

    >>> thinned(np.array([0.5, 0.1, 0.5]))
    array([0.1, 0.5])
    """
    distinct = np.unique(levels)
    if len(distinct) <= most:
        return np.asarray(distinct)
    # Dense at the top, where a few false positives are decided, and sparse among the faint.
    return _at_ranks(distinct, 1, most)


def _at_ranks(ascending: FloatArray, first: int, most: int) -> FloatArray:
    """Return those at ranks, 1 the highest, that grow from the first to the last by a factor."""
    ranks = np.unique(np.geomspace(first, len(ascending), most).round().astype(int))
    return np.asarray(ascending[len(ascending) - ranks[::-1]])
