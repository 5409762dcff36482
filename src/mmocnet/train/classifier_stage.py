"""Train the classifier of candidates, on subjects that its cascade did not learn from."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmocnet.config import Thresholds, TrainSettings
from mmocnet.errors import InputError, ModelError
from mmocnet.io.atomic import replacing
from mmocnet.io.dataset import DatasetScan
from mmocnet.io.digest import file_sha256
from mmocnet.nets.checkpoint import Cascade, load_cascade, load_weights, weight_file
from mmocnet.nets.classifier import Classifier, mean_logits
from mmocnet.nets.settings_json import settings_to_json
from mmocnet.nets.tensor_file import save_tensors
from mmocnet.predict.engine import make_engine
from mmocnet.train.calibrate import ScoredScan
from mmocnet.train.candidate_sets import CandidateSet, collect_candidates, score_volume
from mmocnet.train.classifier_data import (
    CandidateData,
    logits_of,
    without_margin,
    without_phase,
)
from mmocnet.train.folds import keep_or_check
from mmocnet.train.loop import fit
from mmocnet.train.scans import cache_name
from mmocnet.train.start import start_classifier
from mmocnet.train.thresholds import settle

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

    It starts from the classifier of the model that the settings start from, if that has one.

    Args:
        sets: Candidates of at least two subjects; subjects are kept apart for validation.
        folder: Made if missing; a training in the middle resumes.
        settings: How to train; the cascade's must have a classifier.
        device: cpu or cuda.

    Raises:
        InputError: If there are too few subjects, candidates of one kind alone, none to validate
            on, or the folder was begun with others.
    """
    if settings.cascade.classifier is None:
        raise InputError("expected settings with a classifier to train one, got none")
    keep_or_check(folder / "candidates.json", _hits(sets), "the candidates")
    torch.manual_seed(settings.seed + 2)
    network = Classifier(settings.cascade.classifier).to(device)
    started = start_classifier(network, settings)
    path = folder / weight_file("classifier")
    if path.exists():
        load_weights(network, path)
        return network.eval()
    train, validation = by_subject(sets, settings)
    if not any(len(one.hit) for one in validation):
        raise InputError(
            f"expected candidates in the {len(validation)} scans and slices of the subjects that "
            "validate the classifier, got none"
        )
    learned = network.eval() if started else None
    data = CandidateData(train, validation, settings.cascade.classifier, settings, learned)
    data.device = next(network.parameters()).device
    fit(network, data.draw, data.validate, settings.classifier, folder)
    save_tensors(path, network.state_dict())
    return network.eval()


def _hits(sets: Sequence[CandidateSet]) -> dict[str, list[str]]:
    """Return what tells candidates of other scans, or of scans labelled otherwise."""
    rows: dict[str, list[str]] = {}
    for one in sets:
        digest = hashlib.sha256(repr((one.hit.tolist(), one.references, one.single)).encode())
        rows.setdefault(one.subject, []).append(digest.hexdigest()[:8])
    return rows


def by_subject(
    sets: Sequence[CandidateSet], settings: TrainSettings
) -> tuple[list[CandidateSet], list[CandidateSet]]:
    """Return the candidates to train on and to validate on; no subject is on both sides."""
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
    sets: Sequence[CandidateSet], network: Classifier, *, with_phase: bool = True
) -> tuple[list[ScoredScan], list[ScoredScan]]:
    """Return what the classifier says of the candidates of single slices and of volumes.

    Its logits are not calibrated.

    Args:
        sets: The candidates.
        network: The classifier.
        with_phase: Whether it is shown the phase that is in them.
    """

    def classify(some: NDArray[Any]) -> NDArray[np.float32]:
        return logits_of(network, some).numpy()

    planes: list[ScoredScan] = []
    volumes: list[ScoredScan] = []
    for one in sets:
        patches = one.patches if with_phase else without_phase(one.patches, network.settings)
        logit = mean_logits(classify, without_margin(patches), network.settings)
        row = ScoredScan(one.subject, logit, one.hit, one.references)
        (planes if one.single else volumes).append(row)
    return planes, volumes


def score_volumes(
    scans: Sequence[DatasetScan],
    cascade: Cascade,
    folder: Path,
    device: str = "cpu",
    progress: Told | None = None,
) -> list[ScoredScan]:
    """Return what a cascade's classifier says of the candidates of volumes; see `score_volume`.

    Args:
        scans: With references.
        cascade: With a classifier.
        folder: Keeps what was scored, and gives it again for the same files.
        device: cpu or cuda.
        progress: Told after each scan.

    Raises:
        InputError: If a scan has no reference.
        ModelError: If the cascade has no classifier.
    """
    if cascade.classifier is None:
        raise ModelError(f"expected a model with a classifier, got {cascade.name} without")
    engine = make_engine(cascade, device, crop=cascade.settings.preparation.pixel_mm is not None)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, scan in enumerate(scans, 1):
        path = folder / f"{cache_name(scan)}.json"
        if not path.exists():
            row = score_volume(scan, cascade, engine)
            about = {"logit": row.logit.tolist(), "hit": row.hit.tolist()}
            with replacing(path) as file:
                file.write_text(json.dumps(about | {"references": row.references}), "utf-8")
        kept = json.loads(path.read_text(encoding="utf-8"))
        logit, hit = np.array(kept["logit"], float), np.array(kept["hit"], np.int64)
        rows.append(ScoredScan(scan.subject, logit, hit, kept["references"]))
        if progress is not None:
            progress(number, len(scans))
    return rows


@dataclass(frozen=True)
class ClassifierScans:
    """Scans with references, all of subjects that the cascade's stages did not learn from.

    Attributes:
        learn: To train the classifier on; the single slices of a fifth of their subjects decide
            the operating points of single slices.
        natural: Whole heads with natural lesion counts, of other subjects again: they calibrate
            and decide the operating points of volumes.
        name: Of the natural set, for the card.
        simulated: Whether that set is.
    """

    learn: Sequence[DatasetScan]
    natural: Sequence[DatasetScan]
    name: str
    simulated: bool = True


def add_classifier(
    model: Path,
    scans: ClassifierScans,
    folder: Path,
    settings: TrainSettings,
    device: str = "cpu",
    progress: Told | None = None,
) -> Thresholds:
    """Train a classifier for a model folder's candidates, calibrate it, write the folder anew.

    Args:
        model: Folder of a trained cascade.
        scans: What to learn from and to decide on.
        folder: Keeps candidates and states; a training in the middle resumes.
        settings: How to train.
        device: cpu or cuda.
        progress: Told while candidates are collected.

    Returns:
        The operating points of volumes.

    Raises:
        InputError: If there are too few subjects or lesions.
        ModelError: If the model folder is not one.
    """
    cascade = load_cascade(str(model), device)
    # The classifier's confidence takes the place of the regression's.
    cascade.settings = replace(
        cascade.settings, classifier=settings.cascade.classifier, context=None
    )
    # Two datasets may use the same labels for other subjects, and other stages find others.
    found = folder / f"candidates-{_digest(cascade)}"
    learn = collect_all(scans.learn, cascade, found / "learn", device, progress)
    network = train_classifier(learn, folder, settings, device)
    _, kept = by_subject(learn, settings)
    # Most scans come without phase.
    planes, _ = scored(kept, network, with_phase=False)
    cascade.classifier = network
    said = found / f"scored-{file_sha256(folder / weight_file('classifier'))[:12]}"
    volumes = score_volumes(scans.natural, cascade, said, device, progress)
    cascade.card["classifier"] = {
        "subjects": len({one.subject for one in learn}),
        "candidates": sum(len(one.hit) for one in learn),
        "microbleeds": sum(int((one.hit > 0).sum()) for one in learn),
    }
    name = f"{scans.name}, without phase"
    return settle(model, cascade, planes, volumes, name, scans.simulated)


def _digest(cascade: Cascade) -> str:
    """Return a name for what finds a cascade's candidates and how they are cut."""
    settings = replace(cascade.settings, thresholds=Thresholds(), slice_thresholds=None)
    stages = [cascade.sha256[weight_file(name)] for name in ("detector", "segmenter")]
    text = json.dumps([stages, settings_to_json(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
