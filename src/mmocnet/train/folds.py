"""Which subjects are held out, which are in which fold, and the file that says so."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmocnet.errors import InputError
from mmocnet.io.dataset import write_json
from mmocnet.train.patches import TrainingScan
from mmocnet.train.split import Split, split_by_subject


@dataclass(frozen=True)
class Folds:
    """Subjects by part; no subject is in two."""

    held_out: tuple[str, ...]
    folds: tuple[tuple[str, ...], ...]


def split_into_folds(subjects: Sequence[str], held_out: float, count: int, seed: int) -> Folds:
    """Return held-out subjects and folds of the rest, of nearly equal size.

    Args:
        subjects: Any order, repeats allowed; the folds depend on neither.
        held_out: Share of the subjects that are held out, at least one; 0 holds none out.
        count: Folds, at least two.
        seed: Shuffles the subjects.

    Raises:
        InputError: If a fold would be empty, or leave fewer than two subjects to train on, or the
            share is none.
    """
    if not 0 <= held_out < 1:
        raise InputError(f"expected a held-out share of at least 0 and below 1, got {held_out:g}")
    names = sorted(set(subjects))
    kept_out = max(1, round(held_out * len(names))) if held_out else 0
    rest = len(names) - kept_out
    if count < 2 or rest < count or rest - -(-rest // count) < 2:
        raise InputError(
            f"expected at least {max(count, 4)} subjects beside the held-out ones for {count} "
            f"folds, got {len(names)} subjects of which {kept_out} are held out"
        )
    order = [names[i] for i in np.random.default_rng([seed, 4]).permutation(len(names))]
    parts = [tuple(sorted(order[kept_out + k :: count])) for k in range(count)]
    return Folds(tuple(sorted(order[:kept_out])), tuple(parts))


def fold_scans(
    scans: Sequence[TrainingScan], folds: Folds, fold: int, share: float, seed: int
) -> tuple[Split, tuple[TrainingScan, ...]]:
    """Return what a fold trains and validates on, and the scans that it scores.

    The fold's own subjects decide nothing: early stopping and thresholds are of validation
    subjects taken from the other folds.

    Raises:
        InputError: If there is no such fold.
    """
    if not 0 <= fold < len(folds.folds):
        raise InputError(f"expected a fold from 0 to {len(folds.folds) - 1}, got {fold}")
    scored = set(folds.folds[fold])
    others = scored | set(folds.held_out)
    learnt = [scan for scan in scans if scan.subject not in others]
    return split_by_subject(learnt, share, seed), scans_of(scans, folds.folds[fold])


def scans_of(scans: Sequence[TrainingScan], subjects: Sequence[str]) -> tuple[TrainingScan, ...]:
    """Return the scans of some subjects, in order of their names."""
    wanted = set(subjects)
    return tuple(
        sorted((s for s in scans if s.subject in wanted), key=lambda s: (s.subject, s.name))
    )


def keep_folds(path: Path, scans: Sequence[TrainingScan], folds: Folds) -> None:
    """Write the folds and what the dataset holds, or check them where they are written.

    Raises:
        InputError: If the file tells of another dataset or of other folds.
    """
    if path.exists() and not _has_digests(path):
        raise InputError(
            f"expected {path.parent.resolve().name} to be begun by this version of mmocnet, got "
            f"one whose {path.name} tells scans by their shapes: give another output folder"
        )
    data = {
        "held_out": list(folds.held_out),
        "folds": [list(part) for part in folds.folds],
        "scans": scan_digests(scans),
    }
    keep_or_check(path, data, "the dataset and folds")


def _has_digests(path: Path) -> bool:
    scans = json.loads(path.read_text(encoding="utf-8"))["scans"]
    return all(isinstance(digest, str) for digest in scans.values())


def scan_digests(scans: Sequence[TrainingScan]) -> dict[str, str]:
    """Return by name what tells a scan that was prepared or labelled otherwise."""
    return {scan.name: _digest(scan) for scan in sorted(scans, key=lambda s: s.name)}


def _digest(scan: TrainingScan) -> str:
    digest = hashlib.sha256(repr((scan.subject, scan.image.shape)).encode())
    # All lesions, but one slice of the image: a cohort takes long to read.
    for array in (scan.labels, scan.mimic_points, scan.image[len(scan.image) // 2]):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def keep_or_check(path: Path, data: Mapping[str, Any], what: str) -> None:
    """Write plain values, or check that they are those that the file holds.

    Raises:
        InputError: If they differ; the first that does is named.
    """
    # Through JSON, so that tuples compare as the lists that they become.
    mine = json.loads(json.dumps(data))
    if not path.exists():
        write_json(path, mine)
        return
    check_same(json.loads(path.read_text(encoding="utf-8")), mine, what, path.parent)


def check_same(kept: Any, mine: Any, what: str, folder: Path) -> None:
    """Refuse plain values that are not those that a folder was begun with.

    Raises:
        InputError: If they differ; the first that does is named.
    """
    if kept != mine:
        where = _difference(kept, mine, "")
        raise InputError(
            f"expected {what} that {folder.resolve().name} was begun with, got others at {where}: "
            "give another output folder"
        )


def _difference(kept: Any, mine: Any, where: str) -> str:
    if isinstance(kept, dict) and isinstance(mine, dict):
        for key in sorted(set(kept) | set(mine)):
            if kept.get(key) != mine.get(key):
                return _difference(kept.get(key), mine.get(key), f"{where}.{key}".lstrip("."))
    return f"{where} ({_short(kept)} before, {_short(mine)} now)"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
