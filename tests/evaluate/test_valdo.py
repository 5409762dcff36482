import math

import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.evaluate.matching import Rule, match, pairing
from mmocnet.evaluate.valdo import valdo_case, valdo_scores

SPACING = (0.5, 0.5, 2.0)


def marked(*places, size=2):
    """Return an image with a cube of `size` voxels at each place."""
    image = np.zeros((40, 40, 12), int)
    for row, column, level in places:
        image[row : row + size, column : column + size, level : level + size] = 1
    return image


def test_a_perfect_prediction():
    image = marked((4, 4, 4), (20, 20, 4))
    case = valdo_case(image, image, SPACING)
    assert (case.references, case.predicted, case.found) == (2, 2, 2)
    assert (case.f1, case.dice) == (1.0, 1.0)
    assert (case.count_difference, case.volume_difference_mm3) == (0, 0.0)


def test_one_missed_one_false_and_a_shifted_one_are_as_computed_by_hand():
    case = valdo_case(
        marked((4, 4, 4), (20, 20, 4)), marked((5, 4, 4), (30, 30, 4), (4, 30, 4)), SPACING
    )
    assert case.found == 1
    assert case.f1 == pytest.approx(2 / (2 + 3))
    assert case.dice == pytest.approx(2 * 4 / 16)
    assert case.count_difference == 1
    assert case.volume_difference_mm3 == pytest.approx(8 * 0.5)


def test_centres_must_be_closer_than_the_distance_in_voxels_whatever_their_size():
    reference, predicted = marked((4, 4, 4)), marked((4, 4, 8))
    assert valdo_case(reference, predicted, SPACING, distance_voxels=4.0).found == 0
    near = valdo_case(reference, predicted, SPACING, distance_voxels=4.01)
    # Matched without a voxel in common: its Dice of 0 is one of those averaged.
    assert (near.found, near.f1, near.dice) == (1, 1.0, 0.0)


def test_of_two_predictions_one_is_found_and_both_enter_the_dice():
    reference = marked((10, 10, 4))
    case = valdo_case(reference, marked((11, 10, 4), (7, 10, 4)), SPACING)
    assert (case.found, case.predicted) == (1, 2)
    assert case.f1 == pytest.approx(2 / 3)
    assert case.dice == pytest.approx(2 * 4 / (8 + 16))


def test_two_predictions_equally_near_are_still_one_found():
    case = valdo_case(marked((10, 10, 4)), marked((7, 10, 4), (13, 10, 4)), SPACING)
    assert (case.found, case.f1) == (1, pytest.approx(2 / 3))


def test_greedy_loses_a_match_that_one_to_one_finds():
    # Both predictions are nearest to the first lesion, though the second is within reach too.
    reference = marked((10, 10, 4), (17, 10, 4), size=1)
    predicted = marked((11, 10, 4), (13, 10, 4), size=1)
    case = valdo_case(reference, predicted, SPACING)
    assert (case.found, case.f1) == (1, 0.5)
    one_to_one = match(
        pairing(
            np.where(reference, np.cumsum(reference).reshape(reference.shape), 0),
            np.where(predicted, np.cumsum(predicted).reshape(predicted.shape), 0),
            SPACING,
            Rule.CENTROID,
        )
    )
    assert len(one_to_one.pairs) == 2


def test_nothing_matched_has_a_dice_of_zero():
    case = valdo_case(marked((4, 4, 4)), marked((30, 30, 4)), SPACING)
    assert (case.f1, case.dice) == (0.0, 0.0)
    assert valdo_case(marked((4, 4, 4)), marked(), SPACING).dice == 0.0


@pytest.mark.parametrize("predicted", [marked(), marked((4, 4, 4))])
def test_an_empty_reference_has_no_f1_and_no_dice_even_with_false_calls(predicted):
    case = valdo_case(marked(), predicted, SPACING)
    assert math.isnan(case.f1)
    assert math.isnan(case.dice)
    assert case.count_difference == case.predicted
    assert case.volume_difference_mm3 == predicted.sum() * 0.5


def test_lesions_that_touch_at_a_corner_are_one():
    image = np.zeros((9, 9, 9), int)
    image[2, 2, 2], image[3, 3, 3] = 1, 2
    assert valdo_case(image, image, (1.0, 1.0, 1.0)).references == 1


def test_medians_and_means_leave_undefined_scans_out_and_count_them():
    full, empty = marked((4, 4, 4)), marked()
    cases = [
        valdo_case(full, full, SPACING),
        valdo_case(full, full, SPACING),
        valdo_case(full, empty, SPACING),
        valdo_case(empty, marked((4, 4, 4), (20, 20, 4), (30, 4, 4)), SPACING),
    ]
    scores = valdo_scores(cases)
    assert (scores["f1"], scores["f1_q25"], scores["f1_q75"]) == (1.0, 0.5, 1.0)
    assert scores["f1_mean"] == pytest.approx(2 / 3)
    assert scores["dice_mean"] == pytest.approx(2 / 3)
    assert scores["count_difference"] == pytest.approx(0.5)
    assert scores["count_difference_mean"] == pytest.approx(1.0)
    assert scores["volume_difference_mm3_mean"] == pytest.approx((4 + 12) / 4)
    assert (scores["scans"], scores["undefined_scans"]) == (4, 1)


def test_no_scan_is_undefined():
    scores = valdo_scores([])
    assert math.isnan(scores["f1"])
    assert math.isnan(scores["count_difference"])


def test_a_distance_of_nothing_and_another_shape_are_refused():
    with pytest.raises(InputError, match="above 0 voxels"):
        valdo_case(marked(), marked(), SPACING, 0.0)
    with pytest.raises(InputError, match="expected a prediction of"):
        valdo_case(marked(), marked()[1:], SPACING)
