import math

import numpy as np
import pytest
from scipy import ndimage

from mmocnet.evaluate.realism import Realism, ranges, slice_realism, volume_realism
from mmocnet.volume import Volume


def by_hand(image, brain, row, column, pixel_mm):
    """Return local mean and SD at one pixel by summing every weight."""
    rows, columns = np.indices(image.shape)
    squared = ((rows - row) ** 2 + (columns - column) ** 2) * pixel_mm**2
    weight = np.where(brain, np.exp(-squared / (2 * 3.0**2)), 0.0)
    mean = (weight * image).sum() / weight.sum()
    return mean, math.sqrt((weight * (image - mean) ** 2).sum() / weight.sum())


def test_figures_are_those_of_weighted_sums_over_the_brain(rng):
    image = rng.uniform(50, 100, (40, 44))
    brain = np.zeros(image.shape, bool)
    brain[6:36, 5:40] = True
    figures = slice_realism(image, brain, pixel_mm=1.0)
    inside = [(r, c) for r in range(9, 33) for c in range(8, 37)]
    moments = [by_hand(image, brain, r, c, 1.0) for r, c in inside]
    ratio = [image[p] / mean for p, (mean, _) in zip(inside, moments, strict=True)]
    assert figures.pixels == len(inside)
    assert figures.dark_share == pytest.approx(np.mean(np.array(ratio) < 0.8), abs=2 / len(inside))
    expected = np.mean([deviation / mean for mean, deviation in moments])
    assert figures.local_variation == pytest.approx(expected, rel=1e-3)


def test_noise_of_a_tenth_varies_by_a_tenth(rng):
    image = rng.normal(100, 10, (200, 200))
    assert slice_realism(image, np.ones(image.shape, bool)).local_variation == pytest.approx(
        0.1, rel=0.02
    )


def test_the_outside_does_not_reach_the_figures(rng):
    image = rng.uniform(50, 100, (60, 60))
    brain = np.zeros(image.shape, bool)
    brain[10:50, 10:50] = True
    assert slice_realism(image, brain) == slice_realism(np.where(brain, image, 9999.0), brain)


def test_a_slice_without_brain_has_no_figures():
    figures = slice_realism(np.zeros((30, 30)))
    assert figures.pixels == 0
    assert math.isnan(figures.dark_share)


def test_a_stripped_volume_is_measured_across_its_thick_slices(rng):
    array = np.zeros((100, 5, 90), np.float32)
    array[15:85, :, 15:75] = rng.normal(100, 8, (70, 5, 60))
    figures = volume_realism(Volume(array, np.diag([0.5, 3.0, 0.5, 1.0])))
    assert len(figures) == 5
    for one, image in zip(figures, np.moveaxis(array, 1, 0), strict=True):
        assert one == slice_realism(image)


def test_slices_are_resampled_to_half_a_millimetre(rng):
    fine = ndimage.gaussian_filter(rng.normal(100, 30, (160, 160)), 6)
    coarse = fine.reshape(80, 2, 80, 2).mean(axis=(1, 3))
    volume = Volume(np.repeat(coarse[:, :, None], 2, 2), np.diag([1.0, 1.0, 3.0, 1.0]))
    (first, _) = volume_realism(volume, np.ones(volume.shape, bool))
    exact = slice_realism(fine, np.ones(fine.shape, bool))
    assert first.local_variation == pytest.approx(exact.local_variation, rel=0.03)


def test_ranges_leave_out_what_has_no_figures():
    nan = float("nan")
    figures = [Realism(0.1, 0.2, 9), Realism(nan, nan, 0), Realism(0.3, 0.1, 9)]
    span = ranges(figures)["dark_share"]
    assert (span.low, span.median, span.high) == (0.1, pytest.approx(0.2), 0.3)
    assert math.isnan(ranges([])["dark_share"].low)
