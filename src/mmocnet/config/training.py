"""Settings of training."""

from dataclasses import dataclass, field, replace
from typing import Literal

from mmocnet.config.cascade import (
    CascadeSettings,
    ClassifierSettings,
    DetectorSettings,
    PreparationSettings,
    SegmenterSettings,
)
from mmocnet.config.checked import Checked, check_choice

LossReduction = Literal["batch", "image"]
LossKind = Literal["joint", "marking"]
OptimiserName = Literal["adam", "adamw"]
TrainPreset = Literal["compact", "standard", "paper"]


@dataclass(frozen=True)
class LossSettings(Checked):
    """The loss of a stage."""

    sensitivity_weight: float = 1.0
    """The article's lambda: 10 in stage 1, 1 in stage 2."""
    over: LossReduction = "batch"
    """Whether Dice and sensitivity are taken over the batch or averaged over its images."""
    dice_weight: float = 1.0
    """Of the Dice loss; 0 leaves it out, as where candidates are classified."""
    kind: LossKind = "joint"
    """joint: BCE + Dice + lambda x sensitivity loss, the article's. marking: a focal loss in which
    every lesion counts alike, for a stage 1 that is to miss none; the other settings say nothing
    then."""


@dataclass(frozen=True)
class AugmentationSettings(Checked):
    """Random changes of training patches; the defaults are the article's."""

    rotation_deg: float = 180.0
    """Rotation is uniform within plus and minus this."""
    rotation_share: float = 0.3
    """Share of patches rotated."""
    flip_share: float = 0.3
    """Share of patches flipped, along each axis on its own."""
    zoom: tuple[float, float] = (1.0, 1.0)
    """Range of the in-plane magnification."""
    stretch: float = 1.0
    """Largest ratio of the magnifications along a patch's sides."""
    intensity_sd: float = 0.2
    """Scale is 1 +- this; shift is within plus and minus this, in standard deviations."""
    gamma: tuple[float, float] = (1.0, 1.0)
    """Range of the exponent put on intensities."""
    bias_field: float = 0.0
    """Largest change by a smooth multiplicative field."""
    blur_px: float = 0.0
    """Largest standard deviation of a Gaussian blur."""
    noise_sd: float = 0.03
    """Largest standard deviation of white noise; full scale is 1."""
    rounding_share: float = 0.0
    """Share of patches rounded to 64..256 grey levels."""
    keep_background: bool = False
    """Whether pixels that are exactly 0 (outside the brain) stay 0."""


@dataclass(frozen=True)
class StageSettings(Checked):
    """How one stage is trained."""

    optimiser: OptimiserName = "adamw"
    """adam without weight decay, or adamw."""
    learning_rate: float = 2e-3
    """Highest learning rate."""
    weight_decay: float = 1e-2
    """Of AdamW."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises to its highest."""
    cosine: bool = True
    """Whether the learning rate falls along a half cosine to 1 % at the end."""
    ema_decay: float = 0.99
    """Decay of the running average of the weights, which is what is kept; 0 keeps the last."""
    clip_norm: float = 5.0
    """Gradients longer than this are shortened to it."""
    batch_size: int = 6
    """Patches a step."""
    steps_per_epoch: int | None = 250
    """Steps between validations; None draws as many patches as lesions have slices, each lesion
    counted on its own. They are drawn anew each time, by `PatchShares`: not each lesion is seen."""
    max_epochs: int = 40
    """Training ends after this many epochs."""
    budget_minutes: float | None = None
    """Training ends after this time, and the learning rate falls to fit it; None: no limit."""
    patience: int | None = None
    """Epochs without a better smoothed score after which training stops; None: never."""
    score_smoothing: float = 0.5
    """Weight of the past in the smoothed validation score."""
    checkpoint_minutes: float = 3.0
    """Time between checkpoints for resuming."""
    gradient_checkpointing: bool = False
    """Whether activations are recomputed to save memory."""
    loss: LossSettings = field(default_factory=LossSettings)


@dataclass(frozen=True)
class PatchShares(Checked):
    """How often a training patch is centred on what; a kind that does not occur is left out."""

    lesion: float = 0.5
    """Reference lesions, each as often as any other."""
    found: float = 0.0
    """Stage-1 candidates on a lesion (stage 2 only)."""
    false: float = 0.0
    """Stage-1 candidates elsewhere (stage 2 only)."""
    mimic: float = 0.2
    """Known mimics."""
    dark: float = 0.0
    """Dark places of the brain, most of them vessels."""
    brain: float = 0.3
    """Anywhere in the brain."""


@dataclass(frozen=True)
class TrainSettings(Checked):
    """How a cascade is trained."""

    cascade: CascadeSettings = field(default_factory=CascadeSettings)
    detector: StageSettings = field(default_factory=StageSettings)
    segmenter: StageSettings = field(default_factory=StageSettings)
    detector_shares: PatchShares = field(default_factory=PatchShares)
    segmenter_shares: PatchShares = field(
        default_factory=lambda: PatchShares(
            lesion=0.35, found=0.15, false=0.3, mimic=0.1, dark=0.1, brain=0.0
        )
    )
    classifier: StageSettings = field(
        default_factory=lambda: StageSettings(
            batch_size=64,
            learning_rate=1e-3,
            loss=LossSettings(sensitivity_weight=0.0, dice_weight=0.0),
        )
    )
    neighbours_hidden: float = 0.25
    """Share of patches whose neighbouring slices are hidden, so that one slice suffices too."""
    planes_across: bool = False
    """Whether stage 1 also learns from planes across the slices of its scans."""
    start_from: str | None = None
    """Model (a shipped name or a folder) whose weights training starts from; None: random."""
    crop_shape: tuple[int, int] = (176, 224)
    """Left-right x front-back pixels of stage 1's training crops, multiples of 16."""
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    validation_share: float = 0.2
    """Share of the subjects kept for validation; all of a subject's scans stay together."""
    validation_patches: tuple[int, int] = (96, 768)
    """Patches that score an epoch, in stage 1 and stage 2."""
    validation_scans: int = 16
    """Whole validation scans on which thresholds are chosen."""
    mining_slices: int = 2500
    """Training slices on which stage-1 candidates are collected for stage 2."""
    candidate_sensitivity: float = 0.98
    """Share of the validation lesions that the candidate threshold must find."""
    most_false_candidates: float = 8.0
    """False candidates a slice above which the candidate threshold is raised nevertheless."""
    pretrained_encoder: str | None = None
    """Safetensors of ImageNet ResNet-34 weights for stage 1's stages 2 to 5; None: random."""
    seed: int = 0
    """Everything random comes from it."""


def train_settings(preset: TrainPreset) -> TrainSettings:
    """Return how a preset is trained: the article's way, narrow and fast, or that with context.

    Raises:
        InputError: If there is no such preset.

    >>> train_settings("paper").detector.loss.sensitivity_weight
    10.0
    """
    check_choice("preset", preset, TrainPreset)
    if preset == "paper":
        article = StageSettings(
            optimiser="adam",
            learning_rate=2e-4,
            warmup_steps=0,
            cosine=False,
            ema_decay=0.0,
            steps_per_epoch=None,
            max_epochs=500,
            patience=50,
        )
        return TrainSettings(
            cascade=CascadeSettings(
                preparation=PreparationSettings(pixel_mm=None, normalisation="minmax")
            ),
            detector=replace(article, loss=LossSettings(sensitivity_weight=10.0)),
            segmenter=article,
            crop_shape=(352, 448),
        )
    compact = TrainSettings(
        cascade=CascadeSettings(
            detector=DetectorSettings(widths=(8, 16, 32, 64, 128), output_bias=-4.0),
            segmenter=SegmenterSettings(output_bias=-2.0),
            # Half of the contrast is best on simulated scans, a little less on real planes.
            contrast_share=0.45,
        ),
        segmenter=StageSettings(batch_size=16, steps_per_epoch=500, max_epochs=30),
        augmentation=AugmentationSettings(
            rotation_share=0.5,
            flip_share=0.5,
            zoom=(0.8, 1.25),
            gamma=(0.7, 1.5),
            bias_field=0.2,
            blur_px=0.8,
            noise_sd=0.05,
            rounding_share=0.3,
            keep_background=True,
        ),
    )
    if preset == "compact":
        return compact
    # Neighbouring slices are the classifier's alone: in the stages they did not pay.
    seen = ClassifierSettings(
        place=True, mark_offsets_mm=(-4.5, -3.0, -1.5, 0.0, 1.5, 3.0, 4.5), mirrored=True
    )
    return replace(
        compact,
        cascade=replace(
            compact.cascade, preparation=PreparationSettings(margin_mm=2.0), classifier=seen
        ),
        detector=replace(compact.detector, loss=LossSettings(kind="marking")),
        detector_shares=PatchShares(lesion=0.5, mimic=0.15, brain=0.35),
        # Planes of other directions through thick slices show microbleeds as ovals.
        augmentation=replace(compact.augmentation, stretch=1.8),
        planes_across=True,
        most_false_candidates=16.0,
    )
