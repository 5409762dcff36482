import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from mmocnet.config import AugmentationSettings, train_settings
from mmocnet.train.augment import augment, blur, source_margin, warp

STILL = AugmentationSettings(rotation_share=0.0, flip_share=0.0, intensity_sd=0.0, noise_sd=0.0)
COMPACT = train_settings("compact").augmentation


def patches(rng: np.random.Generator, count: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    smooth = ndimage.gaussian_filter(rng.random((count, 1, side, side)), (0, 0, 3, 3))
    images = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return torch.tensor(images, dtype=torch.float32), torch.tensor(images > 0.6).float()


def test_with_nothing_to_change_the_middle_is_cut(rng: np.random.Generator) -> None:
    images, masks = patches(rng, 2, 48)
    one, mask = augment(images, masks, (32, 24), STILL, rng)
    torch.testing.assert_close(one, images[:, :, 8:40, 12:36], atol=1e-5, rtol=0)
    assert torch.equal(mask, masks[:, :, 8:40, 12:36])


def test_a_flip_of_both_axes_is_numpy_s(rng: np.random.Generator) -> None:
    images, masks = patches(rng, 1, 32)
    one, mask = warp(images, masks, (32, 32), replace(STILL, flip_share=1.0), rng)
    torch.testing.assert_close(one, images.flip(2, 3), atol=1e-5, rtol=0)
    assert torch.equal(mask, masks.flip(2, 3))


class Fixed:
    """A generator whose uniform draws are given, for a known rotation."""

    def __init__(self, turn: float) -> None:
        self.turn = turn

    def random(self, size: object) -> np.ndarray:
        return np.zeros(size)

    def uniform(self, low: float, high: float, count: int) -> np.ndarray:
        return np.full(count, self.turn if low == -1 else 0.0)


def test_rotation_keeps_shapes_in_oblong_patches() -> None:
    rows, cols = np.meshgrid(np.arange(96) - 47.5, np.arange(96) - 47.5, indexing="ij")
    disc = torch.tensor(np.hypot(rows - 20, cols) < 6, dtype=torch.float32)[None, None]
    turned, _ = warp(disc, disc, (32, 64), replace(STILL, rotation_share=1.0), Fixed(0.5))
    # A quarter turn brings the disc from below the centre to its side, still a disc.
    middle = np.array(ndimage.center_of_mass(turned[0, 0].numpy())) - [15.5, 31.5]
    assert np.hypot(*middle) == pytest.approx(20, abs=0.1)
    assert abs(middle[0]) < 0.1
    assert float(turned.sum()) == pytest.approx(float(disc.sum()), rel=0.02)


def test_stretch_changes_the_shape_and_not_the_area(rng: np.random.Generator) -> None:
    rows, cols = np.mgrid[:96, :96] - 47.5
    disc = torch.from_numpy((rows**2 + cols**2 < 12**2).astype(np.float32))
    discs = disc[None, None].repeat(64, 1, 1, 1)
    _, masks = warp(discs, discs, (64, 64), replace(STILL, stretch=1.8), rng)
    areas = masks.sum(dim=(1, 2, 3))
    np.testing.assert_allclose(areas, float(disc.sum()), rtol=0.06)
    ratios = masks.amax(dim=2).sum(dim=(1, 2)) / masks.amax(dim=3).sum(dim=(1, 2))
    assert 1 / 1.9 < float(ratios.min()) < 0.7
    assert 1.4 < float(ratios.max()) < 1.9


@pytest.mark.parametrize("zoom", [0.8, 1.25])
def test_zoom_scales_areas_by_its_square(rng: np.random.Generator, zoom: float) -> None:
    rows, cols = np.meshgrid(np.arange(96) - 47.5, np.arange(96) - 47.5, indexing="ij")
    disc = torch.tensor(np.hypot(rows, cols) < 12, dtype=torch.float32)[None, None]
    _, mask = warp(disc, disc, (64, 48), replace(STILL, zoom=(zoom, zoom)), rng)
    assert float(mask.sum()) == pytest.approx(float(disc.sum()) * zoom**2, rel=0.05)


@pytest.mark.parametrize("sigma", [0.4, 0.8, 1.0])
def test_blur_is_scipy_s_gaussian(rng: np.random.Generator, sigma: float) -> None:
    image = rng.random((40, 40)).astype(np.float32)
    mine = blur(torch.tensor(image)[None, None], np.array([sigma], np.float32))[0, 0].numpy()
    theirs = ndimage.gaussian_filter(image, sigma, radius=3)
    np.testing.assert_allclose(mine[4:-4, 4:-4], theirs[4:-4, 4:-4], atol=1e-5)


def test_each_image_has_its_own_blur(rng: np.random.Generator) -> None:
    image = torch.tensor(rng.random((1, 1, 32, 32)), dtype=torch.float32).repeat(2, 1, 1, 1)
    sharp, soft = blur(image, np.array([0.0, 1.0], np.float32))
    torch.testing.assert_close(sharp, image[0])
    assert float(soft.std()) < 0.7 * float(sharp.std())


@pytest.mark.parametrize("settings", [AugmentationSettings(), COMPACT])
def test_results_are_images_in_0_1_and_binary_masks(
    rng: np.random.Generator, settings: AugmentationSettings
) -> None:
    images, masks = patches(rng, 16, 64)
    images, masks = augment(images, masks, (32, 32), settings, rng)
    assert images.shape == masks.shape == (16, 1, 32, 32)
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    assert set(masks.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("settings", [AugmentationSettings(), COMPACT])
def test_the_same_seed_changes_the_same_way(
    rng: np.random.Generator, settings: AugmentationSettings
) -> None:
    images, masks = patches(rng, 4, 64)
    one, other = (
        augment(images, masks, (32, 32), settings, np.random.default_rng(3)) for _ in range(2)
    )
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


def test_the_background_stays_zero(rng: np.random.Generator) -> None:
    images, masks = patches(rng, 8, 64)
    images[:, :, :32] = 0
    settings = replace(COMPACT, rotation_share=0.0, flip_share=0.0, zoom=(1.0, 1.0))
    changed, _ = augment(images, masks, (64, 64), settings, rng)
    assert float(changed[:, :, :31].abs().max()) == 0
    assert not torch.allclose(changed[:, :, 32:], images[:, :, 32:], atol=1e-3)


def test_the_source_of_a_zoomed_out_patch_is_larger() -> None:
    assert source_margin(COMPACT) == pytest.approx(1.25)
    assert source_margin(AugmentationSettings()) == 1.0


def test_a_batch_of_stage_1_takes_little_time(rng: np.random.Generator) -> None:
    images, masks = torch.rand(6, 1, 358, 358), torch.zeros(6, 1, 358, 358)
    augment(images, masks, (176, 224), COMPACT, rng)
    start = time.process_time()
    for _ in range(3):
        augment(images, masks, (176, 224), COMPACT, rng)
    assert (time.process_time() - start) / 3 < 0.4
