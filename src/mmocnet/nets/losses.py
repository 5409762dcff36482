"""The losses of the stages.

The article's is BCE + Dice loss + lambda x sensitivity loss. It makes a stage sure of itself: what
stage 1 misses has a probability of 0.000, and no threshold brings it back. The marking loss is for
a stage 1 that only has to say where to look.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from mmocnet.config import LossSettings

Reduce = Callable[[Tensor], Tensor]
"""Adds a tensor over the processes that share a batch, differentiably."""

SMOOTHING_PX = 1.0
"""Added to both sides of the Dice ratio, in pixels."""
FOCUS = 2.0
"""Exponent by which the marking loss leaves to themselves what is right already."""
RING_PX = 3
"""Pixels around a lesion at which a mark is neither right nor wrong."""
LESION_WINDOW_PX = 15
"""Side of the square in which the marking loss counts a lesion's pixels; an odd number."""


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


def loss_parts(sums: LossSums, reduce: Reduce | None = None) -> LossParts:
    """Return the three terms from their sums.

    Where the reference is empty the sensitivity term is 0. The Dice term is
    1 - (2 sum(py) + 1) / (sum(p) + sum(y) + 1): the one pixel on both sides makes it 0 for an
    empty prediction on an empty reference, below 1 for any other, and differentiable always.

    Args:
        sums: Of this process's share of the batch.
        reduce: Makes the terms those of the whole batch, in every process; None where one
            process has it all.
    """
    if reduce is not None:
        sums = _joined(sums, reduce)
    dice = 1 - (2 * sums.overlap + SMOOTHING_PX) / (
        sums.probability + sums.reference + SMOOTHING_PX
    )
    missed = 1 - sums.overlap / sums.reference.clamp(min=1)
    sensitivity = torch.where(sums.reference > 0, missed, torch.zeros_like(missed))
    bce = sums.bce / sums.pixels
    if reduce is None or dice.ndim == 0:
        return LossParts(bce, dice.mean(), sensitivity.mean())
    # Shares may differ in size, so means are not averaged: their sums and counts are added.
    images = dice.new_tensor(float(dice.numel()))
    total = reduce(torch.stack([dice.sum(), sensitivity.sum(), images]))
    return LossParts(bce, total[0] / total[2], total[1] / total[2])


def _joined(sums: LossSums, reduce: Reduce) -> LossSums:
    """Return the sums over all processes; those per image stay each process's own."""
    if sums.overlap.ndim > 0:
        bce, pixels = reduce(torch.stack([sums.bce, sums.pixels])).unbind()
        return replace(sums, bce=bce, pixels=pixels)
    mine = [sums.bce, sums.pixels, sums.overlap, sums.probability, sums.reference]
    return LossSums(*reduce(torch.stack(mine)).unbind())


def joint_loss(
    logits: Tensor, reference: Tensor, settings: LossSettings, reduce: Reduce | None = None
) -> Tensor:
    """Return BCE + Dice loss + lambda x sensitivity loss, a scalar in float32.

    Args:
        logits: Shape (B, 1, H, W).
        reference: 0 or 1, same shape; slices without a lesion are safe (see `loss_parts`).
        settings: lambda, and whether the last two terms are over the batch or per image.
        reduce: Adds over the processes that each hold a share of the batch, so that Dice and
            sensitivity are the whole batch's; None where one process has it all.

    Reference:
        Wei et al. 2022, doi:10.3389/fbioe.2022.937314.

    >>> empty = torch.zeros(1, 1, 4, 4)
    >>> bool(joint_loss(empty - 30, empty, LossSettings()) < 1e-5)
    True
    """
    parts = loss_parts(batch_sums(logits, reference, settings), reduce)
    return (
        parts.bce
        + settings.dice_weight * parts.dice
        + settings.sensitivity_weight * parts.sensitivity
    )


def marking_loss(logits: Tensor, reference: Tensor, reduce: Reduce | None = None) -> Tensor:
    """Return the focal loss in which every lesion counts alike, a scalar in float32.

    The pixels of a lesion share a weight of 1, whatever its size (one larger than the window
    counts a little more), and the loss is over the number of lesions, so that one of two pixels
    is worth as much as a large one. Pixels beside a lesion are left out.

    Args:
        logits: Shape (B, 1, H, W).
        reference: 0 or 1, same shape; slices without a lesion are safe.
        reduce: As in `joint_loss`.

    Reference:
        Lin et al. 2017, arXiv:1708.02002; per object as in Zhou et al. 2019, arXiv:1904.07850.

    >>> empty = torch.zeros(1, 1, 4, 4)
    >>> bool(marking_loss(empty - 30, empty) < 1e-5)
    True
    """
    logits, reference = logits.float(), reference.float()
    beside = F.max_pool2d(reference, 2 * RING_PX + 1, 1, RING_PX) - reference
    area = F.avg_pool2d(reference, LESION_WINDOW_PX, 1, LESION_WINDOW_PX // 2, divisor_override=1)
    share = reference / area.clamp(min=1)
    probability = torch.sigmoid(logits)
    marked = share * (1 - probability) ** FOCUS * F.logsigmoid(logits)
    unmarked = (1 - reference - beside) * probability**FOCUS * F.logsigmoid(-logits)
    sums = torch.stack([-(marked + unmarked).sum(), share.sum()])
    total, lesions = (sums if reduce is None else reduce(sums)).unbind()
    return total / lesions.clamp(min=1)


def stage_loss(
    logits: Tensor, reference: Tensor, settings: LossSettings, reduce: Reduce | None = None
) -> Tensor:
    """Return the loss that the settings name; see `joint_loss` and `marking_loss`."""
    if settings.kind == "marking":
        return marking_loss(logits, reference, reduce)
    return joint_loss(logits, reference, settings, reduce)
