"""Tune the networks of a cascade on a user's scans, with simulated ones in each batch."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from mmocnet.config import (
    LossKind,
    PatchShares,
    StageSettings,
    TrainPreset,
    TrainSettings,
    train_settings,
)
from mmocnet.nets.checkpoint import Cascade
from mmocnet.predict.candidates import find_candidates
from mmocnet.predict.engine import Engine
from mmocnet.train.finetune_fit import DrawPart, mixed, patches_of, tune
from mmocnet.train.finetune_settings import FinetuneSettings
from mmocnet.train.mining import mining_slices
from mmocnet.train.operate import (
    CANDIDATES_A_SLICE,
    as_places,
    detect_scan,
    split_candidates,
    strongest,
)
from mmocnet.train.patches import (
    Neighbours,
    PatchCut,
    PatchSampler,
    Places,
    TrainingScan,
    lesion_places,
    mimic_places,
)
from mmocnet.train.stages import LESION_REACH, ROI_JITTER, cascade_engine

MINED_SLICES = 40
"""Slices of each scan on which stage 1's candidates are collected for stage 2, half of them with
a microbleed where there are so many."""
Told = Callable[[str, int, int], None]
"""Told what is done at, how much of it is done and how much there is to do."""
Scans = Sequence[TrainingScan]


@dataclass(frozen=True)
class Material:
    """What networks are tuned on.

    Attributes:
        own: The user's scans.
        replay: Simulated scans, or none.
        training: How patches are cut and changed, and each stage's loss and batch.
    """

    own: Scans
    replay: Scans
    training: TrainSettings


def tune_networks(
    start: Cascade, material: Material, settings: FinetuneSettings, told: Told | None = None
) -> Cascade:
    """Return a copy of a cascade whose two stages are tuned; its classifier is as it was.

    Args:
        start: Where the weights come from; left alone.
        material: What is learned from.
        settings: How.
        told: For a progress bar.
    """
    tuned = replace(
        start, detector=copy.deepcopy(start.detector), segmenter=copy.deepcopy(start.segmenter)
    )
    tuned.detector.to(settings.device)
    tuned.segmenter.to(settings.device)
    training = replace(material.training, cascade=start.settings, seed=settings.seed)
    material = replace(material, training=training)
    if settings.steps[0]:
        draw = _batches(material, settings, 1, [_first_places(s) for s in _sides(material)])
        _tune(tuned.detector, draw, training.detector, (1, settings), told)
    if settings.steps[1]:
        engine = cascade_engine(tuned.detector, tuned.segmenter, training)
        places = [_second_places(engine, s, training) for s in _sides(material)]
        draw = _batches(material, settings, 2, places)
        _tune(tuned.segmenter, draw, training.segmenter, (2, settings), told)
    return tuned


def _tune(
    network: nn.Module,
    draw: DrawPart,
    stage: StageSettings,
    how: tuple[int, FinetuneSettings],
    told: Told | None,
) -> None:
    number, settings = how

    def progress(done: int, total: int) -> None:
        if told is not None:
            told(f"Tuning stage {number}", done, total)

    tune(network, draw, stage.loss, settings.steps[number - 1], settings, progress)


def _sides(material: Material) -> tuple[Scans, ...]:
    return (material.own, material.replay) if material.replay else (material.own,)


def _batches(
    material: Material,
    settings: FinetuneSettings,
    number: int,
    places: Sequence[dict[str, list[Places]]],
) -> DrawPart:
    """Return the batches of a stage, the user's share first."""
    training = material.training
    stage = training.detector if number == 1 else training.segmenter
    count = round(settings.replay_share * stage.batch_size) if material.replay else 0
    counts = (stage.batch_size - count, count)
    cut, shares = _cut(training, number), _shares(training, number)
    parts = [
        patches_of(
            PatchSampler(scans, kinds, shares, cut),
            size,
            training.augmentation,
            (settings.seed, 11, number, side),
        )
        for side, (scans, kinds, size) in enumerate(
            zip(_sides(material), places, counts, strict=False)
        )
        if size
    ]
    return mixed(parts[0], parts[1] if len(parts) > 1 else None)


def _shares(training: TrainSettings, number: int) -> PatchShares:
    return training.detector_shares if number == 1 else training.segmenter_shares


def _cut(training: TrainSettings, number: int) -> PatchCut:
    hidden = training.neighbours_hidden
    if number == 1:
        height, width = training.crop_shape
        seen = Neighbours(training.cascade.detector.in_channels, hidden)
        reach = (LESION_REACH * height, LESION_REACH * width)
        return PatchCut(training.crop_shape, reach, inside=True, neighbours=seen)
    size = training.cascade.roi_size
    seen = Neighbours(training.cascade.segmenter.in_channels, hidden)
    return PatchCut((size, size), (ROI_JITTER * size, ROI_JITTER * size), neighbours=seen)


def _first_places(scans: Scans) -> dict[str, list[Places]]:
    return {"lesion": lesion_places(scans), "mimic": mimic_places(scans)}


def _second_places(
    engine: Engine, scans: Scans, training: TrainSettings
) -> dict[str, list[Places]]:
    """Return the places of stage 1 and its candidates on a lesion and elsewhere."""
    places = _first_places(scans) | {"found": [], "false": []}
    size = training.cascade.roi_size
    rng = np.random.default_rng([training.seed, 12])
    for number, scan in enumerate(scans):
        slices = mining_slices(scan, MINED_SLICES, rng)
        marked = detect_scan(engine, scan, slices)
        candidates = find_candidates(marked, training.cascade.candidate_threshold, size)
        labels = np.asarray(scan.labels[np.asarray(slices, np.intp)])
        found, false = split_candidates(candidates, labels, size)
        places["found"] += as_places(found, number, slices)
        places["false"] += as_places(strongest(false, CANDIDATES_A_SLICE), number, slices)
    return places


def training_of(start: Cascade) -> TrainSettings:
    """Return how patches of a model's scans are cut, as it reads them, and changed.

    Stage 1 keeps the kind of loss that it was trained with, by the model's card: another gives
    probabilities of another kind, and its candidate threshold would mean something else.
    """
    article = start.settings.preparation.pixel_mm is None
    preset: TrainPreset = "standard" if start.classifier is not None else "compact"
    training = replace(train_settings("paper" if article else preset), cascade=start.settings)
    stage = start.card.get("training", {}).get("detector", {})
    kind: LossKind = "marking" if stage.get("loss", {}).get("kind") == "marking" else "joint"
    loss = replace(training.detector.loss, kind=kind)
    return replace(training, detector=replace(training.detector, loss=loss))
