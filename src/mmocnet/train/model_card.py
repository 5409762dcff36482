"""What a model card says of how a model was made."""

import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from mmocnet import __version__
from mmocnet.config import Thresholds, TrainSettings
from mmocnet.evaluate.calibration import calibration
from mmocnet.evaluate.lesions import lesion_scores
from mmocnet.nets.settings_json import settings_to_json
from mmocnet.train.calibrate import CrossFit, ScoredScan
from mmocnet.train.distributed import world_size
from mmocnet.train.patches import TrainingScan
from mmocnet.train.start import never_trained

MEANINGS = (
    "lesion_sensitivity",
    "lesion_precision",
    "lesion_f1",
    "fp_per_scan",
    "fp_per_lesion_free_scan",
)
"""Scores of an operating point in a card; the interval of each is under NAME_interval."""


def hardware_text(device: str) -> str:
    """Return the name of the processor or GPU and the number of CPU cores."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor()
    return f"{name or platform.machine()}, {os.cpu_count()} CPU cores"


def made(
    train: Sequence[TrainingScan],
    validation: Sequence[TrainingScan],
    settings: TrainSettings,
    device: str,
) -> dict[str, Any]:
    """Return on what, how and where a model was trained, and what of it never was."""
    random = never_trained(settings)
    return {
        "notice": "Research use only - not a medical device.",
        **({"never_trained": list(random)} if random else {}),
        "version": __version__,
        "seed": settings.seed,
        "train_subjects": len({scan.subject for scan in train}),
        "train_scans": len(train),
        "train_lesions": sum(len(np.unique(scan.labels[scan.labels > 0])) for scan in train),
        "validation_subjects": len({scan.subject for scan in validation}),
        "hardware": hardware_text(device),
        "torch": torch.__version__,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "training": settings_to_json(settings),
    }


def environment(device: str) -> dict[str, Any]:
    """Return hardware and versions."""
    return {
        "hardware": hardware_text(device),
        "device": device,
        "processes": world_size(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "mmocnet": __version__,
        "finished": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def point_meanings(measured: CrossFit, points: Thresholds) -> dict[str, Any]:
    """Return what each operating point finds; undefined is None.

    Args:
        measured: Each scan at the thresholds that other subjects decided.
        points: The thresholds that all of them decided, which are used.
    """
    meanings = {}
    for name, threshold in asdict(points).items():
        scores = lesion_scores(measured.rows[name])
        meaning: dict[str, Any] = {"threshold": threshold}
        for score in MEANINGS:
            one = scores[score]
            meaning[score] = _number(one.value)
            meaning[f"{score}_interval"] = [_number(one.low), _number(one.high)]
        meanings[name] = meaning
    return meanings


def operating_points(
    measured: CrossFit, points: Thresholds, scans: Sequence[ScoredScan]
) -> dict[str, Any]:
    """Return what a card says of the operating points of volumes and of their calibration.

    Args:
        measured: The scans, each by the decision of other subjects.
        points: The thresholds in use.
        scans: What they were measured on.
    """
    fit = calibration(measured.probability, measured.is_lesion)
    return {
        "volumes": len(scans),
        "subjects": len({scan.subject for scan in scans}),
        "lesions": sum(scan.references for scan in scans),
        "lesion_free_volumes": sum(scan.references == 0 for scan in scans),
        "rule": "any overlap",
        "measured": "each subject by the calibration and thresholds of the others' folds; "
        "intervals: 95 %, bootstrap over subjects",
        "calibration": {
            "candidates": fit.candidates,
            "ece": _number(fit.ece),
            "brier": _number(fit.brier),
        },
        **point_meanings(measured, points),
    }


def _number(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
