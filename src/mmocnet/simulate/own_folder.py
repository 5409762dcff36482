"""Whether a folder may take a dataset: it is empty, or holds what the same command made."""

import json
from pathlib import Path
from typing import Any

from mmocnet.errors import InputError
from mmocnet.io.dataset import makers_of
from mmocnet.simulate.study import SIMULATOR_VERSION

ROOT_NAMES = (
    "dataset_description.json",
    "README.md",
    "participants.tsv",
    "participants.json",
    ".bidsignore",
)


def check_own(out: Path, maker: str, record: str) -> None:
    """Refuse a folder whose files would be replaced or mixed with others.

    Args:
        out: Root of the dataset to write; it need not be there.
        maker: How the dataset's description begins, up to its comma.
        record: Key of the sidecars under which each subject says how it was made.

    Raises:
        InputError: If the folder holds another dataset, or subjects that were made otherwise or by
            another version of the simulator.
    """
    subjects = sorted(path for path in out.glob("sub-*") if path.is_dir())
    held = [name for name in ROOT_NAMES if (out / name).exists()]
    if not subjects and (out / "derivatives").exists():
        held.append("derivatives")
    if held and maker not in [made.partition(",")[0] for made in makers_of(out)]:
        raise InputError(
            f"expected an empty folder or one that {maker} made, got {held[0]} in {out.name}"
        )
    for subject in subjects:
        version = record_of(subject, record).get("SimulatorVersion")
        if version != SIMULATOR_VERSION:
            raise InputError(
                f"expected subjects of simulator version {SIMULATOR_VERSION}, got "
                f"{subject.name} of version {version} in {out.name}: give another folder"
            )


def record_of(subject: Path, record: str) -> dict[str, Any]:
    """Return what a written subject says of how it was made.

    Args:
        subject: Its folder, of one visit or more.
        record: Key in the sidecar of its SWI.

    Raises:
        InputError: If it says nothing.
    """
    for path in sorted(subject.rglob("*_acq-swi_T2starw.json"))[:1]:
        content = json.loads(path.read_text(encoding="utf-8"))
        if record in content:
            return dict(content[record])
    raise InputError(
        f"expected subjects with {record} in their sidecars, got {subject.name} without, in "
        f"{subject.parent.name}"
    )


def check_apart(out: Path, source: Path) -> None:
    """Refuse a folder to write to that is, holds or lies in the one that is read.

    Raises:
        InputError: If they are not apart.
    """
    to, given = out.resolve(), source.resolve()
    if to.is_relative_to(given) or given.is_relative_to(to):
        raise InputError(
            f"expected the dataset in a folder apart from the scans in {given.name}, got {to.name}"
        )
