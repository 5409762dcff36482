"""Give a trained cascade its confidence in context and its operating points, on whole scans."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmocnet.config import Thresholds
from mmocnet.errors import InputError
from mmocnet.evaluate.lesions import ScanLesions
from mmocnet.io.dataset import DatasetScan, read_dataset
from mmocnet.nets.checkpoint import Cascade, load_cascade, save_cascade
from mmocnet.predict.context import expanded
from mmocnet.train.context import Collected, SliceCandidates, collect, fit_context
from mmocnet.types import FloatArray

LEVELS = np.array([*np.linspace(0.05, 0.95, 37), 0.96, 0.97, 0.98, 0.985, 0.99, 0.995])
NEAR_BEST = 0.005
"""Levels whose score is this near to the best count as best: one lesion more or less."""
SLICE_KEPT = {"screening": 0.99, "balanced": 0.98, "report": 0.90}
"""Share of the lesions that are found on single slices at all which each point keeps. On one slice
a vein that crosses it is a microbleed, and the score that is best against them, near a confidence
of 1, would give up a third of the lesions."""


def calibrate(
    model: Path,
    validation: Sequence[DatasetScan],
    natural: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Thresholds:
    """Fit a model folder's confidence in context, choose its operating points, return them.

    Args:
        model: Folder of a trained cascade; its settings and its card are written anew.
        validation: Scans, many lesions each, of subjects that were not trained on; slices
            through their lesions decide the operating points of single slices.
        natural: BIDS folder of whole heads with natural lesion counts, scans without a lesion
            included, of other subjects again: they decide the operating points of volumes.
        device: Where the networks run.
        progress: Told what is done and what there is to do, in scans.

    Returns:
        Best lesion F2 (screening), F1 (balanced) and F0.5 (report) on the natural volumes.

    Raises:
        InputError: If no scan has a reference, or none a lesion.
        ModelError: If the model folder is not one.
    """
    cascade = load_cascade(str(model), device)
    whole = [scan for scan in read_dataset(natural) if scan.labels is not None]
    if not whole:
        raise InputError(f"expected scans with a reference, got none in {natural.name}")
    scans = [*validation, *whole]
    volumes = []
    for number, scan in enumerate(scans, 1):
        volumes.append(collect(scan, cascade, device))
        if progress is not None:
            progress(number, len(scans))
    return settle(model, cascade, (volumes[: len(validation)], volumes[len(validation) :]), natural)


def settle(
    model: Path,
    cascade: Cascade,
    volumes: tuple[Sequence[Collected], Sequence[Collected]],
    natural: Path,
) -> Thresholds:
    """Fit and choose on candidates that are collected already, and write the model folder.

    Args:
        model: The folder.
        cascade: What is in it.
        volumes: Candidates of the validation scans and of the natural ones.
        natural: Names the second set in the card.
    """
    dense, whole = volumes
    context = fit_context([*dense, *whole])
    weights = np.array(context.weights)
    scored = [1 / (1 + np.exp(-(expanded(v.features, context) @ weights))) for v in whole]
    tables = [
        [_row(v.subject, c, v.hit, v.references, level) for v, c in zip(whole, scored, strict=True)]
        for level in LEVELS
    ]
    planes = [part for v in dense for part in v.slices]
    points, slice_points = best_points(tables), _slice_points(planes)
    cascade.settings = replace(
        cascade.settings, context=context, thresholds=points, slice_thresholds=slice_points
    )
    cascade.card = {
        **cascade.card,
        "operating_points": {
            "dataset": natural.resolve().name,
            "volumes": len(whole),
            "slices": len(planes),
            "rule": "any overlap",
            **{
                name: _meaning(tables[int(np.abs(LEVELS - level).argmin())], level)
                for name, level in asdict(points).items()
            },
            "single_slices": {
                name: _meaning(
                    [_row("", p.confidence, p.hit, p.references, level) for p in planes], level
                )
                for name, level in asdict(slice_points).items()
            },
        },
    }
    save_cascade(model, cascade)
    return points


def _row(
    subject: str,
    confidence: FloatArray,
    hit: NDArray[np.integer],
    references: int,
    level: float,
) -> ScanLesions:
    hits = hit[confidence >= level]
    found = len(np.unique(hits[hits > 0]))
    return ScanLesions(subject, subject, references, found, int((hits == 0).sum()))


def _slice_points(planes: Sequence[SliceCandidates]) -> Thresholds:
    """Return the levels that keep the shares SLICE_KEPT of the lesions found on slices."""
    best = [
        float(plane.confidence[plane.hit == lesion].max())
        for plane in planes
        for lesion in np.unique(plane.hit[plane.hit > 0])
    ]
    if not best:
        return Thresholds()
    points = {name: round(float(np.quantile(best, 1 - k)), 4) for name, k in SLICE_KEPT.items()}
    return Thresholds(**points)


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


def best_points(tables: Sequence[Sequence[ScanLesions]]) -> Thresholds:
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


def _meaning(rows: Sequence[ScanLesions], level: float) -> dict[str, float | None]:
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
