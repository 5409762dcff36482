"""A folder for one process and nobody else's eyes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmocnet.errors import InputError


@contextmanager
def locked_folder(folder: Path, busy: str) -> Iterator[Path]:
    """Give a folder that only its owner can read, made where it is missing, to this process alone.

    Args:
        folder: The folder; `lock` in it is the lock, which ends with the process.
        busy: What is said where another process has it.

    Raises:
        InputError: If another process has it, others may read it, or it cannot be made.
    """
    try:
        lock = _locked(folder, busy)
    except OSError as error:
        raise InputError(f"cannot use the folder {folder.name!r}: {error.strerror}") from error
    try:
        yield folder
    finally:
        os.close(lock)


def _locked(folder: Path, busy: str) -> int:
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
        raise InputError(busy) from error
    return lock
