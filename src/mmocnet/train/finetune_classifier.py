"""Tune a cascade's classifier on candidates of a user's scans and of simulated ones."""

import copy
from collections.abc import Callable
from dataclasses import replace

from mmocnet.config import TrainSettings
from mmocnet.errors import InputError
from mmocnet.nets.checkpoint import Cascade
from mmocnet.train.classifier_data import CandidateData
from mmocnet.train.finetune_confidence import Found
from mmocnet.train.finetune_fit import mixed, tune
from mmocnet.train.finetune_settings import FinetuneSettings


def tune_classifier(
    cascade: Cascade,
    found: tuple[Found, Found],
    training: TrainSettings,
    settings: FinetuneSettings,
    progress: Callable[[int, int], None] | None = None,
) -> Cascade:
    """Return a cascade with a tuned copy of its classifier, not calibrated anew.

    Args:
        cascade: With a classifier; left alone.
        found: Candidates of the user's scans and of simulated ones, found by this cascade.
        training: How candidates are changed, and the batch.
        settings: How long, and how gently.
        progress: Told what is done and what there is to do, in steps.

    Raises:
        InputError: If there is no classifier, or candidates of one kind alone.
    """
    described = cascade.settings.classifier
    if cascade.classifier is None or described is None:
        raise InputError("expected a model with a classifier to tune, got none")
    stage = training.classifier
    count = round(settings.replay_share * stage.batch_size)
    parts = []
    for number, (some, size) in enumerate(
        zip(found, (stage.batch_size - count, count), strict=True)
    ):
        if size:
            how = replace(
                training,
                classifier=replace(stage, batch_size=size),
                seed=2 * settings.seed + number,
            )
            parts.append(CandidateData(some.sets, (), described, how).draw)
    network = copy.deepcopy(cascade.classifier).to(settings.device)
    draw = mixed(parts[0], parts[1] if len(parts) > 1 else None)
    tune(network, draw, stage.loss, settings.steps[2], settings, progress)
    return replace(cascade, classifier=network)
