"""The segmentation job: the networks run, and what readers need is put beside the results."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmocnet import __version__
from mmocnet.config import SegmentSettings
from mmocnet.nets.checkpoint import load_cascade
from mmocnet.predict.pipeline import segment_file
from mmocnet.predict.provenance import FileOptions
from mmocnet.predict.segmentation import Segmentation
from mmocnet.review.candidates import candidates_of, write_candidates
from mmocnet.web.queue import finish, is_mine, tell_progress
from mmocnet.web.results import PROBABILITY
from mmocnet.web.store import Row, now
from mmocnet.web.studies import read_study
from mmocnet.web.work_import import beside, source_path
from mmocnet.web.worker import Task

TELL_S = 0.4
"""Seconds between two words about progress."""


def segment_study(task: Task) -> None:
    """Segment a study; the same files and settings give the same result, made once."""
    row = read_study(task.store, task.study)
    path = source_path(task, row)
    result = result_id(task, row, path)
    if task.store.row("SELECT 1 FROM results WHERE study = ? AND id = ?", (row["id"], result)):
        _use(task, result)
        return
    folder = task.room.result(row["id"], result)
    # Beside its place: it appears whole or not at all.
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)
    try:
        found, used = _run(task, row, path, partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _keep(task, result, found, used)


def result_id(task: Task, row: Row, path: Path) -> str:
    """Return what makes two runs of a study the same, as a hash."""
    settings = task.job.settings
    extras = [beside(task, row, key) for key in ("phase", "mask")]
    parts = [
        __version__,
        settings["stamp"],
        settings["point"],
        settings["threshold"],
        row["spacing_mm"],
        row["wanted"],
        [_stamp(one) for one in (path, *extras)],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _stamp(path: Path | None) -> list[int] | None:
    if path is None or not path.is_file():
        return None
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _run(task: Task, row: Row, path: Path, out: Path) -> tuple[Segmentation, dict[str, Any]]:
    settings = task.job.settings
    if task.threads is not None:
        import torch

        torch.set_num_threads(task.threads)
    cascade = load_cascade(settings["model_path"])
    phase = beside(task, row, "phase") if cascade.settings.reads_phase else None
    mask = beside(task, row, "mask")
    done = segment_file(
        path,
        out,
        SegmentSettings(
            model=settings["model_path"],
            operating_point=settings["point"],
            threshold=settings["threshold"],
        ),
        options=FileOptions(
            row["spacing_mm"], mask, overwrite=True, phase=phase, series=row["wanted"]
        ),
        cascade=cascade,
        progress=_teller(task),
    )
    assert done.result is not None
    array = done.result.probability.array.astype(np.float16)
    np.save(out / PROBABILITY, array, allow_pickle=False)
    write_candidates(out, candidates_of(done.result))
    return done.result, _used(done.result, settings)


def _used(result: Segmentation, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a result as the page shows them."""
    given = result.provenance["Input"]
    return {
        "model": settings["model"],
        "point": settings["point"],
        "threshold": settings["threshold"],
        "phase": "Phase" in given,
        "mask": "Mask" in given,
    }


def _teller(task: Task) -> Callable[[int, int], None]:
    last = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal last
        if done in (1, total) or time.monotonic() - last >= TELL_S:
            last = time.monotonic()
            tell_progress(task.store, task.job, done, total)

    return tell


def _keep(task: Task, result: str, found: Segmentation, used: dict[str, Any]) -> None:
    counts = (len(found.candidates), len(found.lesions))
    with task.store.transaction() as base:
        if not is_mine(base, task.job):
            return
        base.execute(
            "INSERT OR REPLACE INTO results VALUES (?,?,?,?,?,?)",
            (result, task.study, now(), json.dumps(used), *counts),
        )
    _use(task, result)


def _use(task: Task, result: str) -> None:
    """Make a result the study's."""
    with task.store.transaction() as base:
        if is_mine(base, task.job):
            base.execute(
                "UPDATE studies SET state = 'ready', reason = NULL, result = ? WHERE id = ?",
                (result, task.study),
            )
            finish(base, task.job.id)
