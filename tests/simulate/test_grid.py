import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from mmocnet.simulate.grid import (
    Grid,
    coarse_noise,
    plane_blocks,
    resample,
    sample,
    smooth_noise,
    upsample,
    upsample_planes,
)

GRID = Grid((-3.0, 2.0, 10.0), (0.5, 1.0, 2.0), (20, 18, 7))


def test_world_and_voxel_coordinates_are_inverse(rng: np.random.Generator) -> None:
    voxel = rng.uniform(-5, 25, (50, 3))
    world = voxel @ GRID.affine()[:3, :3].T + GRID.affine()[:3, 3]
    np.testing.assert_allclose(GRID.voxel(world), voxel, atol=1e-9)


def test_the_first_voxel_is_centred_half_a_voxel_from_the_corner() -> None:
    centres = GRID.centres_mm("cpu")
    np.testing.assert_allclose(centres[:, 0, 0, 0], [-2.75, 2.5, 11.0])
    np.testing.assert_allclose(centres[:, -1, -1, -1], [6.75, 19.5, 23.0])


def test_another_spacing_covers_the_same_box() -> None:
    other = GRID.with_spacing(0.7)
    assert other.low_mm == GRID.low_mm
    np.testing.assert_allclose(other.size_mm, GRID.size_mm)
    assert max(abs(s - 0.7) for s in other.spacing_mm) < 0.05


def test_another_box_s_voxels_see_a_ramp_where_they_lie() -> None:
    """Away from the border, beyond which the edge goes on."""
    slopes = torch.tensor([2.0, -1.0, 0.5])[:, None, None, None]
    ramp = (GRID.centres_mm("cpu") * slopes).sum(0)
    out = GRID.with_spacing(0.7).moved((0.4, -0.3, 0.2))
    seen = resample(ramp, GRID, out)
    expected = (out.centres_mm("cpu") * slopes).sum(0)
    inner = (slice(2, -2), slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(seen[inner], expected[inner], atol=1e-4)
    assert seen.max() <= ramp.max()


def test_upsampling_keeps_a_ramp_away_from_the_border() -> None:
    fine = GRID.with_spacing(0.4)
    ramp = GRID.centres_mm("cpu")
    inner = upsample(ramp, fine.shape)[:, 2:-2, 3:-3, 3:-3]
    torch.testing.assert_close(inner, fine.centres_mm("cpu")[:, 2:-2, 3:-3, 3:-3])


@pytest.mark.parametrize("shape", [(47, 31, 15), (9, 18, 7), (20, 40, 7)])
def test_planes_of_an_upsampled_map_are_those_of_the_whole(shape: tuple[int, int, int]) -> None:
    maps = torch.randn(2, *GRID.shape, generator=torch.Generator().manual_seed(3))
    whole = upsample(maps, shape)
    for planes in plane_blocks(shape[0], maps.device):
        torch.testing.assert_close(
            upsample_planes(maps, shape, planes), whole[:, planes], atol=2e-5, rtol=0
        )


@pytest.mark.parametrize("length", [1, 8, 21])
def test_blocks_cover_an_axis_once(length: int) -> None:
    parts = [range(length)[b] for b in plane_blocks(length, torch.device("cpu"))]
    assert [i for part in parts for i in part] == list(range(length))


def test_a_gpu_takes_an_axis_whole() -> None:
    assert list(plane_blocks(50, torch.device("cuda"))) == [slice(0, 50)]


def test_sampling_is_scipys_linear_interpolation(rng: np.random.Generator) -> None:
    maps = rng.standard_normal((2, *GRID.shape)).astype(np.float32)
    points = rng.uniform(-3, 25, (3, 200)).astype(np.float32)
    ours = sample(torch.from_numpy(maps), torch.from_numpy(points)[:, None])[:, 0]
    theirs = [ndimage.map_coordinates(m, points, order=1, mode="nearest") for m in maps]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_noise_has_unit_deviation_and_falls_off_with_distance() -> None:
    """White noise under a Gaussian of one coarse voxel correlates as r(d) = exp(-d^2 / 4).

    Halfway between coarse voxels the linear weights are 3/4 and 1/4, so along each axis the
    variance is 5/8 + 3/8 r(1), and at two coarse voxels 5/8 r(2) + 3/16 (r(1) + r(3)) is left.
    """
    wavelength = 16.0
    r = [math.exp(-(d**2) / 4) for d in range(4)]
    variance = 5 / 8 + 3 / 8 * r[1]
    covariance = 5 / 8 * r[2] + 3 / 16 * (r[1] + r[3])
    grid = Grid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (80, 80, 80))
    noise = smooth_noise(grid, wavelength, np.random.default_rng(5), "cpu")[0][8:-8, 8:-8, 8:-8]
    assert abs(float(noise.mean())) < 0.1
    assert float(noise.std()) == pytest.approx(variance**1.5, abs=0.05)
    lag = round(wavelength / 2 / 2.0)
    product = (noise[lag:] * noise[:-lag]).mean() / noise.square().mean()
    assert float(product) == pytest.approx(covariance / variance, abs=0.06)


def test_noise_is_fixed_by_its_generator_and_its_channels_are_independent() -> None:
    grid = Grid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (60, 60, 60))
    first, again = (smooth_noise(grid, 8.0, np.random.default_rng(6), "cpu", 2) for _ in range(2))
    assert torch.equal(first, again)
    assert abs(float((first[0] * first[1]).mean())) < 0.05


def test_coarse_noise_is_what_is_upsampled() -> None:
    coarse, fine = (
        make(GRID, 12.0, np.random.default_rng(7), "cpu") for make in (coarse_noise, smooth_noise)
    )
    assert torch.equal(upsample(coarse, GRID.shape), fine)
