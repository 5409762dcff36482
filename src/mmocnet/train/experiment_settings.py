"""How the article's experiments are run: in full, or small."""

from dataclasses import dataclass, field, replace
from typing import Literal

from mmocnet.config import (
    DetectorSettings,
    SegmenterSettings,
    StageSettings,
    TrainSettings,
    train_settings,
)
from mmocnet.config.checked import Checked

ExperimentPreset = Literal["small", "full"]


@dataclass(frozen=True)
class ExperimentSettings(Checked):
    """How the article's experiments are run."""

    training: TrainSettings = field(default_factory=lambda: train_settings("paper"))
    """How each cascade is trained."""
    held_out_share: float = 0.2
    """Share of the subjects that no fold sees; the comparison scores them once. 0: none."""
    folds: int = 5
    """Folds of the other subjects."""
    lambdas: tuple[float, ...] = (0.0, 1.0, 3.0, 10.0, 30.0)
    """Weights of the sensitivity loss that are compared, in each stage."""
    lambda_folds: int = 5
    """Folds on which they are compared."""
    lambda_epochs: int | None = None
    """Epochs of those trainings; None takes the training's."""
    roi_sizes: tuple[int, ...] = (16, 32, 64, 128)
    """Patch sides that are compared."""
    panels: int = 4
    """Slices, of as many folds as there are, that are kept as pictures."""


def experiment_settings(preset: ExperimentPreset) -> ExperimentSettings:
    """Return the article's experiments in full, or narrow and short to try them on a CPU.

    >>> experiment_settings("full").training == train_settings("paper")
    True
    """
    if preset == "full":
        return ExperimentSettings()
    compact = train_settings("compact")

    def short(stage: StageSettings, batch: int, epochs: int) -> StageSettings:
        return replace(
            stage,
            ema_decay=0.95,
            warmup_steps=20,
            batch_size=batch,
            steps_per_epoch=40,
            max_epochs=epochs,
        )

    training = replace(
        compact,
        cascade=replace(
            compact.cascade,
            detector=DetectorSettings((8, 16, 16, 32, 32), (1, 1, 1, 1), output_bias=-4.0),
            segmenter=SegmenterSettings(width=8, blocks=1, output_bias=-2.0),
        ),
        detector=short(compact.detector, 4, 18),
        segmenter=short(compact.segmenter, 8, 12),
        crop_shape=(128, 128),
        validation_patches=(24, 96),
        mining_slices=200,
    )
    return ExperimentSettings(training, lambda_folds=1, lambda_epochs=8)
