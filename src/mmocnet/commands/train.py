"""`mmocnet train` as one call."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from mmocnet.config import Thresholds, TrainPreset, TrainSettings, train_settings
from mmocnet.config.checked import Checked, check_choice
from mmocnet.errors import InputError
from mmocnet.io.atomic import check_folder
from mmocnet.io.dataset import DatasetScan, read_dataset
from mmocnet.nets.device import check_device
from mmocnet.train.classifier_stage import ClassifierScans, add_classifier
from mmocnet.train.datasets import check_datasets, dataset_digest
from mmocnet.train.distributed import on_main, process_group
from mmocnet.train.patches import TrainingScan
from mmocnet.train.run_folder import (
    DECIDED_ON,
    MODEL,
    check_decided,
    check_run_folder,
    publish,
)
from mmocnet.train.scans import is_simulated_scan, load_training_scans
from mmocnet.train.split import split_by_subject
from mmocnet.train.stages import train_cascade
from mmocnet.train.start import check_start, knew_simulated
from mmocnet.train.thresholds import calibrate, is_simulated

StageName = Literal["1", "2", "both"]
Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done and how much there is to do."""


@dataclass(frozen=True)
class TrainData(Checked):
    """The datasets of a training, BIDS folders with references.

    Attributes:
        learn: What both stages learn from.
        thresholds_on: Of other subjects, with natural lesion counts: on it confidence is fitted
            and operating points are chosen. None takes validation scans of `learn`.
        classifier_on: Of other subjects again, on which the classifier of candidates learns;
            needs `thresholds_on`. None leaves the model without one.
        cache: Folder of prepared scans; None takes one in the run's.
    """

    learn: Path
    thresholds_on: Path | None = None
    classifier_on: Path | None = None
    cache: Path | None = None


@dataclass(frozen=True)
class Trained:
    """What `train_model` did.

    Attributes:
        model: Folder of the model; None where stage 1 alone was trained.
        points: Operating points of volumes, where `thresholds_on` was given.
    """

    model: Path | None
    points: Thresholds | None = None


def train_model(
    data: TrainData | Path | str,
    out: Path | str,
    settings: TrainSettings | TrainPreset = "compact",
    *,
    stage: StageName = "both",
    workers: int = 1,
    device: str = "cpu",
    command: str = "mmocnet.train_model",
    progress: Progress | None = None,
) -> Trained:
    """Train a cascade on a BIDS dataset with references; called again it goes on.

    Args:
        data: The dataset, or all of them.
        out: Folder of the run: states, logs, and at the end `model`.
        settings: How to train: a preset, or one with changes.
        stage: Which stage; 2 needs a run folder with a finished stage 1.
        workers: Processes that prepare scans.
        device: cpu or cuda.
        command: What the model's card says it was trained by.
        progress: Told of what comes before and after the training, which prints its own.

    Raises:
        ModelError: If weights to start from do not fit.
        InputError: If datasets share scans, hold too little, the folder was begun with others
            or cannot be written to, or an argument is none of its choices.
    """
    data = data if isinstance(data, TrainData) else TrainData(Path(data))
    settings = train_settings(settings) if isinstance(settings, str) else settings
    if not isinstance(settings, TrainSettings):
        raise InputError(f"expected a preset or TrainSettings, got {type(settings).__name__}")
    check_choice("stage", stage, StageName)
    check_device(device)
    _check(data, settings)
    check_run_folder(Path(out), "train", settings.start_from)
    check_folder(data.cache or Path(out))
    check_start(settings)
    run = _Run(data, Path(out), settings, device, progress or _silent)
    with process_group(device):
        card = on_main(lambda: _begun(run, stage, command))
        # The first process fills the cache, from which the others then read.
        scans = on_main(lambda: _scans(run, workers)) or _scans(run, workers)
        cascade = train_cascade(scans, run.out, settings, stage, device, card)
        if cascade is None:
            return Trained(None)
        points = on_main(lambda: _decide(run, cascade, scans))
        on_main(lambda: publish(run.out))
    return Trained(run.out / MODEL, points)


@dataclass(frozen=True)
class _Run:
    """A training: its datasets, folder, settings, device, and who is told."""

    data: TrainData
    out: Path
    settings: TrainSettings
    device: str
    progress: Progress

    def told(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(what, done, total)


def _silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


def _check(data: TrainData, settings: TrainSettings) -> None:
    if settings.start_from is not None and settings.pretrained_encoder is not None:
        raise InputError("expected --start-from or --pretrained-encoder, got both")
    if data.classifier_on is None:
        return
    if data.thresholds_on is None:
        raise InputError("expected --thresholds-on beside --classifier-on, got none")
    if settings.cascade.classifier is None:
        raise InputError(
            "expected --preset standard beside --classifier-on, or settings with a classifier, "
            "got none"
        )


def _begun(run: _Run, stage: StageName, command: str) -> dict[str, Any]:
    """Refuse datasets that cannot do, or a model decided on others; return what its card says."""
    others = {"--thresholds-on": run.data.thresholds_on, "--classifier-on": run.data.classifier_on}
    given = {name: folder for name, folder in others.items() if folder is not None}
    check_datasets(run.data.learn, given)
    sets = {name: _labelled(folder) for name, folder in given.items()}
    decided_on = {name: dataset_digest(scans) for name, scans in sets.items()}
    if stage != "1":
        check_decided(run.out, decided_on)
    seen = [*_labelled(run.data.learn), *chain.from_iterable(sets.values())]
    return {
        "dataset": run.data.learn.resolve().name,
        "simulated": knew_simulated(run.settings)
        and all(is_simulated_scan(scan.image) for scan in seen),
        "command": command,
        DECIDED_ON: decided_on,
    }


def _scans(run: _Run, workers: int) -> tuple[TrainingScan, ...]:
    return load_training_scans(
        run.data.learn,
        run.settings.cascade.preparation,
        run.data.cache or run.out / "cache",
        workers,
        run.told("Preparing scans"),
        run.settings.planes_across,
    )


def _decide(run: _Run, cascade: Path, scans: tuple[TrainingScan, ...]) -> Thresholds | None:
    """Add the classifier, or the confidence in context; return the operating points."""
    natural, learn = run.data.thresholds_on, run.data.classifier_on
    if natural is None:
        return None
    if learn is None:
        split = split_by_subject(scans, run.settings.validation_share, run.settings.seed)
        kept = {scan.subject for scan in split.validation}
        own = [scan for scan in _labelled(run.data.learn) if scan.subject in kept]
        return calibrate(cascade, own, natural, run.device, run.told("Choosing operating points"))
    return add_classifier(
        cascade,
        ClassifierScans(
            _labelled(learn), _labelled(natural), natural.resolve().name, is_simulated(natural)
        ),
        run.out / "classifier",
        run.settings,
        run.device,
        run.told("Collecting candidates"),
    )


def _labelled(folder: Path) -> tuple[DatasetScan, ...]:
    return tuple(scan for scan in read_dataset(folder) if scan.labels is not None)
