"""What was seen and tried, in a small database: a cache that may be lost at any time.

It knows a series by a hash only, so that nothing in it leads to a patient. What is done is asked
of the archive itself; this saves the question, and remembers failures.
"""

import datetime
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

from mmocnet.errors import InputError

StateName = Literal["waiting", "done", "outgrown", "none", "failed"]

TABLES = (
    """CREATE TABLE IF NOT EXISTS series (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, instances INTEGER NOT NULL,
    counted REAL NOT NULL, attempts INTEGER NOT NULL, next_try REAL NOT NULL,
    faults INTEGER NOT NULL DEFAULT 0)""",
    "CREATE TABLE IF NOT EXISTS looks (key TEXT PRIMARY KEY, day INTEGER NOT NULL, open INTEGER)",
)
COLUMNS = "key, state, instances, counted, attempts, next_try, faults"
FAULTS = "ALTER TABLE series ADD COLUMN faults INTEGER NOT NULL DEFAULT 0"
"""What a state of an earlier version lacks."""
UPSERT = f"INSERT OR REPLACE INTO series ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
OTHER = "SQLITE_ERROR"
"""What a file with other tables raises, and neither a lock nor a disk."""
UPSERT_LOOK = "INSERT OR REPLACE INTO looks (key, day, open) VALUES (?, ?, ?)"


@dataclass(frozen=True)
class Row:
    """A series.

    Attributes:
        key: Names series, model and settings; a hash.
        state: waiting, done, outgrown (done when there were fewer instances), none (no SWI) or
            failed.
        instances: How many there were when last asked.
        counted: When this number was first seen, seconds since 1970.
        attempts: How often it was tried in vain, the try at hand among them.
        next_try: When it may be tried again; infinite for never with this number of instances.
        faults: Of the attempts, those that the server is not to blame for.
    """

    key: str
    state: StateName
    instances: int
    counted: float
    attempts: int = 0
    next_try: float = 0.0
    faults: int = 0


@dataclass(frozen=True)
class Look:
    """The last time that all series of an archive were looked at.

    Attributes:
        day: When.
        open: First day of the studies that were listed when the oldest series that still waits
            was first seen; None where none waits.
    """

    day: datetime.date
    open: datetime.date | None


class State:
    """The database in a file; made again where it cannot be read."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            InputError: If the folder cannot be written to.
        """
        self._path = path
        try:
            try:
                self._base = self._open()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._base = self._renewed()
        except sqlite3.DatabaseError as error:
            raise InputError(f"cannot write {path.name} in {path.parent.name!r}") from error

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._path, isolation_level=None)
        try:
            # Before the files beside it are made, which take its mode.
            self._path.chmod(0o600)
            base.execute("PRAGMA journal_mode=WAL")
            if base.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("damaged")
            for table in TABLES:
                base.execute(table)
            if "faults" not in [column[1] for column in base.execute("PRAGMA table_info(series)")]:
                base.execute(FAULTS)
            base.execute(f"SELECT {COLUMNS} FROM series")
        except sqlite3.DatabaseError:
            base.close()
            raise
        return base

    def _renewed(self) -> sqlite3.Connection:
        """Return an empty database in place of the file: what is done is known to the archive."""
        for ending in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
        return self._open()

    def _execute(self, query: str, values: Sequence[object]) -> sqlite3.Cursor:
        """Run a query, in an empty database where this one turns out to be damaged.

        Raises:
            InputError: If that cannot be done either.
        """
        try:
            try:
                return self._base.execute(query, values)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                # First: at its end it would remove what lies beside the new file.
                self._base.close()
                self._base = self._renewed()
                return self._base.execute(query, values)
        except sqlite3.DatabaseError as error:
            raise InputError(f"cannot write the state: {type(error).__name__}") from error

    def get(self, key: str) -> Row | None:
        """Return what is known of a series."""
        query = f"SELECT {COLUMNS} FROM series WHERE key = ?"
        found = self._execute(query, (key,)).fetchone()
        return None if found is None else Row(*found)

    def put(self, row: Row) -> None:
        """Remember a series."""
        self._execute(UPSERT, astuple(row))

    def last_look(self, key: str) -> Look | None:
        """Return when all series of an archive were last looked at with a model and settings."""
        query = "SELECT day, open FROM looks WHERE key = ?"
        found = self._execute(query, (key,)).fetchone()
        return None if found is None else Look(_day(found[0]), found[1] and _day(found[1]))

    def put_look(self, key: str, look: Look) -> None:
        """Remember a look at all series."""
        days = look.day.toordinal(), look.open and look.open.toordinal()
        self._execute(UPSERT_LOOK, (key, *days))

    def close(self) -> None:
        """Leave the file."""
        self._base.close()


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Return whether the file is to blame; on a full disk it is as good as it was."""
    return not isinstance(error, sqlite3.OperationalError) or error.sqlite_errorname == OTHER


def _day(number: int) -> datetime.date:
    return datetime.date.fromordinal(number)
