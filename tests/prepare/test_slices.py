import numpy as np
import pytest

from mmocnet.config import PreparationSettings
from mmocnet.errors import InputError
from mmocnet.prepare.intensity import normalise
from mmocnet.prepare.slices import prepare_slices
from mmocnet.volume import Volume


@pytest.fixture
def scan(rng):
    array = rng.uniform(200, 400, (80, 96, 5)).astype(np.float32)
    return Volume(array, np.diag([0.5, 0.5, 2.0, 1.0]))


@pytest.fixture
def brain(scan):
    mask = np.zeros(scan.shape, bool)
    mask[20:60, 20:70, 1:4] = True
    return mask


def test_the_brains_median_becomes_a_half(scan, brain):
    prepared = prepare_slices(scan, PreparationSettings(), brain)
    assert np.median(prepared.array[prepared.brain]) == pytest.approx(0.5, abs=1e-3)
    assert prepared.array.dtype == np.float32
    assert prepared.array.min() >= 0
    assert prepared.array.max() <= 1


def test_the_intensity_scale_does_not_matter(scan, brain):
    once = prepare_slices(scan, PreparationSettings(), brain).array
    scaled = prepare_slices(scan.like(scan.array * 7.5), PreparationSettings(), brain).array
    np.testing.assert_allclose(scaled, once, atol=1e-5)


def test_the_skull_is_set_to_zero_only_where_asked(scan, brain):
    stripped = prepare_slices(scan, PreparationSettings(), brain)
    assert (stripped.array[~stripped.brain] == 0).all()
    whole = prepare_slices(scan, PreparationSettings(strip_skull=False), brain)
    assert (whole.array[~whole.brain] > 0).any()


def test_a_margin_shows_what_lies_around_the_brain(scan, brain):
    tight = prepare_slices(scan, PreparationSettings(), brain)
    np.testing.assert_array_equal(tight.shown, tight.brain)
    wide = prepare_slices(scan, PreparationSettings(margin_mm=1.0), brain)
    np.testing.assert_array_equal(wide.brain, tight.brain)
    np.testing.assert_allclose(wide.array[wide.brain], tight.array[tight.brain])
    reached = np.zeros(scan.shape, bool)
    reached[18:62, 18:72, 1:4] = True
    np.testing.assert_array_equal(wide.grid.to_input(wide.shown, order=0) > 0, reached)
    assert (wide.array[wide.shown] > 0).all()
    assert (wide.array[~wide.shown] == 0).all()


def test_the_working_brain_is_the_brain(scan, brain):
    prepared = prepare_slices(scan, PreparationSettings(), brain)
    assert prepared.brain.sum() == brain.sum()
    assert prepared.array.shape == prepared.grid.shape == prepared.brain.shape


def test_without_a_brain_nothing_is_cut(scan):
    prepared = prepare_slices(scan, PreparationSettings(), None)
    assert prepared.brain.sum() == scan.array.size
    np.testing.assert_allclose(
        prepared.grid.to_input(prepared.array), normalise(scan.array, None, "median"), atol=1e-5
    )


def test_minmax_spreads_each_slice_over_zero_to_one(scan):
    settings = PreparationSettings(pixel_mm=None, normalisation="minmax", strip_skull=False)
    prepared = prepare_slices(scan, settings, None)
    assert prepared.array.shape == (5, 352, 448)
    np.testing.assert_allclose(prepared.array.min(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(prepared.array.max(axis=(1, 2)), 1, atol=1e-6)


def test_a_brain_of_another_shape_is_refused(scan):
    with pytest.raises(InputError, match="shape"):
        prepare_slices(scan, PreparationSettings(), np.ones((3, 3, 3), bool))


def test_minmax_of_a_constant_is_zero():
    assert not normalise(np.full((2, 3, 4), 7.0, np.float32), None, "minmax").any()


def test_a_median_of_zero_is_refused():
    with pytest.raises(InputError, match="median above 0"):
        normalise(np.zeros((2, 3, 4), np.float32), np.ones((2, 3, 4), bool), "median")
