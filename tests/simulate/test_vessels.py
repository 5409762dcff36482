import numpy as np
import pytest

from mmocnet.simulate.anatomy import Anatomy
from mmocnet.simulate.cloud import STEP_MM, Cloud, merge, splat, spline, tube
from mmocnet.simulate.grid import Grid
from mmocnet.simulate.vessels import draw_arteries, draw_veins

GRID = Grid((0.0, 0.0, 0.0), (0.6, 0.6, 1.0), (30, 32, 20))


def some_cloud(rng: np.random.Generator, count: int = 400) -> Cloud:
    """Return sparse points inside the grid, a voxel from its border."""
    points = rng.uniform(1.5, 15.0, (count, 3))
    return Cloud(points, rng.uniform(0, 0.02, count), rng.uniform(-1, 2, count))


def test_splatting_keeps_volume_and_moment(rng: np.random.Generator) -> None:
    cloud = some_cloud(rng)
    share, weighted = splat(cloud, GRID, "cpu").double()
    voxel_mm3 = np.prod(GRID.spacing_mm)
    assert float(share.sum()) * voxel_mm3 == pytest.approx(cloud.volume_mm3.sum(), rel=1e-5)
    moment = (cloud.volume_mm3 * cloud.weight).sum()
    assert float(weighted.sum()) * voxel_mm3 == pytest.approx(moment, rel=1e-4)


def test_a_point_a_rounding_error_inside_the_border_is_splatted() -> None:
    point = (np.array(GRID.shape) + 0.5) * GRID.spacing_mm - 1e-9
    share = splat(Cloud(point[None], np.ones(1), np.ones(1)), GRID, "cpu")[0]
    assert share.shape == GRID.shape
    assert float(share.sum()) == 0


def test_splatting_keeps_the_centre_of_mass(rng: np.random.Generator) -> None:
    cloud = some_cloud(rng)
    share = splat(cloud, GRID, "cpu")[0].double()
    centre = (GRID.centres_mm("cpu") * share).sum((1, 2, 3)) / share.sum()
    expected = np.average(cloud.points_mm, axis=0, weights=cloud.volume_mm3)
    np.testing.assert_allclose(centre, expected, atol=1e-4)


def test_splatting_is_a_weighted_histogram_for_points_on_voxel_centres() -> None:
    voxels = np.array([[3, 4, 5], [3, 4, 5], [0, 0, 0], [29, 31, 19]])
    points = (voxels + 0.5) * GRID.spacing_mm
    volume = np.array([0.05, 0.04, 0.03, 0.02])
    share = splat(Cloud(points, volume, np.ones(4)), GRID, "cpu")[0]
    expected = np.zeros(GRID.shape)
    np.add.at(expected, tuple(voxels.T), volume / np.prod(GRID.spacing_mm))
    np.testing.assert_allclose(share, expected, atol=1e-5)


def test_a_voxel_holds_no_more_than_itself_and_the_mean_weight(rng: np.random.Generator) -> None:
    """2 mm3 in a voxel of .36: full, and of the points' mean weight."""
    points = np.tile((np.array([[10, 10, 10]]) + 0.5) * GRID.spacing_mm, (40, 1))
    weight = rng.uniform(0, 1, 40)
    share, weighted = splat(Cloud(points, np.full(40, 0.05), weight), GRID, "cpu")
    assert float(share.max()) == pytest.approx(1)
    assert float(weighted.max()) == pytest.approx(weight.mean(), rel=1e-4)


def test_what_lies_outside_leaves_no_trace(rng: np.random.Generator) -> None:
    points = rng.uniform(1, 15, (60, 3)) + np.array([30, 0, 0])
    assert not splat(Cloud(points, np.ones(60), np.ones(60)), GRID, "cpu").any()


def test_an_empty_cloud_fills_nothing() -> None:
    assert not splat(merge([]), GRID, "cpu").any()


@pytest.mark.parametrize("radius", [0.12, 0.5, 1.4])
def test_a_tube_has_the_volume_of_a_cylinder(radius: float, rng: np.random.Generator) -> None:
    count = 41
    path = np.outer(np.arange(count) * STEP_MM, [0.6, 0.0, 0.8])
    cloud = tube(path, np.full(count, radius), 0.4, rng)
    expected = np.pi * radius**2 * count * STEP_MM
    assert cloud.volume_mm3.sum() == pytest.approx(expected, rel=1e-9)
    assert set(cloud.weight) == {0.4}


def test_a_tube_fills_its_cross_section_evenly(rng: np.random.Generator) -> None:
    """The mean square distance from the axis of a uniform disc is half the square radius."""
    path = np.outer(np.arange(60) * STEP_MM, [0.0, 1.0, 0.0])
    cloud = tube(path, np.full(60, 1.0), 1.0, rng)
    square = cloud.points_mm[:, 0] ** 2 + cloud.points_mm[:, 2] ** 2
    assert square.max() <= 1 + 1e-9
    assert np.average(square, weights=cloud.volume_mm3) == pytest.approx(0.5, abs=0.03)


def test_merging_keeps_every_point(rng: np.random.Generator) -> None:
    parts = [some_cloud(rng, n) for n in (3, 5)]
    both = merge(parts)
    np.testing.assert_array_equal(both.points_mm[3:], parts[1].points_mm)
    assert len(both.weight) == len(both.volume_mm3) == 8


def test_a_spline_without_jitter_passes_its_points_in_even_steps(rng: np.random.Generator) -> None:
    points = np.array([[0.0, 0, 0], [5, 3, 0], [10, 3, 4], [16, 0, 4]])
    path = spline(points, 0.0, rng)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert steps.mean() == pytest.approx(STEP_MM, rel=0.1)
    assert min(np.linalg.norm(path - points[1], axis=1)) < STEP_MM
    assert min(np.linalg.norm(path - points[2], axis=1)) < STEP_MM


def test_veins_have_a_plausible_volume_and_the_susceptibility_of_blood(anatomy: Anatomy) -> None:
    """Venous blood is about 2 to 4 % of the brain."""
    cloud = draw_veins(anatomy, 0.5, np.random.default_rng(11), "cpu")
    assert 10e3 < cloud.volume_mm3.sum() < 90e3
    assert cloud.weight.min() >= 0.5 * 0.7
    assert cloud.weight.max() <= 0.5 * 1.11


def test_the_sagittal_sinus_runs_over_the_vertex(anatomy: Anatomy) -> None:
    cloud = draw_veins(anatomy, 0.5, np.random.default_rng(12), "cpu")
    mni = anatomy.warp.to_mni(cloud.points_mm)
    # A 10 mm stretch of a vessel of 1.5 to 4.5 mm radius.
    here = (np.abs(mni[:, 0]) < 8) & (np.abs(mni[:, 1] + 15) < 5) & (mni[:, 2] > 68)
    assert 60 < cloud.volume_mm3[here].sum() < 900


def test_the_basilar_artery_runs_before_the_pons(anatomy: Anatomy) -> None:
    cloud = draw_arteries(anatomy, np.random.default_rng(13), "cpu")
    mni = anatomy.warp.to_mni(cloud.points_mm)
    near = np.linalg.norm(mni - [0.0, -19.0, -32.0], axis=1) < 5
    assert cloud.volume_mm3[near].sum() > 10
    assert set(cloud.weight) == {1.0}
