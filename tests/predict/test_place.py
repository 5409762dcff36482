import numpy as np
import pytest

from mmocnet.predict.place import (
    AREA_SCALE_MM2,
    DEPTH_SCALE_MM,
    FRONT_SCALE_MM,
    SIDE_SCALE_MM,
    places,
)

SCALES = np.array([DEPTH_SCALE_MM, SIDE_SCALE_MM, FRONT_SCALE_MM, AREA_SCALE_MM2])


def box(first: int = 10) -> np.ndarray:
    """Two slices, the second with a brain of 40 x 60 pixels that has a ventricle."""
    brain = np.zeros((2, 80, 100), bool)
    brain[1, first : first + 40, 20:80] = True
    brain[1, first + 18 : first + 22, 45:55] = False
    return brain


def test_depth_side_front_and_size_are_in_mm() -> None:
    found = places(box(), np.array([[1, 14, 69]]), (0.5, 1.0)) * SCALES
    # Row 14 is the fifth of the brain, 2.5 mm from the first pixel that is outside.
    assert found[0] == pytest.approx([2.5, (29.5 - 14) * 0.5, 69 - 49.5, 40 * 60 * 0.5])


def test_left_and_right_are_alike_front_and_back_are_not() -> None:
    at = np.array([[1, 12, 30], [1, 47, 30], [1, 12, 69]])
    left, right, front = places(box(), at, (0.5, 0.5))
    assert right == pytest.approx(left)
    assert front[2] == pytest.approx(-left[2])
    assert front[2] > 0


def test_a_ventricle_is_no_edge_and_the_end_of_the_scan_is_one() -> None:
    deep = places(box(), np.array([[1, 29, 49]]), (0.5, 0.5))[0, 0] * DEPTH_SCALE_MM
    assert deep == pytest.approx(20 * 0.5)
    cut = places(box(first=0), np.array([[1, 4, 49]]), (0.5, 0.5))[0, 0] * DEPTH_SCALE_MM
    assert cut == pytest.approx(5 * 0.5)


def test_outside_of_the_brain_depth_is_zero_and_without_a_brain_all_is() -> None:
    outside, nowhere = places(box(), np.array([[1, 5, 50], [0, 29, 49]]), (0.5, 0.5))
    assert outside[0] == 0
    assert outside[3] > 0
    assert not nowhere.any()
