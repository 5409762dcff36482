"""The queue of jobs: claimed for a time, worked on by a child process, finished once.

A job that runs has an owner, the server that claimed it, and a lease that its child extends. What
a child writes counts only while the job is still its own.
"""

import json
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mmocnet.web.problems import NotFoundError
from mmocnet.web.store import Row, Store

Kind = Literal["list", "import", "segment", "export"]

LEASE_S = 30.0
"""A job whose child has not said for so long that it lives is anybody's."""

MAX_ATTEMPTS = 4
"""A job that takes the server down with it so often is not tried again."""

OPEN = ("waiting", "running")


@dataclass(frozen=True)
class Job:
    """A job as its worker needs it.

    Attributes:
        id: Random; of a segmentation also what its result is made under.
        study: Whose; None for a look at the folder.
        kind: What is to be done.
        settings: How, plain JSON values.
        attempts: How often it was begun, this time included.
    """

    id: str
    study: str | None
    kind: Kind
    settings: dict[str, Any]
    attempts: int = 0


def add_job(
    base: sqlite3.Connection, kind: Kind, study: str | None, settings: dict[str, Any]
) -> str:
    """Queue a job inside a transaction and return its id."""
    job = secrets.token_hex(8)
    base.execute(
        "INSERT INTO jobs (id, study, kind, state, settings, created) VALUES (?,?,?,?,?,?)",
        (job, study, kind, "waiting", json.dumps(settings), time.time()),
    )
    return job


def claim(store: Store, kinds: Sequence[Kind], owner: str) -> Job | None:
    """Take the oldest job that waits, or whose lease has ended; None where there is none."""
    marks = ",".join("?" * len(kinds))
    with store.transaction() as base:
        row = base.execute(
            f"SELECT * FROM jobs WHERE kind IN ({marks}) AND (state = 'waiting' OR "
            "(state = 'running' AND lease < ?)) ORDER BY created, rowid LIMIT 1",
            (*kinds, time.time()),
        ).fetchone()
        if row is None:
            return None
        base.execute(
            "UPDATE jobs SET state = 'running', owner = ?, lease = ?, attempts = attempts + 1, "
            "started = NULL, done = NULL, total = NULL WHERE id = ?",
            (owner, time.time() + LEASE_S, row["id"]),
        )
        if row["kind"] in ("import", "segment"):
            base.execute("UPDATE studies SET state = 'running' WHERE id = ?", (row["study"],))
    return _job(row, row["attempts"] + 1)


def read_job(store: Store, job: str) -> Row:
    """Return a job's row.

    Raises:
        NotFoundError: If there is none.
    """
    row = store.row("SELECT * FROM jobs WHERE id = ?", (job,))
    if row is None:
        raise NotFoundError("there is no such job")
    return row


def as_job(row: Row) -> Job:
    """Return a row as its worker needs it."""
    return _job(row, row["attempts"])


def extend(store: Store, job: Job) -> bool:
    """Say that a job's child lives; return whether the job is still its own."""
    with store.transaction() as base:
        changed = base.execute(
            "UPDATE jobs SET lease = ? WHERE id = ? AND attempts = ? AND state = 'running'",
            (time.time() + LEASE_S, job.id, job.attempts),
        )
    return changed.rowcount == 1


def tell_progress(store: Store, job: Job, done: int, total: int) -> None:
    """Write down how far a job is; the first time begins its clock."""
    with store.transaction() as base:
        base.execute(
            "UPDATE jobs SET done = ?, total = ?, started = COALESCE(started, ?) "
            "WHERE id = ? AND attempts = ? AND state = 'running'",
            (done, total, time.time(), job.id, job.attempts),
        )


def is_mine(base: sqlite3.Connection, job: Job) -> bool:
    """Return, inside a transaction, whether a job is still this child's."""
    row = base.execute("SELECT state, attempts FROM jobs WHERE id = ?", (job.id,)).fetchone()
    return row is not None and (row["state"], row["attempts"]) == ("running", job.attempts)


def finish(base: sqlite3.Connection, job: str) -> None:
    """Mark a job as done inside a transaction."""
    base.execute("UPDATE jobs SET state = 'done', reason = NULL WHERE id = ?", (job,))


def fail(store: Store, job: Job, reason: str) -> bool:
    """Mark a job and its study as failed, if the job still runs; return whether it did."""
    with store.transaction() as base:
        if not is_mine(base, job):
            return False
        base.execute("UPDATE jobs SET state = 'failed', reason = ? WHERE id = ?", (reason, job.id))
        if job.kind in ("import", "segment"):
            base.execute(
                "UPDATE studies SET state = 'failed', reason = ? WHERE id = ?", (reason, job.study)
            )
    return True


def release_all(store: Store, *, in_peace: bool = False) -> int:
    """Let every running job wait again, as no child is alive; return how many.

    Args:
        store: The room's.
        in_peace: Whether the server ended well, which is no fault of the job's.
    """
    with store.transaction() as base:
        stuck = base.execute(
            "SELECT * FROM jobs WHERE state = 'running' AND attempts >= ? AND NOT ?",
            (MAX_ATTEMPTS, in_peace),
        ).fetchall()
        for row in stuck:
            reason = f"it was interrupted {MAX_ATTEMPTS} times: start it again if you wish"
            base.execute(
                "UPDATE jobs SET state = 'failed', reason = ? WHERE id = ?", (reason, row["id"])
            )
            base.execute(
                "UPDATE studies SET state = 'failed', reason = ? WHERE id = ? AND ? <> 'export'",
                (reason, row["study"], row["kind"]),
            )
        rows = base.execute("SELECT study FROM jobs WHERE state = 'running'").fetchall()
        base.execute(
            "UPDATE jobs SET state = 'waiting', owner = NULL, attempts = attempts - ? "
            "WHERE state = 'running'",
            (int(in_peace),),
        )
        base.execute("UPDATE studies SET state = 'waiting' WHERE state = 'running'")
    return len(rows)


def seconds_left(row: Row) -> float | None:
    """Return how long a job's slices will take yet; None where it cannot be known.

    After the last slice there is more to do, which slices say nothing of.
    """
    done, total, started = row["done"], row["total"], row["started"]
    if not done or done < 2 or done >= total:
        return None
    # The first slice began the clock.
    left: float = (total - done) * (time.time() - started) / (done - 1)
    return round(left, 1)


def _job(row: Row, attempts: int) -> Job:
    return Job(row["id"], row["study"], row["kind"], json.loads(row["settings"]), attempts)
