"""Train a cascade: stage 1, its candidates, stage 2, thresholds, the cascade's folder."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from mmocnet.config import StageSettings, TrainSettings
from mmocnet.errors import InputError
from mmocnet.io.dataset import plain
from mmocnet.nets.checkpoint import (
    Cascade,
    load_weights,
    save_cascade,
)
from mmocnet.nets.detector import Detector
from mmocnet.nets.segmenter import Segmenter
from mmocnet.nets.tensor_file import save_tensors
from mmocnet.predict.engine import Engine, make_engine
from mmocnet.train.distributed import from_main, is_main, on_main
from mmocnet.train.log import warn
from mmocnet.train.loop import fit
from mmocnet.train.mining import Mined, is_mined, load_mined, mine, save_mined, validation_map
from mmocnet.train.model_card import made
from mmocnet.train.operate import find_in_scan, lesion_scores, operating_points
from mmocnet.train.patches import (
    Neighbours,
    PatchCut,
    PatchSampler,
    TrainingScan,
    lesion_places,
    mimic_places,
)
from mmocnet.train.run_folder import UNFINISHED, keep_run
from mmocnet.train.split import Split, split_by_subject, warning_of
from mmocnet.train.stage_data import StageData
from mmocnet.train.start import never_trained, start_detector, start_segmenter
from mmocnet.train.trainer import FitResult

Stage = Literal["1", "2", "both"]

LESION_REACH = 0.4
"""Stage 1: how far a lesion may lie from its crop's centre, in crop sides."""
ROI_JITTER = 0.2
"""Stage 2: how far a patch is shifted, in patch sides: as candidates' centres err."""


def train_cascade(
    scans: Sequence[TrainingScan],
    run_folder: Path,
    settings: TrainSettings,
    stage: Stage = "both",
    device: str = "cpu",
    card: Mapping[str, Any] | None = None,
) -> Path | None:
    """Train one or both stages and write the folder of the cascade, which is not the model yet.

    Its operating points are those of the validation scans; `publish` makes it the run's model. A
    run folder that holds part of the work is gone on with: a stage in the middle resumes, a
    finished one is not repeated.

    Args:
        scans: Of at least two subjects; they are split by subject.
        run_folder: Made if missing; `stage1`, `stage2` and `model.unfinished` appear in it.
        settings: How to train.
        stage: "1" stops before stage 2; "2" needs a finished stage 1.
        device: cpu or cuda.
        card: What the model card says of dataset and command.

    Returns:
        The cascade's folder, or None after stage "1".

    Raises:
        InputError: If there are too few subjects or lesions, stage 1 is missing, or the folder was
            begun with other settings or scans.
    """
    started = time.monotonic()
    split = split_by_subject(scans, settings.validation_share, settings.seed)
    _check_lesions(split)
    if is_main():
        settings = keep_run(run_folder, scans, settings, second=stage == "2")
        told = warning_of(split, settings.validation_scans)
        if told is not None:
            warn(told)
        if never_trained(settings):
            warn(f"{' and '.join(never_trained(settings))} not trained: weights are random")
    settings = from_main(settings)
    if stage in ("1", "both"):
        train_first_stage(split, run_folder / "stage1", settings, device)
    if stage == "1":
        return None
    detector = Detector(settings.cascade.detector).to(device)
    mined = _finished_first_stage(detector, split, run_folder / "stage1")
    segmenter = train_second_stage(split, mined, run_folder / "stage2", settings, device)

    def save() -> None:
        cascade = _with_thresholds(
            (detector, segmenter), split, mined, settings, run_folder / "stage1"
        )
        cascade.card = {
            **(card or {}),
            **made(split.train, split.validation, settings, device),
            "validation": cascade.card,
            "stage1": mined.scores,
            "seconds_this_run": round(time.monotonic() - started),
        }
        save_cascade(run_folder / UNFINISHED, cascade)

    on_main(save)
    return run_folder / UNFINISHED


def _check_lesions(split: Split) -> None:
    if any(scan.labels.any() for scan in split.train):
        return
    told = f"expected microbleeds in the {len(split.train)} scans to train on, got none"
    if any(scan.labels.any() for scan in split.validation):
        told += ": the one subject that has any validates, with another --seed it may not"
    raise InputError(told)


def train_first_stage(
    split: Split, folder: Path, settings: TrainSettings, device: str = "cpu"
) -> tuple[Detector, Mined]:
    """Train stage 1 in a folder, or load it where it is finished there.

    Args:
        split: What to train and to validate on.
        folder: Made if missing; a stage in the middle resumes.
        settings: How to train; stage 2's play no part, but for the patches' size.
        device: cpu or cuda.

    Returns:
        Stage 1 in eval mode, and its candidates for stage 2.
    """
    detector = Detector(settings.cascade.detector).to(device)
    _first_stage(detector, split, folder, settings)
    return detector, _finished_first_stage(detector, split, folder)


def train_second_stage(
    split: Split, mined: Mined, folder: Path, settings: TrainSettings, device: str = "cpu"
) -> Segmenter:
    """Train stage 2 in a folder, or load it where it is finished there, in eval mode.

    Args:
        split: As stage 1 had it.
        mined: Stage 1's candidates on that split.
        folder: Made if missing; a stage in the middle resumes.
        settings: How to train.
        device: cpu or cuda.
    """
    segmenter = Segmenter(settings.cascade.segmenter).to(device)
    _second_stage(segmenter, split, mined, folder, settings)
    return segmenter.eval()


def _first_stage(detector: Detector, split: Split, folder: Path, settings: TrainSettings) -> None:
    if from_main(is_mined(folder)):
        return
    torch.manual_seed(settings.seed)
    detector.load_state_dict(Detector(settings.cascade.detector).state_dict())
    start_detector(detector, settings)
    detector.checkpointing = settings.detector.gradient_checkpointing
    reach = (LESION_REACH * settings.crop_shape[0], LESION_REACH * settings.crop_shape[1])
    sides = [scans + across for scans, across in zip(split.sides, split.across, strict=True)]
    places = [{"lesion": lesion_places(s), "mimic": mimic_places(s)} for s in sides]
    samplers = [
        PatchSampler(
            scans,
            kinds,
            settings.detector_shares,
            PatchCut(
                settings.crop_shape,
                reach,
                inside=True,
                neighbours=Neighbours(settings.cascade.detector.in_channels, hidden),
            ),
        )
        for scans, kinds, hidden in zip(
            sides, places, (settings.neighbours_hidden, 0.0), strict=True
        )
    ]
    data = StageData(samplers[0], samplers[1], settings, stage=1)
    _fit(detector, data, settings.detector, folder)
    on_main(lambda: _keep_first_stage(detector, split, folder, settings))


def _keep_first_stage(
    detector: Detector, split: Split, folder: Path, settings: TrainSettings
) -> None:
    save_tensors(folder / "detector.safetensors", detector.state_dict())
    # Maps of an earlier, interrupted attempt may be of other weights.
    shutil.rmtree(folder / "maps", ignore_errors=True)
    engine = cascade_engine(detector, Segmenter(settings.cascade.segmenter), settings)
    save_mined(folder, mine(engine, split.sides, settings, folder), split.sides)


def _finished_first_stage(detector: Detector, split: Split, folder: Path) -> Mined:
    if not is_mined(folder):
        raise InputError(f"expected a finished stage 1 in {folder.parent.name}: train it first")
    load_weights(detector, folder / "detector.safetensors")
    detector.eval()
    return load_mined(folder, split.sides)


def _second_stage(
    segmenter: Segmenter, split: Split, mined: Mined, folder: Path, settings: TrainSettings
) -> None:
    path = folder / "segmenter.safetensors"
    if from_main(path.exists()):
        load_weights(segmenter, path)
        return
    torch.manual_seed(settings.seed + 1)
    segmenter.load_state_dict(Segmenter(settings.cascade.segmenter).state_dict())
    start_segmenter(segmenter, settings)
    segmenter.checkpointing = settings.segmenter.gradient_checkpointing
    size = settings.cascade.roi_size
    jitter = ROI_JITTER * size
    samplers = [
        PatchSampler(
            scans,
            {"lesion": lesion_places(scans), "mimic": mimic_places(scans), **candidates},
            settings.segmenter_shares,
            PatchCut(
                (size, size),
                (jitter, jitter),
                neighbours=Neighbours(settings.cascade.segmenter.in_channels, hidden),
            ),
        )
        for scans, candidates, hidden in zip(
            split.sides,
            (mined.train, mined.validation),
            (settings.neighbours_hidden, 0.0),
            strict=True,
        )
    ]
    data = StageData(samplers[0], samplers[1], settings, stage=2)
    _fit(segmenter, data, settings.segmenter, folder)
    on_main(lambda: save_tensors(path, segmenter.state_dict()))


def _with_thresholds(
    networks: tuple[Detector, Segmenter],
    split: Split,
    mined: Mined,
    settings: TrainSettings,
    folder: Path,
) -> Cascade:
    """Return the cascade with the operating points chosen on whole validation scans."""
    detector, segmenter = networks
    # The classifier is trained afterwards, on other subjects.
    chosen = replace(settings.cascade, candidate_threshold=mined.threshold, classifier=None)
    engine = cascade_engine(detector, segmenter, settings)
    findings = [
        find_in_scan(
            engine,
            scan,
            validation_map(engine, scan, folder),
            mined.threshold,
            chosen.roi_size,
        )
        for scan in split.validation[: settings.validation_scans]
    ]
    points = operating_points(findings)
    overlap = sum(f.overlap for f in findings)
    pixels = sum(f.found_px + f.reference_px for f in findings)
    scores = {
        name: asdict(lesion_scores(findings, level)) for name, level in asdict(points).items()
    }
    told = warning_of(split, settings.validation_scans)
    card = {
        **({} if told is None else {"warning": told}),
        "scans": len(findings),
        "lesions": sum(len(f.lesions) for f in findings),
        "pooled_dice": 2 * overlap / pixels if pixels else None,
        **scores,
    }
    return Cascade(replace(chosen, thresholds=points), detector, segmenter, plain(card))


def _fit(network: nn.Module, data: StageData, settings: StageSettings, folder: Path) -> FitResult:
    data.device = next(network.parameters()).device
    settings = replace(settings, steps_per_epoch=data.steps_per_epoch())
    return fit(network, data.draw, data.validate, settings, folder)


def cascade_engine(detector: Detector, segmenter: Segmenter, settings: TrainSettings) -> Engine:
    """Return an engine that runs both networks as the settings say."""
    device = next(detector.parameters()).device.type
    crop = settings.cascade.preparation.pixel_mm is not None
    return make_engine((detector, segmenter), device, crop=crop)
