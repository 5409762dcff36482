"""Stage 1: the Res-U-Net that marks every candidate on a whole slice."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmocnet.config import DetectorSettings
from mmocnet.errors import InputError
from mmocnet.nets.blocks import ResidualBlock, checkpointed, conv_norm_relu, output_conv

MULTIPLE = 16
"""Height and width must be multiples of this: four halvings."""


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        conv_norm_relu(in_channels, out_channels), conv_norm_relu(out_channels, out_channels)
    )


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = ResidualBlock(in_channels, out_channels, stride)
    rest = [ResidualBlock(out_channels, out_channels) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


class Detector(nn.Module):
    """Res-U-Net: five encoder stages, bilinear decoder with a skip connection at each.

    Reference:
        Wei et al. 2022, doi:10.3389/fbioe.2022.937314; stage 4, which the article leaves out,
        follows ResNet-34's pattern 3-4-6-3.

    Attributes:
        settings: Widths, blocks, input channels.
        checkpointing: Whether training recomputes activations to save memory.
    """

    def __init__(self, settings: DetectorSettings) -> None:
        super().__init__()
        self.settings = settings
        self.checkpointing = False
        widths = settings.widths
        self.stem = _double_conv(settings.in_channels, widths[0])
        # The stem's max-pooling already halves, so stage 2 has no stride.
        self.stages = nn.ModuleList(
            _stage(widths[i], widths[i + 1], settings.blocks[i], stride=1 if i == 0 else 2)
            for i in range(4)
        )
        self.decoders = nn.ModuleList(
            _double_conv(widths[i + 1] + widths[i], widths[i]) for i in reversed(range(4))
        )
        self.output = output_conv(widths[0], kernel=1, bias=settings.output_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits.

        Args:
            x: Slices, (B, in_channels, H, W), intensities 0..1; H and W multiples of 16.

        Returns:
            Logits, (B, 1, H, W).

        Raises:
            InputError: If the shape does not fit.
        """
        self._validate(x)
        features = [self._run(self.stem, x)]
        x = F.max_pool2d(features[0], 2)
        for stage in self.stages:
            x = self._run(stage, x)
            features.append(x)
        x = features.pop()
        for decoder in self.decoders:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self._run(decoder, torch.cat([x, features.pop()], dim=1))
        logits: Tensor = self.output(x)
        return logits

    def _run(self, module: nn.Module, x: Tensor) -> Tensor:
        if self.checkpointing and self.training:
            return checkpointed(module, x)
        result: Tensor = module(x)
        return result

    def _validate(self, x: Tensor) -> None:
        channels = self.settings.in_channels
        if x.ndim != 4 or x.shape[1] != channels:
            raise InputError(
                f"the detector expects shape (B, {channels}, H, W), got {tuple(x.shape)}"
            )
        if x.shape[2] % MULTIPLE or x.shape[3] % MULTIPLE:
            raise InputError(
                f"the detector expects height and width in multiples of {MULTIPLE}, "
                f"got {x.shape[2]} x {x.shape[3]}"
            )
