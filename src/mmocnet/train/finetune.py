"""Fine-tune a model on a user's own labelled or reviewed scans, and judge whether it helped.

The confidence is fitted first, which costs little and often is most of the gain; then the
networks are tuned and the confidence is fitted on what they find. Each of the two is judged on
subjects that were not learned from, the user's and simulated ones, and the better one is kept, or
neither.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmocnet.config import SegmentSettings, TrainSettings, train_settings
from mmocnet.errors import InputError
from mmocnet.evaluate.lesions import ScanLesions, lesion_scores, outcome
from mmocnet.evaluate.matching import pairing
from mmocnet.io.dataset import DatasetScan, plain, write_json
from mmocnet.io.nifti import read_nifti
from mmocnet.io.read import read_scan
from mmocnet.nets.checkpoint import Cascade, save_cascade
from mmocnet.predict.pipeline import segment
from mmocnet.train.finetune_confidence import (
    candidate_rows,
    confidence,
    fit_weights,
    has_confidence,
    start_weights,
    with_weights,
)
from mmocnet.train.finetune_data import Labelled, Sides, simulate_replay, split_for_tuning
from mmocnet.train.finetune_networks import Material, Told, tune_networks
from mmocnet.train.finetune_settings import MOST_FORGOTTEN, FinetuneSettings
from mmocnet.train.scans import prepare_training_scans

SCORES = ("lesion_f1", "lesion_sensitivity", "lesion_precision", "fp_per_scan")


@dataclass(frozen=True)
class Judged:
    """A model's scores on subjects that were not learned from; undefined is NaN.

    Attributes:
        name: "start", "confidence" or "networks".
        own: Lesion scores on the user's held-out subjects.
        simulated: The same on held-out simulated subjects.
    """

    name: str
    own: dict[str, float]
    simulated: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """What fine-tuning came to.

    Attributes:
        model: The model folder.
        kept: Name of what is in it: "start" where nothing was better.
        better: Whether that is better than the start on held-out subjects and forgot nothing.
        judged: The start and each attempt.
        learned, held_out: Numbers of the user's subjects.
    """

    model: Path
    kept: str
    better: bool
    judged: tuple[Judged, ...]
    learned: int
    held_out: int


def finetune(
    start: Cascade,
    labelled: Labelled,
    run: Path,
    settings: FinetuneSettings,
    force: bool = False,
    told: Told | None = None,
) -> Outcome:
    """Fine-tune a model and write `model` and `finetune.json` into a run folder.

    Args:
        start: The model that is tuned.
        labelled: The user's scans.
        run: Made if missing; simulated scans and prepared ones are kept in it.
        settings: How.
        force: Whether the best attempt is written even where it is not better than the start.
        told: For a progress bar.

    Raises:
        InputError: If there are too few subjects or microbleeds, or nothing to tune.
    """
    sides = split_for_tuning(labelled.scans, settings.held_out_share, settings.seed)
    replay = simulate_replay(
        run / "replay",
        settings.replay_subjects,
        settings.seed,
        start.settings.classifier is not None,
        lambda done, total: _tell(told, "Simulating", done, total),
    )
    attempts = _attempts(start, (sides, replay), run, settings, told)
    judged = tuple(
        _judge(name, cascade, (sides, replay), settings, told) for name, cascade in attempts.items()
    )
    kept, better = choose(judged, force)
    counts = [len({scan.subject for scan in side}) for side in (sides.learn, sides.judge)]
    result = Outcome(run / "model", kept, better, judged, counts[0], counts[1])
    _write(result, attempts[kept], start, labelled, settings)
    return result


def _attempts(
    start: Cascade,
    sides: tuple[Sides, Sides],
    run: Path,
    settings: FinetuneSettings,
    told: Told | None,
) -> dict[str, Cascade]:
    """Return the start and what was made of it, by name."""
    attempts = {"start": start}
    fits = has_confidence(start.settings)
    if fits:
        attempts["confidence"] = _fitted(start, sides, settings, told)
    if any(settings.steps):
        tuned = _tuned(start, sides, run, settings, told)
        attempts["networks"] = _fitted(tuned, sides, settings, told) if fits else tuned
    if len(attempts) == 1:
        raise InputError("expected steps above 0 for a model without a confidence to fit, got 0")
    return attempts


def choose(judged: Sequence[Judged], force: bool = False) -> tuple[str, bool]:
    """Return which attempt is kept, and whether it is better than the start, which comes first.

    Better is a higher lesion F1 on the user's held-out subjects without a loss of more than
    MOST_FORGOTTEN on the simulated ones. Where several are, the highest is kept; where none is,
    the start, or with force the attempt with the highest lesion F1 on the user's.
    """
    start, *attempts = judged
    f1 = {one.name: float(np.nan_to_num(one.own["lesion_f1"], nan=-1.0)) for one in judged}

    def forgot(one: Judged) -> bool:
        lost = start.simulated["lesion_f1"] - one.simulated["lesion_f1"]
        return bool(lost > MOST_FORGOTTEN + 1e-9)

    good = [one.name for one in attempts if f1[one.name] > f1[start.name] and not forgot(one)]
    if good:
        return max(good, key=lambda name: f1[name]), True
    if force:
        return max((one.name for one in attempts), key=lambda name: f1[name]), False
    return start.name, False


def score_scans(scans: Sequence[DatasetScan], cascade: Cascade, device: str) -> dict[str, float]:
    """Return lesion scores at the balanced operating point, as `mmocnet evaluate` counts them.

    Args:
        scans: Each with its reference.
        cascade: What segments them.
        device: cpu or cuda.

    Returns:
        The scores named in SCORES and the number of lesions; undefined is NaN.
    """
    rows = [_outcome(scan, cascade, device) for scan in scans]
    scores = lesion_scores(rows, draws=1)
    return {
        "scans": float(len(rows)),
        "lesions": float(sum(row.references for row in rows)),
        **{name: scores[name].value for name in SCORES},
    }


def _outcome(scan: DatasetScan, cascade: Cascade, device: str) -> ScanLesions:
    assert scan.labels is not None
    settings = SegmentSettings(device="cuda" if device == "cuda" else "cpu")
    phase = None if scan.phase is None else read_nifti(scan.phase)
    found = segment(read_scan(scan.image), settings, cascade=cascade, phase=phase)
    reference = np.rint(read_nifti(scan.labels).array).astype(np.int32)
    pair = pairing(reference, found.labels.array.astype(np.int32), found.image.spacing_mm)
    return outcome(pair, scan.subject, scan.image.name)


def _fitted(
    cascade: Cascade, sides: tuple[Sides, Sides], settings: FinetuneSettings, told: Told | None
) -> Cascade:
    """Return a cascade with its confidence fitted."""
    rows = []
    for number, side in enumerate(sides):
        _tell(told, "Fitting the confidence", number, 2)
        rows.append(candidate_rows(side.learn, cascade, settings.device))
    start = start_weights(cascade.settings)
    weights = fit_weights(rows[0], rows[1], start, confidence(rows[1].x, start), settings)
    return replace(cascade, settings=with_weights(cascade.settings, weights))


def _tuned(
    start: Cascade,
    sides: tuple[Sides, Sides],
    run: Path,
    settings: FinetuneSettings,
    told: Told | None,
) -> Cascade:
    own, replay = (
        prepare_training_scans(side.learn, start.settings.preparation, run / "cache")
        for side in sides
    )
    material = Material(own, replay, training_of(start))
    return tune_networks(start, material, settings, told)


def training_of(start: Cascade) -> TrainSettings:
    """Return how patches of a model's scans are cut and changed: as its preset's were."""
    article = start.settings.preparation.pixel_mm is None
    return train_settings("paper" if article else "compact")


def _judge(
    name: str,
    cascade: Cascade,
    sides: tuple[Sides, Sides],
    settings: FinetuneSettings,
    told: Told | None,
) -> Judged:
    scores = []
    for number, side in enumerate(sides):
        _tell(told, f"Judging {name}", number, 2)
        scores.append(score_scans(side.judge, cascade, settings.device))
    return Judged(name, scores[0], scores[1])


def _write(
    result: Outcome,
    cascade: Cascade,
    start: Cascade,
    labelled: Labelled,
    settings: FinetuneSettings,
) -> None:
    record: dict[str, Any] = {
        "notice": "Research use only - not a medical device.",
        "start": start.name,
        "start_sha256": start.sha256,
        "kept": result.kept,
        "better": result.better,
        "learned_subjects": result.learned,
        "held_out_subjects": result.held_out,
        "reviewed_scans": labelled.reviewed,
        "rejected_candidates": labelled.rejected,
        "judged": [asdict(one) for one in result.judged],
        "settings": asdict(settings),
    }
    cascade = replace(cascade, card=plain({**start.card, "finetune": record}))
    save_cascade(result.model, cascade)
    write_json(result.model.parent / "finetune.json", record)


def _tell(told: Told | None, what: str, done: int, total: int) -> None:
    if told is not None:
        told(what, done, total)
