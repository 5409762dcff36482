"""Lesion scores over scans, and the FROC."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmocnet.evaluate.matching import Pairing, match
from mmocnet.evaluate.statistics import DRAWS, Interval, bootstrap
from mmocnet.types import FloatArray

MAX_LEVELS = 60
"""Most thresholds of a FROC; more confidences than that are thinned to quantiles."""


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
    """

    subject: str
    scan: str
    references: int
    found: int
    false_positives: int
    matched_dice: tuple[float, ...] = ()


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


def _divide(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def outcome(
    pair: Pairing, subject: str, scan: str, keep: NDArray[np.bool_] | None = None
) -> ScanLesions:
    """Match one scan's lesions one to one, those of the predicted that are kept, and count."""
    result = match(pair, keep)
    dice = pair.dice()[result.pairs[:, 0], result.pairs[:, 1]]
    return ScanLesions(
        subject=subject,
        scan=scan,
        references=len(pair.reference.ids),
        found=len(result.pairs),
        false_positives=len(result.false),
        matched_dice=tuple(float(d) for d in dice),
    )


def _f_score(beta: float) -> Callable[[FloatArray], float]:
    def score(sums: FloatArray) -> float:
        references, found, false = sums[:3]
        weighted = (1 + beta**2) * found
        return _divide(weighted, weighted + beta**2 * (references - found) + false)

    return score


# Each score of the weighted sums (references, found, false positives, scans, lesion-free scans,
# false positives in those, sum of matched Dice).
_SCORES: dict[str, Callable[[FloatArray], float]] = {
    "lesion_sensitivity": lambda s: _divide(s[1], s[0]),
    "lesion_precision": lambda s: _divide(s[1], s[1] + s[2]),
    "lesion_f1": _f_score(1.0),
    "lesion_f2": _f_score(2.0),
    "fp_per_scan": lambda s: _divide(s[2], s[3]),
    "fp_per_lesion_free_scan": lambda s: _divide(s[5], s[4]),
    "matched_dice": lambda s: _divide(s[6], s[1]),
}
LESION_SCORE_NAMES = tuple(_SCORES)


def _table(scans: Sequence[ScanLesions]) -> FloatArray:
    rows = [
        (
            scan.references,
            scan.found,
            scan.false_positives,
            1,
            scan.references == 0,
            scan.false_positives if scan.references == 0 else 0,
            sum(scan.matched_dice),
        )
        for scan in scans
    ]
    return np.array(rows, dtype=float).reshape(-1, 7)


def lesion_scores(
    scans: Sequence[ScanLesions], seed: int = 0, draws: int = DRAWS
) -> dict[str, Interval]:
    """Return each lesion score, lesions pooled over scans, with its interval over subjects.

    Sensitivity is NaN without a reference lesion, precision without a predicted one, matched
    Dice without a match; F1 and F2 when neither side has a lesion.

    >>> scan = ScanLesions("a", "a", references=4, found=3, false_positives=1)
    >>> lesion_scores([scan])["lesion_f1"].value
    0.75
    """
    table = _table(scans)
    subjects = [scan.subject for scan in scans]

    def scored(formula: Callable[[FloatArray], float]) -> Interval:
        return bootstrap(lambda times: formula(times @ table), subjects, seed, draws)

    return {name: scored(formula) for name, formula in _SCORES.items()}


def froc(pairs: Sequence[Pairing], confidences: Sequence[FloatArray]) -> Froc:
    """Return the FROC: at each threshold the lesions at or above it are matched anew.

    Args:
        pairs: Every candidate of a scan against its reference lesions, one entry a scan.
        confidences: Of each scan's candidates, in the order of the pairing's predicted objects.
    """
    levels = thinned(np.concatenate([np.zeros(0), *confidences]))
    names = ("lesion_sensitivity", "fp_per_scan", "lesion_f1")
    rows = []
    for level in levels:
        scans = [
            outcome(pair, "", "", confidence >= level)
            for pair, confidence in zip(pairs, confidences, strict=True)
        ]
        sums = _table(scans).sum(axis=0)
        rows.append([_SCORES[name](sums) for name in names])
    sensitivity, false, f1 = np.array(rows).reshape(-1, 3).T
    return Froc(levels, sensitivity, false, f1)


def thinned(levels: FloatArray, most: int = MAX_LEVELS) -> FloatArray:
    """Return the distinct thresholds, ascending, at most so many of them.

    >>> thinned(np.array([0.5, 0.1, 0.5]))
    array([0.1, 0.5])
    """
    distinct = np.unique(levels)
    if len(distinct) <= most:
        return np.asarray(distinct)
    # Dense at the top, where a few false positives are decided, and sparse among the faint.
    ranks = np.unique(np.geomspace(1, len(distinct), most).round().astype(int))
    return np.asarray(distinct[len(distinct) - ranks[::-1]])
