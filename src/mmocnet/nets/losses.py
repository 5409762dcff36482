"""The loss of both stages: BCE + Dice loss + lambda x sensitivity loss."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mmocnet.config import LossSettings

SMOOTHING_PX = 1.0
"""Added to both sides of the Dice ratio, in pixels."""


@dataclass(frozen=True)
class LossSums:
    """What the loss needs from a batch.

    All are plain sums, so the batches of several devices are joined by adding them.

    Attributes:
        bce: Sum of the binary cross-entropy over all pixels, shape ().
        pixels: Number of pixels, shape ().
        overlap: Sum of p * y; shape () over the batch, (B,) per image.
        probability: Sum of p, shape as `overlap`.
        reference: Sum of y, shape as `overlap`.
    """

    bce: Tensor
    pixels: Tensor
    overlap: Tensor
    probability: Tensor
    reference: Tensor


@dataclass(frozen=True)
class LossParts:
    """The three terms, each of shape (); `sensitivity` is before its weight."""

    bce: Tensor
    dice: Tensor
    sensitivity: Tensor


def batch_sums(logits: Tensor, reference: Tensor, settings: LossSettings) -> LossSums:
    """Return the sums that the loss is made of, in float32.

    Args:
        logits: Shape (B, 1, H, W).
        reference: 0 or 1, same shape.
        settings: Whether sums are over the batch or per image.
    """
    logits, reference = logits.float(), reference.float()
    probability = torch.sigmoid(logits)
    # None sums over everything: one Dice for the batch.
    axes = None if settings.over == "batch" else (1, 2, 3)
    return LossSums(
        bce=F.binary_cross_entropy_with_logits(logits, reference, reduction="sum"),
        pixels=torch.tensor(float(logits.numel()), device=logits.device),
        overlap=(probability * reference).sum(axes),
        probability=probability.sum(axes),
        reference=reference.sum(axes),
    )


def loss_parts(sums: LossSums) -> LossParts:
    """Return the three terms from their sums.

    Where the reference is empty the sensitivity term is 0. The Dice term is
    1 - (2 sum(py) + 1) / (sum(p) + sum(y) + 1): the one pixel on both sides makes it 0 for an
    empty prediction on an empty reference, below 1 for any other, and differentiable always.
    """
    dice = 1 - (2 * sums.overlap + SMOOTHING_PX) / (
        sums.probability + sums.reference + SMOOTHING_PX
    )
    missed = 1 - sums.overlap / sums.reference.clamp(min=1)
    sensitivity = torch.where(sums.reference > 0, missed, torch.zeros_like(missed))
    return LossParts(bce=sums.bce / sums.pixels, dice=dice.mean(), sensitivity=sensitivity.mean())


def joint_loss(logits: Tensor, reference: Tensor, settings: LossSettings) -> Tensor:
    """Return BCE + Dice loss + lambda x sensitivity loss, a scalar in float32.

    Args:
        logits: Shape (B, 1, H, W).
        reference: 0 or 1, same shape; slices without a lesion are safe (see `loss_parts`).
        settings: lambda, and whether the last two terms are over the batch or per image.

    Reference:
        Wei et al. 2022, doi:10.3389/fbioe.2022.937314.

    >>> empty = torch.zeros(1, 1, 4, 4)
    >>> bool(joint_loss(empty - 30, empty, LossSettings()) < 1e-5)
    True
    """
    parts = loss_parts(batch_sums(logits, reference, settings))
    return parts.bce + parts.dice + settings.sensitivity_weight * parts.sensitivity
