"""Choose a trained cascade's operating points on whole scans, through the path that users run."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from mmocnet.config import SegmentSettings, Thresholds
from mmocnet.errors import InputError
from mmocnet.evaluate.lesions import ScanLesions, outcome
from mmocnet.evaluate.matching import Pairing, pairing
from mmocnet.io.dataset import DatasetScan, read_dataset
from mmocnet.io.nifti import read_nifti
from mmocnet.io.read import read_scan
from mmocnet.nets.checkpoint import Cascade, load_cascade, save_cascade
from mmocnet.predict.pipeline import segment
from mmocnet.types import FloatArray

LOWEST = 0.05
"""Candidates below are not listed by `segment`."""
LEVELS = np.array([*np.linspace(0.05, 0.95, 37), 0.96, 0.97, 0.98, 0.985, 0.99, 0.995])
NEAR_BEST = 0.005
"""Levels whose score is this near to the best count as best: one lesion more or less."""

Scored = tuple[Pairing, FloatArray]
"""Every candidate of a scan against its reference, and the candidates' confidence."""


def choose_thresholds(
    model: Path,
    dataset: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Thresholds:
    """Set a model folder's operating points to what is best on a dataset; return them.

    The dataset should look like what the model will be used on: whole heads with natural lesion
    counts, scans without lesions included, of subjects that were not trained on.

    Args:
        model: Folder of a trained cascade; its settings and its card are written anew.
        dataset: BIDS folder with references.
        device: Where the networks run.
        progress: Told what is done and what there is to do, in scans.

    Returns:
        Best lesion F2 (screening), F1 (balanced) and F0.5 (report).

    Raises:
        InputError: If the dataset has no reference, or no lesion.
    """
    cascade = load_cascade(str(model), device)
    scans = [scan for scan in read_dataset(dataset) if scan.labels is not None]
    if not scans:
        raise InputError(f"expected scans with a reference, got none in {dataset.name}")
    scored: list[Scored] = []
    for number, scan in enumerate(scans, 1):
        scored.append(_score(scan, cascade, device))
        if progress is not None:
            progress(number, len(scans))
    tables = [_table(scored, scans, float(level)) for level in LEVELS]
    points = best_points(tables)
    cascade.settings = replace(cascade.settings, thresholds=points)
    cascade.card = {
        **cascade.card,
        "operating_points": {
            "dataset": dataset.resolve().name,
            "scans": len(scans),
            "rule": "any overlap, one to one",
            **{
                name: _row(_table(scored, scans, level), level)
                for name, level in asdict(points).items()
            },
        },
    }
    save_cascade(model, cascade)
    return points


def _score(scan: DatasetScan, cascade: Cascade, device: str) -> Scored:
    assert scan.labels is not None
    settings = SegmentSettings(threshold=LOWEST, device="cuda" if device == "cuda" else "cpu")
    found = segment(read_scan(scan.image), settings, cascade=cascade)
    reference = read_nifti(scan.labels)
    pair = pairing(np.asarray(reference.array, np.int32), found.labels.array, reference.spacing_mm)
    confidence = {lesion.index: lesion.confidence for lesion in found.lesions}
    return pair, np.array([confidence[int(i)] for i in pair.predicted.ids])


def _table(
    scored: Sequence[Scored], scans: Sequence[DatasetScan], level: float
) -> list[ScanLesions]:
    return [
        outcome(pair, scan.subject, scan.image.name, confidence >= level)
        for (pair, confidence), scan in zip(scored, scans, strict=True)
    ]


def _sums(rows: Sequence[ScanLesions]) -> tuple[int, int, int]:
    """Return lesions found, lesions missed, false positives."""
    found = sum(row.found for row in rows)
    references = sum(row.references for row in rows)
    return found, references - found, sum(row.false_positives for row in rows)


def _f_beta(rows: Sequence[ScanLesions], beta: float) -> float:
    found, missed, false = _sums(rows)
    weight = beta * beta
    total = (1 + weight) * found + weight * missed + false
    return (1 + weight) * found / total if total else float("nan")


def best_points(tables: Sequence[list[ScanLesions]]) -> Thresholds:
    """Return the middle of the levels near the best of each score, in ascending order."""
    if not any(row.references for row in tables[0]):
        raise InputError("expected at least one lesion to choose thresholds on, got none")
    chosen = []
    for beta in (2.0, 1.0, 0.5):
        values = np.array([_f_beta(rows, beta) for rows in tables])
        near = LEVELS[values >= np.nanmax(values) - NEAR_BEST]
        chosen.append(round(float(np.median(near)), 3))
    screening, balanced, report = np.maximum.accumulate(chosen).tolist()
    return Thresholds(screening=screening, balanced=balanced, report=report)


def _row(rows: Sequence[ScanLesions], level: float) -> dict[str, float | None]:
    """Return what a level means on these scans; undefined is None."""
    found, missed, false = _sums(rows)
    called = found + false
    return {
        "threshold": level,
        "lesion_sensitivity": round(found / (found + missed), 4),
        "lesion_precision": round(found / called, 4) if called else None,
        "lesion_f1": round(_f_beta(rows, 1.0), 4),
        "fp_per_scan": round(false / len(rows), 4),
    }
