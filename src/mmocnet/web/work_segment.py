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
from mmocnet.errors import InputError
from mmocnet.nets.checkpoint import load_cascade
from mmocnet.predict.pipeline import segment_file
from mmocnet.predict.provenance import FileOptions
from mmocnet.predict.segmentation import Segmentation
from mmocnet.review.candidates import candidates_of, write_candidates
from mmocnet.web.queue import add_job, finish, is_mine, tell_progress
from mmocnet.web.results import (
    PROBABILITY,
    is_shown,
    read_about,
    result_is_whole,
    to_disk,
    view_is_whole,
)
from mmocnet.web.store import Row, now
from mmocnet.web.studies import read_study
from mmocnet.web.work_import import (
    asked_of,
    beside,
    scan_name,
    show_import,
    source_path,
    source_stamp,
    stamp_of,
    waiting_view,
)
from mmocnet.web.worker import Task

TELL_S = 0.4
"""Seconds between two words about progress."""

MAX_AGAIN = 3
"""How often files that change are imported anew for one run."""


def segment_study(task: Task) -> None:
    """Segment a study; the same scan and settings give the same result, made once.

    Where the files are no longer those that were imported, they are imported first.
    """
    row = read_study(task.store, task.study)
    path = source_path(task, row)
    about = _imported(task, row, path)
    if about is None:
        _import_again(task)
        return
    result = result_id(task, row, about)
    if _is_there(task, result, about):
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
        if not _is_of(found, about) or result_id(task, row, about) != result:
            _import_again(task)
            return
        to_disk(partial)
        partial.rename(folder)
        to_disk(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _keep(task, result, found, used)


def _imported(task: Task, row: Row, path: Path) -> dict[str, Any] | None:
    """Return what the import found out; None where files have changed or were lost since."""
    view, found = task.room.view(task.study), task.job.settings.get("found")
    if found is not None:
        view = waiting_view(view)
    about = read_about(view)
    stamp = row["stamp"] if found is None else found["stamp"]
    if about is None or stamp != source_stamp(task, row, path):
        return None
    return about if view_is_whole(view, about) else None


def _is_there(task: Task, result: str, about: dict[str, Any]) -> bool:
    query = "SELECT 1 FROM results WHERE study = ? AND id = ?"
    known = task.store.row(query, (task.study, result)) is not None
    return known and result_is_whole(task.room, task.study, result, about)


def _is_of(found: Segmentation, about: dict[str, Any]) -> bool:
    return is_shown(about, found.image.shape, found.image.affine, found.provenance)


def _import_again(task: Task) -> None:
    """End the job; the import that follows queues another.

    Raises:
        InputError: If that has been done some times, as files that change never end.
    """
    again = task.job.settings.get("again", 0) + 1
    if again > MAX_AGAIN:
        raise InputError(
            "expected the scan's files to stay as they are while they are read, but they changed "
            f"{MAX_AGAIN} times: run the study when all of them are there"
        )
    with task.store.transaction() as base:
        if is_mine(base, task.job):
            base.execute("UPDATE studies SET state = 'waiting' WHERE id = ?", (task.study,))
            finish(base, task.job.id)
            add_job(base, "import", task.study, task.job.settings | {"again": again})


def result_id(task: Task, row: Row, about: dict[str, Any]) -> str:
    """Return what makes two runs of a study the same, as a hash."""
    settings = task.job.settings
    spacing_mm, series = asked_of(task, row)
    extras = [beside(task, row, key) for key in ("phase", "mask")]
    parts = [
        __version__,
        settings["stamp"],
        settings["point"],
        settings["threshold"],
        spacing_mm,
        series,
        [about[key] for key in ("sha256", "shape", "affine")],
        [stamp_of(one) for one in extras],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _run(task: Task, row: Row, path: Path, out: Path) -> tuple[Segmentation, dict[str, Any]]:
    settings = task.job.settings
    if task.threads is not None:
        import torch

        torch.set_num_threads(task.threads)
    cascade = load_cascade(settings["model_path"])
    phase = beside(task, row, "phase") if cascade.settings.reads_phase else None
    mask = beside(task, row, "mask")
    spacing_mm, series = asked_of(task, row)
    done = segment_file(
        path,
        out,
        SegmentSettings(
            model=settings["model_path"],
            # Of no account beside a threshold of one's own.
            operating_point=settings["point"] or "balanced",
            threshold=settings["threshold"],
        ),
        options=FileOptions(
            spacing_mm,
            mask,
            overwrite=True,
            phase=phase,
            series=series,
            name=scan_name(row),
        ),
        cascade=cascade,
        progress=_teller(task),
    )
    assert done.result is not None
    # An outline can be taken from it where a reader adds what the model rejects.
    assert done.result.outlining is not None
    array = done.result.outlining.array.astype(np.float16)
    np.save(out / PROBABILITY, array, allow_pickle=False)
    write_candidates(out, candidates_of(done.result))
    return done.result, _used(done.result, settings)


def _used(result: Segmentation, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a result as the page shows them."""
    record = result.provenance
    return {
        "model": settings["model"],
        "point": settings["point"],
        "threshold": settings["threshold"],
        "phase": record["PhaseRead"],
        "mask": "Mask" in record["Input"],
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
    """Make a result the study's, with the pixel size and series that it is of."""
    found = task.job.settings.get("found")
    with task.store.transaction() as base:
        if not is_mine(base, task.job):
            return
        if found is not None:
            show_import(base, task, waiting_view(task.room.view(task.study)), found)
        base.execute(
            "UPDATE studies SET state = 'ready', reason = NULL, result = ? WHERE id = ?",
            (result, task.study),
        )
        finish(base, task.job.id)
