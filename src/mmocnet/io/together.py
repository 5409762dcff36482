"""Several files into a folder that other processes write to as well: all of them, or none."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmocnet.errors import InputError

if sys.platform != "win32":
    import fcntl


@contextmanager
def hidden_folder(folder: Path, stem: str) -> Iterator[Path]:
    """Give a hidden folder to write files in before they are moved to the folder around it.

    It is removed at the end, as is what a killed process left under the same stem, and the
    folder around it where it was missing and nothing came into it.

    Args:
        folder: Made where it is missing.
        stem: What the hidden folder's name begins with, after a dot.

    Raises:
        InputError: If the folder cannot be written to, for whatever reason within the block.
    """
    made = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    hidden = lock = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone_in(folder):
            remove_left(folder, stem)
            # Inside, not above: the folder may be a mount of its own, and moving must be atomic.
            hidden = Path(tempfile.mkdtemp(prefix=f".{stem}-", dir=folder))
            lock = lock_folder(hidden)
        yield hidden
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"cannot write to {folder.name!r}: {reason}") from error
    finally:
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)
        release(lock)
        for path in made:
            # Not where something came into it, from whomever.
            with suppress(OSError):
                path.rmdir()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for the same folder, and keep them out.

    Where folders cannot be locked (Windows, some network file systems) nobody is kept out.
    """
    lock = lock_folder(folder, wait=True)
    try:
        yield
    finally:
        release(lock)


def move_files(hidden: Path, folder: Path, last: str) -> None:
    """Move all files of a folder to the same places in another, the one named `last` last."""
    found = [path for path in hidden.rglob("*") if path.is_file()]
    for path in sorted(found, key=lambda path: (path.name == last, path)):
        place = folder / path.relative_to(hidden)
        place.parent.mkdir(exist_ok=True)
        path.replace(place)


def remove_left(folder: Path, stem: str) -> None:
    """Remove this user's hidden folders that nobody holds a lock on any more."""
    for left in folder.iterdir():
        if left.name.startswith(f".{stem}-") and left.is_dir() and not left.is_symlink():
            lock = lock_folder(left)
            if lock is not None and os.fstat(lock).st_uid == os.getuid():
                shutil.rmtree(left, ignore_errors=True)
            release(lock)


def lock_folder(folder: Path, *, wait: bool = False) -> int | None:
    """Return what holds a lock on a folder until released; None where there is none to have."""
    if sys.platform == "win32":
        return None
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:
        # Its process has just removed it.
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(lock)
        return None
    return lock


def release(lock: int | None) -> None:
    """Give up a lock of `lock_folder`."""
    if lock is not None:
        os.close(lock)
