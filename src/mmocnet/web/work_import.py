"""The import job: a study's files are read once, and what the browser shows is written."""

import hashlib
import json
import math
import os
import shutil
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmocnet.errors import InputError
from mmocnet.io.dataset import plain, write_json
from mmocnet.io.dicom.archive import files_below
from mmocnet.io.phase import read_phase
from mmocnet.io.read import Scan, read_scan
from mmocnet.prepare.geometry import slice_axis
from mmocnet.volume import Volume, check_grid
from mmocnet.web.drops import kind_of
from mmocnet.web.problems import DamagedError
from mmocnet.web.queue import add_job, finish, is_mine
from mmocnet.web.results import ABOUT, is_shown, read_result, to_disk
from mmocnet.web.store import Row
from mmocnet.web.studies import read_study
from mmocnet.web.uploads import shown_name
from mmocnet.web.views import view_of
from mmocnet.web.worker import Task

if TYPE_CHECKING:
    from mmocnet.io.dicom.series import DicomSeries


def source_path(task: Task, row: Row) -> Path:
    """Return where a study's scan is: the user's own path, or the uploaded file or folder."""
    if row["path"] is not None:
        return _named_in_text(Path(os.fsdecode(row["path"])))
    folder = task.room.input(row["id"])
    names = ("scan.nii.gz", "scan.nii", "slice.png", "slice.tif", "slice.tiff", "study.zip")
    return next((folder / name for name in names if (folder / name).is_file()), folder / "dicom")


def scan_name(row: Row) -> str:
    """Return what the user calls a study's scan, wherever it is kept."""
    return str(row["name"]) if row["path"] is None else shown_name(os.fsdecode(row["path"]))


def _named_in_text(path: Path) -> Path:
    """Return a path that can be written down: a link in the job's own folder where it cannot."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        kind = kind_of(path.name)
        link = Path(tempfile.gettempdir()) / ("study" if kind is None else kind[2])
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        return link
    return path


def beside(task: Task, row: Row, key: str) -> Path | None:
    """Return where a study's phase or mask is, None where it has none."""
    if row[key] is None:
        return None
    # An absolute path, of a folder's scan, stays what it is.
    return task.room.input(row["id"]) / os.fsdecode(row[key])


def asked_of(task: Task, row: Row) -> tuple[float | None, str | None]:
    """Return the pixel size and series that a job takes: those given with it, else the study's."""
    given = task.job.settings
    return given.get("spacing_mm") or row["spacing_mm"], given.get("series") or row["wanted"]


def source_stamp(task: Task, row: Row, path: Path) -> str:
    """Return what changes with the files that an import reads, as text."""
    return json.dumps([stamp_of(path), stamp_of(beside(task, row, "phase"))])


def stamp_of(path: Path | None) -> list[int] | str | None:
    """Return what changes with a file or with what is in a folder; None where there is neither.

    Raises:
        InputError: If a folder cannot be read.
    """
    if path is not None and path.is_dir():
        # A file manager's own files are no part of a scan.
        files = [one for one in files_below(path)[0] if not one.name.startswith(".")]
        listed = [[os.fsencode(one.relative_to(path)).hex(), *_size_time(one)] for one in files]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    return None if path is None or not path.is_file() else _size_time(path)


def _size_time(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def import_study(task: Task) -> None:
    """Read a study, or say what must be chosen first; then queue its segmentation.

    What was shown before stays until all of the new is on the disk; where another pixel size or
    series is asked for, until that is segmented.
    """
    row = read_study(task.store, task.study)
    spacing_mm, wanted = asked_of(task, row)
    if row["source"] == "picture" and spacing_mm is None:
        _ask(task, "spacing", None)
        return
    path = source_path(task, row)
    listed = _series(path, wanted) if row["source"] == "dicom" else None
    if listed is not None and not any(one["chosen"] for one in listed):
        _ask(task, "series", listed)
        return
    # Taken first: what changes while it is read differs from it afterwards.
    stamp = source_stamp(task, row, path)
    scan = read_scan(path, spacing_mm, wanted)
    partial = _partial(task.room.view(row["id"]))
    try:
        window = view_of(scan.volume, partial / "image.nii")
        scan, phase_window = _phase_view(task, row, scan, partial / "phase.nii")
        write_json(partial / ABOUT, _about(scan, window, phase_window))
        to_disk(partial)
        found = {
            "spacing_mm": spacing_mm,
            "wanted": wanted,
            "size": json.dumps(scan.volume.shape),
            "series": None if listed is None else json.dumps(listed),
            "stamp": stamp,
        }
        _finish(task, row, scan, found)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial(view: Path) -> Path:
    """Return an empty folder beside a view's; of an import that was killed the view comes back."""
    partial, old = view.with_name("view.partial"), view.with_name("view.old")
    if old.exists() and not view.exists():
        old.rename(view)
    for left in (partial, old, waiting_view(view)):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)
    return partial


def waiting_view(view: Path) -> Path:
    """Return where a view of another pixel size or series waits until that is segmented."""
    return view.with_name("view.next")


def show_import(base: sqlite3.Connection, task: Task, made: Path, found: dict[str, Any]) -> None:
    """Put what an import made in the place of what was shown before.

    Inside a transaction, so that no cancelling comes between the files and what is said of them.
    """
    view = task.room.view(task.study)
    old = view.with_name("view.old")
    if view.exists():
        view.rename(old)
    made.rename(view)
    shutil.rmtree(old, ignore_errors=True)
    names = ", ".join(f"{name} = ?" for name in found)
    base.execute(
        f"UPDATE studies SET imported = 1, {names} WHERE id = ?", (*found.values(), task.study)
    )


def _about(
    scan: Scan, window: tuple[int, int], phase_window: tuple[int, int] | None
) -> dict[str, Any]:
    volume = scan.volume
    technique = {} if scan.dicom is None else scan.dicom.technique
    return {
        "shape": list(volume.shape),
        "affine": volume.affine.tolist(),
        "spacing_mm": list(volume.spacing_mm),
        "slice_axis": slice_axis(volume),
        "source": scan.source,
        "sha256": scan.sha256,
        "has_phase": phase_window is not None,
        "warnings": list(scan.warnings),
        "technique": [[name, plain(value)] for name, value in technique.items()],
        "window": list(window),
        "phase_window": None if phase_window is None else list(phase_window),
    }


def _series(path: Path, wanted: str | None) -> list[dict[str, Any]] | None:
    """Return the series to choose from with the one that is chosen, if it is."""
    from mmocnet.io.dicom.find import choose_swi, find_series

    found = find_series(path)
    try:
        chosen: DicomSeries | None = choose_swi(found, wanted)
    except InputError:
        # With one series there is nothing to choose: reading it will say what is wrong.
        if len(found) < 2:
            return None
        chosen = None
    numbers = [one.number for one in found]
    return [
        {
            "number": one.uid
            if numbers.count(one.number) > 1 or one.number is None
            else str(one.number),
            "description": one.description,
            "kind": one.kind,
            "chosen": chosen is not None
            and (one.uid, one.kind) == (chosen.uid, chosen.kind)
            and (one.echo_ms == chosen.echo_ms or math.isnan(one.echo_ms)),
        }
        for one in found
    ]


def _phase_view(
    task: Task, row: Row, scan: Scan, path: Path
) -> tuple[Scan, tuple[int, int] | None]:
    """Write the phase's display copy; return the scan with doubts about it, and its window."""
    given = beside(task, row, "phase")
    try:
        phase = _phase(given, scan)
    except InputError as error:
        if given is not None and row["path"] is None:
            raise
        # The scan is shown without the phase that was found beside it.
        return replace(scan, warnings=(*scan.warnings, f"phase is not shown: {error}")), None
    return scan, None if phase is None else view_of(phase, path)


def _phase(given: Path | None, scan: Scan) -> Volume | None:
    found = None if scan.dicom is None else scan.dicom.phase
    if given is not None:
        return read_phase(given, scan).volume
    if found is None:
        return None
    from mmocnet.io.dicom.volume import read_series

    phase, _, _ = read_series(found)
    check_grid(phase, scan.volume, "phase")
    return phase


def _ask(task: Task, needs: str, series: list[dict[str, Any]] | None) -> None:
    """End the job with a question."""
    with task.store.transaction() as base:
        if is_mine(base, task.job):
            base.execute(
                "UPDATE studies SET state = 'new', needs = ?, series = ? WHERE id = ?",
                (needs, None if series is None else json.dumps(series), task.study),
            )
            finish(base, task.job.id)


def _finish(task: Task, row: Row, scan: Scan, found: dict[str, Any]) -> None:
    settings = task.job.settings
    run = bool(settings.get("run"))
    seen = row["imported"] or row["result"] is not None
    other = any(found[key] != row[key] for key in ("spacing_mm", "wanted"))
    view = task.room.view(task.study)
    made = view.with_name("view.partial")
    waits = run and seen and other
    result = row["result"] if waits else _result_of(task, scan)
    with task.store.transaction() as base:
        if not is_mine(base, task.job):
            return
        if waits:
            made.rename(waiting_view(view))
            settings = settings | {"found": found}
        else:
            show_import(base, task, made, found)
        base.execute(
            "UPDATE studies SET state = ?, needs = NULL, reason = NULL, result = ? WHERE id = ?",
            ("waiting" if run else "new", result, task.study),
        )
        finish(base, task.job.id)
        if run:
            add_job(base, "segment", task.study, settings)


def _result_of(task: Task, scan: Scan) -> str | None:
    """Return the study's result if it is of this scan: marks of another are not to be shown."""
    result: str | None = read_study(task.store, task.study)["result"]
    if result is None:
        return None
    try:
        machine = read_result(task.room, task.study, result)
    except DamagedError:
        return None
    about = {
        "shape": list(scan.volume.shape),
        "affine": scan.volume.affine,
        "sha256": scan.sha256,
    }
    same = is_shown(about, machine.grid.shape, machine.grid.affine, machine.provenance)
    return result if same else None
