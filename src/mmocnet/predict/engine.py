"""Run the networks over slices and patches, and know nothing else of the task."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.special import expit
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmocnet.config import EngineName
from mmocnet.errors import InputError
from mmocnet.nets.checkpoint import Cascade
from mmocnet.nets.detector import MULTIPLE, Detector
from mmocnet.nets.device import check_device
from mmocnet.nets.segmenter import Segmenter
from mmocnet.prepare.neighbours import stack
from mmocnet.types import FloatArray

Progress = Callable[[int, int], None]
"""Called with what is done and what there is to do, in slices."""
Runner = Callable[[Iterable[FloatArray]], Iterator[FloatArray]]
"""One network: batches (B, C, H, W) in, their logits (B, 1, ...) out, in order."""

MARGIN_PX = 16
"""Pixels of background kept around the brain, so that no lesion lies at a border."""
PATCHES_PER_BATCH = 64
"""Fastest on a CPU between 16 and 64, slower at 256 (measured)."""
SLICES_PER_BATCH = {"cpu": 1, "cuda": 8}
"""A CPU gains nothing from batches of slices (measured)."""


@dataclass(frozen=True)
class Engine:
    """The networks, ready to run.

    Attributes:
        detector: Stage 1, of slices with their neighbours as channels.
        segmenter: Stage 2, of patches.
        classifier: One logit a patch; None where there is none.
        channels: Slices that stage 1 sees at once.
        patch_channels: Slices that stage 2 sees at once.
        batch: Slices in a batch of stage 1.
        crop: Whether stage 1 sees only the brain's box; not where slices were scaled to the
            size it was trained at.
    """

    detector: Runner
    segmenter: Runner
    classifier: Runner | None = None
    channels: int = 1
    patch_channels: int = 1
    batch: int = 1
    crop: bool = True

    def detect(
        self,
        slices: Float[np.ndarray, "s r c"],
        brain: Bool[np.ndarray, "s r c"],
        progress: Progress | None = None,
        step: int = 1,
    ) -> Float[np.ndarray, "s r c"]:
        """Return stage 1's probability, 0 outside the brain.

        Slices without brain are not run.

        Args:
            slices: Prepared slices, shape (S, R, C), float32.
            brain: Same shape.
            progress: Told after each batch.
            step: Slices from one neighbour to the next, for a network that sees several.
        """
        probability = np.zeros(slices.shape, dtype=np.float32)
        filled = np.flatnonzero(brain.any(axis=(1, 2)))
        batches = [filled[at : at + self.batch] for at in range(0, len(filled), self.batch)]
        boxes = [self._box(brain[batch]) for batch in batches]
        inputs = (
            _padded(stack(slices[:, *box], batch, step, self.channels))
            for batch, box in zip(batches, boxes, strict=True)
        )
        done = 0
        for batch, box, logits in zip(batches, boxes, self.detector(inputs), strict=True):
            height, width = probability[0][box].shape
            probability[batch, *box] = expit(logits[:, 0, :height, :width])
            done += len(batch)
            if progress is not None:
                progress(done, len(filled))
        probability[~brain] = 0.0
        return probability

    def outline(self, patches: Float[np.ndarray, "n *c h w"]) -> Float[np.ndarray, "n h w"]:
        """Return stage 2's probability of patches.

        Args:
            patches: Shape (N, C, H, W), or (N, H, W) for a network that sees one slice.
        """
        channelled = patches[:, None] if patches.ndim == 3 else patches
        parts = [expit(logits[:, 0]) for logits in self.segmenter(_in_batches(channelled))]
        return np.concatenate([np.zeros((0, *patches.shape[-2:]), dtype=np.float32), *parts])

    def classify(self, patches: Float[np.ndarray, "n c h w"]) -> Float[np.ndarray, " n"]:
        """Return the classifier's logit of each patch.

        Raises:
            InputError: If the model has no classifier.
        """
        if self.classifier is None:
            raise InputError("expected a model with a classifier of candidates, got one without")
        parts = [logits.reshape(-1) for logits in self.classifier(_in_batches(patches))]
        return np.concatenate([np.zeros(0, dtype=np.float32), *parts])

    def _box(self, brain: Bool[np.ndarray, "b r c"]) -> tuple[slice, slice]:
        return _box(np.any(brain, axis=0)) if self.crop else (slice(None), slice(None))


def make_engine(
    networks: Cascade | tuple[nn.Module, ...],
    device: str = "cpu",
    crop: bool = True,
    engine: EngineName = "torch",
) -> Engine:
    """Return an engine on copies of a cascade's networks, made fast for inference.

    Args:
        networks: A cascade, or its stage 1, its stage 2 and, where there is one, its classifier.
        device: "cpu" or "cuda".
        crop: Whether stage 1 sees only the brain's box.
        engine: What runs them; openvino-int8 runs stage 1 in 8 bits, the rest exactly.

    Raises:
        InputError: If the device or the engine's package is not there.
    """
    _check(device, engine)
    detector, *others = _networks(networks)
    if engine == "torch":
        runners = [torch_runner(network, torch.device(device)) for network in (detector, *others)]
    else:
        from mmocnet.predict.openvino import calibration_slices, openvino_runner

        int8 = engine == "openvino-int8"
        calibration = calibration_slices(_in_channels(detector)) if int8 else None
        runners = [
            openvino_runner(fold_batch_norm(detector), calibration),
            *(openvino_runner(fold_batch_norm(network)) for network in others),
        ]
    return Engine(
        detector=runners[0],
        segmenter=runners[1],
        classifier=runners[2] if len(runners) > 2 else None,
        channels=_in_channels(detector),
        patch_channels=_in_channels(others[0]),
        batch=SLICES_PER_BATCH[device],
        crop=crop,
    )


def _check(device: str, engine: str) -> None:
    if device not in SLICES_PER_BATCH:
        raise InputError(f"expected device {' or '.join(SLICES_PER_BATCH)}, got {device!r}")
    if engine not in get_args(EngineName):
        raise InputError(f"expected engine {' or '.join(get_args(EngineName))}, got {engine!r}")
    if device == "cuda" and engine != "torch":
        raise InputError(f"expected device cpu for engine {engine}, got device cuda")
    check_device(device)


def torch_runner(network: nn.Module, device: torch.device) -> Runner:
    """Return a network run by torch."""
    ready = _ready(network, device)

    def run(batches: Iterable[FloatArray]) -> Iterator[FloatArray]:
        for batch in batches:
            images = torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32))
            with torch.inference_mode():
                logits = ready(images.to(device, memory_format=torch.channels_last))
                yield logits.float().cpu().numpy()

    return run


def _networks(networks: Cascade | tuple[nn.Module, ...]) -> tuple[nn.Module, ...]:
    """Return stage 1, stage 2 and the classifier where there is one."""
    if isinstance(networks, tuple):
        return networks
    classifier = getattr(networks, "classifier", None)
    both = (networks.detector, networks.segmenter)
    return both if classifier is None else (*both, classifier)


def _in_channels(network: nn.Module) -> int:
    """Return the slices that a network sees; a rule in place of one sees one."""
    return network.settings.in_channels if isinstance(network, Detector | Segmenter) else 1


def _in_batches(patches: FloatArray) -> Iterator[FloatArray]:
    return (
        patches[start : start + PATCHES_PER_BATCH]
        for start in range(0, len(patches), PATCHES_PER_BATCH)
    )


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
    """Return images (B, C, H, W) with zeros at their ends: stage 1 halves them four times."""
    extra = [(0, -size % MULTIPLE) for size in images.shape[2:]]
    return np.pad(images, [(0, 0), (0, 0), *extra])
