"""Settings: frozen dataclasses whose field docstrings feed `--help` and the documentation."""

from dataclasses import dataclass, field
from typing import Literal

Normalisation = Literal["minmax", "median"]
LossReduction = Literal["batch", "image"]
OperatingPoint = Literal["screening", "balanced", "report"]


@dataclass(frozen=True)
class DetectorSettings:
    """Stage 1, the Res-U-Net that marks candidates on a whole slice."""

    widths: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)
    """Channels of the five encoder stages."""
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    """Residual blocks of stages 2 to 5, the strided one included."""
    in_channels: int = 1
    """Input channels."""
    output_bias: float = 0.0
    """Initial bias of the output convolution; -4 starts at a probability of 0.018."""


@dataclass(frozen=True)
class SegmenterSettings:
    """Stage 2, the full-resolution network that outlines or rejects one candidate."""

    width: int = 32
    """Channels throughout."""
    blocks: int = 3
    """Residual blocks before and after the R-ASPP."""
    dilations: tuple[int, ...] = (4, 8, 12)
    """Dilations of the R-ASPP; empty leaves the R-ASPP out (the article's ablation)."""
    plain_branch: bool = False
    """Whether the R-ASPP has an extra plain 1 x 1 branch."""
    in_channels: int = 1
    """Input channels."""
    output_bias: float = 0.0
    """Initial bias of the output convolution."""


@dataclass(frozen=True)
class PreparationSettings:
    """From a scan to the slices that stage 1 reads."""

    pixel_mm: float | None = 0.5
    """In-plane pixel of the working grid in mm; None scales each slice to `input_shape`, as the
    article does."""
    input_shape: tuple[int, int] = (352, 448)
    """Left-right x front-back pixels of the article's input, used when `pixel_mm` is None."""
    normalisation: Normalisation = "median"
    """minmax: each image to 0..1. median: the brain's median to 0.5, clipped to 0..1."""
    strip_skull: bool = True
    """Whether everything outside the brain is set to 0."""


@dataclass(frozen=True)
class Thresholds:
    """Lesion confidence at or above which a lesion is reported, for each operating point."""

    screening: float = 0.3
    """Sensitivity first."""
    balanced: float = 0.5
    """Best lesion F1."""
    report: float = 0.7
    """Precision first; at or above it a lesion is definite."""


@dataclass(frozen=True)
class CascadeSettings:
    """All that both stages need at the time of use; saved in every checkpoint."""

    detector: DetectorSettings = field(default_factory=DetectorSettings)
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)
    preparation: PreparationSettings = field(default_factory=PreparationSettings)
    roi_size: int = 32
    """Side of a region of interest in pixels of the working grid: 16, 32, 64 or 128."""
    candidate_threshold: float = 0.5
    """Stage-1 probability at or above which a pixel belongs to a candidate."""
    thresholds: Thresholds = field(default_factory=Thresholds)


@dataclass(frozen=True)
class LossSettings:
    """BCE + Dice + lambda x sensitivity loss."""

    sensitivity_weight: float = 1.0
    """The article's lambda: 10 in stage 1, 1 in stage 2."""
    over: LossReduction = "batch"
    """Whether Dice and sensitivity are taken over the batch or averaged over its images."""
