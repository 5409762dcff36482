import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mmocnet.predict.measure import feret_diameter_mm, measure


def _ellipsoid(affine, shape, centre_mm, radii_mm):
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = grid @ affine[:3, :3].T + affine[:3, 3]
    return ((((world - centre_mm) / radii_mm) ** 2).sum(axis=-1) <= 1).astype(np.int32)


def _affine(spacing_mm, rotation=None, offset=(0.0, 0.0, 0.0)):
    affine = np.eye(4)
    turn = np.eye(3) if rotation is None else Rotation.from_rotvec(rotation).as_matrix()
    affine[:3, :3] = turn * spacing_mm
    affine[:3, 3] = offset
    return affine


def test_a_ball_has_its_analytic_measures():
    affine = _affine((0.25, 0.25, 0.25), offset=(-10.0, -11.0, -12.0))
    labels = _ellipsoid(affine, (60, 60, 60), np.array([-3.0, -4.0, -5.0]), np.array([4.0] * 3))
    found = measure(labels, affine)[1]
    assert found.centre_mm == pytest.approx((-3.0, -4.0, -5.0), abs=0.02)
    assert found.volume_mm3 == pytest.approx(4 / 3 * math.pi * 4**3, rel=0.02)
    assert found.diameter_mm == pytest.approx(8.0, abs=0.3)
    assert found.diameter_eq_mm == pytest.approx(8.0, abs=0.1)


@pytest.mark.parametrize("rotation", [(0.0, 0.0, 0.0), (0.3, -0.5, 0.2)])
def test_an_ellipsoid_on_oblique_anisotropic_voxels_has_its_longest_axis(rotation):
    affine = _affine((0.3, 0.5, 0.4), rotation, (2.0, -30.0, 7.0))
    centre = affine[:3, :3] @ [30, 30, 30] + affine[:3, 3]
    labels = _ellipsoid(affine, (60, 60, 60), centre, np.array([3.0, 6.0, 2.0]))
    found = measure(labels, affine)[1]
    assert found.diameter_mm == pytest.approx(12.0, abs=0.6)
    assert found.volume_mm3 == pytest.approx(4 / 3 * math.pi * 36, rel=0.03)
    assert found.centre_voxel == (30, 30, 30)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([2, 3]))
def test_feret_diameter_is_the_largest_distance_of_reached_points(seed, count, dimension):
    rng = np.random.default_rng(seed)
    voxels = rng.integers(0, 8, size=(count, dimension))
    columns = rng.normal(size=(3, dimension)) + 2 * np.eye(3)[:, :dimension]
    side = np.linalg.norm(columns, axis=0)
    points = []
    for voxel in voxels:
        for axis in range(dimension):
            for way in (-0.5, 0.5):
                step = columns[:, axis] / side[axis] * side.min() * way
                points.append(columns @ voxel + step)
    expected = max(np.linalg.norm(a - b) for a in points for b in points)
    assert feret_diameter_mm(voxels, columns) == pytest.approx(expected, rel=1e-9)


def test_one_voxel_measures_its_side():
    labels = np.zeros((5, 5, 5), dtype=np.int32)
    labels[2, 2, 2] = 1
    assert measure(labels, _affine((0.8, 0.8, 0.8)))[1].diameter_mm == pytest.approx(0.8)


def test_a_thick_slice_does_not_make_a_small_lesion_long():
    labels = np.zeros((20, 20, 5), dtype=np.int32)
    labels[8:11, 8:11, 2] = 1
    found = measure(labels, _affine((1.0, 1.0, 5.0)))[1]
    assert found.diameter_mm < 4.0


@pytest.mark.parametrize(("slices", "sure_mm"), [(1, 13**0.5), (2, 13**0.5), (3, 7.0), (4, 12.0)])
def test_what_is_sure_of_a_diameter_ends_early_in_thick_slices(slices, sure_mm):
    labels = np.zeros((20, 20, 8), dtype=np.int32)
    labels[8:11, 8:11, 2] = 1
    labels[9, 9, 1 : 1 + slices] = 1
    found = measure(labels, _affine((1.0, 1.0, 5.0)))[1]
    assert found.sure_diameter_mm == pytest.approx(sure_mm)
    assert found.sure_diameter_mm <= found.diameter_mm


def test_on_isotropic_voxels_all_of_a_diameter_is_sure(rng):
    labels = (rng.random((6, 7, 8)) < 0.2).astype(np.int32)
    found = measure(labels, _affine((0.9, 0.9, 0.9)))[1]
    assert found.sure_diameter_mm == pytest.approx(found.diameter_mm)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_is_measured_as_a_disc_in_its_plane(axis):
    shape, spacing = [101, 101, 101], [0.2, 0.2, 0.2]
    shape[axis], spacing[axis] = 1, 7.0
    affine = _affine(spacing)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    centre = np.array([n // 2 for n in shape])
    radius = np.linalg.norm((grid - centre) * spacing, axis=-1)
    found = measure((radius <= 3).astype(np.int32), affine)[1]
    assert found.diameter_mm == pytest.approx(6.0, abs=0.25)
    assert found.diameter_eq_mm == pytest.approx(6.0, abs=0.1)
    assert found.volume_mm3 == pytest.approx(math.pi * 9 * 7, rel=0.03)


def test_labels_keep_their_numbers_and_missing_ones_are_left_out(rng):
    labels = np.zeros((9, 9, 9), dtype=np.int32)
    labels[1, 1, 1], labels[5:7, 5, 5] = 4, 9
    assert set(measure(labels, np.eye(4))) == {4, 9}


def test_an_empty_image_has_no_measurements():
    assert measure(np.zeros((4, 4, 4), dtype=np.int32), np.eye(4)) == {}
