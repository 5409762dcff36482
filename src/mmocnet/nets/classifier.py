"""Stage 2's second opinion: is a candidate a microbleed?"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from mmocnet.config import ClassifierSettings
from mmocnet.errors import InputError
from mmocnet.nets.blocks import ResidualBlock, conv_norm_relu, output_conv

PLACE_CHANNELS = 4
"""Numbers that say where in the brain a candidate lies, see `mmocnet.predict.place`."""
PLAUSIBLE_LOGIT = -3.0
"""Below it a candidate is none, and is not looked at turned: few are above it."""

Patches = Float[np.ndarray, "n channels side side"]


class Classifier(nn.Module):
    """Residual network on planes through a candidate; planes, not a volume, are its channels.

    Channels, in this order: intensity on the planes of `offsets_mm`, stage 2's probability on
    them, high-passed phase on those of `phase_offsets_mm`, the slice thickness, with `place` the
    numbers that say where the candidate lies, the same at every pixel, and stage 1's probability
    on the planes of `mark_offsets_mm`.

    Attributes:
        settings: Planes, patch, widths.
        channels: Input channels.
    """

    def __init__(self, settings: ClassifierSettings) -> None:
        super().__init__()
        self.settings = settings
        self.channels = 2 * len(settings.offsets_mm) + len(settings.phase_offsets_mm) + 1
        self.channels += PLACE_CHANNELS if settings.place else 0
        self.channels += len(settings.mark_offsets_mm)
        widths = settings.widths
        self.stem = conv_norm_relu(self.channels, widths[0])
        levels = []
        for i, width in enumerate(widths):
            first = ResidualBlock(widths[max(i - 1, 0)], width, stride=1 if i == 0 else 2)
            rest = (ResidualBlock(width, width) for _ in range(settings.blocks - 1))
            levels.append(nn.Sequential(first, *rest))
        self.levels = nn.ModuleList(levels)
        self.output = output_conv(2 * widths[-1], kernel=1, bias=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, not calibrated.

        Args:
            x: Patches, (B, channels, H, W), H and W of `settings.size`.

        Returns:
            Logits, (B, 1, 1, 1).

        Raises:
            InputError: If the number of channels does not fit.
        """
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise InputError(
                f"the classifier expects shape (B, {self.channels}, H, W), got {tuple(x.shape)}"
            )
        x = self.stem(x)
        for level in self.levels:
            x = level(x)
        mean, highest = x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
        pooled = torch.cat([mean, highest], dim=1)
        logits: Tensor = self.output(pooled)
        return logits


def upside_down(settings: ClassifierSettings) -> NDArray[np.intp]:
    """Return the order of a classifier's channels that has all planes in reverse."""
    planes, phases = len(settings.offsets_mm), len(settings.phase_offsets_mm)
    # Thickness and place are the same upside down.
    same = 1 + (PLACE_CHANNELS if settings.place else 0)
    counts = (planes, planes, phases, *([1] * same), len(settings.mark_offsets_mm))
    parts = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
    return np.concatenate([part[::-1] for part in parts])


def mean_logits(
    classify: Callable[[Patches], Float[np.ndarray, " n"]],
    patches: Patches,
    settings: ClassifierSettings,
) -> Float[np.ndarray, " n"]:
    """Return a logit of each candidate, the mean over its half turns where the settings say so.

    Args:
        classify: The classifier: patches (N, C, H, W) in, logits (N,) out.
        patches: As `Classifier` has them.
        settings: Of the classifier.
    """
    logits = np.array(classify(patches), float)
    if not settings.mirrored:
        return logits
    plausible = np.flatnonzero(logits >= PLAUSIBLE_LOGIT)
    some = patches[plausible]
    turned = some[:, upside_down(settings)]
    # Mirrored along two axes each; the four others along one or three add nothing (measured).
    views = (some[:, :, ::-1, ::-1], turned[:, :, ::-1], turned[:, :, :, ::-1])
    others = [classify(np.ascontiguousarray(view)) for view in views]
    logits[plausible] = np.mean([logits[plausible], *others], axis=0)
    return logits
