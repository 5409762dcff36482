import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from mmocnet.errors import InputError
from mmocnet.prepare.swi import homodyne_highpass, minip, phase_mask, swi


def blob(fwhm_mm: float) -> Tensor:
    x, y = (0.6 * (torch.arange(n) - n // 2) for n in (320, 384))
    width = fwhm_mm / (2 * math.sqrt(2 * math.log(2)))
    return 0.2 * torch.exp(-(x[:, None] ** 2 + y**2) / (2 * width**2))[..., None]


@pytest.mark.parametrize(("fwhm_mm", "left"), [(3, 0.80), (6, 0.49), (12, 0.18)])
def test_highpass_leaves_the_phase_of_small_things(fwhm_mm: float, left: float) -> None:
    phase = blob(fwhm_mm)
    filtered = homodyne_highpass(torch.polar(torch.ones_like(phase), phase), 64)
    assert float(filtered[160, 192, 0] / phase[160, 192, 0]) == pytest.approx(left, abs=0.03)


def test_highpass_is_a_hann_window_of_kspace(rng: np.random.Generator) -> None:
    image = rng.normal(size=(40, 45, 2)) + 1j * rng.normal(size=(40, 45, 2))
    weights = []
    for length in (40, 45):
        k = np.abs(np.fft.fftfreq(length, 1 / length))
        weights.append(np.where(k < 8, 0.5 * (1 + np.cos(np.pi * k / 8)), 0))
    spectrum = np.fft.fft2(image, axes=(0, 1)) * np.outer(*weights)[..., None]
    expected = np.angle(image * np.conj(np.fft.ifft2(spectrum, axes=(0, 1))))
    turned = np.exp(1j * (homodyne_highpass(image, 16).numpy() - expected))
    np.testing.assert_allclose(turned, 1, atol=1e-3)


def test_highpass_works_slice_by_slice(rng: np.random.Generator) -> None:
    image = np.exp(1j * rng.uniform(-1, 1, size=(30, 32, 3)))
    whole = homodyne_highpass(image, 16)
    torch.testing.assert_close(whole[..., 1:2], homodyne_highpass(image[..., 1:2], 16))
    other = homodyne_highpass(image.transpose(2, 0, 1), 16, slice_axis=0)
    torch.testing.assert_close(other.permute(1, 2, 0), whole, rtol=1e-4, atol=1e-5)


def test_highpass_takes_out_wraps_and_constant_phase() -> None:
    ramp = torch.linspace(0, 2.5, 96)[:, None, None].expand(96, 96, 1)
    phase = ramp + 2.9
    filtered = homodyne_highpass(torch.polar(torch.ones(96, 96, 1), phase), 64)
    assert float(filtered[24:72, 24:72].abs().max()) < 0.1


def test_highpass_of_a_matrix_smaller_than_the_window_is_finite() -> None:
    image = torch.polar(torch.ones(20, 24, 1), torch.rand(20, 24, 1))
    assert bool(homodyne_highpass(image, 64).isfinite().all())


def test_highpass_of_an_empty_image_is_zero_phase() -> None:
    empty = torch.zeros((20, 20, 2), dtype=torch.complex64)
    assert torch.equal(homodyne_highpass(empty), torch.zeros(20, 20, 2))


def test_magnitude_is_refused_as_a_complex_image() -> None:
    with pytest.raises(InputError, match="complex"):
        homodyne_highpass(np.ones((4, 4, 4)))


@pytest.mark.parametrize("sign", [1, -1])
def test_mask_darkens_paramagnetic_phase_alone(sign: int) -> None:
    phase = torch.linspace(-math.pi, math.pi, 41)[:, None, None]
    mask = phase_mask(phase, sign)
    assert bool((mask[sign * phase <= 0] == 1).all())
    torch.testing.assert_close(mask, (1 - (sign * phase).clamp_min(0) / math.pi))


def test_vein_along_the_main_field_is_dark() -> None:
    vein = torch.full((1, 1, 1), 2 * math.pi * 42.577 * 3 * (0.5 / 3) * 0.02)
    assert float(swi(torch.ones(1, 1, 1), vein, 4, 1)) < 0.4
    assert float(swi(torch.ones(1, 1, 1), vein, 4, -1)) == 1


def test_swi_is_magnitude_times_the_mask_to_its_power(rng: np.random.Generator) -> None:
    magnitude = rng.uniform(0, 900, (6, 5, 4)).astype(np.float32)
    phase = rng.uniform(-3, 3, (6, 5, 4)).astype(np.float32)
    expected = magnitude * np.clip((np.pi - phase) / np.pi, 0, 1) ** 5
    np.testing.assert_allclose(swi(magnitude, phase, 5).numpy(), expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(swi(magnitude, phase, 0).numpy(), magnitude)


def test_swi_of_two_shapes_is_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        swi(np.ones((2, 2, 2)), np.ones((2, 2, 3)))


def test_unknown_sign_is_refused() -> None:
    with pytest.raises(InputError, match="sign"):
        phase_mask(np.ones((2, 2, 2)), 0)


@pytest.mark.parametrize("slab_mm", [1.0, 9.0, 8.0, 40.0])
@pytest.mark.parametrize("axis", [0, 2])
def test_minip_is_the_minimum_of_a_sliding_slab(
    rng: np.random.Generator, slab_mm: float, axis: int
) -> None:
    volume = rng.normal(size=(7, 5, 9)).astype(np.float32)
    count = round(slab_mm / 2)
    size = [1, 1, 1]
    size[axis] = max(1, count)
    # SciPy's even window reaches further down, ours further up.
    origin = [0, 0, 0]
    origin[axis] = -1 if count % 2 == 0 and count > 0 else 0
    expected = ndimage.minimum_filter(volume, size, mode="constant", cval=np.inf, origin=origin)
    np.testing.assert_array_equal(minip(volume, slab_mm, (2, 2, 2), axis).numpy(), expected)


def test_inputs_are_left_as_they_were(rng: np.random.Generator) -> None:
    magnitude = rng.uniform(size=(5, 5, 3)).astype(np.float32)
    phase = rng.uniform(-3, 3, (5, 5, 3)).astype(np.float32)
    image = magnitude * np.exp(1j * phase)
    copies = magnitude.copy(), phase.copy(), image.copy()
    swi(magnitude, phase)
    homodyne_highpass(image, 4)
    minip(magnitude, 6.0, (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(copies, (magnitude, phase, image), strict=True))
