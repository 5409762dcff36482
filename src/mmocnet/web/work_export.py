"""The export job: one file of a reader's reading, as it was when it was asked for."""

from mmocnet.errors import InputError
from mmocnet.review.candidates import MachineResult
from mmocnet.review.exports import ReviewedStudy, export
from mmocnet.review.reading import Reading
from mmocnet.web.queue import is_mine
from mmocnet.web.readings import read_events
from mmocnet.web.results import read_result
from mmocnet.web.store import Row
from mmocnet.web.studies import read_study
from mmocnet.web.work_import import beside, scan_name, source_path
from mmocnet.web.worker import Task


def export_study(task: Task) -> None:
    """Make the file of an export."""
    settings = task.job.settings
    row = read_study(task.store, task.study)
    folder = task.room.exports / task.job.id
    folder.mkdir(mode=0o700, exist_ok=True)
    machine = read_result(task.room, row["id"], settings["result"])
    study = _files(task, row, machine)
    key = (row["id"], settings["result"], settings["reader"])
    events = [one for one in read_events(task.store, key) if one.number <= settings["last"]]
    reading = Reading(machine.grid, machine.findings, events)
    made = export(settings["kind"], study, reading, _name(task), folder)
    size = made.stat().st_size
    # The route finds it without its name, which may be a patient's.
    name = made.name
    made.rename(folder / "file")
    with task.store.transaction() as base:
        if is_mine(base, task.job):
            base.execute(
                "UPDATE jobs SET state = 'done', name = ?, bytes = ? WHERE id = ?",
                (name, size, task.job.id),
            )


def _files(task: Task, row: Row, machine: MachineResult) -> ReviewedStudy:
    path = source_path(task, row)
    # Pixel size and series of what was read: the study may have others by now.
    given = machine.provenance["Input"]
    return ReviewedStudy(
        scan=path,
        result=task.room.result(row["id"], task.job.settings["result"]),
        name=scan_name(row),
        spacing_mm=given.get("SpacingMm"),
        series=given.get("SeriesInstanceUID"),
        phase=beside(task, row, "phase"),
    )


def _name(task: Task) -> str:
    row = task.store.row("SELECT name FROM readers WHERE id = ?", (task.job.settings["reader"],))
    if row is None:
        raise InputError("the reader of this export is gone")
    return str(row["name"])
