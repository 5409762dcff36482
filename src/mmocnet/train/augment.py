"""Random changes of training patches, on the whole batch at once, on CPU or GPU."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mmocnet.config import AugmentationSettings

BLUR_RADIUS_PX = 3
"""Half width of the blur's kernel: three standard deviations of the largest blur."""
FIELD_KNOTS = 4
"""Knots of the smooth field along each axis."""


def source_margin(settings: AugmentationSettings) -> float:
    """Return how much larger than the patch its source must be, for `augment` to fill it."""
    return math.sqrt(settings.stretch) / min(1.0, settings.zoom[0])


def augment(
    images: Tensor,
    masks: Tensor,
    shape: tuple[int, int],
    settings: AugmentationSettings,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Return randomly changed patches of a shape.

    Args:
        images: Source patches with surroundings, (B, C, Hs, Ws), float32 0..1.
        masks: Lesions, (B, 1, Hs, Ws), 0 or 1.
        shape: Height and width of the result, cut from the middle.
        settings: What is changed and how much.
        rng: Decides everything.

    Returns:
        Images (B, C, H, W) in 0..1 and masks (B, 1, H, W) of 0 and 1, float32.
    """
    turned, masks = warp(images, masks, shape, settings, rng)
    return other_intensities(turned, settings, rng), masks


def other_intensities(
    images: Tensor, settings: AugmentationSettings, rng: np.random.Generator
) -> Tensor:
    """Return images (B, C, H, W) of other contrast, sharpness and noise, in 0..1.

    All channels of an image are changed alike, but for their noise.
    """
    changed = _contrast(images, settings, rng)
    if settings.blur_px > 0:
        changed = blur(changed, _uniform(rng, len(images), 0.0, settings.blur_px))
    if settings.noise_sd > 0:
        changed = _noisy(changed, settings.noise_sd, rng)
    if settings.rounding_share > 0:
        changed = _rounded(changed, settings.rounding_share, rng)
    changed = changed.clamp(0.0, 1.0)
    if settings.keep_background:
        changed = changed * (images > 0)
    return changed


def warp(
    images: Tensor,
    masks: Tensor,
    shape: tuple[int, int],
    settings: AugmentationSettings,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Return rotated, flipped, zoomed and stretched patches and masks, cut to `shape`."""
    count, (height, width) = len(images), shape
    turns = rng.random(count) < settings.rotation_share
    angle = np.deg2rad(rng.uniform(-1, 1, count) * settings.rotation_deg) * turns
    flips = np.where(rng.random((2, count)) < settings.flip_share, -1.0, 1.0)
    zoom = np.repeat(_log_uniform(rng, count, settings.zoom)[:, None], 2, axis=1)
    if settings.stretch > 1:
        ratio = _log_uniform(rng, count, (1 / settings.stretch, settings.stretch))
        zoom *= np.sqrt(np.stack([ratio, 1 / ratio], axis=1))
    half = np.array([width, height]) / 2
    source_half = np.array([images.shape[3], images.shape[2]]) / 2
    # affine_grid maps output (x, y), each in -1..1 of the result, to the source's -1..1.
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation.transpose(2, 0, 1) * (flips.T / zoom)[:, None, :]
    matrix = matrix * half[None, None, :] / source_half[None, :, None]
    # Where Hs - H is odd the middles differ by half a pixel; `source_shape` keeps it even.
    theta = np.concatenate([matrix, np.zeros((count, 2, 1))], axis=2)
    grid = F.affine_grid(
        torch.from_numpy(theta.astype(np.float32)).to(images.device),
        [count, 2, height, width],
        align_corners=False,
    )
    both = F.grid_sample(
        torch.cat([images, masks], dim=1),
        grid,
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )
    return both[:, :-1], (both[:, -1:] >= 0.5).to(both.dtype)


def blur(images: Tensor, sigma_px: NDArray[np.float32]) -> Tensor:
    """Return each image under its own Gaussian blur, (B, C, H, W)."""
    count = len(images)
    at = torch.arange(-BLUR_RADIUS_PX, BLUR_RADIUS_PX + 1, dtype=torch.float32)
    sigma = torch.from_numpy(np.maximum(sigma_px, 1e-3).astype(np.float32))
    kernel = torch.exp(-0.5 * (at[None] / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).to(images.device)
    folded = images.transpose(0, 1)
    folded = F.conv2d(folded, kernel[:, None, None, :], padding=(0, BLUR_RADIUS_PX), groups=count)
    folded = F.conv2d(folded, kernel[:, None, :, None], padding=(BLUR_RADIUS_PX, 0), groups=count)
    return folded.transpose(0, 1)


def _contrast(images: Tensor, settings: AugmentationSettings, rng: np.random.Generator) -> Tensor:
    count, device = len(images), images.device
    if settings.gamma != (1.0, 1.0):
        exponent = _log_uniform(rng, count, settings.gamma)
        images = images.clamp(0.0, 1.0).pow(_column(exponent, device))
    if settings.bias_field > 0:
        images = images * _smooth_field(images, settings.bias_field, rng)
    scale = _column(1 + _uniform(rng, count, -1.0, 1.0) * settings.intensity_sd, device)
    shift = _column(_uniform(rng, count, -1.0, 1.0) * settings.intensity_sd, device)
    spread = images.std(dim=(2, 3), keepdim=True)
    return images * scale + shift * spread


def _smooth_field(images: Tensor, largest: float, rng: np.random.Generator) -> Tensor:
    count = len(images)
    knots = rng.uniform(-largest, largest, (count, 1, FIELD_KNOTS, FIELD_KNOTS))
    knots = knots * rng.uniform(0, 1, (count, 1, 1, 1))
    field = torch.from_numpy(knots.astype(np.float32)).to(images.device)
    height, width = images.shape[2:]
    return 1 + F.interpolate(field, size=(height, width), mode="bicubic", align_corners=True)


def _noisy(images: Tensor, largest_sd: float, rng: np.random.Generator) -> Tensor:
    generator = torch.Generator(images.device).manual_seed(int(rng.integers(2**62)))
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return images + noise * _column(_uniform(rng, len(images), 0.0, largest_sd), images.device)


def _rounded(images: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    count = len(images)
    levels = _column(_log_uniform(rng, count, (64.0, 256.0)), images.device)
    chosen = _column(rng.random(count) < share, images.device) > 0
    return torch.where(chosen, torch.round(images * levels) / levels, images)


def _uniform(rng: np.random.Generator, count: int, low: float, high: float) -> NDArray[np.float32]:
    return rng.uniform(low, high, count).astype(np.float32)


def _column(values: NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device)[:, None, None, None]


def _log_uniform(
    rng: np.random.Generator, count: int, limits: tuple[float, float]
) -> NDArray[np.float64]:
    return np.exp(rng.uniform(math.log(limits[0]), math.log(limits[1]), count))
