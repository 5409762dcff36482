import math

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from mmocnet.errors import InputError
from mmocnet.simulate.acquisition import (
    add_noise,
    bias_field,
    coil_phase,
    crop_kspace,
    motion_ghosts,
    shift_kspace,
    smooth_map,
)


@pytest.fixture
def generator() -> Generator:
    return torch.Generator().manual_seed(20221117)


@pytest.fixture
def image(generator: Generator) -> Tensor:
    return torch.complex(*torch.randn((2, 24, 30, 17), generator=generator))


def scanner_crop(image: np.ndarray, axis: int, count: int) -> np.ndarray:
    """Return what NumPy's transform makes of the inner lines, on voxel centres; count is odd."""
    length = image.shape[axis]
    k = np.arange(-(count // 2), count // 2 + 1)
    lines = np.take(np.fft.fft(image, axis=axis), k, axis=axis)
    at = (np.arange(count) + 0.5) * length / count - 0.5
    back = np.exp(2j * np.pi * np.outer(at, k) / length) / length
    return np.moveaxis(np.tensordot(back, lines, axes=(1, axis)), 0, axis)


def test_cropping_kspace_is_what_the_fourier_transform_says(image: Tensor) -> None:
    expected = image.numpy()
    for axis, count in enumerate((15, 21, 9)):
        expected = scanner_crop(expected, axis, count)
    cropped = crop_kspace(image, (15, 21, 9))
    np.testing.assert_allclose(cropped.numpy(), expected, atol=1e-5)


def test_cropping_to_the_same_grid_changes_nothing(image: Tensor) -> None:
    assert torch.equal(crop_kspace(image, (24, 30, 17)), image)


@pytest.mark.parametrize("taper", [0.0, 0.3, 1.0])
def test_cropping_keeps_the_mean(image: Tensor, taper: float) -> None:
    cropped = crop_kspace(image, (12, 21, 8), taper)
    torch.testing.assert_close(cropped.mean(), image.mean(), rtol=1e-4, atol=1e-6)


def test_filling_kspace_with_zeros_and_cropping_back_changes_nothing(image: Tensor) -> None:
    odd = image[:23, :29].contiguous()
    back = crop_kspace(crop_kspace(odd, (40, 41, 34)), (23, 29, 17))
    torch.testing.assert_close(back, odd, rtol=1e-4, atol=1e-5)


def test_cropping_does_not_move_the_image() -> None:
    x, y, z = (torch.arange(n) for n in (40, 48, 30))
    blob = torch.exp(
        -((x[:, None, None] - 22.3) ** 2 + (y[:, None] - 20) ** 2 + (z - 13) ** 2) / 18
    )
    small = crop_kspace(blob.to(torch.complex64), (20, 24, 10)).abs()
    for axis, (ratio, expected) in enumerate(((2, 22.3), (2, 20), (3, 13))):
        profile = small.sum(dim=[other for other in range(3) if other != axis])
        index = float((profile * torch.arange(len(profile))).sum() / profile.sum())
        assert (index + 0.5) * ratio - 0.5 == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("shape", [(12, 15, 2), (13, 16, 2)])
def test_a_phase_ramp_samples_a_wave_between_its_voxels(shape: tuple[int, int, int]) -> None:
    def wave(shift: tuple[float, float]) -> Tensor:
        i, j = (torch.arange(n) + s for n, s in zip(shape, shift, strict=False))
        turn = 2 * math.pi * (3 * i[:, None] / shape[0] - 2 * j / shape[1])
        return torch.polar(torch.ones_like(turn), turn)[:, :, None].repeat(1, 1, shape[2])

    moved = shift_kspace(wave((0.0, 0.0)), (0.3, -0.45))
    np.testing.assert_allclose(moved, wave((0.3, -0.45)), atol=1e-5)


def test_tapering_kspace_rings_less_at_an_edge() -> None:
    edge = torch.zeros((64, 4, 4), dtype=torch.complex64)
    edge[17:46] = 1
    sharp, soft = (crop_kspace(edge, (32, 4, 4), taper).abs().max() for taper in (0.0, 1.0))
    assert sharp > 1.05
    assert soft < 1.01


@pytest.mark.parametrize("snr", [8.0, 28.6])
def test_snr_is_the_one_asked_for(generator: Generator, snr: float) -> None:
    clean = torch.zeros((40, 40, 20), dtype=torch.complex64)
    clean[:, :20] = 0.3 * torch.exp(torch.tensor(0.7j))
    clean[:, 20:] = 0.1
    wm = torch.zeros(clean.shape, dtype=torch.bool)
    wm[:, :20] = True
    noise = add_noise(clean, snr, wm, generator) - clean
    for channel in (noise.real, noise.imag):
        assert 0.3 / float(channel.std()) == pytest.approx(snr, rel=0.03)
        assert abs(float(channel.mean())) < 0.3 / snr * 0.03


def test_noise_without_white_matter_is_refused(generator: Generator) -> None:
    empty = torch.zeros((4, 4, 4), dtype=torch.complex64)
    with pytest.raises(InputError, match="white-matter"):
        add_noise(empty, 20.0, empty.abs() > 0, generator)


def test_noise_comes_from_the_generator_alone(image: Tensor) -> None:
    mask = torch.ones(image.shape, dtype=torch.bool)
    one, two = (add_noise(image, 9.0, mask, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, add_noise(image, 9.0, mask, torch.Generator().manual_seed(6)))


def test_smooth_map_has_mean_0_and_sd_1_and_is_smooth(generator: Generator) -> None:
    value = smooth_map((20, 22, 24), generator)
    assert abs(float(value.mean())) < 1e-4
    assert float(value.std()) == pytest.approx(1, rel=1e-3)
    assert all(float(value.diff(n=3, dim=axis).abs().max()) < 1e-3 for axis in range(3))


def test_map_of_a_single_slice_is_finite(generator: Generator) -> None:
    assert bool(coil_phase((20, 22, 1), generator).isfinite().all())


def test_bias_field_is_positive_with_mean_1_and_the_spread_asked_for(generator: Generator) -> None:
    factor = bias_field((20, 22, 24), generator, 0.2)
    assert float(factor.min()) > 0
    assert float(factor.mean()) == pytest.approx(1, rel=1e-4)
    assert float(factor.log().std()) == pytest.approx(0.2, rel=0.01)


@pytest.mark.parametrize("axis", [0, 1])
def test_motion_changes_a_few_lines_along_its_axis_alone(
    image: Tensor, generator: Generator, axis: int
) -> None:
    moved = motion_ghosts(image, 0.6, generator, axis, bursts=2)
    before, after = (torch.fft.fft(x, dim=axis) for x in (image, moved))
    changed = (after - before).abs().movedim(axis, 0).flatten(1).max(dim=1).values > 1e-3
    assert 2 <= int(changed.sum()) <= 10
    assert not bool(changed[0])
    torch.testing.assert_close(after.abs(), before.abs(), rtol=1e-3, atol=1e-3)


def test_still_head_leaves_no_ghosts(image: Tensor, generator: Generator) -> None:
    assert torch.equal(motion_ghosts(image, 0.0, generator), image)
