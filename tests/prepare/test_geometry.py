import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.prepare.geometry import (
    BRAIN_MARGIN_MM,
    slice_axis,
    working_grid,
    world_axes,
)
from mmocnet.prepare.sampling import resampling_matrix
from mmocnet.volume import Volume


def rotation(angles):
    return nib.eulerangles.euler2mat(*angles)


def placed(shape, spacing, matrix=None):
    """Return an empty volume with its middle at the origin."""
    linear = (np.eye(3) if matrix is None else matrix) @ np.diag(spacing)
    middle = (np.array(shape) - 1) / 2
    return Volume(np.zeros(shape, np.float32), nib.affines.from_matvec(linear, -linear @ middle))


def blob(volume, centre_mm, sigma_mm):
    index = np.moveaxis(np.indices(volume.shape), 0, -1)
    distance = np.linalg.norm(volume.world(index) - centre_mm, axis=-1)
    return np.exp(-0.5 * (distance / sigma_mm) ** 2).astype(np.float32)


axis_orders = st.permutations(range(3))
flips = st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)


@settings(max_examples=60, deadline=None)
@given(order=axis_orders, signs=flips, tilt=st.tuples(*[st.floats(-0.3, 0.3)] * 3))
def test_world_axes_agree_with_nibabel(order, signs, tilt):
    affine = np.eye(4)
    affine[:3, :3] = rotation(tilt) @ np.eye(3)[:, order] @ np.diag(signs)
    expected = nib.io_orientation(affine)
    nearest, against = world_axes(affine)
    assert list(nearest) == expected[:, 0].astype(int).tolist()
    assert list(against) == (expected[:, 1] < 0).tolist()


@pytest.mark.parametrize(
    ("spacing", "shape", "axis"),
    [
        ((0.5, 0.5, 2.0), (9, 9, 9), 2),
        ((2.0, 0.5, 0.5), (9, 9, 9), 0),
        ((1.0, 1.0, 1.0), (9, 9, 9), 2),
        ((1.0, 1.04, 1.0), (9, 9, 9), 2),
        ((1.0, 1.06, 1.0), (9, 9, 9), 1),
        ((2.0, 2.0, 0.5), (9, 9, 9), 1),
        ((2.0, 0.5, 0.5), (9, 1, 9), 1),
    ],
)
def test_slices_are_cut_across_the_thickest_axis(spacing, shape, axis):
    assert slice_axis(placed(shape, spacing)) == axis


def test_isotropic_slices_are_axial_in_any_order_of_axes():
    volume = placed((9, 9, 9), (1.0, 1.0, 1.0), np.eye(3)[:, [2, 0, 1]])
    assert slice_axis(volume) == 0


@settings(max_examples=40, deadline=None)
@given(order=axis_orders, signs=flips, tilt=st.tuples(*[st.floats(-0.25, 0.25)] * 3))
def test_working_axes_grow_right_anterior_and_superior(order, signs, tilt):
    linear = rotation(tilt) @ np.eye(3)[:, order] @ np.diag(signs)
    spacing = [3.0 if axis == 2 else 1.0 for axis in order]
    volume = placed((10, 11, 12), spacing, linear)
    grid = working_grid(volume, 1.0)
    origin = volume.world(grid.to_voxel(np.zeros(3)))
    for axis, world in ((0, 2), (1, 0), (2, 1)):
        step = volume.world(grid.to_voxel(np.eye(3)[axis])) - origin
        assert np.argmax(np.abs(step)) == world
        assert step[world] > 0


@pytest.mark.parametrize(("across", "rows", "cols"), [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_sagittal_and_coronal_slices_keep_the_order_of_axes(across, rows, cols):
    spacing = [3.0 if axis == across else 1.0 for axis in range(3)]
    assert working_grid(placed((8, 9, 10), spacing), 1.0).axes == (across, rows, cols)


@settings(max_examples=40, deadline=None)
@given(
    order=axis_orders,
    signs=flips,
    tilt=st.tuples(*[st.floats(-0.25, 0.25)] * 3),
    spacing=st.tuples(st.floats(0.4, 1.2), st.floats(0.4, 1.2)),
    pixel_mm=st.sampled_from([0.4, 0.5, 0.9]),
    shift=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
)
def test_a_lesion_keeps_its_centre_to_a_tenth_of_a_pixel(
    order, signs, tilt, spacing, pixel_mm, shift
):
    linear = rotation(tilt) @ np.eye(3)[:, order] @ np.diag(signs)
    sides = dict(zip((0, 1), spacing, strict=True)) | {2: 2.0}
    volume = placed((30, 32, 34), [sides[axis] for axis in order], linear)
    lesion = blob(volume, np.array(shift), 1.5)
    grid = working_grid(volume, pixel_mm)
    working = grid.to_working(lesion, order=1)
    centre = np.array(ndimage.center_of_mass(lesion))
    found = grid.to_voxel(np.array(ndimage.center_of_mass(working)))
    gap_mm = np.abs(found - centre) * volume.spacing_mm
    assert gap_mm.max() < 0.1 * pixel_mm
    back = np.array(ndimage.center_of_mass(grid.to_input(working)))
    assert (np.abs(back - centre) * volume.spacing_mm).max() < 0.1 * pixel_mm


@settings(max_examples=30, deadline=None)
@given(order=axis_orders, signs=flips, seed=st.integers(0, 99), method=st.sampled_from([0, 1, 3]))
def test_the_same_spacing_changes_no_value(order, signs, seed, method):
    sides = {0: 0.5, 1: 0.5, 2: 2.0}
    volume = placed(
        (9, 10, 11), [sides[axis] for axis in order], np.eye(3)[:, order] @ np.diag(signs)
    )
    array = np.random.default_rng(seed).random(volume.shape).astype(np.float32)
    grid = working_grid(volume, 0.5)
    working = grid.to_working(array, method)
    np.testing.assert_array_equal(np.sort(working[working != 0]), np.sort(array.ravel()))
    np.testing.assert_array_equal(grid.to_input(working, method), array)


def test_each_working_pixel_holds_the_voxel_it_says(rng):
    volume = placed((9, 10, 11), (0.5, 2.0, 0.5), np.eye(3)[:, [1, 2, 0]])
    array = rng.random(volume.shape).astype(np.float32)
    grid = working_grid(volume, 0.5)
    working = grid.to_working(array, 0)
    for inner in ([2, 3, 4], [7, 8, 1]):
        point = np.array(inner) - [0, *grid.start]
        voxel = np.round(grid.to_voxel(point)).astype(int)
        assert working[tuple(point)] == array[tuple(voxel)]


def test_sides_are_multiples_of_32_and_hold_the_whole_slice():
    grid = working_grid(placed((200, 231, 5), (0.9, 0.9, 3.0)), 0.5)
    assert grid.shape[0] == 5
    for side, start, count in zip(grid.size, grid.start, (200, 231), strict=True):
        assert side % 32 == 0
        assert start <= 0
        assert start + side >= count * 0.9 / 0.5


def test_probability_survives_the_round_trip(rng):
    volume = placed((60, 60, 3), (0.8, 0.8, 2.0))
    smooth = ndimage.gaussian_filter(rng.random(volume.shape), (3, 3, 0)).astype(np.float32)
    grid = working_grid(volume, 0.4)
    back = grid.to_input(grid.to_working(smooth, 1))
    assert np.abs(back - smooth).max() < 0.05 * np.ptp(smooth)
    assert back.shape == volume.shape


def test_a_constant_stays_constant_up_to_the_border():
    volume = placed((50, 47, 4), (0.7, 0.7, 2.0))
    grid = working_grid(volume, 0.5)
    ones = np.ones(volume.shape, np.float32)
    for order in (0, 1, 3):
        working = grid.to_working(ones, order)
        np.testing.assert_allclose(working[working > 0], 1, atol=1e-6)
        assert (working > 0).sum(axis=(1, 2))[0] == pytest.approx(50 * 47 * 0.49 / 0.25, rel=0.03)
        np.testing.assert_allclose(grid.to_input(working), 1, atol=1e-5)


def test_coarser_pixels_do_not_alias(rng):
    volume = placed((128, 128, 2), (0.25, 0.25, 2.0))
    stripes = np.zeros(volume.shape, np.float32)
    stripes[::2] = 1
    working = working_grid(volume, 1.0).to_working(stripes, 1)
    np.testing.assert_allclose(working[working > 0.1].mean(), 0.5, atol=0.02)
    assert np.ptp(working[0, 4:-4]) < 0.05


def test_cubic_matches_a_quadratic_exactly():
    x = np.linspace(2.0, 7.0, 23)
    source = np.arange(10.0)
    weights = resampling_matrix(x, 10, 3)
    np.testing.assert_allclose(weights @ (source**2), x**2, rtol=1e-5)


def test_linear_sampling_is_scipys(rng):
    values = rng.random(12)
    places = rng.uniform(0, 11, 40)
    expected = ndimage.map_coordinates(values, [places], order=1)
    np.testing.assert_allclose(resampling_matrix(places, 12, 1) @ values, expected, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(signs=flips, corner=st.tuples(*[st.integers(3, 40)] * 2))
def test_the_crop_holds_the_brain_with_its_margin(signs, corner):
    volume = placed((160, 200, 4), (1.0, 1.0, 3.0), np.diag(signs))
    brain = np.zeros(volume.shape, bool)
    brain[corner[0] : corner[0] + 70, corner[1] : corner[1] + 90] = True
    grid = working_grid(volume, 0.5, brain=brain)
    assert all(side % 32 == 0 for side in grid.size)
    assert grid.size[0] < 140 / 0.5
    working = grid.to_working(brain, 0) > 0
    assert working.sum() == brain.sum() * 4
    found = np.argwhere(working)
    free = np.minimum(found.min(axis=0), np.array(grid.shape) - 1 - found.max(axis=0))
    assert free[1:].min() >= BRAIN_MARGIN_MM / 0.5 - 1
    np.testing.assert_array_equal(grid.to_input(working.astype(np.float32), 0) > 0, brain)


def test_outside_the_crop_the_input_gets_zero():
    volume = placed((160, 200, 4), (1.0, 1.0, 3.0))
    brain = np.zeros(volume.shape, bool)
    brain[60:90, 80:120] = True
    grid = working_grid(volume, 0.5, brain=brain)
    back = grid.to_input(np.ones(grid.shape, np.float32))
    assert back.shape == volume.shape
    assert back[60:90, 80:120].min() == pytest.approx(1)
    assert back[:30].max() == 0
    assert back[:, 170:].max() == 0


def test_the_articles_scaling_fills_its_input_shape(rng):
    volume = placed((100, 140, 3), (1.0, 1.0, 3.0))
    grid = working_grid(volume, None, (352, 448))
    assert grid.shape == (3, 352, 448)
    lesion = blob(volume, np.array([10.0, -20.0, 0.0]), 3.0)
    found = grid.to_voxel(np.array(ndimage.center_of_mass(grid.to_working(lesion, 1))))
    np.testing.assert_allclose(found, ndimage.center_of_mass(lesion), atol=0.05)
    assert grid.to_input(grid.to_working(lesion, 1)).shape == volume.shape


def test_a_slice_has_one_working_slice(rng):
    volume = Volume(rng.random((64, 1, 80)), np.diag([0.5, 2.0, 0.5, 1.0]))
    grid = working_grid(volume, 0.5)
    assert grid.shape[0] == 1
    np.testing.assert_allclose(grid.to_input(grid.to_working(volume.array, 1)), volume.array)


def test_another_shape_is_refused():
    grid = working_grid(placed((40, 40, 3), (1.0, 1.0, 3.0)), 1.0)
    with pytest.raises(InputError, match="expected shape"):
        grid.to_working(np.zeros((40, 41, 3)))
    with pytest.raises(InputError, match="expected shape"):
        grid.to_input(np.zeros((40, 40, 3)))


@pytest.mark.parametrize("pixel_mm", [0.0, -1.0, float("nan")])
def test_a_pixel_that_is_not_positive_is_refused(pixel_mm):
    with pytest.raises(InputError, match="pixel_mm"):
        working_grid(placed((40, 40, 3), (1.0, 1.0, 3.0)), pixel_mm)
