"""The room's database: one connection a process, short transactions, nothing lost at a crash."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmocnet.errors import InputError

BUSY_S = 20.0
"""How long a transaction waits for another process's."""

VERSION = 2
"""Of the tables; a later one is not understood."""

CHANGES = {
    1: "ALTER TABLE studies ADD COLUMN stamp TEXT; ALTER TABLE events ADD COLUMN id TEXT;"
    "DROP TRIGGER events_once;",
}
"""What makes the next version of an earlier one, before the schema adds what is missing."""

Row = sqlite3.Row


class Store:
    """SQLite, safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        """Open it, and make what is missing.

        Raises:
            InputError: If it cannot be opened or is no database of ours.
        """
        self._lock = threading.RLock()
        try:
            self._base = sqlite3.connect(
                path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            with ExitStack() as undo:
                undo.callback(self._base.close)
                self._prepare(path)
                undo.pop_all()
        except sqlite3.Error as error:
            raise InputError(f"cannot open the room's database {path.name}: {error}") from error

    def _prepare(self, path: Path) -> None:
        self._base.row_factory = sqlite3.Row
        version = self._base.execute("PRAGMA user_version").fetchone()[0]
        if not 0 <= version <= VERSION:
            raise InputError(
                f"{path.name} was made by another version of mmocnet: give this one a --state of "
                "its own"
            )
        # Before the files beside it are made, which take its mode.
        path.chmod(0o600)
        self._base.execute("PRAGMA journal_mode=WAL")
        # A commit is on the disk before it is answered.
        self._base.execute("PRAGMA synchronous=FULL")
        # What is deleted is not to be found in the file any more.
        self._base.execute("PRAGMA secure_delete=ON")
        if version != VERSION:
            self._base.executescript(_script(version))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection inside a transaction, committed when the block ends well."""
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
                self._base.execute("COMMIT")
            except BaseException:
                # A full disk can undo it before we do.
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return the rows of a query."""
        with self._lock:
            return self._base.execute(query, values).fetchall()

    def row(self, query: str, values: Sequence[Any] = ()) -> Row | None:
        """Return the first row of a query, None where there is none."""
        found = self.rows(query, values)
        return found[0] if found else None

    def tidy(self) -> None:
        """Forget jobs that ended; what they made is told elsewhere, or was only to be fetched."""
        with self.transaction() as base:
            base.execute("DELETE FROM jobs WHERE state IN ('done', 'failed', 'cancelled')")
        self.empty_log()

    def empty_log(self) -> None:
        """Leave nothing of what was deleted in the log beside the file either.

        While another process reads, it stays until the next time.
        """
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Leave the file."""
        with self._lock:
            self._base.close()


def _script(version: int) -> str:
    """Return what brings the tables of a version up to date, all of it or nothing."""
    # A new file, which is of version 0, has nothing to be changed.
    changes = "".join(CHANGES[one] for one in range(version or VERSION, VERSION))
    schema = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    return f"BEGIN IMMEDIATE; {changes} {schema} PRAGMA user_version = {VERSION}; COMMIT;"


def now() -> str:
    """Return the time as UTC ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
