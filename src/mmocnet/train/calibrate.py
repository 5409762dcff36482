"""From raw scores of candidates to probabilities and operating points, and what those mean.

Everything here is measured on subjects that did not decide it: with k folds by subject, each fold
is scored by the calibration and the thresholds that the others gave. What is used afterwards is
decided by all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mmocnet.config import BurdenSettings, Thresholds
from mmocnet.errors import InputError
from mmocnet.evaluate.lesions import ScanLesions
from mmocnet.predict.confidence import others, probability
from mmocnet.types import FloatArray

FOLDS = 5
SLOPE_SPREAD = 1.0
INTERCEPT_SPREAD = 5.0
"""Spread of the Gaussian priors around a slope of 1 and an intercept of 0: of account only where
candidates are few or separate entirely."""
LOWEST_SLOPE = 0.01
"""A higher score never means a lower probability."""
BURDEN_SPREAD = 1.0
"""Spread of the priors of the burden's scale around 1 and of its weight around 0, likewise."""
LOWEST_SCALE = 0.5
HIGHEST_WEIGHT = 1.0
"""With these the order of a volume's candidates stays: what one of them adds to the others' burden
rises by at most 0.25 for each unit of its own log odds."""


@dataclass(frozen=True)
class ScoredScan:
    """The candidates of one scan, or of one slice, with what they are.

    Attributes:
        subject: Whose.
        logit: Raw score of each, not calibrated, shape (N,).
        hit: Number of the reference lesion that each overlaps, 0 for none, shape (N,).
        references: Number of reference lesions.
    """

    subject: str
    logit: FloatArray
    hit: NDArray[np.integer]
    references: int


@dataclass(frozen=True)
class Decision:
    """What is decided on some scans: the calibration and the operating points.

    Attributes:
        slope: What a logit is multiplied with; above 0.
        intercept: What is then added.
        points: Thresholds of the calibrated probability.
        burden: What a scan's other candidates then say; None leaves them out.
    """

    slope: float
    intercept: float
    points: Thresholds
    burden: BurdenSettings | None = None

    def probability(self, scan: ScoredScan) -> FloatArray:
        """Return the calibrated probability of each candidate, shape (N,)."""
        return probability(scan.logit, self.slope, self.intercept, self.burden)


@dataclass(frozen=True)
class CrossFit:
    """Scans measured by decisions of other subjects.

    Attributes:
        probability: Of every candidate, scan after scan, shape (N,).
        is_lesion: Whether it overlaps a reference lesion, shape (N,).
        rows: What each operating point finds in each scan.
    """

    probability: FloatArray
    is_lesion: NDArray[np.bool_]
    rows: dict[str, tuple[ScanLesions, ...]]


def fit_platt(
    logit: FloatArray | Sequence[float], is_lesion: NDArray[np.bool_] | Sequence[bool]
) -> tuple[float, float]:
    """Return slope and intercept that turn raw scores into probabilities; the slope is above 0.

    Args:
        logit: Raw scores of candidates, shape (N,).
        is_lesion: What they are, shape (N,).

    Raises:
        InputError: If the lengths differ, a score is not finite, or all candidates are of a kind.

    Reference:
        Platt 1999, with the penalty above in place of smoothed targets.
    """
    score, truth = np.asarray(logit, float), np.asarray(is_lesion, bool)
    if score.ndim != 1 or score.shape != truth.shape:
        raise InputError(f"expected a truth a score, got {truth.shape} for {score.shape}")
    if not np.isfinite(score).all():
        raise InputError("expected finite scores to calibrate, got NaN or infinity")
    if truth.all() or not truth.any():
        raise InputError("expected microbleeds and others among the candidates to calibrate on")
    x = np.stack([score, np.ones(len(score))], axis=1)
    prior, spread = np.array([1.0, 0.0]), np.array([SLOPE_SPREAD, INTERCEPT_SPREAD])
    slope, intercept = _likeliest(x, truth, (prior, spread), [(LOWEST_SLOPE, None), (None, None)])
    return slope, intercept


def _likeliest(
    x: FloatArray,
    truth: NDArray[np.bool_],
    prior: tuple[FloatArray, FloatArray],
    bounds: Sequence[tuple[float | None, float | None]],
) -> list[float]:
    """Return the weights of a logistic regression.

    Args:
        x: What the weights weigh, shape (N, F).
        truth: Shape (N,).
        prior: Middle and spread of each weight's Gaussian prior, shape (F,).
        bounds: Of each weight.
    """
    sign = np.where(truth, 1.0, -1.0)
    middle, spread = prior

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        margin = sign * (x @ weights)
        pull = sign / (1 + np.exp(np.clip(margin, -500, 500)))
        away = (weights - middle) / spread
        value = np.logaddexp(0, -margin).sum() + 0.5 * float(away @ away)
        gradient = away / spread - pull @ x
        return float(value) / len(x), gradient / len(x)

    options = {"ftol": 1e-14, "gtol": 1e-9}
    fitted = minimize(loss, middle, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return [float(weight) for weight in fitted.x]


def fit_burden(scans: Sequence[ScoredScan], slope: float, intercept: float) -> BurdenSettings:
    """Return how the probability of a candidate depends on the others of its volume.

    Args:
        scans: Whole volumes with natural lesion counts.
        slope: Of the calibration of each candidate on its own, see `fit_platt`.
        intercept: Of that calibration.

    Raises:
        InputError: If there is no candidate.
    """
    most = BurdenSettings().most
    alone = [slope * scan.logit + intercept for scan in scans if len(scan.logit)]
    if not alone:
        raise InputError("expected candidates to fit the burden on, got none")
    beside = [others(probability(score, 1.0, 0.0), most) for score in alone]
    score = np.concatenate(alone)
    x = np.stack([score, np.ones(len(score)), np.concatenate(beside)], axis=1)
    truth = np.concatenate([scan.hit for scan in scans]) > 0
    spread = np.array([BURDEN_SPREAD, INTERCEPT_SPREAD, BURDEN_SPREAD])
    bounds = [(LOWEST_SCALE, None), (None, None), (0.0, HIGHEST_WEIGHT)]
    scale, offset, weight = _likeliest(x, truth, (np.array([1.0, 0.0, 0.0]), spread), bounds)
    return BurdenSettings(scale, offset, weight, most)


def fold_of(subjects: Sequence[str], has_lesion: Sequence[bool], seed: int) -> NDArray[np.intp]:
    """Return the fold of each scan: subjects stay together, lesion-free ones are spread evenly.

    Args:
        subjects: Whose each scan is.
        has_lesion: Whether it has a reference lesion.
        seed: Shuffles the subjects.

    Raises:
        InputError: If fewer than two subjects have a lesion.
    """
    ill = sorted({name for name, has in zip(subjects, has_lesion, strict=True) if has})
    free = sorted(set(subjects) - set(ill))
    if len(ill) < 2:
        raise InputError(f"expected at least two subjects with a lesion, got {len(ill)}")
    rng = np.random.default_rng([seed, 5])
    order = [*rng.permutation(ill).tolist(), *rng.permutation(free).tolist()]
    place = {name: n % min(FOLDS, len(ill)) for n, name in enumerate(order)}
    return np.array([place[name] for name in subjects], np.intp)


def cross_fit(
    scans: Sequence[ScoredScan], decide: Callable[[Sequence[ScoredScan]], Decision], seed: int = 0
) -> CrossFit:
    """Return each scan as the decision of the other folds' subjects sees it.

    Args:
        scans: In any order; the result has theirs.
        decide: Fits and chooses on some of them.
        seed: Of the folds.

    Raises:
        InputError: If there are too few subjects or candidates to decide on without a fold.
    """
    folds = fold_of([s.subject for s in scans], [s.references > 0 for s in scans], seed)
    decisions = [
        decide([s for s, f in zip(scans, folds, strict=True) if f != fold])
        for fold in range(folds.max() + 1)
    ]
    given = [decisions[f].probability(s) for s, f in zip(scans, folds, strict=True)]
    rows = {
        name: tuple(
            counted(s, p, getattr(decisions[f].points, name))
            for s, p, f in zip(scans, given, folds, strict=True)
        )
        for name in asdict(Thresholds())
    }
    hit = np.concatenate([scan.hit for scan in scans])
    return CrossFit(np.concatenate(given), hit > 0, rows)


def counted(scan: ScoredScan, given: FloatArray, level: float) -> ScanLesions:
    """Return what is found in a scan at a threshold; any overlap finds a lesion."""
    hits = scan.hit[given >= level]
    found = len(np.unique(hits[hits > 0]))
    return ScanLesions(scan.subject, scan.subject, scan.references, found, int((hits == 0).sum()))
