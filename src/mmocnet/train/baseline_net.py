"""A plain U-Net to compare with: MONAI's DynUNet, built as nnU-Net builds its networks."""

from dataclasses import dataclass, field, replace
from typing import Literal

from torch import nn

from mmocnet.config import (
    AugmentationSettings,
    LossSettings,
    PatchShares,
    PreparationSettings,
    StageSettings,
    Thresholds,
    train_settings,
)
from mmocnet.errors import InputError
from mmocnet.types import IntTriple, Triple

BaselineName = Literal["unet2d", "unet3d"]

SMALLEST_EDGE = 4
"""Fewest slices, rows or columns at the lowest level (nnU-Net's)."""
COARSE = 2.0
"""Axes whose spacing is this many times the finest are left alone until the others are as coarse
(nnU-Net's)."""


@dataclass(frozen=True)
class BaselineSettings:
    """How a baseline is built and trained."""

    network: BaselineName = "unet2d"
    """Slices by themselves, or blocks of slices."""
    width: int = 16
    """Channels of the first level; each next level has twice as many, up to `widest`."""
    widest: int = 128
    """Most channels of a level."""
    levels: int = 5
    """Resolutions; each next one has half the rows and columns."""
    patch: IntTriple = (1, 176, 224)
    """Slices, rows and columns of a training patch, and of a tile in use."""
    spacing_mm: Triple = (2.0, 0.5, 0.5)
    """Median of the training scans; it decides where slices are halved."""
    repeated: float = 0.1
    """Share of the blocks that repeat one slice, as single slices are seen in use."""
    output_bias: float = -4.0
    """Initial bias of the output, as of the cascade's first stage."""
    stage: StageSettings = field(default_factory=StageSettings)
    """Optimiser, rate, lengths, loss."""
    shares: PatchShares = field(default_factory=PatchShares)
    """What patches are centred on; a lesion in half of them."""
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    """As of the cascade; a block is changed as one."""
    preparation: PreparationSettings = field(default_factory=PreparationSettings)
    """As of the cascade."""
    validation_share: float = 0.2
    """As of the cascade: with the same seed the same subjects."""
    validation_patches: int = 96
    """Patches that score an epoch."""
    validation_scans: int = 16
    """Whole validation scans on which thresholds are chosen."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """Confidence from which a candidate is a lesion; balanced has the best lesion F1 with few false
    calls."""
    seed: int = 0
    """Everything random comes from it."""


def baseline_settings(network: BaselineName) -> BaselineSettings:
    """Return how a baseline is trained: as the compact cascade's first stage where it can be.

    >>> baseline_settings("unet3d").patch
    (12, 96, 96)
    """
    ours = train_settings("compact")
    settings = BaselineSettings(
        network=network,
        stage=replace(
            ours.detector,
            loss=LossSettings(sensitivity_weight=0.0),
            batch_size=6,
            steps_per_epoch=100,
        ),
        shares=ours.detector_shares,
        augmentation=ours.augmentation,
        preparation=ours.cascade.preparation,
        validation_share=ours.validation_share,
    )
    if network == "unet2d":
        return settings
    return replace(
        settings,
        patch=(12, 96, 96),
        stage=replace(settings.stage, batch_size=2),
        validation_patches=32,
    )


def plan(patch: IntTriple, spacing_mm: Triple, levels: int) -> tuple[list[IntTriple], ...]:
    """Return the kernels and strides of each level, as nnU-Net chooses them.

    Rows and columns are halved at each level; slices only once the pixels have become as coarse
    as they are thick, and while enough are left. Until then kernels lie within a slice.

    Args:
        patch: Slices, rows, columns.
        spacing_mm: Of each.
        levels: Resolutions.

    Raises:
        InputError: If a patch cannot be halved so often.

    >>> plan((12, 96, 96), (2.0, 0.5, 0.5), 4)
    ([(1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3)], [(1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2)])
    """
    halvings = 2 ** (levels - 1)
    if any(side % halvings or side // halvings < SMALLEST_EDGE for side in patch[1:]):
        raise InputError(
            f"expected rows and columns of a patch in multiples of {halvings}, at least "
            f"{SMALLEST_EDGE * halvings}, got {patch[1:]}"
        )
    kernels: list[IntTriple] = []
    strides: list[IntTriple] = []
    slices, thickness, pixel = patch[0], spacing_mm[0], max(spacing_mm[1:])
    deep = False
    for level in range(levels):
        if level == 0:
            strides.append((1, 1, 1))
        else:
            halved = deep and slices % 2 == 0 and slices // 2 >= SMALLEST_EDGE
            strides.append((2 if halved else 1, 2, 2))
            slices, thickness = (slices // 2, thickness * 2) if halved else (slices, thickness)
            pixel *= 2
        deep = deep or (patch[0] > 1 and thickness / pixel < COARSE)
        kernels.append((3 if deep else 1, 3, 3))
    return kernels, strides


def build(settings: BaselineSettings) -> nn.Module:
    """Return the untrained network: (B, 1, H, W) or (B, 1, D, H, W) to logits of that shape.

    Raises:
        InputError: If MONAI is not installed, or the patch does not fit the levels.
    """
    try:
        from monai.networks.nets.dynunet import DynUNet
    except ImportError as error:
        raise InputError(
            "expected MONAI for a baseline: pip install 'mmocnet[baselines]'"
        ) from error
    kernels, strides = plan(settings.patch, settings.spacing_mm, settings.levels)
    volumes = settings.network == "unet3d"
    axes = slice(None) if volumes else slice(1, None)
    steps = [stride[axes] for stride in strides]
    network: nn.Module = DynUNet(
        spatial_dims=3 if volumes else 2,
        in_channels=1,
        out_channels=1,
        kernel_size=[kernel[axes] for kernel in kernels],
        strides=steps,
        upsample_kernel_size=steps[1:],
        filters=[min(settings.width * 2**n, settings.widest) for n in range(settings.levels)],
    )
    # MONAI holds each block under two names; states are written by one.
    for name in ("input_block", "downsamples", "bottleneck", "upsamples", "heads"):
        if hasattr(network, name):
            delattr(network, name)
    nn.init.constant_(network.get_parameter("output_block.conv.conv.bias"), settings.output_bias)
    return network
