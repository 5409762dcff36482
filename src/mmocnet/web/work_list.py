"""The look at the folder: its scans are listed from their names, no voxel is read."""

import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from mmocnet.errors import InputError
from mmocnet.io.dataset import read_dataset
from mmocnet.io.dicom.guard import is_dicom, read_header
from mmocnet.web.drops import IGNORED, kind_of
from mmocnet.web.queue import finish, is_mine
from mmocnet.web.studies import NewStudy, Source, add_study, new_id
from mmocnet.web.uploads import shown_name
from mmocnet.web.worker import Task

LOOKS = 5
"""Files of a folder that are looked at to tell whether it holds DICOM."""


def list_folder(task: Task) -> None:
    """List what is in the folder and was not listed yet; forget what is gone and was never run."""
    root = Path(task.job.settings["folder"])
    found = scans_in(root)
    with task.store.transaction() as base:
        if not is_mine(base, task.job):
            return
        for one in found:
            add_study(base, one)
        paths = {os.fsencode(one.path) for one in found if one.path is not None}
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
    alone: list[tuple[Path, Source]] = []
    uids: dict[Path, str] = {}
    # A folder that cannot be read is passed by; links to folders are not followed.
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        visible = [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
        # Who opens a pipe waits for ever.
        visible = [path for path in visible if os.path.isfile(path)]
        alone += [(path, kind[1]) for path in visible if (kind := kind_of(path.name)) is not None]
        uid = _study_uid(path for path in visible if _may_be_dicom(path.name))
        if uid is not None:
            uids[Path(folder)] = uid
    dicom: list[tuple[Path, Source]] = [(one, "dicom") for one in study_folders(root, uids)]
    return [
        NewStudy(new_id(), _name(path, root), source, "folder", str(path))
        for path, source in sorted(alone + dicom)
    ]


def _may_be_dicom(name: str) -> bool:
    return not (kind_of(name) or name.lower().endswith(IGNORED) or name.upper() == "DICOMDIR")


def study_folders(root: Path, uids: Mapping[Path, str]) -> list[Path]:
    """Return the folders that hold one DICOM study each.

    A study that has a folder for each series is the folder around them.

    Args:
        root: What is not left upwards.
        uids: Study of each folder that has DICOM files in it.
    """
    below: dict[Path, set[str]] = {}
    for folder, uid in uids.items():
        for above in (folder, *folder.parents):
            below.setdefault(above, set()).add(uid)
    return sorted({_top(folder, root, below) for folder in uids})


def _top(folder: Path, root: Path, below: Mapping[Path, set[str]]) -> Path:
    """Return the highest folder that holds nothing of another study."""
    while folder != root and len(below[folder.parent]) == 1:
        folder = folder.parent
    return folder


def _study_uid(files: Iterable[Path]) -> str | None:
    """Return the study of the first DICOM file among the first few; None where there is none."""
    for path in islice(files, LOOKS):
        try:
            if is_dicom(path):
                return str(read_header(path, tags=["StudyInstanceUID"]).get("StudyInstanceUID", ""))
        except (InputError, OSError):
            # Damaged, and perhaps not alone: the import will tell.
            continue
    return None


def _name(path: Path, root: Path) -> str:
    """Return what a scan is called: its place in the folder."""
    parts = path.relative_to(root).parts or (root.name,)
    return shown_name(" - ".join(parts))
