"""The folder of state and work: one process at a time, and nobody else's eyes."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mmocnet.io.private_folder import locked_folder


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
    busy = f"another mmocnet pacs works in {folder.name!r}: give this one a --state of its own"
    with locked_folder(folder, busy):
        for left in folder.glob("work-*"):
            shutil.rmtree(left)
        yield folder
