import numpy as np
import pytest

from mmocnet.evaluate.statistics import bootstrap, bootstrap_differences, bootstrap_sums, ratio


def test_many_scores_at_once_have_the_intervals_of_each_alone(rng):
    table = rng.integers(0, 5, (30, 2)).astype(float)
    subjects = [str(index % 11) for index in range(30)]
    formula = {"share": lambda sums: ratio(sums[..., 0], sums[..., 1])}
    together = bootstrap_sums(formula, table, subjects, seed=3, draws=300)["share"]
    alone = bootstrap(
        lambda times: float(formula["share"](times @ table)), subjects, seed=3, draws=300
    )
    for name in ("value", "low", "high", "undefined"):
        assert getattr(together, name) == pytest.approx(getattr(alone, name))


def test_one_subject_has_a_value_without_an_interval():
    formula = {"share": lambda sums: ratio(sums[..., 0], sums[..., 1])}
    table, subjects = np.array([[2.0, 3.0], [0.0, 1.0]]), ["a", "a"]
    together = bootstrap_sums(formula, table, subjects, draws=7)["share"]
    alone = bootstrap(lambda times: float(formula["share"](times @ table)), subjects, draws=7)
    for interval in (together, alone):
        assert interval.value == 0.5
        assert np.isnan([interval.low, interval.high]).all()


def test_no_subject_has_no_interval():
    formula = {"share": lambda sums: ratio(sums[..., 0], sums[..., 1])}
    interval = bootstrap_sums(formula, np.zeros((0, 2)), [], draws=7)["share"]
    assert np.isnan([interval.value, interval.low, interval.high]).all()
    assert interval.undefined == 7


def test_a_score_that_one_subject_alone_adds_to_has_no_interval():
    formula = {"share": lambda sums: ratio(sums[..., 0], sums[..., 1])}
    # The second subject has no lesion, so that sensitivity is the first one's alone.
    table = np.array([[2.0, 5.0], [0.0, 0.0]])
    interval = bootstrap_sums(formula, table, ["a", "b"], draws=7)["share"]
    assert interval.value == 0.4
    assert np.isnan([interval.low, interval.high]).all()
    assert interval.undefined == 7


@pytest.mark.parametrize(("second", "defined"), [(2, True), (1, False)])
def test_a_difference_needs_two_subjects_of_each_method_but_not_the_same(second, defined):
    formula = {"share": lambda sums: ratio(sums[..., 0], sums[..., 1])}
    one = np.zeros((8, 2))
    two = one.copy()
    # Each method calls lesions, and so has a precision, in other subjects.
    one[:4] = [[1, 2], [2, 2], [1, 3], [0, 1]]
    two[4 : 4 + second] = [[3, 3], [1, 2]][:second]
    found = bootstrap_differences(formula, (one, two), list("abcdefgh"), seed=1, draws=400)["share"]
    assert found.value == pytest.approx(two[:, 0].sum() / two[:, 1].sum() - 0.5)
    assert np.isfinite([found.low, found.high]).all() == defined
    if defined:
        times = np.random.default_rng(1).multinomial(8, np.full(8, 1 / 8), size=400)
        drawn = [ratio(*(times @ table).T) for table in (one, two)]
        low, high = np.nanquantile(drawn[1] - drawn[0], (0.025, 0.975))
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
        assert found.undefined == np.count_nonzero(np.isnan(drawn[1] - drawn[0]))
