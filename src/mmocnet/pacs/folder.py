"""The folder of state and work: one process at a time, and nobody else's eyes."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mmocnet.errors import InputError


def default_folder(environ: Mapping[str, str]) -> Path:
    """Return where the state is unless said otherwise.

    >>> default_folder({"XDG_STATE_HOME": "/var/lib/me"}).as_posix()
    '/var/lib/me/mmocnet/pacs'
    """
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "mmocnet" / "pacs"


@contextmanager
def private_folder(folder: Path) -> Iterator[Path]:
    """Give a folder that only its owner can read, to this process alone.

    Images that a killed run left in it are removed.

    Raises:
        InputError: If another process has it, others may read it, or it cannot be made.
    """
    try:
        lock = _locked(folder)
    except OSError as error:
        raise InputError(f"cannot use the folder {folder.name!r}: {error.strerror}") from error
    try:
        yield folder
    finally:
        os.close(lock)


def _locked(folder: Path) -> int:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        raise InputError(
            f"expected the folder {folder.name!r} to be its owner's alone (mode 0700), "
            f"got mode {mode:04o}"
        )
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise InputError(
            f"another mmocnet pacs works in {folder.name!r}: give this one a --state of its own"
        ) from error
    for left in folder.glob("work-*"):
        shutil.rmtree(left)
    return lock
