"""The look at the folder: its scans are listed from their names, no voxel is read."""

from pathlib import Path

from mmocnet.errors import InputError
from mmocnet.io.dataset import read_dataset
from mmocnet.io.dicom.archive import files_below
from mmocnet.web.drops import ENDINGS
from mmocnet.web.queue import finish, is_mine
from mmocnet.web.studies import NewStudy, add_study, new_id
from mmocnet.web.uploads import shown_name
from mmocnet.web.worker import Task


def list_folder(task: Task) -> None:
    """List what is in the folder and was not listed yet; forget what is gone and was never run."""
    root = Path(task.job.settings["folder"])
    found = scans_in(root)
    with task.store.transaction() as base:
        if not is_mine(base, task.job):
            return
        for one in found:
            add_study(base, one)
        paths = {one.path for one in found}
        gone = base.execute(
            "SELECT id, path FROM studies WHERE origin = 'folder' AND state = 'new' "
            "AND result IS NULL"
        ).fetchall()
        for row in gone:
            if row["path"] not in paths:
                base.execute("DELETE FROM studies WHERE id = ?", (row["id"],))
        finish(base, task.job.id)


def scans_in(root: Path) -> list[NewStudy]:
    """Return the scans of a BIDS dataset, else every file and DICOM folder that may be one."""
    try:
        scans = read_dataset(root)
    except InputError:
        return _files_in(root)
    return [
        NewStudy(
            id=new_id(),
            name=shown_name(one.image.name),
            source="nifti",
            origin="folder",
            path=str(one.image),
            phase=None if one.phase is None else str(one.phase),
        )
        for one in scans
    ]


def _files_in(root: Path) -> list[NewStudy]:
    files, _ = files_below(root)
    found: list[NewStudy] = []
    for path in files:
        relative = path.relative_to(root)
        if any(part.startswith(".") for part in relative.parts):
            continue
        source = next((kind for end, kind, _ in ENDINGS if path.name.lower().endswith(end)), None)
        if source is not None:
            name = shown_name(relative.as_posix().replace("/", " - "))
            found.append(NewStudy(new_id(), name, source, "folder", str(path)))
    return found
