"""Train a plain U-Net on the scans, the split and the budget of a cascade, to compare with."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mmocnet.config import Thresholds
from mmocnet.errors import InputError
from mmocnet.io.dataset import write_json
from mmocnet.nets.settings_json import settings_from_json, settings_to_json
from mmocnet.nets.train_state import load_train_state
from mmocnet.predict.fuse import outline_candidates
from mmocnet.train.baseline_data import BaselineData, fits, median_spacing
from mmocnet.train.baseline_net import BaselineSettings, build
from mmocnet.train.baseline_predict import Baseline, predict_probability, save_baseline
from mmocnet.train.calibrate import ScoredScan
from mmocnet.train.folds import check_same, keep_or_check, scan_digests
from mmocnet.train.loop import fit
from mmocnet.train.model_card import environment
from mmocnet.train.operate import brain_of, lesions_hit
from mmocnet.train.patches import TrainingScan, as_unit
from mmocnet.train.points import choose_points
from mmocnet.train.run_folder import as_long
from mmocnet.train.split import Split, split_by_subject
from mmocnet.train.trainer import FitResult

Progress = Callable[[int, int], None]
STATE = "state.safetensors"
"""Of the trainer, in the run's folder."""


def train_baseline(
    scans: Sequence[TrainingScan],
    run_folder: Path,
    settings: BaselineSettings,
    device: str = "cpu",
    natural: Sequence[TrainingScan] = (),
    progress: Progress | None = None,
) -> Path:
    """Train a baseline, choose its thresholds, write its model folder.

    A run folder that holds part of the work is gone on with.

    Args:
        scans: Of at least two subjects; split by subject as for the cascade.
        run_folder: Made if missing; `state.safetensors`, logs and `model` appear in it.
        settings: How to train; the spacing is taken from the scans.
        device: cpu or cuda.
        natural: Scans of other subjects with natural lesion counts, lesion-free ones included,
            that choose the thresholds; none takes validation scans.
        progress: Told of the scans on which thresholds are chosen.

    Returns:
        The model folder.

    Raises:
        InputError: If there are too few subjects or lesions, the patch does not fit, or the folder
            was begun with other settings or scans.
        ModelError: If the folder's settings are of another kind.
    """
    if not fits(settings.patch, settings.network):
        raise InputError(
            f"expected one slice a patch for unet2d and more for unet3d, got {settings.patch} "
            f"for {settings.network}"
        )
    split = split_by_subject(scans, settings.validation_share, settings.seed)
    settings = replace(settings, spacing_mm=median_spacing(split))
    _keep(run_folder, scans, settings)
    network, result = _trained(split, run_folder, settings, device)
    baseline = Baseline(settings, network, {})
    chosen_on = natural or split.validation[: settings.validation_scans]
    scored = []
    for number, scan in enumerate(chosen_on, 1):
        scored.append(scored_scan(baseline, scan))
        if progress is not None:
            progress(number, len(chosen_on))
    baseline.settings = replace(settings, thresholds=thresholds_on(scored))
    baseline.card = {
        **_card(split, result, device),
        "steps": int(load_train_state(run_folder / STATE).numbers["step"]),
        "thresholds_on": "natural lesion counts" if natural else "validation scans",
        "thresholds_scans": len(chosen_on),
        "weights": sum(weights.numel() for weights in network.parameters()),
    }
    save_baseline(run_folder / "model", baseline)
    return run_folder / "model"


def _keep(run_folder: Path, scans: Sequence[TrainingScan], settings: BaselineSettings) -> None:
    """Write what a run folder is begun with, or check it; epochs and budget may change."""
    path = run_folder / "settings.json"
    keep_or_check(run_folder / "scans.json", scan_digests(scans), "the scans")
    if path.exists():
        data = json.loads(path.read_text(encoding="utf-8"))
        kept = settings_from_json(BaselineSettings, data, f"{run_folder.name}/settings.json")
        begun = replace(kept, stage=as_long(kept.stage, settings.stage))
        check_same(settings_to_json(begun), settings_to_json(settings), "the settings", run_folder)
    write_json(path, settings_to_json(settings))


def _trained(
    split: Split, run_folder: Path, settings: BaselineSettings, device: str
) -> tuple[nn.Module, FitResult]:
    torch.manual_seed(settings.seed)
    network = build(settings).to(device)
    data = BaselineData(split, settings, torch.device(device))
    stage = settings.stage
    if stage.steps_per_epoch is None:
        # As many patches as lesions have slices, as of the cascade.
        slices = sum(len(lesion) for lesion in data.train.places["lesion"])
        stage = replace(stage, steps_per_epoch=max(1, round(slices / stage.batch_size)))
    result = fit(network, data.draw, data.validate, stage, run_folder)
    return network.eval(), result


def scored_scan(baseline: Baseline, scan: TrainingScan) -> ScoredScan:
    """Return the candidates of a scan on its working grid with the lesion that each overlaps."""
    image = np.asarray(scan.image)
    labels = np.asarray(scan.labels)
    outlines = outline_candidates(predict_probability(baseline, as_unit(image), brain_of(image)))
    inside = np.clip(outlines.confidence, 1e-7, 1 - 1e-7)
    return ScoredScan(
        subject=scan.subject,
        logit=np.log(inside / (1 - inside)),
        hit=lesions_hit(outlines.labels, labels, len(inside)),
        references=len(np.unique(labels[labels > 0])),
    )


def thresholds_on(scans: Sequence[ScoredScan]) -> Thresholds:
    """Return the operating points; the defaults where no lesion was found to choose on."""
    if not any((scan.hit > 0).any() for scan in scans):
        return Thresholds()
    return choose_points(scans)


def _card(split: Split, result: FitResult, device: str) -> dict[str, Any]:
    history = result.history
    return {
        "notice": "Research use only - not a medical device.",
        **environment(device),
        "train_subjects": len({scan.subject for scan in split.train}),
        "validation_subjects": len({scan.subject for scan in split.validation}),
        "minutes": round(result.elapsed_s / 60, 2),
        "best_epoch": result.best_epoch,
        "stopped": result.stopped,
        "validation": history[-1] if history else {},
    }
