"""Tune a network gently: what it knows already is worth more than a handful of scans.

A low learning rate, batch-norm statistics as they were, a pull of the weights to where they
started (L2-SP, Li and others, ICML 2018), simulated patches in each batch, and the running
average of the weights as the result.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmocnet.config import AugmentationSettings, LossSettings
from mmocnet.nets.losses import stage_loss
from mmocnet.train.augment import augment, source_margin
from mmocnet.train.finetune_settings import FinetuneSettings
from mmocnet.train.patches import PatchSampler
from mmocnet.train.trainer import Batch

EMA_DECAY = 0.99
CLIP_NORM = 1.0
"""Gradients longer than this are shortened to it: one odd scan must not throw the weights far."""
WARM_STEPS = 20


DrawPart = Callable[[int], Batch]
"""Part of the batch of a step, on the CPU."""


def mixed(own: DrawPart, replay: DrawPart | None) -> DrawPart:
    """Return batches of the user's examples with simulated ones behind them."""
    if replay is None:
        return own

    def draw(step: int) -> Batch:
        first, second = own(step), replay(step)
        return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])

    return draw


def patches_of(
    sampler: PatchSampler, count: int, change: AugmentationSettings, seed: tuple[int, ...]
) -> DrawPart:
    """Return augmented patches by step: images (B, C, H, W) and masks (B, 1, H, W)."""

    def draw(step: int) -> Batch:
        rng = np.random.default_rng([*seed, step])
        images, masks = sampler.draw(rng, count, source_margin(change))
        given = torch.from_numpy(images), torch.from_numpy(masks).float()
        return augment(*given, sampler.how.shape, change, rng)

    return draw


def tune(
    network: nn.Module,
    draw: DrawPart,
    loss: LossSettings,
    steps: int,
    settings: FinetuneSettings,
    progress: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """Tune a network in place and leave it in eval mode with the average of its weights.

    Args:
        network: Trained, on its device.
        draw: Gives the batch of a step.
        loss: As in training.
        steps: How many.
        settings: Rate and pull.
        progress: Told what is done and what there is to do, in steps.
    """
    device = next(network.parameters()).device
    parameters: list[Tensor] = list(network.parameters())
    start = [p.detach().clone() for p in parameters]
    average = [p.detach().clone() for p in parameters]
    # No weight decay: it would pull to 0, not to the start.
    optimiser = torch.optim.Adam(parameters, settings.learning_rate)
    keep_statistics(network)
    for step, share in enumerate(_rates(steps)):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * share
        images, masks = (part.to(device) for part in draw(step))
        value: Tensor = stage_loss(network(images), masks, loss)
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        if bool(torch.isfinite(norm)):
            optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(parameters, start, settings.pull * share)
            torch._foreach_lerp_(average, parameters, 1 - min(EMA_DECAY, step / (step + 10)))
        if progress is not None:
            progress(step + 1, steps)
    with torch.no_grad():
        torch._foreach_copy_(parameters, average)
    return network.eval()


def keep_statistics(network: nn.Module) -> None:
    """Put a network into training mode, its batch norms with the statistics that they have."""
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def _rates(steps: int) -> Iterator[float]:
    """Yield the learning rate of each step over the highest: a short rise, half a cosine."""
    for step in range(steps):
        warm = min(1.0, (step + 1) / WARM_STEPS)
        yield warm * 0.5 * (1 + np.cos(np.pi * step / steps))
