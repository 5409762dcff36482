"""Stage 1's candidates for stage 2 to learn from, and the threshold that makes them."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.config import TrainSettings
from mmocnet.errors import InputError
from mmocnet.predict.candidates import find_candidates
from mmocnet.predict.engine import Engine
from mmocnet.train.operate import (
    as_places,
    candidate_threshold,
    detect_scan,
    lesion_peaks,
    split_candidates,
)
from mmocnet.train.patches import Places, TrainingScan
from mmocnet.types import FloatArray

KINDS = ("found", "false")
CANDIDATES_A_SLICE = 20
"""At most so many false candidates of a slice are kept: a poor stage 1 must not fill memory."""


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


def mine(
    engine: Engine,
    train: Sequence[TrainingScan],
    validation: Sequence[TrainingScan],
    settings: TrainSettings,
) -> Mined:
    """Choose the candidate threshold on validation scans and collect candidates.

    The threshold is the highest that finds the wanted share of the lesions of whole validation
    scans. Candidates come from those scans and from random training slices, half of them with
    a lesion.
    """
    rng = np.random.default_rng([settings.seed, 3])
    chosen = list(validation[: settings.validation_scans])
    maps = [(scan, *_detected(engine, scan, range(len(scan.image)))) for scan in chosen]
    peaks = np.concatenate([lesion_peaks(p, labels) for _, p, labels in maps] or [np.zeros(0)])
    threshold = candidate_threshold(peaks, settings.candidate_sensitivity)
    size = settings.cascade.roi_size
    places = _no_places()
    for number, (scan, probability, labels) in enumerate(maps):
        _collect(places, probability, labels, (number, range(len(scan.image)), threshold, size))
    scores = {
        "threshold": threshold,
        "lesions": len(peaks),
        "lesion_sensitivity": float((peaks >= threshold).mean()) if len(peaks) else None,
        "false_candidates_per_slice": len(places["false"])
        / max(1, sum(int(p.any(axis=(1, 2)).sum()) for _, p, _ in maps)),
    }
    del maps
    mined = _no_places()
    per_scan = max(2, round(settings.mining_slices / len(train)))
    for number, scan in enumerate(train):
        slices = mining_slices(scan, per_scan, rng)
        probability, labels = _detected(engine, scan, slices)
        _collect(mined, probability, labels, (number, slices, threshold, size))
    return Mined(threshold, mined, places, scores)


def mining_slices(scan: TrainingScan, count: int, rng: np.random.Generator) -> list[int]:
    """Return up to `count` slices, half of them (where there are so many) with a lesion."""
    labels = np.asarray(scan.labels)
    with_lesion = np.flatnonzero(labels.any(axis=(1, 2)))
    with_brain = np.flatnonzero(np.asarray(scan.image[:, ::4, ::4]).any(axis=(1, 2)))
    first = rng.permutation(with_lesion)[: count // 2]
    rest = rng.permutation(np.setdiff1d(with_brain, first))[: count - len(first)]
    return sorted(int(s) for s in (*first, *rest))


def save_mined(folder: Path, mined: Mined) -> None:
    """Write the candidates; `mined.json` comes last and says that stage 1 is finished."""
    for side, places in (("train", mined.train), ("validation", mined.validation)):
        for kind in KINDS:
            rows = np.concatenate([np.zeros((0, 4), np.float32), *places[kind]])
            np.save(folder / f"{side}-{kind}.npy", rows, allow_pickle=False)
    text = json.dumps({"threshold": mined.threshold, "scores": mined.scores}, indent=2)
    (folder / "mined.json").write_text(text + "\n", encoding="utf-8")


def load_mined(
    folder: Path, train: Sequence[TrainingScan], validation: Sequence[TrainingScan]
) -> Mined:
    """Return what `save_mined` wrote.

    Raises:
        InputError: If a candidate lies in no scan: the dataset was changed since.
    """
    numbers = json.loads((folder / "mined.json").read_text(encoding="utf-8"))
    sides = []
    for side, scans in (("train", train), ("validation", validation)):
        places = {}
        for kind in KINDS:
            rows = np.load(folder / f"{side}-{kind}.npy", allow_pickle=False)
            if len(rows) and rows[:, 0].max() >= len(scans):
                raise InputError(
                    f"expected the dataset that stage 1 was trained on, got {len(scans)} scans "
                    f"({side})"
                )
            places[kind] = [row[None] for row in rows]
        sides.append(places)
    return Mined(numbers["threshold"], sides[0], sides[1], numbers["scores"])


def _detected(
    engine: Engine, scan: TrainingScan, slices: Sequence[int]
) -> tuple[FloatArray, NDArray[np.integer[Any]]]:
    return detect_scan(engine, scan, slices).astype(np.float16), np.asarray(
        scan.labels[np.asarray(slices, np.intp)]
    )


def _no_places() -> dict[str, list[Places]]:
    return {kind: [] for kind in KINDS}


def _collect(
    places: dict[str, list[Places]],
    probability: FloatArray,
    labels: NDArray[np.integer[Any]],
    where: tuple[int, Sequence[int], float, int],
) -> None:
    number, slices, threshold, size = where
    candidates = find_candidates(probability.astype(np.float32), threshold, size)
    found, false = split_candidates(candidates, labels, size)
    seen: Counter[int] = Counter()
    kept = []
    for candidate in sorted(false, key=lambda c: -c.probability):
        seen[candidate.slice_index] += 1
        if seen[candidate.slice_index] <= CANDIDATES_A_SLICE:
            kept.append(candidate)
    places["found"] += as_places(found, number, slices)
    places["false"] += as_places(kept, number, slices)
