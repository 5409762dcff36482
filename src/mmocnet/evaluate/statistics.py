"""Confidence intervals that respect who the lesions belong to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmocnet.types import FloatArray

DRAWS = 1000
"""Bootstrap samples."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % confidence interval; NaN where undefined.

    Attributes:
        value: On all subjects.
        low: 2.5 % quantile over bootstrap samples.
        high: 97.5 % quantile.
        undefined: Bootstrap samples in which the value is undefined, left out of the quantiles.
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
    if len(names) == 0:
        return Interval(value, float("nan"), float("nan"), draws)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    drawn = np.array([statistic(row[whose].astype(float)) for row in times])
    defined = drawn[np.isfinite(drawn)]
    undefined = int(len(drawn) - len(defined))
    if not len(defined):
        return Interval(value, float("nan"), float("nan"), undefined)
    low, high = np.quantile(defined, (0.025, 0.975))
    return Interval(value, float(low), float(high), undefined)
