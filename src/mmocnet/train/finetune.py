"""Fine-tune a model on a user's own labelled or reviewed scans, and judge whether it helped.

The confidence is fitted first, which costs little and often is most of the gain; then a model's
classifier is tuned, then both stages too, with the confidence fitted on what they find. Each
attempt is judged on subjects that were not learned from, the user's and simulated ones, and the
best one is kept, or none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmocnet.config import SegmentSettings
from mmocnet.errors import InputError
from mmocnet.evaluate.lesions import ScanLesions, lesion_scores, outcome
from mmocnet.evaluate.matching import pairing
from mmocnet.io.dataset import DatasetScan, plain, write_json
from mmocnet.io.lesion_labels import read_reference
from mmocnet.io.phase import read_phase
from mmocnet.io.read import read_scan
from mmocnet.nets.checkpoint import Cascade, save_cascade
from mmocnet.predict.pipeline import StagedScan, conclude, engine_of, run_stages
from mmocnet.train.finetune_classifier import tune_classifier
from mmocnet.train.finetune_confidence import find, fitted, has_confidence, with_scores
from mmocnet.train.finetune_data import Labelled, Sides, record_of, split_for_tuning
from mmocnet.train.finetune_networks import Material, Told, training_of, tune_networks
from mmocnet.train.finetune_settings import MOST_FORGOTTEN, FinetuneSettings
from mmocnet.train.finetune_subjects import learned_before
from mmocnet.train.run_folder import MODEL
from mmocnet.train.scans import prepare_training_scans

CLOSE = 0.01
"""Lesion F1 by which an attempt that changes more must be ahead of one that changes less."""
SCORES = ("lesion_f1", "lesion_sensitivity", "lesion_precision", "fp_per_scan")


@dataclass(frozen=True)
class Judged:
    """A model's scores on subjects that were not learned from; undefined is NaN.

    Attributes:
        name: "start", "confidence", "classifier" or "networks".
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
    replay: Sides,
    run: Path,
    settings: FinetuneSettings,
    told: Told | None = None,
) -> Outcome:
    """Fine-tune a model and write `model` and `finetune.json` into a run folder.

    Args:
        start: The model that is tuned; see `check_steps`.
        labelled: The user's scans.
        replay: Simulated scans, see `finetune_data.simulate_replay`.
        run: Made if missing; prepared scans are kept in it.
        settings: How.
        told: For a progress bar.

    Raises:
        InputError: If there are too few subjects or microbleeds.
    """
    learned = learned_before(start.card)
    sides = split_for_tuning(labelled.scans, settings.held_out_share, settings.seed, learned)
    attempts = _attempts(start, (sides, replay), run, settings, told)
    judged = _judge(attempts, (sides, replay), settings, told)
    kept, better = choose(judged, settings.force)
    record = record_of(labelled, sides, start.card)
    counts = record["learned_subjects"], record["held_out_subjects"]
    result = Outcome(run / MODEL, kept, better, judged, counts[0], counts[1])
    _write(result, attempts[kept], start, record, settings)
    return result


def _attempts(
    start: Cascade,
    sides: tuple[Sides, Sides],
    run: Path,
    settings: FinetuneSettings,
    told: Told | None,
) -> dict[str, Cascade]:
    """Return the start and what was made of it, by name, from the least change to the most."""
    attempts = {"start": start}
    if has_confidence(start.settings):
        attempts |= _with_confidence(start, sides, settings, told)
    if any(settings.steps[:2]):
        tuned = _tuned(start, sides, run, settings, told)
        if has_confidence(start.settings):
            *_, tuned = _with_confidence(tuned, sides, settings, told).values()
        attempts["networks"] = tuned
    return attempts


def check_steps(start: Cascade, settings: FinetuneSettings) -> None:
    """Refuse settings by which nothing of a model would be tuned: to be said before the work.

    Raises:
        InputError: If stages 1 and 2 have no steps and the model has no confidence to fit.
    """
    if not any(settings.steps[:2]) and not has_confidence(start.settings):
        raise InputError(
            f"expected steps of stage 1 or 2 above 0, got {settings.steps[0]} and "
            f"{settings.steps[1]}: {start.name} has no confidence to fit"
        )


def _with_confidence(
    cascade: Cascade, sides: tuple[Sides, Sides], settings: FinetuneSettings, told: Told | None
) -> dict[str, Cascade]:
    """Return a cascade with its confidence fitted, then the same with its classifier tuned."""
    tuning = cascade.classifier is not None and settings.steps[2] > 0
    # The line of a classifier for the user's voxels is fitted on their scores alone.
    wanted = tuning or cascade.classifier is None
    found = []
    for number, side in enumerate(sides):
        _tell(told, "Finding candidates", number, 3)
        found.append(find(side.learn if wanted else (), cascade, settings.device))
    own, replay = found

    def fitted_to_own(changed: Cascade) -> Cascade:
        scored = with_scores(own, sides[0].learn, changed, settings.device)
        return fitted(changed, scored, replay, settings, cascade)

    _tell(told, "Finding candidates", 2, 3)
    made = {"confidence": fitted_to_own(cascade)}
    if tuning:
        tuned = tune_classifier(
            cascade,
            (own, replay),
            training_of(cascade),
            settings,
            lambda done, total: _tell(told, "Tuning the classifier", done, total),
        )
        made["classifier"] = fitted_to_own(tuned)
    return made


def choose(judged: Sequence[Judged], force: bool = False) -> tuple[str, bool]:
    """Return which attempt is kept, and whether it is better than the start, which comes first.

    Better is a higher lesion F1 on the user's held-out subjects without a loss of more than
    MOST_FORGOTTEN on the simulated ones; by an F1 that is undefined nothing is better. Where
    several are, the highest is kept, or one before it that comes within CLOSE: it changes less.
    Where none is, the start is kept, or with force the attempt with the highest lesion F1 on the
    user's.
    """
    start, *attempts = judged
    f1 = {one.name: one.own["lesion_f1"] for one in judged}

    def remembers(one: Judged) -> bool:
        lost = start.simulated["lesion_f1"] - one.simulated["lesion_f1"]
        return bool(lost <= MOST_FORGOTTEN + 1e-9)

    good = [one.name for one in attempts if f1[one.name] > f1[start.name] and remembers(one)]
    if good:
        highest = max(f1[name] for name in good)
        return next(name for name in good if f1[name] >= highest - CLOSE), True
    if force:
        return max(
            (one.name for one in attempts), key=lambda n: np.nan_to_num(f1[n], nan=-1)
        ), False
    return start.name, False


def comparable(judged: Sequence[Judged]) -> bool:
    """Return whether every lesion F1 that attempts are compared by is defined."""
    f1 = [side["lesion_f1"] for one in judged for side in (one.own, one.simulated)]
    return bool(np.isfinite(f1).all())


def _scores(rows: Sequence[ScanLesions]) -> dict[str, float]:
    """Return the scores named in SCORES, and the numbers of scans and lesions."""
    scores = lesion_scores(rows, draws=1)
    return {
        "scans": float(len(rows)),
        "lesions": float(sum(row.references for row in rows)),
        **{name: scores[name].value for name in SCORES},
    }


def _outcomes(
    scan: DatasetScan, attempts: Mapping[str, Cascade], device: str
) -> dict[str, ScanLesions]:
    """Return what each attempt finds in a scan, at its balanced operating point.

    Attempts that have the same stages share their work.
    """
    settings = SegmentSettings(device="cuda" if device == "cuda" else "cpu", location=False)
    read = read_scan(scan.image)
    phase = None if scan.phase is None else read_phase(scan.phase, read).volume
    reference = read_reference(scan, read.volume)
    staged: dict[tuple[int, int], StagedScan] = {}
    rows = {}
    for name, cascade in attempts.items():
        model = cascade, engine_of(cascade, settings)
        stages = id(cascade.detector), id(cascade.segmenter)
        if stages not in staged:
            staged[stages] = run_stages(read, settings, model, phase=phase)
        found = conclude(staged[stages], settings, model)
        pair = pairing(reference, found.labels.array.astype(np.int32), found.image.spacing_mm)
        rows[name] = outcome(pair, scan.subject, scan.image.name)
    return rows


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


def _judge(
    attempts: Mapping[str, Cascade],
    sides: tuple[Sides, Sides],
    settings: FinetuneSettings,
    told: Told | None,
) -> tuple[Judged, ...]:
    own, simulated = (side.judge for side in sides)
    rows = []
    for number, scan in enumerate((*own, *simulated)):
        _tell(told, "Judging", number, len(own) + len(simulated))
        rows.append(_outcomes(scan, attempts, settings.device))
    return tuple(
        Judged(
            name,
            _scores([row[name] for row in rows[: len(own)]]),
            _scores([row[name] for row in rows[len(own) :]]),
        )
        for name in attempts
    )


def _write(
    result: Outcome,
    cascade: Cascade,
    start: Cascade,
    material: Mapping[str, Any],
    settings: FinetuneSettings,
) -> None:
    record: dict[str, Any] = {
        "notice": "Research use only - not a medical device.",
        "start": start.name,
        "start_sha256": start.sha256,
        "kept": result.kept,
        "better": result.better,
        **material,
        "judged": [asdict(one) for one in result.judged],
        "settings": asdict(settings),
    }
    cascade = replace(cascade, card=plain({**start.card, "finetune": record}))
    save_cascade(result.model, cascade)
    write_json(result.model.parent / "finetune.json", record)


def _tell(told: Told | None, what: str, done: int, total: int) -> None:
    if told is not None:
        told(what, done, total)
