import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from mmocnet.errors import InputError
from mmocnet.evaluate.calibration import calibration


def test_bins_and_errors_are_those_computed_by_hand():
    found = calibration([0.1, 0.3, 0.8, 0.9], [False, True, True, False], bins=2)
    assert found.mean_confidence == pytest.approx([0.2, 0.85])
    assert found.share_true == pytest.approx([0.5, 0.5])
    assert found.count.tolist() == [2, 2]
    assert found.ece == pytest.approx((0.3 + 0.35) / 2)
    assert found.brier == pytest.approx((0.01 + 0.49 + 0.04 + 0.81) / 4)
    assert found.candidates == 4


@pytest.mark.parametrize("bins", [5, 10, 17])
def test_bins_and_brier_are_those_of_scikit_learn(bins):
    rng = np.random.default_rng(bins)
    confidence = np.concatenate([rng.beta(0.5, 2, 60), np.linspace(0, 1, 11)])
    truth = rng.random(len(confidence)) < confidence
    found = calibration(confidence, truth, bins)
    share, mean = calibration_curve(truth, confidence, n_bins=bins)
    filled = found.count > 0
    assert found.share_true[filled] == pytest.approx(share)
    assert found.mean_confidence[filled] == pytest.approx(mean)
    assert np.isnan(found.share_true[~filled]).all()
    assert found.brier == pytest.approx(brier_score_loss(truth, confidence))
    assert found.ece == pytest.approx(np.average(np.abs(share - mean), weights=found.count[filled]))


def test_no_candidate_is_undefined():
    found = calibration([], [])
    assert math.isnan(found.ece)
    assert math.isnan(found.brier)
    assert np.isnan(found.share_true).all()
    assert found.candidates == 0


def test_certain_and_right_is_without_error():
    found = calibration([0.0, 1.0, 1.0], [False, True, True])
    assert (found.ece, found.brier) == (0.0, 0.0)
    assert found.count.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]


@pytest.mark.parametrize(
    ("confidence", "truth", "bins", "message"),
    [
        ([0.5], [True, False], 10, "a truth a confidence"),
        ([1.5], [True], 10, "0 to 1"),
        ([math.nan], [True], 10, "0 to 1"),
        ([0.5], [True], 0, "at least 1 bin"),
    ],
)
def test_wrong_input_is_refused(confidence, truth, bins, message):
    with pytest.raises(InputError, match=message):
        calibration(confidence, truth, bins)
