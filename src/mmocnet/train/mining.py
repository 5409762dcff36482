"""Stage 1's candidates for stage 2 to learn from, and the threshold that makes them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmocnet.config import TrainSettings
from mmocnet.errors import InputError
from mmocnet.io.dataset import write_json
from mmocnet.lesion import Candidate
from mmocnet.predict.candidates import find_candidates
from mmocnet.predict.engine import Engine
from mmocnet.train.operate import (
    CANDIDATES_A_SLICE,
    HIGHEST_CANDIDATE,
    as_places,
    candidate_threshold,
    detect_scan,
    lesion_peaks,
    split_candidates,
    strongest,
)
from mmocnet.train.patches import Places, TrainingScan
from mmocnet.types import FloatArray

KINDS = ("found", "false")
Sides = tuple[Sequence[TrainingScan], Sequence[TrainingScan]]
"""Training scans, validation scans."""


@dataclass(frozen=True)
class Mined:
    """Candidates of a trained stage 1.

    Attributes:
        threshold: At or above which a pixel belongs to a candidate.
        train: Places by kind ("found", "false") in the training scans.
        validation: The same in the validation scans.
        scores: Lesions, lesion sensitivity and false candidates a slice on validation.
    """

    threshold: float
    train: dict[str, list[Places]]
    validation: dict[str, list[Places]]
    scores: dict[str, Any] = field(default_factory=dict)


def mine(engine: Engine, scans: Sides, settings: TrainSettings, folder: Path) -> Mined:
    """Choose the candidate threshold on validation scans and collect candidates.

    The threshold is the highest that finds the wanted share of the lesions of whole validation
    scans, raised where that would give too many false candidates. Candidates come from those
    scans and from random training slices, half of them with a lesion.

    Args:
        engine: With the trained stage 1.
        scans: Training and validation scans.
        settings: How many slices, which sensitivity.
        folder: Keeps the maps of the validation scans.
    """
    train, validation = scans
    chosen = validation[: settings.validation_scans]
    peaks = np.concatenate(
        [
            lesion_peaks(validation_map(engine, scan, folder), np.asarray(scan.labels))
            for scan in chosen
        ]
    )
    threshold = candidate_threshold(peaks, settings.candidate_sensitivity)
    places, per_slice = _on_validation(engine, chosen, threshold, settings, folder)
    while per_slice > settings.most_false_candidates and threshold < HIGHEST_CANDIDATE:
        threshold = min(1.5 * threshold, HIGHEST_CANDIDATE)
        places, per_slice = _on_validation(engine, chosen, threshold, settings, folder)
    scores = {
        "threshold": threshold,
        "lesions": len(peaks),
        "lesion_sensitivity": float((peaks >= threshold).mean()) if len(peaks) else None,
        "false_candidates_per_slice": per_slice,
    }
    mined = _no_places()
    rng = np.random.default_rng([settings.seed, 3])
    per_scan = max(2, round(settings.mining_slices / len(train)))
    for number, scan in enumerate(train):
        slices = mining_slices(scan, per_scan, rng)
        candidates = find_candidates(
            detect_scan(engine, scan, slices), threshold, settings.cascade.roi_size
        )
        labels = np.asarray(scan.labels[np.asarray(slices, np.intp)])
        found, false = split_candidates(candidates, labels, settings.cascade.roi_size)
        _collect(mined, found, false, (number, slices))
    return Mined(threshold, mined, places, scores)


def validation_map(engine: Engine, scan: TrainingScan, folder: Path) -> FloatArray:
    """Return stage 1's probability of a whole scan, kept in a folder as float16."""
    path = folder / "maps" / f"{scan.name}.npy"
    if not path.exists():
        probability = detect_scan(engine, scan, range(len(scan.image)))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, probability.astype(np.float16), allow_pickle=False)
        partial.replace(path)
    kept: FloatArray = np.load(path, allow_pickle=False)
    return kept.astype(np.float32)


def _on_validation(
    engine: Engine,
    scans: Sequence[TrainingScan],
    threshold: float,
    settings: TrainSettings,
    folder: Path,
) -> tuple[dict[str, list[Places]], float]:
    """Return the candidates of whole scans, and how many are false a slice with brain."""
    places, size = _no_places(), settings.cascade.roi_size
    count, slices = 0, 0
    for number, scan in enumerate(scans):
        probability = validation_map(engine, scan, folder)
        candidates = find_candidates(probability, threshold, size)
        found, false = split_candidates(candidates, np.asarray(scan.labels), size)
        _collect(places, found, false, (number, range(len(scan.image))))
        count += len(false)
        slices += int(probability.any(axis=(1, 2)).sum())
    return places, count / max(1, slices)


def mining_slices(scan: TrainingScan, count: int, rng: np.random.Generator) -> list[int]:
    """Return up to `count` slices, half of them (where there are so many) with a lesion."""
    labels = np.asarray(scan.labels)
    with_lesion = np.flatnonzero(labels.any(axis=(1, 2)))
    with_brain = np.flatnonzero(np.asarray(scan.image[:, ::4, ::4]).any(axis=(1, 2)))
    first = rng.permutation(with_lesion)[: count // 2]
    rest = rng.permutation(np.setdiff1d(with_brain, first))[: count - len(first)]
    return sorted(int(s) for s in (*first, *rest))


def save_mined(folder: Path, mined: Mined, scans: Sides) -> None:
    """Write the candidates; `mined.json` comes last, whole, and says that stage 1 is finished."""
    for side, places in (("train", mined.train), ("validation", mined.validation)):
        for kind in KINDS:
            rows = np.concatenate([np.zeros((0, 4), np.float32), *places[kind]])
            np.save(folder / f"{side}-{kind}.npy", rows, allow_pickle=False)
    numbers = {"threshold": mined.threshold, "scores": mined.scores, "scans": _names(scans)}
    write_json(folder / "mined.json", numbers)


def is_mined(folder: Path) -> bool:
    """Return whether `save_mined` has finished in a folder; a damaged file is none."""
    try:
        return "scans" in json.loads((folder / "mined.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def load_mined(folder: Path, scans: Sides) -> Mined:
    """Return what `save_mined` wrote.

    Raises:
        InputError: If the scans are not those that stage 1 was trained on.
    """
    numbers = json.loads((folder / "mined.json").read_text(encoding="utf-8"))
    # Places name scans by their number.
    before = numbers["scans"]
    if before != _names(scans):
        raise InputError(
            f"expected the dataset and seed that stage 1 was trained on, with "
            f"{sum(map(len, before))} scans, got {sum(map(len, scans))} scans or others"
        )
    train, validation = (
        {
            kind: [row[None] for row in np.load(folder / f"{side}-{kind}.npy", allow_pickle=False)]
            for kind in KINDS
        }
        for side in ("train", "validation")
    )
    return Mined(numbers["threshold"], train, validation, numbers["scores"])


def _names(scans: Sides) -> list[list[str]]:
    return [[scan.name for scan in side] for side in scans]


def _no_places() -> dict[str, list[Places]]:
    return {kind: [] for kind in KINDS}


def _collect(
    places: dict[str, list[Places]],
    found: Sequence[Candidate],
    false: Sequence[Candidate],
    where: tuple[int, Sequence[int]],
) -> None:
    number, slices = where
    places["found"] += as_places(found, number, slices)
    places["false"] += as_places(strongest(false, CANDIDATES_A_SLICE), number, slices)
