"""Train the classifier of candidates, on subjects that its cascade did not learn from."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from mmocnet.config import TrainSettings
from mmocnet.errors import InputError
from mmocnet.io.dataset import DatasetScan
from mmocnet.nets.checkpoint import Cascade, load_weights, weight_file
from mmocnet.nets.classifier import Classifier
from mmocnet.predict.engine import make_engine
from mmocnet.train.calibrate import ScoredScan
from mmocnet.train.candidate_sets import CandidateSet, collect_candidates
from mmocnet.train.classifier_data import CandidateData, logits_of
from mmocnet.train.loop import fit

Told = Callable[[int, int], None]
"""Told what is done and what there is to do, in scans."""


def collect_all(
    scans: Sequence[DatasetScan],
    cascade: Cascade,
    folder: Path,
    device: str = "cpu",
    progress: Told | None = None,
) -> list[CandidateSet]:
    """Return the candidates of many scans, kept in a folder; see `collect_candidates`."""
    crop = cascade.settings.preparation.pixel_mm is not None
    engine = make_engine((cascade.detector, cascade.segmenter), device, crop=crop)
    sets = []
    for number, scan in enumerate(scans, 1):
        sets += collect_candidates(scan, cascade, engine, folder)
        if progress is not None:
            progress(number, len(scans))
    return sets


def train_classifier(
    sets: Sequence[CandidateSet], folder: Path, settings: TrainSettings, device: str = "cpu"
) -> Classifier:
    """Train the classifier in a folder, or load what is finished there, in eval mode.

    Args:
        sets: Candidates of at least two subjects; subjects are kept apart for validation.
        folder: Made if missing; a training in the middle resumes.
        settings: How to train; the cascade's must have a classifier.
        device: cpu or cuda.

    Raises:
        InputError: If there are too few subjects, or candidates of one kind alone.
    """
    if settings.cascade.classifier is None:
        raise InputError("expected settings with a classifier to train one, got none")
    torch.manual_seed(settings.seed + 2)
    network = Classifier(settings.cascade.classifier).to(device)
    path = folder / weight_file("classifier")
    if path.exists():
        load_weights(network, path)
        return network.eval()
    train, validation = _by_subject(sets, settings)
    data = CandidateData(
        train,
        validation,
        settings.cascade.classifier,
        settings.classifier,
        settings.augmentation,
        settings.seed,
    )
    data.device = next(network.parameters()).device
    fit(network, data.draw, data.validate, settings.classifier, folder)
    state = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(state, path)
    return network.eval()


def _by_subject(
    sets: Sequence[CandidateSet], settings: TrainSettings
) -> tuple[list[CandidateSet], list[CandidateSet]]:
    subjects = sorted({one.subject for one in sets})
    if len(subjects) < 2:
        raise InputError(
            f"expected candidates of at least 2 subjects to learn from, got {len(subjects)}"
        )
    order = np.random.default_rng([settings.seed, 5]).permutation(len(subjects))
    count = int(np.clip(round(settings.validation_share * len(subjects)), 1, len(subjects) - 1))
    kept = {subjects[i] for i in order[:count]}
    return (
        [one for one in sets if one.subject not in kept],
        [one for one in sets if one.subject in kept],
    )


def scored(
    sets: Sequence[CandidateSet], network: Classifier
) -> tuple[list[ScoredScan], list[ScoredScan]]:
    """Return what the classifier says of the candidates of single slices and of volumes.

    Its logits are not calibrated.
    """
    device = next(network.parameters()).device
    planes: list[ScoredScan] = []
    volumes: list[ScoredScan] = []
    for one in sets:
        logit = logits_of(network, one.patches, device).numpy().astype(float)
        row = ScoredScan(one.subject, logit, one.hit, one.references)
        (planes if one.single else volumes).append(row)
    return planes, volumes
