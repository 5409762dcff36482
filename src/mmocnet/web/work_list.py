"""The look at the folder: its scans are listed from their names, no voxel is read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmocnet.errors import InputError
from mmocnet.io.dataset import read_dataset
from mmocnet.io.dicom.archive import files_below
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
    visible = [
        path
        for path in files
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    kinds = {path: kind_of(path.name) for path in visible}
    alone = [(path, kind[1]) for path, kind in kinds.items() if kind is not None]
    others = [path for path, kind in kinds.items() if kind is None]
    dicom: list[tuple[Path, Source]] = [(one, "dicom") for one in dicom_folders(root, others)]
    return [
        NewStudy(new_id(), _name(path, root), source, "folder", str(path))
        for path, source in sorted(alone + dicom)
    ]


def dicom_folders(root: Path, files: Sequence[Path]) -> list[Path]:
    """Return the folders that hold one DICOM study each, from one header a folder.

    A study that has a folder for each series is the folder around them.
    """
    inside: dict[Path, list[Path]] = {}
    for path in files:
        if not path.name.lower().endswith(IGNORED) and path.name.upper() != "DICOMDIR":
            inside.setdefault(path.parent, []).append(path)
    looked = {folder: _study_uid(held) for folder, held in inside.items()}
    studies = {folder: uid for folder, uid in looked.items() if uid is not None}
    below: dict[Path, set[str]] = {}
    for folder, uid in studies.items():
        for above in (folder, *folder.parents):
            below.setdefault(above, set()).add(uid)
    return sorted({_top(folder, root, below) for folder in studies})


def _top(folder: Path, root: Path, below: Mapping[Path, set[str]]) -> Path:
    """Return the highest folder that holds nothing of another study."""
    while folder != root and len(below[folder.parent]) == 1:
        folder = folder.parent
    return folder


def _study_uid(files: Sequence[Path]) -> str | None:
    """Return the study of the first DICOM file among the first few; None where there is none."""
    for path in files[:LOOKS]:
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
