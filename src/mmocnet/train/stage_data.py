"""What a stage is trained and scored on: batches by step, fixed validation patches."""

import numpy as np
import torch
from torch import Tensor, nn

from mmocnet.config import LossSettings, TrainSettings
from mmocnet.nets.losses import stage_loss
from mmocnet.train.augment import augment, source_margin
from mmocnet.train.patches import PatchSampler
from mmocnet.train.trainer import Batch

VALIDATION_STREAM = 2**32 - 1
"""Step number that no training reaches: seeds the validation patches."""
SCORED_AT_ONCE = (16, 128)
"""Patches of stage 1 and stage 2 that go through the network together."""
DICE_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class StageData:
    """Batches and validation of one stage; every batch is a function of the step."""

    def __init__(
        self,
        train: PatchSampler,
        validation: PatchSampler,
        settings: TrainSettings,
        stage: int,
    ) -> None:
        self.train = train
        self.settings = settings
        self.stage = stage
        self.of_stage = settings.detector if stage == 1 else settings.segmenter
        self.device = torch.device("cpu")
        rng = self._rng(VALIDATION_STREAM)
        images, masks = validation.draw(rng, settings.validation_patches[stage - 1])
        self.images, self.masks = torch.from_numpy(images), torch.from_numpy(masks)

    def steps_per_epoch(self) -> int:
        """Return the settings' steps, or as many patches as lesions have slices."""
        if self.of_stage.steps_per_epoch is not None:
            return self.of_stage.steps_per_epoch
        slices = sum(len(lesion) for lesion in self.train.places["lesion"])
        return max(1, round(slices / self.of_stage.batch_size))

    def draw(self, step: int) -> Batch:
        """Return the augmented batch of a step, on the device."""
        rng = self._rng(step)
        change = self.settings.augmentation
        images, masks = self.train.draw(rng, self.of_stage.batch_size, source_margin(change))
        return augment(
            torch.from_numpy(images).to(self.device),
            torch.from_numpy(masks).to(self.device, torch.float32),
            self.train.how.shape,
            change,
            rng,
        )

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return loss, pixel sensitivity and Dice at 0.5, and the score: best pooled Dice."""
        size = SCORED_AT_ONCE[self.stage - 1]
        logits = torch.cat(
            [
                network(part.to(self.device, memory_format=torch.channels_last)).float().cpu()
                for part in torch.split(self.images, size)
            ]
        )
        return patch_scores(logits, self.masks, self.of_stage.loss)

    def _rng(self, step: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, self.stage, step])


def patch_scores(logits: Tensor, masks: Tensor, loss: LossSettings) -> dict[str, float]:
    """Return scores of patches, pixels pooled; undefined is NaN.

    Args:
        logits: (N, 1, H, W).
        masks: Lesions, bool, same shape.
        loss: What the reported loss is made of.

    Returns:
        val_loss; val_sensitivity and val_dice at 0.5; and score, the best Dice over thresholds
        from 0.1 to 0.9, or minus the loss where no patch has a lesion or where marks, not
        outlines, are learned.
    """
    probability = torch.sigmoid(logits)
    positives = int(masks.sum())
    inside = probability[masks]
    dice = {}
    for level in DICE_LEVELS:
        found = int((probability >= level).sum())
        hit = int((inside >= level).sum())
        dice[level] = 2 * hit / (found + positives) if positives else float("nan")
    value = float(stage_loss(logits, masks, loss))
    return {
        "val_loss": value,
        "val_sensitivity": int((inside >= 0.5).sum()) / positives if positives else float("nan"),
        "val_dice": dice[0.5],
        "score": max(dice.values()) if positives and loss.kind == "joint" else -value,
    }
