import dataclasses
import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from mmocnet.errors import InputError
from mmocnet.evaluate.agreement import (
    BURDEN_NAMES,
    burden_class,
    count_agreement,
    icc_agreement,
    weighted_kappa,
)

# Shrout and Fleiss 1979, table 2: six targets, four judges.
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)


def test_differences_are_those_computed_by_hand():
    found = count_agreement(np.array([0, 2, 5, 12]), np.array([1, 2, 3, 15]))
    spread = math.sqrt(((1 - 0.5) ** 2 + 0.5**2 + 2.5**2 + 2.5**2) / 3)
    assert found.scans == 4
    assert found.mean_difference == pytest.approx(0.5)
    assert found.sd_difference == pytest.approx(spread)
    assert found.limits_low == pytest.approx(0.5 - 1.96 * spread)
    assert found.limits_high == pytest.approx(0.5 + 1.96 * spread)
    assert found.mean_absolute_error == pytest.approx(1.5)


def test_icc_is_the_published_one():
    icc, low, high = icc_agreement(SHROUT_FLEISS)
    assert icc == pytest.approx(0.29, abs=0.005)
    # The interval that R's psych and irr give for this table.
    assert (low, high) == pytest.approx((0.019, 0.761), abs=0.001)


def test_icc_of_two_raters_is_that_of_an_anova_by_hand():
    # Rows 1,2 | 3,4 | 5,9: row means 1.5, 3.5, 7; column means 3, 5; grand mean 4.
    # Rows 2 (6.25 + 0.25 + 9) / 2 = 15.5; columns 3 (1 + 1) / 1 = 6; total 40, error (40-31-6) / 2.
    found = count_agreement(np.array([1, 3, 5]), np.array([2, 4, 9]))
    assert found.icc == pytest.approx((15.5 - 1.5) / (15.5 + 1.5 + 2 * (6 - 1.5) / 3))
    assert found.icc_low < found.icc < found.icc_high


def test_a_constant_surplus_lowers_agreement_though_the_correlation_is_one():
    reference = np.arange(10)
    assert count_agreement(reference, reference + 3).icc < 0.7
    assert count_agreement(reference, reference).icc == 1.0


def test_full_agreement_and_one_count_a_rater_have_no_interval():
    full = count_agreement(np.arange(4), np.arange(4))
    assert math.isnan(full.icc_low)
    flat = count_agreement(np.full(4, 2), np.full(4, 5))
    assert flat.icc == 0.0
    assert math.isnan(flat.icc_high)


@pytest.mark.parametrize("power", [1, 2])
def test_kappa_is_that_of_scikit_learn(power):
    rng = np.random.default_rng(power)
    for _ in range(30):
        first, second = rng.integers(0, 4, (2, 25))
        expected = cohen_kappa_score(
            first, second, labels=range(4), weights={1: "linear", 2: "quadratic"}[power]
        )
        assert weighted_kappa(first, second, 4, power) == pytest.approx(expected)


def test_kappas_are_those_of_burden_classes():
    reference, predicted = np.array([0, 3, 7, 20, 0, 5]), np.array([1, 4, 3, 11, 0, 9])
    found = count_agreement(reference, predicted)
    classes = [0, 1, 2, 3, 0, 2], [1, 1, 1, 3, 0, 2]
    assert found.kappa == pytest.approx(cohen_kappa_score(*classes, weights="linear"))
    assert found.kappa_quadratic == pytest.approx(cohen_kappa_score(*classes, weights="quadratic"))


def test_burden_classes_start_at_one_five_and_ten():
    names = [BURDEN_NAMES[burden_class(count)] for count in (0, 1, 4, 5, 9, 10, 99)]
    assert names == ["0", "1-4", "1-4", "5-9", "5-9", "10+", "10+"]


def undefined(agreement):
    values = dataclasses.asdict(agreement)
    return {name for name, value in values.items() if math.isnan(value)}


def test_no_scan_leaves_all_but_the_number_undefined():
    found = count_agreement(np.array([], int), np.array([], int))
    assert undefined(found) == {f.name for f in dataclasses.fields(found)} - {"scans"}


def test_one_scan_has_a_difference_but_no_spread():
    found = count_agreement(np.array([2]), np.array([3]))
    assert found.mean_difference == 1.0
    assert math.isnan(found.limits_low)
    assert math.isnan(found.icc)


def test_lesion_free_everywhere_has_no_correlation_and_no_kappa():
    found = count_agreement(np.zeros(5, int), np.zeros(5, int))
    assert undefined(found) == {"icc", "icc_low", "icc_high", "kappa", "kappa_quadratic"}
    assert found.limits_high == 0.0


def test_unequal_lengths_and_negative_counts_are_refused():
    with pytest.raises(InputError, match="one count a scan"):
        count_agreement(np.array([1, 2]), np.array([1]))
    with pytest.raises(InputError, match="0 or more"):
        count_agreement(np.array([1, 2]), np.array([1, -1]))
