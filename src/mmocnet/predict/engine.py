"""Run both networks over slices and patches, and know nothing else of the task."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmocnet.errors import InputError
from mmocnet.nets.detector import MULTIPLE
from mmocnet.types import FloatArray

Progress = Callable[[int, int], None]
"""Called with what is done and what there is to do, in slices."""

MARGIN_PX = 16
"""Pixels of background kept around the brain, so that no lesion lies at a border."""
PATCHES_PER_BATCH = 64
"""Fastest on a CPU between 16 and 64, slower at 256 (measured)."""
SLICES_PER_BATCH = {"cpu": 1, "cuda": 8}
"""A CPU gains nothing from batches of slices (measured)."""


@dataclass(frozen=True)
class Engine:
    """Both networks, ready to run.

    Attributes:
        detector: Stage 1, logits (B, 1, H, W) of slices.
        segmenter: Stage 2, logits (B, 1, H, W) of patches.
        device: Where they are.
        crop: Whether stage 1 sees only the brain's box; not where slices were scaled to the
            size it was trained at.
    """

    detector: nn.Module
    segmenter: nn.Module
    device: torch.device
    crop: bool = True

    def detect(
        self,
        slices: Float[np.ndarray, "s r c"],
        brain: Bool[np.ndarray, "s r c"],
        progress: Progress | None = None,
    ) -> Float[np.ndarray, "s r c"]:
        """Return stage 1's probability, 0 outside the brain.

        Slices without brain are not run.

        Args:
            slices: Prepared slices, shape (S, R, C), float32.
            brain: Same shape.
            progress: Told after each batch.
        """
        probability = np.zeros(slices.shape, dtype=np.float32)
        filled = np.flatnonzero(brain.any(axis=(1, 2)))
        step = SLICES_PER_BATCH[self.device.type]
        for start in range(0, len(filled), step):
            batch = filled[start : start + step]
            box = _box(np.any(brain[batch], axis=0)) if self.crop else (slice(None), slice(None))
            found = self._run(self.detector, _padded(slices[batch][:, *box]))
            height, width = probability[0][box].shape
            probability[batch, *box] = found[:, :height, :width]
            if progress is not None:
                progress(start + len(batch), len(filled))
        probability[~brain] = 0.0
        return probability

    def outline(self, patches: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "n h w"]:
        """Return stage 2's probability of patches."""
        parts = [
            self._run(self.segmenter, patches[start : start + PATCHES_PER_BATCH])
            for start in range(0, len(patches), PATCHES_PER_BATCH)
        ]
        return np.concatenate([np.zeros((0, *patches.shape[1:]), dtype=np.float32), *parts])

    def _run(self, network: nn.Module, images: FloatArray) -> FloatArray:
        batch = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))[:, None]
        with torch.inference_mode():
            logits = network(batch.to(self.device, memory_format=torch.channels_last))
            return np.asarray(torch.sigmoid(logits)[:, 0].float().cpu().numpy())


def make_engine(
    detector: nn.Module, segmenter: nn.Module, device: str = "cpu", crop: bool = True
) -> Engine:
    """Return an engine on copies of two networks, made fast for inference.

    Raises:
        InputError: If the device is not there.
    """
    if device not in SLICES_PER_BATCH:
        raise InputError(f"expected device {' or '.join(SLICES_PER_BATCH)}, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("expected an NVIDIA GPU for device cuda, got none: use --device cpu")
    where = torch.device(device)
    return Engine(_ready(detector, where), _ready(segmenter, where), where, crop)


def _ready(network: nn.Module, device: torch.device) -> nn.Module:
    moved = fold_batch_norm(network).to(device)
    # torch's annotations leave this argument out.
    return moved.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Return a copy in eval mode with each batch norm folded into the convolution before it.

    Only pairs that follow each other in an `nn.Sequential` are folded: there the order of
    modules is the order of calls.
    """
    copied = copy.deepcopy(network).eval()
    for module in copied.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for at in range(len(module) - 1):
            first, second = module[at], module[at + 1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                module[at] = fuse_conv_bn_eval(first, second)
                module[at + 1] = nn.Identity()
    return copied


def _box(mask: Bool[np.ndarray, "r c"]) -> tuple[slice, slice]:
    """Return the box of a mask with its margin, inside the slice."""
    spans = []
    for axis in (1, 0):
        at = np.flatnonzero(mask.any(axis=axis))
        end = min(int(at[-1]) + 1 + MARGIN_PX, mask.shape[1 - axis])
        spans.append(slice(max(int(at[0]) - MARGIN_PX, 0), end))
    return spans[0], spans[1]


def _padded(images: FloatArray) -> FloatArray:
    """Return images with zeros at their ends, so that stage 1 can halve them four times."""
    extra = [(0, -size % MULTIPLE) for size in images.shape[1:]]
    return np.pad(images, [(0, 0), *extra])
