"""Stage 2: the full-resolution network that outlines one candidate or rejects it."""

from torch import Tensor, nn

from mmocnet.config import SegmenterSettings
from mmocnet.errors import InputError
from mmocnet.nets.blocks import (
    ResidualAspp,
    ResidualBlock,
    checkpointed,
    conv_norm_relu,
    output_conv,
)


class Segmenter(nn.Module):
    """FRN: residual blocks, R-ASPP, residual blocks, all at the patch's own resolution.

    Reference:
        Wei et al. 2022, doi:10.3389/fbioe.2022.937314.

    Attributes:
        settings: Width, blocks, dilations.
        checkpointing: Whether training recomputes activations to save memory.
    """

    def __init__(self, settings: SegmenterSettings) -> None:
        super().__init__()
        self.settings = settings
        self.checkpointing = False
        width = settings.width
        self.stem = conv_norm_relu(settings.in_channels, width)
        self.before = nn.Sequential(*(ResidualBlock(width, width) for _ in range(settings.blocks)))
        self.aspp = (
            ResidualAspp(width, settings.dilations, settings.plain_branch)
            if settings.dilations
            else nn.Identity()
        )
        self.after = nn.Sequential(*(ResidualBlock(width, width) for _ in range(settings.blocks)))
        self.output = output_conv(width, kernel=3, bias=settings.output_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits.

        Args:
            x: Patches, (B, in_channels, H, W), intensities 0..1, any H and W.

        Returns:
            Logits, (B, 1, H, W).

        Raises:
            InputError: If the number of channels does not fit.
        """
        channels = self.settings.in_channels
        if x.ndim != 4 or x.shape[1] != channels:
            raise InputError(
                f"the segmenter expects shape (B, {channels}, H, W), got {tuple(x.shape)}"
            )
        for module in (self.stem, self.before, self.aspp, self.after):
            x = checkpointed(module, x) if self.checkpointing and self.training else module(x)
        logits: Tensor = self.output(x)
        return logits
