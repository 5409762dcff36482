"""The room: a private folder with the database and a folder a study; one server at a time."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmocnet.io.private_folder import locked_folder

STATIC = Path(__file__).resolve().parent / "static"
"""The page's files."""


@dataclass(frozen=True)
class Room:
    """Where everything of a room is; ids are ours, so that no name of a user's is in a path.

    Attributes:
        root: The private folder.
    """

    root: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "room.sqlite"

    @property
    def incoming(self) -> Path:
        """Uploads that are not complete."""
        return self.root / "incoming"

    @property
    def work(self) -> Path:
        """A folder a running job, for its temporary files."""
        return self.root / "work"

    @property
    def exports(self) -> Path:
        """A folder a finished export."""
        return self.root / "exports"

    def study(self, study: str) -> Path:
        """Return the folder of a study."""
        return self.root / "studies" / study

    def input(self, study: str) -> Path:
        """Return the folder of its uploaded files."""
        return self.study(study) / "input"

    def view(self, study: str) -> Path:
        """Return the folder of what a browser shows."""
        return self.study(study) / "view"

    def result(self, study: str, result: str) -> Path:
        """Return the folder of one result."""
        return self.study(study) / "result" / result


def default_root(environ: Mapping[str, str], folder: Path | None) -> Path:
    """Return where the room of a folder is unless said otherwise.

    >>> default_root({"XDG_STATE_HOME": "/var/lib/me"}, None).as_posix()
    '/var/lib/me/mmocnet/rooms/default'
    """
    base = environ.get("XDG_STATE_HOME")
    rooms = (Path(base) if base else Path.home() / ".local" / "state") / "mmocnet" / "rooms"
    if folder is None:
        return rooms / "default"
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return rooms / name


@contextmanager
def open_room(root: Path) -> Iterator[Room]:
    """Give a room to this process alone; what a killed server left half done is removed.

    Raises:
        InputError: If another server has it, others may read it, or it cannot be made.
    """
    busy = (
        "another mmocnet serve has this room open: use that one, or give this one a --state "
        "of its own"
    )
    with locked_folder(root, busy):
        room = Room(root)
        for folder in (room.incoming, room.work, room.exports):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (room.incoming, room.work, room.exports, root / "studies"):
            folder.mkdir(mode=0o700, exist_ok=True)
        yield room
