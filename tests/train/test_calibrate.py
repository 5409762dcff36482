from collections.abc import Callable

import numpy as np
import pytest

from mmocnet.config import BurdenSettings, Thresholds
from mmocnet.errors import InputError
from mmocnet.predict.confidence import probability
from mmocnet.train.calibrate import (
    Decision,
    ScoredScan,
    counted,
    cross_fit,
    fit_burden,
    fit_platt,
    fold_of,
)
from mmocnet.train.points import choose_points, decide, slice_points


def scan(logit: list[float], hit: list[int], references: int, subject: str = "a") -> ScoredScan:
    return ScoredScan(subject, np.array(logit), np.array(hit), references)


def free(count: int) -> list[ScoredScan]:
    """Scans without lesion or candidate, beside which a few false calls are few a scan."""
    return [scan([], [], 0, f"free {n}") for n in range(count)]


def drawn(rng: np.random.Generator, subject: str, slope: float, intercept: float) -> ScoredScan:
    """60 candidates whose truth is drawn with the probability of slope and intercept."""
    logit = rng.normal(0.0, 4.0, 60)
    truth = rng.random(60) < probability(logit, slope, intercept)
    return ScoredScan(subject, logit, np.where(truth, np.arange(60) + 1, 0), int(truth.sum()))


@pytest.mark.parametrize(("slope", "intercept"), [(0.4, -1.0), (1.7, 2.0), (1.0, 0.0)])
def test_slope_and_intercept_of_synthetic_scores_are_recovered(
    rng: np.random.Generator, slope: float, intercept: float
) -> None:
    logit = rng.normal(-1.0, 3.0, 20_000)
    truth = rng.random(20_000) < 1 / (1 + np.exp(-(slope * logit + intercept)))
    assert fit_platt(logit, truth) == pytest.approx((slope, intercept), rel=0.08, abs=0.08)


def test_a_fit_leaves_calibrated_scores_right_on_average(rng: np.random.Generator) -> None:
    logit = rng.normal(size=500)
    truth = rng.random(500) < 0.1
    given = probability(logit, *fit_platt(logit, truth))
    assert given.mean() == pytest.approx(truth.mean(), abs=2e-3)


def test_scores_that_mislead_never_turn_the_order_around(rng: np.random.Generator) -> None:
    logit = rng.normal(size=300)
    slope, intercept = fit_platt(logit, logit + rng.normal(size=300) < 0)
    assert slope > 0
    given = probability(np.linspace(-20, 20, 41), slope, intercept)
    assert (np.diff(given) > 0).all()


def test_candidates_that_separate_entirely_get_a_finite_slope() -> None:
    slope, intercept = fit_platt([-3.0, -2.0, 2.0, 3.0], [False, False, True, True])
    assert 1.0 < slope < 5.0
    assert abs(intercept) < 0.1


@pytest.mark.parametrize(
    ("logit", "truth", "said"),
    [
        ([1.0, 2.0], [True, True], "microbleeds and others"),
        ([1.0, 2.0], [False, False], "microbleeds and others"),
        ([], [], "microbleeds and others"),
        ([1.0, np.nan], [True, False], "finite"),
        ([1.0, 2.0], [True], "a truth a score"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    logit: list[float], truth: list[bool], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        fit_platt(logit, truth)


def logits(given: list[float]) -> list[float]:
    return [float(np.log(p / (1 - p))) for p in given]


def test_points_follow_their_rules() -> None:
    # Ten lesions: six sure at 0.95, three at 0.6 beside two false calls, one at 0.2 with three.
    given = [0.95] * 6 + [0.6] * 3 + [0.2] + [0.7] * 2 + [0.3] * 3
    hit = [*range(1, 11), 0, 0, 0, 0, 0]
    points = choose_points([scan(logits(given), hit, 10), *free(9)])
    # F1: .75 at .95, .86 at .6, .8 at .2. The weakest lesion goes with 3 % of ten allowed.
    assert points.balanced == pytest.approx(0.6, abs=1e-3)
    assert 0.2 <= points.screening < points.balanced
    # Precision is 1 only at 0.95, which keeps six of ten.
    assert points.report == pytest.approx(0.95, abs=1e-3)


def test_report_does_not_give_up_most_lesions_for_precision() -> None:
    # Precision is 1 for the one surest lesion alone; 0.9 at 0.6, where all are found.
    given = [0.99] + [0.6] * 9 + [0.8]
    points = choose_points([scan(logits(given), [*range(1, 11), 0], 10), *free(1)])
    assert points.report == pytest.approx(0.6, abs=1e-3)


def test_balanced_makes_at_most_half_a_false_call_a_scan() -> None:
    # One subject has nearly all of the lesions; false calls lie between the surer and the others.
    many = scan(logits(np.linspace(0.3, 0.9, 40).tolist()), list(range(1, 41)), 40, "many")
    others = [scan(logits([0.5]), [0], 0, f"other {n}") for n in range(9)]
    points = choose_points([many, *others])
    assert points.balanced > 0.5
    assert choose_points([many, *others[:4], *free(5)]).balanced < 0.4


def test_no_point_lies_where_nearly_every_call_is_false() -> None:
    points = choose_points([scan(logits([0.9, 0.001]), [1, 2], 2)])
    assert points.screening == 0.05


def test_points_ascend_and_move_with_the_calibration(rng: np.random.Generator) -> None:
    scans = [drawn(rng, str(n), 1.0, 0.0) for n in range(10)]
    plain, shifted = choose_points(scans), choose_points(scans, 1.0, -1.0)
    for points in (plain, shifted):
        assert points.screening <= points.balanced <= points.report
    logit = np.log(plain.balanced / (1 - plain.balanced)) - 1
    assert shifted.balanced == pytest.approx(1 / (1 + np.exp(-logit)), abs=2e-3)


def test_a_lesion_counts_once_and_at_its_surest_candidate() -> None:
    one = scan(logits([0.9, 0.3, 0.3]), [1, 1, 0], 2)
    row = counted(one, probability(one.logit, 1.0, 0.0), 0.3 - 1e-9)
    assert (row.references, row.found, row.false_positives) == (2, 1, 1)
    assert choose_points([one]).screening == pytest.approx(0.9)


@pytest.mark.parametrize("choose", [choose_points, slice_points])
def test_without_a_found_lesion_there_is_no_point(
    choose: Callable[[list[ScoredScan]], Thresholds],
) -> None:
    with pytest.raises(InputError, match="at least one lesion"):
        choose([scan([1.0], [0], 3)])
    with pytest.raises(InputError, match="at least one lesion"):
        choose([])


def test_slices_keep_their_shares_of_found_lesions() -> None:
    given = np.linspace(0.01, 0.99, 99).tolist()
    points = slice_points([scan(logits(given), list(range(1, 100)), 120)])
    assert points.balanced == pytest.approx(0.059, abs=1e-3)
    assert points.screening == pytest.approx(0.0198, abs=1e-3)
    sure = np.linspace(0.6, 0.99, 99).tolist()
    report = slice_points([scan(logits(sure), list(range(1, 100)), 120)]).report
    assert report == pytest.approx(0.639, abs=1e-3)


@pytest.mark.parametrize("choose", [choose_points, slice_points])
def test_nothing_is_definite_that_is_more_likely_no_microbleed(
    choose: Callable[[list[ScoredScan]], Thresholds],
) -> None:
    points = choose([scan(logits([0.3, 0.35, 0.4]), [1, 2, 3], 3)])
    assert points.balanced < 0.5
    assert points.report == 0.5


def test_folds_keep_subjects_together_and_spread_lesion_free_ones() -> None:
    subjects = [f"s{n % 20}" for n in range(40)]
    ill = [n % 20 < 10 for n in range(40)]
    folds = fold_of(subjects, ill, seed=1)
    assert (folds[:20] == folds[20:]).all()
    assert np.bincount(folds[:10]).tolist() == np.bincount(folds[10:20]).tolist() == [2] * 5
    assert (folds == fold_of(subjects, ill, seed=1)).all()
    assert (folds != fold_of(subjects, ill, seed=2)).any()


def test_one_subject_with_lesions_is_too_few_to_measure_on() -> None:
    with pytest.raises(InputError, match="at least two subjects with a lesion, got 1"):
        fold_of(["a", "a", "b"], [True, True, False], seed=0)


def test_each_scan_is_measured_by_the_decision_of_others() -> None:
    scans = [scan([float(n), -1.0], [1, 0], 1, f"s{n}") for n in range(4)]
    asked: list[set[str]] = []

    def spy(some: list[ScoredScan]) -> Decision:
        asked.append({s.subject for s in some})
        # The slope tells who decided.
        return Decision(1.0, sum(10.0 ** int(s.subject[1]) for s in some), Thresholds())

    measured = cross_fit(scans, spy)  # type: ignore[arg-type]
    assert sorted(len(part) for part in asked) == [3, 3, 3, 3]
    for n, one in enumerate(scans):
        others = 1111.0 - 10.0**n
        expected = probability(one.logit, 1.0, others)
        assert measured.probability[2 * n : 2 * n + 2] == pytest.approx(expected)
    assert measured.is_lesion.tolist() == [True, False] * 4


def test_scores_of_other_subjects_are_calibrated_too(rng: np.random.Generator) -> None:
    scans = [drawn(rng, f"s{n}", 0.5, -1.0) for n in range(40)]
    measured = cross_fit([*scans, *free(1000)], decide)
    raw = probability(np.concatenate([s.logit for s in scans]), 1.0, 0.0)
    error = [((p - measured.is_lesion) ** 2).mean() for p in (raw, measured.probability)]
    assert error[1] < 0.9 * error[0]
    assert abs(measured.probability.mean() - measured.is_lesion.mean()) < 0.01
    found = {name: sum(row.found for row in rows) for name, rows in measured.rows.items()}
    assert found["screening"] > found["balanced"] > found["report"]


def people(
    rng: np.random.Generator, scale: float, offset: float, weight: float
) -> list[ScoredScan]:
    """400 heads of 40 candidates whose truth is drawn with a burden; many heads have none."""
    scans = []
    for n in range(400):
        mean = rng.choice([-5.0, -2.0, 2.0])
        logit = rng.normal(mean, 2.5, 40)
        given = probability(logit, 1.0, 0.0, BurdenSettings(scale, offset, weight))
        truth = rng.random(40) < given
        hit = np.where(truth, np.arange(40) + 1, 0)
        scans.append(ScoredScan(str(n), logit, hit, int(truth.sum())))
    return scans


@pytest.mark.parametrize(("scale", "offset", "weight"), [(0.9, -1.2, 0.3), (1.0, 0.0, 0.0)])
def test_a_burden_is_recovered(
    rng: np.random.Generator, scale: float, offset: float, weight: float
) -> None:
    fitted = fit_burden(people(rng, scale, offset, weight), 1.0, 0.0)
    assert fitted.scale == pytest.approx(scale, abs=0.06)
    assert fitted.offset == pytest.approx(offset, abs=0.2)
    assert fitted.weight == pytest.approx(weight, abs=0.04)


def test_a_decision_by_burden_is_calibrated_and_used_throughout(rng: np.random.Generator) -> None:
    scans = people(rng, 0.9, -1.2, 0.3)
    decision = decide(scans, by_burden=True)
    assert decision.burden is not None
    given = np.concatenate([decision.probability(scan) for scan in scans])
    truth = np.concatenate([scan.hit > 0 for scan in scans])
    assert given.mean() == pytest.approx(truth.mean(), abs=2e-3)
    plain = decide(scans)
    assert plain.burden is None
    before = np.concatenate([plain.probability(scan) for scan in scans])

    def log_loss(p: np.ndarray) -> float:
        return float(-np.log(np.where(truth, p, 1 - p)).mean())

    assert log_loss(given) < log_loss(before) - 0.002
    assert decision.points != plain.points


def test_without_a_candidate_there_is_no_burden() -> None:
    with pytest.raises(InputError, match="candidates to fit the burden on, got none"):
        fit_burden(free(3), 1.0, 0.0)
