"""What was seen and tried, in a small database: a cache that may be lost at any time.

It knows a series by a hash only, so that nothing in it leads to a patient. What is done is asked
of the archive itself; this saves the question, and remembers failures.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmocnet.errors import InputError

StateName = Literal["waiting", "done", "failed"]

TABLE = """CREATE TABLE IF NOT EXISTS series (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, instances INTEGER NOT NULL,
    counted REAL NOT NULL, attempts INTEGER NOT NULL, next_try REAL NOT NULL)"""
UPSERT = """INSERT INTO series VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT(key) DO UPDATE SET
    state = excluded.state, instances = excluded.instances, counted = excluded.counted,
    attempts = excluded.attempts, next_try = excluded.next_try"""


@dataclass(frozen=True)
class Row:
    """A series.

    Attributes:
        key: Names series, model and settings; a hash.
        state: waiting, done (a result, or none to be made) or failed.
        instances: How many there were when last asked.
        counted: When this number was first seen, seconds since 1970.
        attempts: How often it failed.
        next_try: When it may be tried again; infinite for never with this number of instances.
    """

    key: str
    state: StateName
    instances: int
    counted: float
    attempts: int = 0
    next_try: float = 0.0


class State:
    """The database in a file; made again where it cannot be read."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            InputError: If the folder cannot be written to.
        """
        self._path = path
        try:
            self._base = self._open()
        except sqlite3.DatabaseError:
            # A cache: what is done is known to the archive.
            for ending in ("", "-wal", "-shm"):
                path.with_name(path.name + ending).unlink(missing_ok=True)
            try:
                self._base = self._open()
            except sqlite3.DatabaseError as error:
                raise InputError(f"cannot write {path.name} in {path.parent.name!r}") from error

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._path, isolation_level=None)
        try:
            base.execute("PRAGMA journal_mode=WAL")
            base.execute(TABLE)
            base.execute("SELECT key, state, instances, counted, attempts, next_try FROM series")
        except sqlite3.DatabaseError:
            base.close()
            raise
        self._path.chmod(0o600)
        return base

    def get(self, key: str) -> Row | None:
        """Return what is known of a series."""
        found = self._base.execute("SELECT * FROM series WHERE key = ?", (key,)).fetchone()
        return None if found is None else Row(*found)

    def put(self, row: Row) -> None:
        """Remember a series."""
        values = (row.key, row.state, row.instances, row.counted, row.attempts, row.next_try)
        self._base.execute(UPSERT, values)

    def close(self) -> None:
        """Leave the file."""
        self._base.close()
