"""What a run folder was begun with: only the same work goes on in it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from mmocnet.config import StageSettings, TrainSettings
from mmocnet.errors import InputError
from mmocnet.io.atomic import check_folder
from mmocnet.io.dataset import write_json
from mmocnet.nets.checkpoint import move_cascade
from mmocnet.nets.model_settings import model_card
from mmocnet.nets.settings_json import settings_from_json, settings_to_json
from mmocnet.train.folds import check_same, keep_or_check, scan_digests
from mmocnet.train.patches import TrainingScan

FINISHED = {
    "detector": "stage1/mined.json",
    "segmenter": "stage2/segmenter.safetensors",
    "classifier": "classifier/classifier.safetensors",
}
"""The file of a run folder that says that a stage is trained."""
MODEL = "model"
"""Where a run folder holds what the run made."""
UNFINISHED = "model.unfinished"
"""Where it holds a trained cascade until its operating points are chosen."""
DECIDED_ON = "decided_on"
"""What a model's card calls the digests of further datasets, by the options that name them."""
REPLAY = "replay"
"""Where a run folder of `finetune` holds simulated scans."""
MARKS = {"train": ("a training", "scans.json"), "finetune": ("a fine-tuning", REPLAY)}
"""What a run of each command is called, and what its folder holds from early on."""


def check_run_folder(
    folder: Path, command: Literal["train", "finetune"], start: str | Path | None = None
) -> None:
    """Refuse a run folder whose model is another run's, or what is started from.

    Args:
        folder: Of the run; it need not be there.
        command: Whose run.
        start: Name or folder of the model that is started from.

    Raises:
        InputError: If it holds another run or another model, or cannot be written to.
    """
    check_folder(folder)
    wanted = f"expected a run folder of its own for {MARKS[command][0]}, got {folder.name!r}, "
    for name, mark in MARKS.values():
        if mark != MARKS[command][1] and (folder / mark).exists():
            raise InputError(f"{wanted}which holds {name}")
    if start is not None and Path(start).resolve() == (folder / MODEL).resolve():
        raise InputError(f"{wanted}which holds the model to start from")
    if (folder / MODEL).exists() and not (folder / MARKS[command][1]).exists():
        raise InputError(f"{wanted}which holds another model")


def check_decided(folder: Path, given: Mapping[str, str]) -> None:
    """Refuse to replace a model whose operating points were chosen on a dataset not given now.

    Args:
        folder: Of the run; it need not be there.
        given: Digest of each further dataset by its option.

    Raises:
        InputError: If the folder's model was decided on a dataset that is not given again.
        ModelError: If the model's card cannot be read.
    """
    if not (folder / MODEL).exists():
        return
    card = model_card(folder / MODEL)
    if "operating_points" not in card:
        return
    # Cards of earlier versions do not say which dataset it was.
    for option, digest in card.get(DECIDED_ON, {"--thresholds-on": None}).items():
        if option not in given or digest not in (None, given[option]):
            raise InputError(
                f"expected the {option} that the model in {folder.resolve().name} was decided on, "
                f"got {'another' if option in given else 'none'}: give that one, or another output "
                "folder"
            )


def publish(folder: Path) -> None:
    """Make the trained cascade of a run folder its model, in place of an earlier one."""
    move_cascade(folder / UNFINISHED, folder / MODEL)


def keep_run(
    folder: Path, scans: Sequence[TrainingScan], settings: TrainSettings, second: bool = False
) -> TrainSettings:
    """Write what a run folder is begun with, or check that it was begun with the same.

    Epochs and budget of a stage that is not trained yet may change, and what saves memory.

    Args:
        folder: Of the run; made if missing.
        scans: What is trained and validated on.
        settings: How.
        second: Whether stage 2 alone is asked for: stage 1 was then as long as it was.

    Returns:
        The settings, with the length that stage 1 had.

    Raises:
        InputError: If settings or scans are others; the first that differs is named.
        ModelError: If the folder's settings are of another version.
    """
    path = folder / "settings.json"
    if path.exists():
        data = json.loads(path.read_text(encoding="utf-8"))
        kept = settings_from_json(TrainSettings, data, f"{folder.name}/settings.json")
        if second:
            settings = replace(settings, detector=as_long(settings.detector, kept.detector))
        stages: dict[str, Any] = {}
        for name, file in FINISHED.items():
            asked = getattr(settings, name)
            saving = asked.gradient_checkpointing
            stage = replace(getattr(kept, name), gradient_checkpointing=saving)
            stages[name] = stage if (folder / file).exists() else as_long(stage, asked)
        begun = settings_to_json(replace(kept, **stages))
        check_same(begun, settings_to_json(settings), "the settings", folder)
    keep_or_check(folder / "scans.json", scan_digests(scans), "the scans")
    write_json(path, settings_to_json(settings))
    return settings


def as_long(stage: StageSettings, other: StageSettings) -> StageSettings:
    """Return a stage with the epochs and the budget of another."""
    return replace(stage, max_epochs=other.max_epochs, budget_minutes=other.budget_minutes)
