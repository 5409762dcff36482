"""Confidence intervals that respect who the lesions belong to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmocnet.types import FloatArray

DRAWS = 1000
"""Bootstrap samples."""
MIN_SUBJECTS = 2
"""Where fewer add to a score it has no interval: every sample would be the same."""
FEW_SUBJECTS = 10
"""The percentile interval of fewer is too narrow (Hesterberg, 10.1080/00031305.2015.1089789)."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % confidence interval; NaN where undefined, as of a single subject.

    Attributes:
        value: On all subjects.
        low: 2.5 % quantile over bootstrap samples.
        high: 97.5 % quantile.
        undefined: Bootstrap samples in which the value is undefined, left out of the quantiles;
            all of them where there are too few subjects.
    """

    value: float
    low: float
    high: float
    undefined: int = 0


def bootstrap(
    statistic: Callable[[FloatArray], float],
    subjects: Sequence[str],
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """Return a statistic with the percentile interval of a bootstrap over subjects.

    Scans of one subject are drawn together, since they are not independent.

    Args:
        statistic: Takes how often each scan was drawn, shape (N,), and returns the value.
        subjects: Whose each of the N scans is.
        seed: Of the drawing.
        draws: How many samples of subjects.
    """
    value = statistic(np.ones(len(subjects)))
    names, whose = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    if len(names) < MIN_SUBJECTS:
        return Interval(value, float("nan"), float("nan"), draws)
    times = _draw(len(names), seed, draws)
    return _interval(value, np.array([statistic(row[whose].astype(float)) for row in times]))


def bootstrap_sums(
    formulas: Mapping[str, Callable[[FloatArray], FloatArray]],
    table: FloatArray,
    subjects: Sequence[str],
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Interval]:
    """Return scores that depend on sums over scans alone, each with its interval over subjects.

    The same as `bootstrap` with `formula(times @ table)`, for many scores at once. A subject in
    whom a score is undefined, as sensitivity without a lesion, adds nothing to that score.

    Args:
        formulas: From sums, shape (..., C), to a score, shape (...), NaN where undefined.
        table: Shape (N, C), what each scan adds to the sums.
        subjects: Whose each of the N scans is.
        seed: Of the drawing.
        draws: How many samples of subjects.
    """
    sums = _resample(table, subjects, seed, draws)
    return {name: _scored(formula, sums).interval() for name, formula in formulas.items()}


def bootstrap_differences(
    formulas: Mapping[str, Callable[[FloatArray], FloatArray]],
    tables: tuple[FloatArray, FloatArray],
    subjects: Sequence[str],
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Interval]:
    """Return scores of a second method less those of a first, each with its interval.

    Subjects are drawn once for both. The methods need not be defined in the same subjects: one
    may call lesions, and so have a precision, where the other does not.

    Args:
        formulas: As `bootstrap_sums` takes them.
        tables: Of the first method and of the second, each of shape (N, C).
        subjects: Whose each of the N scans is.
        seed: Of the drawing.
        draws: How many samples of subjects.
    """
    # One seed draws the same subjects for both.
    first, second = (_resample(table, subjects, seed, draws) for table in tables)
    return {
        name: _scored(formula, second).less(_scored(formula, first)).interval()
        for name, formula in formulas.items()
    }


def ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Return part / whole, NaN where the whole is 0.

    >>> ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    array([0.5, nan])
    """
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


@dataclass(frozen=True)
class _Sums:
    """Sums over scans: of each subject, shape (S, C), and of each sample, shape (draws, C)."""

    by_subject: FloatArray
    drawn: FloatArray


@dataclass(frozen=True)
class _Score:
    """A score on all subjects and on each sample, and in how many subjects it is defined."""

    value: float
    drawn: FloatArray
    adding: int

    def less(self, other: "_Score") -> "_Score":
        """Return the difference, for which both need subjects."""
        adding = min(self.adding, other.adding)
        return _Score(self.value - other.value, self.drawn - other.drawn, adding)

    def interval(self) -> Interval:
        if self.adding < MIN_SUBJECTS:
            return Interval(self.value, float("nan"), float("nan"), len(self.drawn))
        return _interval(self.value, self.drawn)


def _resample(table: FloatArray, subjects: Sequence[str], seed: int, draws: int) -> _Sums:
    names, whose = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    by_subject = np.zeros((len(names), table.shape[1]))
    np.add.at(by_subject, whose, table)
    return _Sums(by_subject, _draw(len(names), seed, draws) @ by_subject)


def _scored(formula: Callable[[FloatArray], FloatArray], sums: _Sums) -> _Score:
    value = float(formula(sums.by_subject.sum(axis=0)))
    adding = int(np.count_nonzero(np.isfinite(formula(sums.by_subject))))
    return _Score(value, formula(sums.drawn), adding)


def _draw(count: int, seed: int, draws: int) -> FloatArray:
    if count == 0:
        return np.zeros((draws, 0))
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(float)


def _interval(value: float, drawn: FloatArray) -> Interval:
    defined = drawn[np.isfinite(drawn)]
    undefined = int(len(drawn) - len(defined))
    if not len(defined):
        return Interval(value, float("nan"), float("nan"), undefined)
    low, high = np.quantile(defined, (0.025, 0.975))
    return Interval(value, float(low), float(high), undefined)
