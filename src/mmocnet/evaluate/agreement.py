"""How well lesion counts agree: Bland-Altman, intraclass correlation and burden classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mmocnet.errors import InputError
from mmocnet.types import FloatArray

IntArray = NDArray[np.integer[Any]]
BURDEN_NAMES = ("0", "1-4", "5-9", "10+")
"""Classes by lesions a scan."""
BURDEN_STARTS = (1, 5, 10)
LIMITS_Z = 1.96


@dataclass(frozen=True)
class CountAgreement:
    """Agreement of lesion counts, one pair a scan; NaN where undefined.

    Attributes:
        scans: How many.
        mean_difference: Bias: mean of predicted minus reference.
        sd_difference: Standard deviation of the differences; NaN under two scans.
        limits_low: Lower 95 % limit of agreement: bias minus 1.96 standard deviations.
        limits_high: Upper limit.
        mean_absolute_error: Mean of the differences' sizes.
        icc: ICC(2,1) by `icc_agreement`.
        icc_low: Lower end of its 95 % interval.
        icc_high: Upper end.
        kappa: Kappa of burden classes with linear weights: the penalty is how many classes apart.
        kappa_quadratic: The same with quadratic weights.
    """

    scans: int
    mean_difference: float
    sd_difference: float
    limits_low: float
    limits_high: float
    mean_absolute_error: float
    icc: float
    icc_low: float
    icc_high: float
    kappa: float
    kappa_quadratic: float


def burden_class(count: int) -> int:
    """Return the position in `BURDEN_NAMES` of a lesion count.

    >>> [BURDEN_NAMES[burden_class(count)] for count in (0, 4, 5, 10)]
    ['0', '1-4', '5-9', '10+']

    Raises:
        InputError: If the count is negative.
    """
    if count < 0:
        raise InputError(f"expected a count of 0 or more, got {count}")
    return int(np.searchsorted(BURDEN_STARTS, count, side="right"))


def count_agreement(
    reference: IntArray | Sequence[int], predicted: IntArray | Sequence[int]
) -> CountAgreement:
    """Compare lesion counts.

    Args:
        reference: Shape (N,), lesions of each scan in the reference.
        predicted: Shape (N,), lesions that were found in it.

    Raises:
        InputError: If the lengths differ or a count is negative.

    Reference:
        Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8.
    """
    first, second = np.asarray(reference, dtype=float), np.asarray(predicted, dtype=float)
    if first.ndim != 1 or first.shape != second.shape:
        raise InputError(f"expected one count a scan from each, got {first.shape}, {second.shape}")
    nan = float("nan")
    apart = second - first
    bias = float(apart.mean()) if len(apart) else nan
    spread = float(apart.std(ddof=1)) if len(apart) > 1 else nan
    icc, icc_low, icc_high = icc_agreement(np.stack([first, second], axis=1))
    classes = [[burden_class(int(count)) for count in counts] for counts in (first, second)]
    return CountAgreement(
        scans=len(apart),
        mean_difference=bias,
        sd_difference=spread,
        limits_low=bias - LIMITS_Z * spread,
        limits_high=bias + LIMITS_Z * spread,
        mean_absolute_error=float(np.abs(apart).mean()) if len(apart) else nan,
        icc=icc,
        icc_low=icc_low,
        icc_high=icc_high,
        kappa=weighted_kappa(classes[0], classes[1], len(BURDEN_NAMES), 1),
        kappa_quadratic=weighted_kappa(classes[0], classes[1], len(BURDEN_NAMES), 2),
    )


def icc_agreement(ratings: FloatArray) -> tuple[float, float, float]:
    """Return ICC(2,1) and its 95 % interval.

    Two-way random effects, absolute agreement, single rater: a rater who always counts two more
    lowers it, unlike a correlation.

    Args:
        ratings: Shape (N, K): N targets, each rated by all K raters.

    Returns:
        Value, low, high. All NaN with fewer than two targets or raters, or when all ratings are
        one number; the interval is NaN under full agreement too, where its formula breaks down.

    Reference:
        Shrout and Fleiss 1979, doi:10.1037/0033-2909.86.2.420; interval by McGraw and Wong 1996,
        doi:10.1037/1082-989X.1.1.30, case 2A.
    """
    nan = float("nan")
    targets, raters = ratings.shape
    if targets < 2 or raters < 2:
        return nan, nan, nan
    between, judges, error = _mean_squares(ratings)
    variance = between + (raters - 1) * error + raters * (judges - error) / targets
    if variance <= 0:
        return nan, nan, nan
    icc = (between - error) / variance
    if icc >= 1:
        return float(icc), nan, nan
    a = raters * icc / (targets * (1 - icc))
    b = 1 + raters * icc * (targets - 1) / (targets * (1 - icc))
    inner = (a * judges) ** 2 / (raters - 1)
    inner += (b * error) ** 2 / ((targets - 1) * (raters - 1))
    if inner <= 0:
        return float(icc), nan, nan
    freedom = (a * judges + b * error) ** 2 / inner
    rest = raters * judges + (raters * targets - raters - targets) * error
    lower = float(stats.f.ppf(0.975, targets - 1, freedom))
    upper = float(stats.f.ppf(0.975, freedom, targets - 1))
    low = targets * (between - lower * error) / (lower * rest + targets * between)
    high = targets * (upper * between - error) / (rest + targets * upper * between)
    return float(icc), float(low), float(high)


def _mean_squares(ratings: FloatArray) -> tuple[float, float, float]:
    """Return the mean squares of a two-way ANOVA: between targets, between raters, error."""
    targets, raters = ratings.shape
    middle = ratings.mean()
    rows = ratings.mean(axis=1, keepdims=True)
    columns = ratings.mean(axis=0, keepdims=True)
    left = ratings - rows - columns + middle
    between = raters * float(((rows - middle) ** 2).sum()) / (targets - 1)
    judges = targets * float(((columns - middle) ** 2).sum()) / (raters - 1)
    error = float((left**2).sum()) / ((targets - 1) * (raters - 1))
    # Rounding leaves 1e-31 where the sum is 0, and a ratio of two such zeros is noise.
    floor = 1e-12 * max(float((ratings**2).max()), 1.0)
    between, judges, error = (v if v > floor else 0.0 for v in (between, judges, error))
    return between, judges, error


def weighted_kappa(
    first: Sequence[int], second: Sequence[int], classes: int, power: int = 1
) -> float:
    """Return Cohen's kappa with disagreements weighted by their distance.

    Args:
        first: Class of each scan, from 0.
        second: The same by the other rater.
        classes: How many classes there are.
        power: 1 for linear weights, 2 for quadratic.

    Returns:
        1 for full agreement, 0 for chance; NaN where chance alone already agrees fully (no scan,
        or all of them in one class by both).

    Reference:
        Cohen 1968, doi:10.1037/h0026256.
    """
    table = np.zeros((classes, classes))
    np.add.at(table, (np.asarray(first, dtype=int), np.asarray(second, dtype=int)), 1)
    grid = np.arange(classes)
    weight = np.abs(grid[:, None] - grid[None, :]) ** power
    chance = float((weight * np.outer(table.sum(axis=1), table.sum(axis=0))).sum())
    if chance == 0:
        return float("nan")
    return float(1 - (weight * table).sum() * table.sum() / chance)
