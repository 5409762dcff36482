import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from mmocnet.errors import InputError
from mmocnet.evaluate.pixels import (
    Counts,
    count_pixels,
    mean_scores,
    pixel_scores,
    pooled_scores,
    precision_recall,
    sample_pixels,
)

PAIRS = st.tuples(arrays(bool, 30), arrays(bool, 30))


@given(PAIRS)
def test_scores_are_those_of_scikit_learn(pair):
    reference, predicted = pair
    scores = pixel_scores(count_pixels(reference, predicted))
    tn, fp, fn, tp = metrics.confusion_matrix(reference, predicted, labels=[False, True]).ravel()
    if tp + fn:
        assert scores.sen == pytest.approx(metrics.recall_score(reference, predicted))
    if tp + fp:
        assert scores.pre == pytest.approx(metrics.precision_score(reference, predicted))
    if tp + fp + fn:
        assert scores.dsc == pytest.approx(metrics.f1_score(reference, predicted))
        assert scores.f2 == pytest.approx(metrics.fbeta_score(reference, predicted, beta=2))
        assert scores.jsc == pytest.approx(metrics.jaccard_score(reference, predicted))
    if min(tp + fp, tp + fn, tn + fp, tn + fn):
        assert scores.mcc == pytest.approx(metrics.matthews_corrcoef(reference, predicted))
    else:
        assert math.isnan(scores.mcc)


def test_two_empty_masks_have_no_scores():
    scores = pixel_scores(count_pixels(np.zeros(9, bool), np.zeros(9, bool)))
    assert all(math.isnan(value) for value in vars(scores).values())


def test_a_false_call_on_an_empty_reference_scores_zero_dice_and_no_sensitivity():
    scores = pixel_scores(count_pixels(np.zeros(9, bool), np.arange(9) < 2))
    assert scores.dsc == 0
    assert math.isnan(scores.sen)


def test_mcc_of_a_billion_voxels_does_not_overflow():
    scores = pixel_scores(Counts(tp=10**9, fp=10**8, fn=10**8, tn=10**12))
    assert scores.mcc == pytest.approx(10 / 11 - 1e-4, abs=1e-3)


def test_pooled_and_mean_differ_as_computed_by_hand():
    images = [Counts(9, 1, 0, 90), Counts(0, 0, 10, 90), Counts(0, 0, 0, 100)]
    assert pooled_scores(images).dsc == pytest.approx(18 / 29)
    # The third image has no Dice and is left out of the mean.
    assert mean_scores(images).dsc == pytest.approx((18 / 19 + 0) / 2)


def test_pixels_outside_the_valid_mask_are_not_counted():
    reference, predicted = np.array([True, True, False]), np.array([True, False, True])
    counts = count_pixels(reference, predicted, np.array([True, True, False]))
    assert counts == Counts(tp=1, fp=0, fn=1, tn=0)


@given(
    arrays(bool, 40),
    arrays(np.float64, 40, elements=st.sampled_from([0.0, 0.0, 0.1, 0.5, 0.5, 0.9, 1.0])),
)
def test_average_precision_and_curve_are_those_of_scikit_learn(reference, probability):
    half = [sample_pixels(reference[i], probability[i]) for i in (slice(15), slice(15, 40))]
    curve = precision_recall(half)
    if not reference.any():
        assert math.isnan(curve.average_precision)
        return
    expected = metrics.average_precision_score(reference, probability)
    assert curve.average_precision == pytest.approx(expected)
    precision, recall, threshold = metrics.precision_recall_curve(reference, probability)
    assert np.allclose(curve.threshold[::-1], threshold)
    assert np.allclose(curve.precision[::-1], precision[:-1])
    assert np.allclose(curve.recall[::-1], recall[:-1])


def test_recall_ceiling_is_the_share_of_the_reference_that_was_ever_marked():
    reference = np.array([True, True, True, True, False])
    probability = np.array([0.9, 0.2, 0.1, 0.0, 0.0])
    assert precision_recall([sample_pixels(reference, probability)]).recall_ceiling == 0.75


def test_nan_probability_is_refused():
    with pytest.raises(InputError, match="between 0 and 1"):
        sample_pixels(np.zeros(2, bool), np.array([0.5, np.nan]))
