import math

import numpy as np
import pytest
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.predict.contrast import REACH_MM, outline_by_contrast


def _distance(shape, centre, spacing):
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return np.linalg.norm((grid - centre) * spacing, axis=-1)


def _dark(distance, sd_mm, depth=0.8):
    return 1 - depth * np.exp(-(distance**2) / (2 * sd_mm**2))


def _all(image):
    return np.ones(image.shape, bool)


@pytest.mark.parametrize("share", [0.3, 0.45, 0.6])
@pytest.mark.parametrize(
    ("spacing", "drawn_mm"),
    # Drawn too narrow it gets no slice back: a slice is further away than it may grow.
    [
        ((0.4, 0.4, 0.4), -0.4),
        ((0.4, 0.4, 0.4), 0.8),
        ((0.4, 0.5, 1.2), 0.0),
        ((0.4, 0.5, 1.2), 0.8),
    ],
)
def test_a_blurred_ball_ends_where_the_share_of_its_contrast_is_left(share, spacing, drawn_mm):
    shape, centre, sd = (48, 40, 28), (24, 20, 14), 1.1
    distance = _distance(shape, centre, spacing)
    image = _dark(distance, sd)
    radius = sd * math.sqrt(2 * math.log(1 / share))
    labels = (distance <= radius + drawn_mm).astype(np.int32)
    found = outline_by_contrast(labels, image, _all(image), spacing, share)
    # Tissue up to 3 mm from the ball is darkened by it, so that the outline is a little tighter.
    exact = distance <= radius
    dice = 2 * np.count_nonzero(exact & (found == 1)) / (exact.sum() + (found == 1).sum())
    assert dice > 0.93
    assert set(np.unique(found)) == {0, 1}


def test_a_candidate_grows_no_further_than_its_reach():
    spacing = (0.5, 0.5, 0.5)
    distance = _distance((60, 40, 40), (30, 20, 20), spacing)
    image = np.where(distance <= 4, 0.1, 1.0)
    labels = (distance <= 1).astype(np.int32)
    # What lies around is as dark as the candidate: nothing to go by.
    assert np.array_equal(outline_by_contrast(labels, image, _all(image), spacing, 0.5), labels)
    image[distance <= 1] = 0.0
    image[30, 20, 20] = -0.01
    image[distance > 2] = 1.0
    found = outline_by_contrast(labels, image, _all(image), spacing, 0.5)
    away = ndimage.distance_transform_edt(labels == 0, sampling=spacing)
    assert (found > 0).sum() > (labels > 0).sum()
    assert away[found > 0].max() <= REACH_MM


def test_neighbours_keep_their_voxels_and_every_candidate_is_left(rng):
    spacing = (0.5, 0.5, 1.0)
    image = ndimage.gaussian_filter(rng.random((40, 40, 12)), 1.0)
    labels, count = ndimage.label(image < np.percentile(image, 12), np.ones((3, 3, 3)))
    labels = labels.astype(np.int32)
    before = labels.copy()
    found = outline_by_contrast(labels, image, _all(image), spacing, 0.45)
    assert np.array_equal(labels, before)
    assert set(np.unique(found)) == set(range(count + 1))
    # No voxel of one candidate is given to another.
    both = (before > 0) & (found > 0)
    assert np.array_equal(found[both], before[both])
    for number in range(1, count + 1):
        darkest = np.argmin(np.where(before == number, image, np.inf))
        assert found.ravel()[darkest] == number
        assert ndimage.label(found == number, np.ones((3, 3, 3)))[1] == 1


def test_a_vein_that_leaves_a_candidate_is_no_part_of_it():
    spacing = (0.5, 0.5, 0.5)
    shape, centre = (60, 60, 20), (30, 30, 10)
    distance = _distance(shape, centre, spacing)
    image = _dark(distance, 0.9)
    image[:, 30, 10] = np.minimum(image[:, 30, 10], 0.25)
    labels = (distance <= 1.5).astype(np.int32)
    found = outline_by_contrast(labels, image, _all(image), spacing, 0.45)
    reached = np.flatnonzero((found > 0).any(axis=(1, 2)))
    assert np.ptp(reached) * 0.5 <= 2 * (1.5 + REACH_MM)


def test_what_lies_outside_the_brain_is_no_tissue():
    spacing = (0.5, 0.5, 1.0)
    distance = _distance((40, 40, 11), (20, 20, 5), spacing)
    image = _dark(distance, 0.9)
    labels = (distance <= 1.8).astype(np.int32)
    brain = _all(image)
    brain[20:] = False
    inside = outline_by_contrast(labels, image, brain, spacing, 0.45)
    # Black or glaring, it changes nothing.
    for value in (0.0, 5.0):
        other = np.where(brain | (distance <= 3), image, value)
        assert np.array_equal(outline_by_contrast(labels, other, brain, spacing, 0.45), inside)
    none = np.zeros_like(brain)
    assert np.array_equal(outline_by_contrast(labels, image, none, spacing, 0.45), labels)


def test_a_bright_middle_belongs_to_its_candidate():
    spacing = (0.5, 0.5, 0.5)
    distance = _distance((40, 40, 40), (20, 20, 20), spacing)
    image = np.where((distance <= 2) & (distance > 0.8), 0.1, 1.0)
    labels = ((distance <= 2) & (distance > 0.8)).astype(np.int32)
    found = outline_by_contrast(labels, image, _all(image), spacing, 0.45)
    assert np.array_equal(found > 0, distance <= 2)


def test_a_slice_is_outlined_in_its_plane():
    spacing = (0.5, 0.5, 5.0)
    distance = _distance((50, 50, 1), (25, 25, 0), spacing)
    image = _dark(distance, 1.1)
    radius = 1.1 * math.sqrt(2 * math.log(2))
    labels = (distance <= radius + 0.7).astype(np.int32)
    found = outline_by_contrast(labels, image, _all(image), spacing, 0.5)
    assert np.count_nonzero(found) == pytest.approx(math.pi * radius**2 / 0.25, rel=0.15)


@pytest.mark.parametrize("share", [0.0, 1.0, math.nan])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(InputError, match="between 0 and 1"):
        outline_by_contrast(np.ones((1, 1, 1), np.int32), np.ones((1, 1, 1)), None, (1,) * 3, share)
