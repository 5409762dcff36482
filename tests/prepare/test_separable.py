import numpy as np
import pytest
import torch

from mmocnet.errors import InputError
from mmocnet.prepare.separable import along_axis, box_matrix, fourier_matrix, linear_matrix, tukey


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_product_along_an_axis_is_that_of_einsum(rng, axis: int, dtype: torch.dtype) -> None:
    volume = torch.randn((4, 5, 6), dtype=dtype, generator=torch.Generator().manual_seed(3))
    matrix = rng.normal(size=(3, volume.shape[axis]))
    rule = ("ai,ijk->ajk", "aj,ijk->iak", "ak,ijk->ija")[axis]
    expected = np.einsum(rule, matrix, volume.numpy())
    np.testing.assert_allclose(along_axis(volume, matrix, axis).numpy(), expected, atol=1e-5)


def test_product_takes_a_volume_that_is_not_contiguous(rng) -> None:
    volume = torch.randn((4, 5, 6), dtype=torch.complex64).permute(2, 0, 1)
    matrix = rng.normal(size=(3, 6))
    expected = np.einsum("ai,ijk->ajk", matrix, volume.numpy())
    np.testing.assert_allclose(along_axis(volume, matrix, 0).numpy(), expected, atol=1e-5)


def test_matrix_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="columns"):
        along_axis(torch.zeros(3, 3, 3), np.ones((2, 4)), 0)


@pytest.mark.parametrize("make", [linear_matrix, box_matrix, fourier_matrix])
@pytest.mark.parametrize(("length", "new_length"), [(7, 3), (8, 4), (5, 12), (6, 6)])
def test_resampling_keeps_a_constant(make, length: int, new_length: int) -> None:
    np.testing.assert_allclose(make(length, new_length).sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("length", [7, 8])
def test_all_of_kspace_is_the_image_itself(length: int) -> None:
    np.testing.assert_allclose(fourier_matrix(length, length), np.eye(length), atol=1e-12)


def test_full_taper_is_a_hann_window() -> None:
    k = np.arange(9)
    np.testing.assert_allclose(tukey(16, 1.0), 0.5 * (1 + np.cos(np.pi * k / 8)))
    np.testing.assert_array_equal(tukey(16, 0.0), 1)
