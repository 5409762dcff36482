"""Batch norm over a batch that several processes share, on CPU and GPU."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch norm whose training statistics are the whole batch's.

    Torch's SyncBatchNorm does the same on GPUs only. Outside training, and in names and values
    of its state, it is the batch norm that it replaces. As two passes, mean then variance:
    sums of squares alone lose the variance of channels far from zero.

    Args:
        norm: What is replaced; its parameters and buffers are shared.
        reduce: Adds a tensor over processes, differentiably.
    """

    def __init__(self, norm: nn.BatchNorm2d, reduce: Callable[[Tensor], Tensor]) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.reduce = reduce
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` normalised, shape (B, C, H, W) and type as given."""
        if not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
            mine = values.new_full((1,), float(values.numel() // values.shape[1]))
            total = self.reduce(torch.cat([values.sum((0, 2, 3)), mine]))
            mean, count = total[:-1] / total[-1], total[-1].detach()
            centred = values - mean[:, None, None]
            variance = self.reduce((centred * centred).sum((0, 2, 3))) / count
            self._follow(mean.detach(), variance.detach(), count)
            scale = self.weight * torch.rsqrt(variance + self.eps)
            return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)


def synchronise_norms(network: nn.Module, reduce: Callable[[Tensor], Tensor]) -> None:
    """Replace every batch norm of a network by a synchronised one; its state stays as it is.

    Args:
        network: Changed in place; parameters stay the same objects, so optimisers keep them.
        reduce: Adds a tensor over processes, differentiably.
    """
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d) and not isinstance(child, SynchronisedBatchNorm):
                setattr(module, name, SynchronisedBatchNorm(child, reduce))
