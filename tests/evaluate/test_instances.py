import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.evaluate.instances import Instances, ProbabilityMap, from_mask


def test_lesions_under_the_threshold_are_dropped_and_keep_their_numbers():
    lesions = Instances(np.array([[1, 0, 2, 3]]), np.array([0.9, 0.2, 0.5]))
    assert lesions.at(0.5).tolist() == [[1, 0, 0, 3]]
    assert lesions.levels().tolist() == [0.2, 0.5, 0.9]


def test_a_lesion_taken_out_leaves_its_level_too():
    lesions = Instances(np.array([[1, 0, 2]]), np.array([0.9, 0.2])).without([2])
    assert lesions.at(0.0).tolist() == [[1, 0, 0]]
    assert lesions.levels().tolist() == [0.9]


def test_a_probability_map_falls_into_pieces_as_the_threshold_rises():
    found = ProbabilityMap(np.array([[0.9, 0.4, 0.9]]))
    assert found.at(0.3).max() == 1
    assert found.at(0.5).max() == 2


def test_a_mask_of_one_value_is_split_and_numbered_lesions_are_kept():
    assert from_mask(np.array([[255, 0, 255]])).labels.tolist() == [[1, 0, 2]]
    assert from_mask(np.array([[4, 0, 7, 4]])).labels.tolist() == [[1, 0, 2, 1]]


def test_an_empty_mask_is_no_lesion():
    assert len(from_mask(np.zeros((2, 2))).confidence) == 0


def test_fractions_are_no_lesion_numbers():
    with pytest.raises(InputError, match="whole lesion numbers"):
        from_mask(np.array([0.25, 3.5]))


def test_a_label_without_confidence_is_refused():
    with pytest.raises(InputError, match="a confidence for each"):
        Instances(np.array([[2]]), np.array([0.5]))
