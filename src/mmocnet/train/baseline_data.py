"""What a baseline is trained and scored on: slices or blocks of them, from the same places."""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmocnet.config import AugmentationSettings
from mmocnet.train.augment import augment, source_margin, warp
from mmocnet.train.baseline_net import BaselineSettings
from mmocnet.train.patches import (
    PatchCut,
    PatchSampler,
    as_unit,
    cut,
    lesion_places,
    mimic_places,
)
from mmocnet.train.split import Split
from mmocnet.train.stage_data import patch_scores
from mmocnet.train.stages import LESION_REACH
from mmocnet.train.trainer import Batch
from mmocnet.types import IntTriple

VALIDATION_STREAM = 2**32 - 1
"""Step number that no training reaches: seeds the validation patches."""
STREAM = 7
"""Apart from the cascade's stages, whose streams are 1 and 2."""
SCORED_AT_ONCE = {"unet2d": 8, "unet3d": 2}
"""Validation patches that go through the network together."""


class BlockSampler(PatchSampler):
    """Draws blocks of neighbouring slices around the places of a patch sampler.

    Args:
        settings: Shares, patch and share of repeated slices.
        split: Scans by subject.
        side: Whether blocks come from the training or the validation scans.
    """

    def __init__(
        self, settings: BaselineSettings, split: Split, side: Literal["train", "validation"]
    ) -> None:
        chosen = split.train if side == "train" else split.validation
        rows, cols = settings.patch[1:]
        super().__init__(
            chosen,
            {"lesion": lesion_places(chosen), "mimic": mimic_places(chosen)},
            settings.shares,
            PatchCut((rows, cols), (LESION_REACH * rows, LESION_REACH * cols), inside=True),
        )
        self.depth = settings.patch[0]
        self.repeated = settings.repeated if self.depth > 1 else 0.0

    def draw(
        self, rng: np.random.Generator, count: int, margin: float | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return blocks and the lesion masks of all their slices, both (count, D, H, W).

        Args:
            rng: Decides everything.
            count: Number of blocks.
            margin: As of a patch sampler.
        """
        height, width = self.source_shape(margin)
        images = np.empty((count, self.depth, height, width), np.float32)
        masks = np.empty((count, self.depth, height, width), np.bool_)
        for i in range(count):
            number, s, row, col = self._centre(rng)
            scan = self.scans[number]
            for channel, at in enumerate(self._slices(rng, s, len(scan.image))):
                images[i, channel] = as_unit(cut(scan.image[at], (row, col), (height, width)))
                masks[i, channel] = cut(scan.labels[at], (row, col), (height, width)) > 0
        return images, masks

    def _slices(self, rng: np.random.Generator, s: int, count: int) -> list[int]:
        """Return the slices of a block: slice s lies anywhere in it, the ends are repeated."""
        if rng.random() < self.repeated:
            return [s] * self.depth
        if count <= self.depth:
            start = -((self.depth - count) // 2)
        else:
            start = int(np.clip(s - rng.integers(self.depth), 0, count - self.depth))
        seen: list[int] = np.clip(np.arange(start, start + self.depth), 0, count - 1).tolist()
        return seen[::-1] if rng.random() < 0.5 else seen


def changed(
    images: Tensor,
    masks: Tensor,
    shape: tuple[int, int],
    settings: AugmentationSettings,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Return randomly changed blocks: every slice of a block is changed alike.

    Args:
        images: Blocks with surroundings, (B, D, Hs, Ws), float32 0..1.
        masks: Lesions, same shape, 0 or 1.
        shape: Height and width of the result.
        settings: As of the cascade.
        rng: Decides everything.

    Returns:
        Images (B, D, H, W) in 0..1 and masks of 0 and 1, float32.
    """
    seed = int(rng.integers(2**62))
    middle = masks[:, :1]
    images, _ = augment(images, middle, shape, settings, np.random.default_rng(seed))
    # The same lots again: the masks are turned as the images were.
    masks, _ = warp(masks, middle, shape, settings, np.random.default_rng(seed))
    return images, (masks >= 0.5).to(images.dtype)


class BaselineData:
    """Batches and validation of a baseline; every batch is a function of the step.

    Args:
        split: Scans by subject.
        settings: How the baseline is trained.
        device: Where batches are made.
    """

    def __init__(self, split: Split, settings: BaselineSettings, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        self.train = BlockSampler(settings, split, "train")
        validation = BlockSampler(replace(settings, repeated=0.0), split, "validation")
        images, masks = validation.draw(self._rng(VALIDATION_STREAM), settings.validation_patches)
        self.images = self._channelled(torch.from_numpy(images))
        self.masks = self._channelled(torch.from_numpy(masks))

    def draw(self, step: int) -> Batch:
        """Return the augmented batch of a step: (B, 1, H, W) or (B, 1, D, H, W), on the device."""
        rng = self._rng(step)
        change = self.settings.augmentation
        count = self.settings.stage.batch_size
        images, masks = self.train.draw(rng, count, source_margin(change))
        blocks = changed(
            torch.from_numpy(images).to(self.device),
            torch.from_numpy(masks).to(self.device, torch.float32),
            self.train.how.shape,
            change,
            rng,
        )
        return self._channelled(blocks[0]), self._channelled(blocks[1])

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return loss, pixel sensitivity and Dice at 0.5, and the score: best pooled Dice."""
        size = SCORED_AT_ONCE[self.settings.network]
        logits = torch.cat(
            [network(part.to(self.device)).float().cpu() for part in torch.split(self.images, size)]
        )
        return patch_scores(logits, self.masks, self.settings.stage.loss)

    def _channelled(self, blocks: Tensor) -> Tensor:
        # A slice is a block of one, whose depth serves as the channel.
        return blocks if self.settings.network == "unet2d" else blocks[:, None]

    def _rng(self, step: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, STREAM, step])


def median_spacing(split: Split) -> tuple[float, float, float]:
    """Return the median spacing of the training scans in mm: slice, row, column."""
    table = np.array([scan.spacing_mm for scan in split.train], float)
    thickness, row, col = np.round(np.median(table, axis=0), 4).tolist()
    return thickness, row, col


def fits(shape: IntTriple, network: str) -> bool:
    """Return whether a patch is one slice for slices, more for blocks."""
    return (shape[0] == 1) == (network == "unet2d")
