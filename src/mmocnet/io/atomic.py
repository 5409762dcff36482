"""Write a file whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmocnet.errors import InputError


def check_folder(folder: Path) -> None:
    """Refuse a folder for results that cannot be written to: to be said before the work.

    Raises:
        InputError: If no such folder can be made, or nothing be written into it.
    """
    # Of what may not be looked into nothing is known to exist.
    path = next(one for one in (folder, *folder.absolute().parents) if os.path.exists(one))
    if not path.is_dir():
        raise InputError(f"expected a folder for the results, got the file {path.name!r}")
    try:
        tempfile.TemporaryDirectory(prefix=".", dir=path).cleanup()
    except OSError as error:
        raise InputError(
            f"cannot write into {folder.name or str(folder)!r}: {error.strerror}"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there when the block ends well.

    A reader sees the old file or the whole new one, and a failure leaves nothing behind.

    Args:
        path: The file to write; its folder is made where it is missing.

    Yields:
        An empty file in the same folder, to be written; its name keeps the ending of `path`.

    Raises:
        InputError: If the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=f"-{path.name}", dir=path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path.name} there: {error.strerror}") from error
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        # mkstemp keeps the file to its owner; a result is as open as any new file.
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
