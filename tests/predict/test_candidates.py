import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.lesion import Candidate, Roi
from mmocnet.predict.candidates import cut_rois, find_candidates, roi_around


def test_each_component_of_each_slice_is_a_candidate(rng):
    probability = ndimage.gaussian_filter(rng.random((4, 60, 50)), (0, 1.5, 1.5))
    threshold = float(np.quantile(probability, 0.9))
    found = find_candidates(probability, threshold, roi_size=64)
    expected = []
    for index, plane in enumerate(probability):
        labels, count = ndimage.label(plane >= threshold, np.ones((3, 3)))
        for number in range(1, count + 1):
            inside = labels == number
            expected.append((index, int(inside.sum()), float(plane[inside].max())))
    assert sorted((c.slice_index, c.area_px, c.probability) for c in found) == sorted(expected)


def test_diagonal_neighbours_are_one_component():
    probability = np.zeros((1, 8, 8))
    probability[0, 2, 2] = probability[0, 3, 3] = 0.9
    assert len(find_candidates(probability, 0.5, 32)) == 1


def test_components_of_neighbouring_slices_stay_apart():
    probability = np.zeros((2, 8, 8))
    probability[:, 2, 2] = 0.9
    assert [c.slice_index for c in find_candidates(probability, 0.5, 32)] == [0, 1]


def test_centre_is_the_centroid_of_a_convex_component():
    probability = np.zeros((1, 20, 20))
    probability[0, 4:9, 10:13] = 0.7
    (found,) = find_candidates(probability, 0.5, 32)
    assert (found.row, found.col) == (6.0, 11.0)


def test_centre_is_the_peak_where_the_centroid_falls_outside():
    probability = np.zeros((1, 30, 30))
    probability[0, 5:20, 5] = probability[0, 5:20, 19] = probability[0, 5, 5:20] = 0.6
    probability[0, 17, 19] = 0.9
    (found,) = find_candidates(probability, 0.5, 32)
    assert (found.row, found.col) == (17.0, 19.0)


@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 16, 32]))
def test_every_pixel_of_every_component_lies_in_a_patch(seed, size):
    rng = np.random.default_rng(seed)
    probability = ndimage.gaussian_filter(rng.random((2, 70, 60)), (0, 2, 2))
    inside = probability >= np.quantile(probability, rng.uniform(0.3, 0.95))
    covered = np.zeros(inside.shape, dtype=bool)
    for candidate in find_candidates(inside.astype(float), 0.5, size):
        roi = roi_around(candidate, size)
        rows = slice(max(roi.row, 0), roi.row + size)
        covered[roi.slice_index, rows, max(roi.col, 0) : roi.col + size] = True
    assert not (inside & ~covered).any()


def test_nothing_above_threshold_gives_no_candidate():
    assert find_candidates(np.full((2, 5, 5), 0.4), 0.5, 32) == []


@pytest.mark.parametrize("corner", [(-5, -7), (3, 4), (20, 30), (-40, 10)])
@pytest.mark.parametrize("size", [16, 64])
def test_patches_reflect_at_the_border_as_numpy_does(rng, corner, size):
    image = rng.random((3, 24, 33))
    roi = Roi(1, *corner, size)
    padded = np.pad(image[1], 200, mode="reflect")
    row, col = corner[0] + 200, corner[1] + 200
    assert np.array_equal(cut_rois(image, [roi])[0, 0], padded[row : row + size, col : col + size])


def test_a_slice_of_one_row_can_be_cut():
    assert cut_rois(np.ones((1, 1, 5)), [Roi(0, -2, 0, 4)]).shape == (1, 1, 4, 4)


def test_patches_of_two_sizes_are_refused():
    with pytest.raises(InputError, match="one size"):
        cut_rois(np.ones((1, 9, 9)), [Roi(0, 0, 0, 4), Roi(0, 0, 0, 8)])


def test_thousands_of_candidates_take_under_two_seconds(rng):
    probability = rng.random((20, 300, 300))
    start = time.perf_counter()
    found = find_candidates(probability, 0.995, 32)
    assert len(found) > 5000
    assert time.perf_counter() - start < 2.0


def test_a_patch_is_centred_on_its_candidate():
    assert roi_around(Candidate(3, 50.0, 60.0, 0.9, 4), 32) == Roi(3, 34, 44, 32)
