"""The optimiser of a stage."""

import torch
from torch import nn

from mmocnet.config import StageSettings


def make_optimiser(network: nn.Module, settings: StageSettings) -> torch.optim.Optimizer:
    """Return a stage's optimiser over all parameters, at its highest learning rate."""
    rate = settings.learning_rate
    if settings.optimiser == "adam":
        return torch.optim.Adam(network.parameters(), rate)
    # Norms and biases are not weights to shrink.
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, rate)
