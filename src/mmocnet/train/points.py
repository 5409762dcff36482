"""Operating points: from which calibrated probability a candidate is called a microbleed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmocnet.config import BurdenSettings, Thresholds
from mmocnet.errors import InputError
from mmocnet.predict.confidence import probability
from mmocnet.train.calibrate import Decision, ScoredScan, fit_burden, fit_platt
from mmocnet.types import FloatArray

NEAR_BEST = 0.005
"""Levels whose score is this near to the best count as best: one lesion more or less."""
MOST_FALSE_CALLS = 0.5
"""False calls a scan above which balanced does not go, however good its F1: where a few subjects
have most of the lesions, what is best for them is dear for all others."""
SCREENING_KEPT = 0.97
"""Share of the lesions that have a candidate which screening keeps."""
REPORT_PRECISION = 0.95
"""Share of the calls that are lesions which report wants .."""
REPORT_KEPT = 0.5
""".. unless it costs more than half of the lesions that have a candidate."""
LEAST_DEFINITE = 0.5
"""Report is never below: what a report calls definite is more likely a microbleed than not."""
LOWEST_POINT = 0.05
"""Below it nineteen calls of twenty are false: no point goes there, whatever it would find."""
SLICE_KEPT = {"screening": 0.99, "balanced": 0.95, "report": 0.90}
"""Share of the lesions that are found on single slices at all which each point keeps. On one slice
a vein that crosses it is a microbleed, and the score that is best against them, near a confidence
of 1, would give up a third of the lesions."""


def _best_of_lesions(scan: ScoredScan, given: FloatArray) -> FloatArray:
    """Return the highest probability of each reference lesion that has a candidate."""
    return np.array([given[scan.hit == n].max() for n in np.unique(scan.hit[scan.hit > 0])])


@dataclass(frozen=True)
class _Curve:
    """Thresholds that are worth a choice, ascending, and what each gives.

    Attributes:
        best: Highest probability of each lesion that has a candidate.
        levels: The distinct ones of them, ascending, shape (K,): between two of them a higher
            threshold only drops false calls.
        found: Lesions at or above each level.
        calls: The same and the false candidates.
        references: Lesions in all.
        scans: Scans in all.
    """

    best: FloatArray
    levels: FloatArray
    found: NDArray[np.integer]
    calls: NDArray[np.integer]
    references: int
    scans: int

    def best_level(self, beta: float, most_false: float = np.inf) -> float:
        """Return the middle of the levels near the best F score.

        Of those with at most so many false calls a scan, or the highest level where all have more.
        """
        weight = beta * beta
        score = (1 + weight) * self.found / (weight * self.references + self.calls)
        allowed = self.calls - self.found <= most_false * self.scans
        allowed[-1] = True
        score = np.where(allowed, score, -np.inf)
        return float(np.median(self.levels[score >= score.max() - NEAR_BEST]))


def _curve(scans: Sequence[ScoredScan], given: Sequence[FloatArray]) -> _Curve:
    lesions = [_best_of_lesions(scan, p) for scan, p in zip(scans, given, strict=True)]
    best = np.sort(np.concatenate([np.zeros(0), *lesions]))
    if not len(best):
        raise InputError("expected at least one lesion to choose thresholds on, got none")
    others = [p[scan.hit == 0] for scan, p in zip(scans, given, strict=True)]
    false = np.sort(np.concatenate(others))
    levels = np.unique(best)
    found = len(best) - np.searchsorted(best, levels)
    calls = found + len(false) - np.searchsorted(false, levels)
    references = sum(scan.references for scan in scans)
    return _Curve(best, levels, found, calls, references, len(scans))


def choose_points(
    scans: Sequence[ScoredScan],
    slope: float = 1.0,
    intercept: float = 0.0,
    burden: BurdenSettings | None = None,
) -> Thresholds:
    """Return the operating points of volumes.

    Balanced has the best lesion F1 with at most half a false call a scan. Screening has the best
    F2, or keeps 97 % of the lesions that have a candidate if that takes a lower threshold. Report
    has the best F0.5, or a precision of 0.95 if that takes a higher one and leaves half of the
    lesions that have a candidate. None is below 0.05, and report not below 0.5.

    Args:
        scans: Whole volumes, lesion-free ones included.
        slope: Of the calibration.
        intercept: Of the calibration.
        burden: Of the calibration.

    Raises:
        InputError: If no candidate is a lesion.
    """
    curve = _curve(scans, [probability(s.logit, slope, intercept, burden) for s in scans])
    balanced = curve.best_level(1.0, MOST_FALSE_CALLS)
    kept = float(np.quantile(curve.best, 1 - SCREENING_KEPT))
    screening = min(balanced, curve.best_level(2.0), kept)
    enough = curve.found >= REPORT_KEPT * len(curve.best)
    precise = curve.levels[enough & (curve.found >= REPORT_PRECISION * curve.calls)]
    report = max(balanced, curve.best_level(0.5), LEAST_DEFINITE, *precise[:1].tolist())
    return Thresholds(
        *(max(_floored(level), LOWEST_POINT) for level in (screening, balanced, report))
    )


def _floored(level: float) -> float:
    # Down, so that the lesion that decided a threshold stays above it.
    return math.floor(level * 1e4) / 1e4


def slice_points(
    planes: Sequence[ScoredScan], slope: float = 1.0, intercept: float = 0.0
) -> Thresholds:
    """Return the levels that keep the shares SLICE_KEPT of the lesions found on slices.

    Report is not below 0.5 here either.

    Raises:
        InputError: If no candidate is a lesion.
    """
    parts = [_best_of_lesions(p, probability(p.logit, slope, intercept)) for p in planes]
    best = np.concatenate([np.zeros(0), *parts])
    if not len(best):
        raise InputError("expected at least one lesion to choose thresholds on, got none")
    level = {name: float(np.quantile(best, 1 - kept)) for name, kept in SLICE_KEPT.items()}
    level["report"] = max(level["report"], LEAST_DEFINITE)
    return Thresholds(**{name: _floored(value) for name, value in level.items()})


def decide(scans: Sequence[ScoredScan], *, by_burden: bool = False) -> Decision:
    """Return the calibration and the operating points of whole volumes.

    Args:
        scans: The volumes, with natural lesion counts.
        by_burden: Whether a candidate's probability is to depend on the others of its volume.

    Raises:
        InputError: If the candidates are not of both kinds.
    """
    logit = np.concatenate([np.zeros(0), *(scan.logit for scan in scans)])
    hit = np.concatenate([np.zeros(0, np.int64), *(scan.hit for scan in scans)])
    slope, intercept = fit_platt(logit, hit > 0)
    burden = fit_burden(scans, slope, intercept) if by_burden else None
    points = choose_points(scans, slope, intercept, burden)
    return Decision(slope, intercept, points, burden)


def decide_on_slices(planes: Sequence[ScoredScan]) -> Decision | None:
    """Return the calibration and the operating points of single slices.

    None where the candidates are all of a kind: slices then take what volumes have.
    """
    logit = np.concatenate([np.zeros(0), *(scan.logit for scan in planes)])
    hit = np.concatenate([np.zeros(0, np.int64), *(scan.hit for scan in planes)])
    if (hit > 0).all() or not (hit > 0).any():
        return None
    slope, intercept = fit_platt(logit, hit > 0)
    return Decision(slope, intercept, slice_points(planes, slope, intercept))
