"""`mmocnet train`: train both stages on a dataset."""

import math
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mmocnet.cli.bars import bars
from mmocnet.cli.device import chosen_device
from mmocnet.config import TrainPreset, TrainSettings, train_settings
from mmocnet.errors import InputError

if TYPE_CHECKING:
    from mmocnet.commands.train import Trained


WARM_RATE = 0.5
"""Share of the learning rate with which trained weights are trained on: they are not to be lost."""

CROP_STEP = 16
"""Stage 1 halves its input four times."""


@dataclass(frozen=True)
class Train:
    """Train a cascade on a BIDS dataset with references, as `mmocnet simulate` writes.

    Run it again to go on where it ended. RUN/model is then a model for `mmocnet segment`.
    Several GPUs or machines with a shared folder: `torchrun --nproc-per-node N -m mmocnet train
    ...`, which shares each batch and gives the same model but for rounding.
    Research use only - not a medical device.
    """

    dataset: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATASET")]
    """Folder of the dataset."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the run: states, logs, and at the end `model`."""
    preset: TrainPreset = "compact"
    """compact: narrow networks, trained in an hour or two on a CPU. standard: that with a stage 1
    that is to miss nothing, and a classifier of candidates. paper: as the article."""
    start_from: str | None = None
    """Model whose weights training starts from: compact, standard or a folder; none starts from
    random ones."""
    stage: Literal["1", "2", "both"] = "both"
    """Which stage to train; 2 needs a run folder with a finished stage 1."""
    budget_minutes_stage1: float | None = None
    """Time for stage 1; its learning rate falls to fit; without, the preset's epochs."""
    budget_minutes_stage2: float | None = None
    """Time for stage 2."""
    epochs: tuple[int, int] | None = None
    """Most epochs of stage 1 and stage 2; none takes the preset's, or no limit beside a
    budget. 0 leaves a stage's weights as they start."""
    roi_size: Literal[16, 32, 64, 128] = 32
    """Side of stage 2's patches in pixels."""
    crop_shape: tuple[int, int] | None = None
    """Left-right and front-back pixels of what stage 1 trains on, multiples of 16; none takes the
    preset's. Crops of 128 128 bring the paper preset within a CPU's reach."""
    mining_slices: int | None = None
    """Training slices on which stage 1's candidates are collected for stage 2; none takes the
    preset's."""
    gradient_checkpointing: bool = False
    """Recompute activations to halve the memory, at a third more time."""
    pretrained_encoder: Path | None = None
    """Safetensors of ImageNet ResNet-34 weights, as torchvision names them, for stage 1 of the
    paper preset; those of other presets are narrower. Not beside --start-from."""
    thresholds_on: Path | None = None
    """Dataset with references, of other subjects and with natural lesion counts: on it and on the
    validation scans of DATASET the confidence in context is fitted and the operating points are
    chosen; none leaves the context out and takes the validation scans alone."""
    classifier_on: Path | None = None
    """standard: dataset with references, of other subjects again, on which the classifier of
    candidates learns; needs --thresholds-on; none leaves the model without one."""
    budget_minutes_classifier: float | None = None
    """Time for the classifier."""
    cache: Path | None = None
    """Folder of prepared scans; none takes OUT/cache."""
    workers: int = 1
    """Processes that prepare scans."""
    threads: int | None = None
    """CPU threads of the training; none leaves the choice to torch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: an NVIDIA GPU where there is one."""
    seed: int = 0
    """Seed of split, weights, patches, augmentation."""

    def run(self) -> None:
        """Prepare the scans, train, say where the model is."""
        from mmocnet.commands.train import TrainData, train_model
        from mmocnet.train.distributed import is_main, process_group

        device = chosen_device(self.device, self.threads)
        data = TrainData(self.dataset, self.thresholds_on, self.classifier_on, self.cache)
        with process_group(device), bars() as told:
            trained = train_model(
                data,
                self.out,
                self.settings(),
                stage=self.stage,
                workers=self.workers,
                device=device,
                command="mmocnet " + shlex.join(sys.argv[1:]),
                progress=told,
            )
            if is_main():
                _say(trained, self.out)

    def settings(self) -> TrainSettings:
        """Return the preset with this command's changes."""
        from mmocnet.nets.checkpoint import classifier_of

        preset = self._with_amounts(train_settings(self.preset))
        budgets = self._budgets()
        most: tuple[int | None, ...] = (
            (None, None, None) if self.epochs is None else (*self.epochs, None)
        )
        started = self.start_from is not None
        warm = (started, started, classifier_of(self.start_from) is not None)
        stages = []
        for i, stage in enumerate((preset.detector, preset.segmenter, preset.classifier)):
            # With a budget the epochs must not end the training first.
            wanted = most[i]
            epochs = stage.max_epochs if budgets[i] is None else 100_000
            stages.append(
                replace(
                    stage,
                    learning_rate=stage.learning_rate * (WARM_RATE if warm[i] else 1.0),
                    budget_minutes=budgets[i],
                    max_epochs=epochs if wanted is None else wanted,
                    gradient_checkpointing=self.gradient_checkpointing,
                )
            )
        pretrained = None if self.pretrained_encoder is None else str(self.pretrained_encoder)
        return replace(
            preset,
            cascade=replace(preset.cascade, roi_size=self.roi_size),
            detector=stages[0],
            segmenter=stages[1],
            classifier=stages[2],
            start_from=self.start_from,
            pretrained_encoder=pretrained,
            seed=self.seed,
        )

    def _with_amounts(self, preset: TrainSettings) -> TrainSettings:
        crop = preset.crop_shape if self.crop_shape is None else self.crop_shape
        slices = preset.mining_slices if self.mining_slices is None else self.mining_slices
        if min(crop) < CROP_STEP or any(side % CROP_STEP for side in crop):
            raise InputError(
                f"expected --crop-shape as two multiples of {CROP_STEP}, got {crop[0]} {crop[1]}"
            )
        for name, value, least in (
            ("mining-slices", slices, 1),
            ("seed", self.seed, 0),
            ("workers", self.workers, 1),
            ("epochs", min(self.epochs or (0,)), 0),
        ):
            if value < least:
                raise InputError(f"expected --{name} of at least {least}, got {value}")
        return replace(preset, crop_shape=crop, mining_slices=slices)

    def _budgets(self) -> tuple[float | None, float | None, float | None]:
        budgets = (
            self.budget_minutes_stage1,
            self.budget_minutes_stage2,
            self.budget_minutes_classifier,
        )
        for name, budget in zip(("stage1", "stage2", "classifier"), budgets, strict=True):
            if budget is not None and not 0 < budget < math.inf:
                raise InputError(f"expected --budget-minutes-{name} above 0, got {budget:g}")
        if self.budget_minutes_classifier is not None and self.classifier_on is None:
            raise InputError(
                "expected --classifier-on beside --budget-minutes-classifier, got none"
            )
        return budgets


def _say(trained: "Trained", out: Path) -> None:
    if trained.model is None:
        print(f"stage 1 is trained: {out}")
        return
    if trained.points is not None:
        print(f"operating points: {trained.points}")
    print(f"model: {trained.model}  (research use only - not a medical device)")
