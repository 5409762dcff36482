"""Building blocks of both networks.

Every convolution is followed by batch norm and has no bias of its own; tensors are
(B, C, H, W) with H left-right and W front-back.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def conv_norm(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Return a convolution that keeps the size (at stride 1), and its batch norm."""
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel, stride, padding, dilation, bias=False
    )
    # He et al. 2015: keeps the variance through ReLU layers.
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


def conv_norm_relu(
    in_channels: int, out_channels: int, kernel: int = 3, dilation: int = 1
) -> nn.Sequential:
    """Return convolution, batch norm, ReLU."""
    layers = conv_norm(in_channels, out_channels, kernel, dilation=dilation)
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def output_conv(in_channels: int, kernel: int, bias: float) -> nn.Conv2d:
    """Return the last convolution, to one channel of logits, with its initial bias."""
    convolution = nn.Conv2d(in_channels, 1, kernel, padding=kernel // 2)
    nn.init.constant_(convolution.bias, bias)  # type: ignore[arg-type]
    return convolution


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, ReLU after the sum.

    With stride 1 and equal widths the shortcut is the identity (the article's Res-Block S1);
    otherwise it is a 1 x 1 projection (Res-Block S2, where the stride is 2).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_norm(in_channels, out_channels, stride=stride)
        self.second = conv_norm(out_channels, out_channels)
        self.shortcut = (
            conv_norm(in_channels, out_channels, kernel=1, stride=stride)
            if stride != 1 or in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features of shape (B, out_channels, H / stride, W / stride)."""
        y = self.second(F.relu(self.first(x), inplace=True))
        return F.relu(y + self.shortcut(x), inplace=True)


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch norm after global pooling, which leaves one value a channel and image.

    One image alone has no batch statistics (torch raises, and a variance of zero would erase
    the branch), so a training batch of one is normalised by the running statistics, which
    it leaves as they are.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` normalised, shape (B, C, 1, 1)."""
        if self.training and x.shape[0] == 1:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)


class ResidualAspp(nn.Module):
    """R-ASPP: parallel dilated convolutions and a global average, fused and added to the input."""

    def __init__(self, width: int, dilations: tuple[int, ...], plain_branch: bool) -> None:
        super().__init__()
        branches = [conv_norm_relu(width, width, dilation=d) for d in dilations]
        if plain_branch:
            branches.append(conv_norm_relu(width, width, kernel=1))
        self.branches = nn.ModuleList(branches)
        self.pooled = nn.Sequential(
            conv_norm(width, width, kernel=1)[0], PooledBatchNorm(width), nn.ReLU(inplace=True)
        )
        self.fuse = conv_norm(width * (len(branches) + 1), width, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the shape of `x`, (B, width, H, W)."""
        mean = self.pooled(x.mean(dim=(2, 3), keepdim=True)).expand_as(x)
        features = torch.cat([*(branch(x) for branch in self.branches), mean], dim=1)
        return F.relu(self.fuse(features) + x, inplace=True)


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Let batch norm use batch statistics without updating its running ones."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(n.momentum, n.num_batches_tracked) for n in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked = tracked


def checkpointed(module: nn.Module, x: Tensor) -> Tensor:
    """Return `module(x)`, recomputing inside backward instead of keeping activations.

    The recomputation leaves batch norm's running statistics alone: they were updated once,
    in the forward pass, as without checkpointing.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), frozen_statistics(module)

    result: Tensor = checkpoint(module, x, use_reentrant=False, context_fn=contexts)
    return result
