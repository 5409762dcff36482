"""Settings of the networks and of their use."""

from dataclasses import dataclass, field
from typing import Literal

from mmocnet.config.checked import Checked

Normalisation = Literal["minmax", "median"]
OperatingPoint = Literal["screening", "balanced", "report"]
EngineName = Literal["torch", "openvino", "openvino-int8"]
PhaseSign = Literal["auto", "+1", "-1"]


@dataclass(frozen=True)
class DetectorSettings:
    """Stage 1, the Res-U-Net that marks candidates on a whole slice."""

    widths: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)
    """Channels of the five encoder stages."""
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    """Residual blocks of stages 2 to 5, the strided one included."""
    in_channels: int = 1
    """Slices that the network sees at once, an odd number; the middle one is marked."""
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
    """Slices that the network sees at once, an odd number; the middle one is outlined."""
    output_bias: float = 0.0
    """Initial bias of the output convolution."""


@dataclass(frozen=True)
class BurdenSettings:
    """How a candidate's confidence depends on the other microbleeds that its volume seems to hold.

    Many people have none or one, a few have dozens: beside nine sure microbleeds a doubtful spot is
    more likely to be one than on its own. See `mmocnet.predict.confidence`.
    """

    scale: float = 1.0
    """What the log odds on its own are multiplied with."""
    offset: float = 0.0
    """What is then added."""
    weight: float = 0.0
    """And what each other sure microbleed adds."""
    most: float = 12.0
    """Others beyond so many add nothing."""


@dataclass(frozen=True)
class LocalConfidence:
    """A classifier's calibration for volumes like those that it was fine-tuned on."""

    voxels_mm: tuple[tuple[float, float, float], ...]
    """Voxels of those volumes: the smaller and the larger side in the slice, the thickness. A
    volume is like them if each side is within 5 % of one's."""
    slope: float
    """What the logit is multiplied with."""
    intercept: float
    """What is then added."""


@dataclass(frozen=True)
class ClassifierSettings:
    """Stage 2's second opinion: is a candidate of a volume or of a slice a microbleed?

    It sees planes through the candidate at fixed distances, whatever the slice thickness, and
    phase where there is one.
    """

    offsets_mm: tuple[float, ...] = (-8.0, -6.0, -4.5, -3.0, -1.5, 0.0, 1.5, 3.0, 4.5, 6.0, 8.0)
    """Distances across slices of the planes it sees."""
    phase_offsets_mm: tuple[float, ...] = (-3.0, -1.5, 0.0, 1.5, 3.0)
    """Likewise of the planes of phase; empty leaves phase out."""
    place: bool = False
    """Whether it is told where in the brain of its slice the candidate lies, of axial slices."""
    mark_offsets_mm: tuple[float, ...] = ()
    """Distances of the planes of stage 1's probability, which saw the whole slice; empty leaves it
    out."""
    size: int = 40
    """Side of a patch in pixels of the working grid."""
    widths: tuple[int, ...] = (24, 40, 64, 96)
    """Channels at each level; each level after the first halves the patch."""
    blocks: int = 2
    """Residual blocks a level."""
    mirrored: bool = False
    """Whether the logit of a candidate that may be one is the mean over four views: as it lies, and
    turned by 180 degrees about each axis."""
    slope: float = 1.0
    """Calibration, fitted on data of its own: what the logit is multiplied with."""
    intercept: float = 0.0
    """Calibration: what is then added."""
    slice_slope: float = 1.0
    """The same for a single slice, on which more of what is found is a vein, .."""
    slice_intercept: float = 0.0
    """.. and which was chosen by someone for what is on it."""
    local: tuple[LocalConfidence, ...] = ()
    """For volumes with such voxels, in place of slope and intercept; the first that fits."""
    burden: BurdenSettings | None = None
    """What a volume's other candidates then say; None leaves them out."""


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
    margin_mm: float = 0.0
    """Width around the brain, in its slices, that is kept and looked at: a black lesion at the
    brain's edge is missing in the mask."""


@dataclass(frozen=True)
class Thresholds:
    """Lesion confidence at or above which a lesion is reported, for each operating point."""

    screening: float = 0.3
    """Sensitivity first."""
    balanced: float = 0.5
    """Best lesion F1, with few false calls a scan."""
    report: float = 0.7
    """Precision first; at or above it a lesion is definite."""


@dataclass(frozen=True)
class ContextSettings:
    """Logistic regression that gives a candidate of a volume its confidence.

    The features are named in `mmocnet.predict.context`.
    """

    mean: tuple[float, ...]
    """Of each feature."""
    scale: tuple[float, ...]
    """Standard deviation of each feature."""
    weights: tuple[float, ...]
    """Of the standardised features, of their products in pairs, and the intercept."""


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
    slice_candidate_threshold: float | None = None
    """The same for a single slice, on which less tells candidates apart; None takes that."""
    contrast_share: float | None = None
    """Share of a candidate's contrast that its voxels have more of, above 0 and below 1; None
    leaves the outline of stage 2, where its probability is at least one half."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    slice_thresholds: Thresholds | None = None
    """For a single slice; without a classifier for fewer than 8 slices, which have no context
    then. None takes `thresholds`."""
    context: ContextSettings | None = None
    """Confidence in context, for volumes; None leaves the stage-2 probability."""
    classifier: ClassifierSettings | None = None
    """Confidence by the classifier, in place of `context`; None where there is none."""

    @property
    def reads_phase(self) -> bool:
        """Whether a phase image is of use."""
        return self.classifier is not None and bool(self.classifier.phase_offsets_mm)


@dataclass(frozen=True)
class SegmentSettings(Checked):
    """How a scan is segmented."""

    model: str | None = None
    """compact, standard, paper, or a folder that training wrote; None takes the best shipped."""
    operating_point: OperatingPoint = "balanced"
    """screening: sensitivity first. balanced. report: precision first."""
    threshold: float | None = None
    """Lesion confidence, above 0 and at most 1, in place of the operating point's."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the networks run."""
    engine: EngineName = "torch"
    """What runs them."""
    phase_sign: PhaseSign = "auto"
    """Sign of a phase image where blood is positive along the field; auto finds it."""
    location: bool = True
    """Whether lesions get regions, by registration to MNI152, where SimpleITK is installed."""
