"""The work list: studies, what is known of them, and what may be done with them."""

import json
import os
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mmocnet.errors import InputError
from mmocnet.web.problems import BusyError, NotFoundError
from mmocnet.web.queue import OPEN, add_job, seconds_left
from mmocnet.web.store import Row, Store, now

Source = Literal["nifti", "picture", "dicom"]
Origin = Literal["upload", "folder"]


@dataclass(frozen=True)
class NewStudy:
    """A study to be listed.

    Attributes:
        id: Random.
        name: What the work list calls it.
        source: Kind of file.
        origin: Where it came from.
        path: The user's own file or folder; None where it was uploaded.
        phase: Name of an uploaded phase file of ours, or the path of one beside a folder's scan.
        mask: The same of a brain mask.
        spacing_mm: Pixel size of a picture.
    """

    id: str
    name: str
    source: Source
    origin: Origin
    path: str | None = None
    phase: str | None = None
    mask: str | None = None
    spacing_mm: float | None = None


def new_id() -> str:
    """Return an id that says nothing."""
    return secrets.token_hex(8)


def add_study(base: sqlite3.Connection, one: NewStudy, state: str = "new") -> None:
    """List a study inside a transaction; a path that is listed already stays as it is."""
    base.execute(
        "INSERT INTO studies (id, name, source, origin, path, added, state, phase, mask, "
        "spacing_mm) VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT(path) DO NOTHING",
        (
            one.id,
            one.name,
            one.source,
            one.origin,
            _stored(one.path),
            now(),
            state,
            _stored(one.phase),
            _stored(one.mask),
            one.spacing_mm,
        ),
    )


def _stored(path: str | None) -> bytes | None:
    """Return a path as the file system has it: not all names are text."""
    return None if path is None else os.fsencode(path)


def read_study(store: Store, study: str) -> Row:
    """Return a study's row.

    Raises:
        NotFoundError: If there is none.
    """
    row = store.row("SELECT * FROM studies WHERE id = ?", (study,))
    if row is None:
        raise NotFoundError("there is no such study")
    return row


def queue_studies(store: Store, ids: Sequence[str], settings: dict[str, Any]) -> list[str]:
    """Queue studies to be imported where they are not yet, and segmented.

    Args:
        store: The room's.
        ids: Of studies.
        settings: model, point, threshold; of the import spacing_mm and series.

    Returns:
        Ids of the studies that were queued.

    Raises:
        NotFoundError: If there is no such study.
        BusyError: If one waits or runs already.
    """
    with store.transaction() as base:
        wanted = list(dict.fromkeys(ids))
        for study in wanted:
            queue_study(base, study, settings)
    return wanted


def queue_study(base: sqlite3.Connection, study: str, settings: dict[str, Any]) -> None:
    """Queue one study inside a transaction, as `queue_studies`."""
    row = base.execute("SELECT * FROM studies WHERE id = ?", (study,)).fetchone()
    if row is None:
        raise NotFoundError("there is no such study")
    if row["state"] in OPEN:
        raise BusyError("the study waits or runs already: cancel it first")
    given = {key: settings.get(key) for key in ("spacing_mm", "series")}
    changed = given["spacing_mm"] not in (None, row["spacing_mm"]) or given["series"] not in (
        None,
        row["wanted"],
    )
    if given["spacing_mm"] is not None and row["source"] != "picture":
        raise InputError("only a picture takes spacing_mm: this study has its own")
    if given["series"] is not None and row["source"] != "dicom":
        raise InputError("only DICOM has series to choose from")
    query = "UPDATE studies SET state = 'waiting', reason = NULL, needs = NULL WHERE id = ?"
    base.execute(query, (study,))
    ready = row["imported"] and not changed
    # Pixel size and series stay the job's until it has come to something.
    add_job(base, "segment" if ready else "import", study, {"run": True} | settings)


def cancel_study(store: Store, study: str) -> list[str]:
    """Cancel what waits or runs of a study; return the ids of its jobs.

    Raises:
        NotFoundError: If there is no such study.
        BusyError: If nothing of it waits or runs.
    """
    with store.transaction() as base:
        if base.execute("SELECT 1 FROM studies WHERE id = ?", (study,)).fetchone() is None:
            raise NotFoundError("there is no such study")
        jobs = _cancel(base, study)
        if not jobs:
            raise BusyError("nothing of this study waits or runs")
    return jobs


def cancel_waiting(store: Store) -> list[str]:
    """Cancel all that waits, and nothing that runs; return the ids of the studies."""
    with store.transaction() as base:
        rows = base.execute("SELECT id FROM studies WHERE state = 'waiting'").fetchall()
        for row in rows:
            _cancel(base, row["id"])
    return [row["id"] for row in rows]


def _cancel(base: sqlite3.Connection, study: str) -> list[str]:
    """Cancel what waits or runs of a study inside a transaction; return the ids of its jobs."""
    base.execute("UPDATE studies SET state = 'cancelled', reason = NULL WHERE id = ?", (study,))
    return _cancel_jobs(base, study, ("import", "segment"))


def delete_study(store: Store, study: str) -> list[str]:
    """Forget an uploaded study, its results and its readings; return the ids of its exports.

    Raises:
        NotFoundError: If there is no such study.
        InputError: If it is of the folder that is served.
    """
    with store.transaction() as base:
        row = base.execute("SELECT origin FROM studies WHERE id = ?", (study,)).fetchone()
        if row is None:
            raise NotFoundError("there is no such study")
        if row["origin"] != "upload":
            raise InputError("only an uploaded study can be deleted: this one is in the folder")
        _cancel_jobs(base, study, ("import", "segment", "export"))
        query = "SELECT id FROM jobs WHERE study = ? AND kind = 'export'"
        exports = [row["id"] for row in base.execute(query, (study,)).fetchall()]
        base.execute("DELETE FROM studies WHERE id = ?", (study,))
        # The jobs that have ended too: exports are named after the scan.
        for table in ("events", "completed", "results", "jobs"):
            base.execute(f"DELETE FROM {table} WHERE study = ?", (study,))
    return exports


def check_idle(base: sqlite3.Connection, study: str) -> Row:
    """Return, inside a transaction, the row of a study that neither waits nor runs.

    Raises:
        NotFoundError: If there is no such study.
        BusyError: If it waits or runs.
    """
    row: Row | None = base.execute("SELECT * FROM studies WHERE id = ?", (study,)).fetchone()
    if row is None:
        raise NotFoundError("there is no such study")
    if row["state"] in OPEN:
        raise BusyError("the study waits or runs: cancel it first")
    return row


def detach_file(store: Store, study: str, role: Literal["phase", "mask"]) -> str:
    """Forget a study's phase or mask, so that the next run goes without; return where it is.

    Raises:
        NotFoundError: If there is no such study, or it has none.
        BusyError: If the study waits or runs.
    """
    with store.transaction() as base:
        row = check_idle(base, study)
        if row[role] is None:
            raise NotFoundError(f"the study has no {role} to be taken off")
        base.execute(f"UPDATE studies SET {role} = NULL WHERE id = ?", (study,))
        if role == "phase":
            # Its display copy is left out by the import.
            base.execute("UPDATE studies SET imported = 0 WHERE id = ?", (study,))
    return os.fsdecode(row[role])


def _cancel_jobs(base: sqlite3.Connection, study: str, kinds: tuple[str, ...]) -> list[str]:
    where = (
        f"study = ? AND state IN ('waiting', 'running') AND kind IN ({','.join('?' * len(kinds))})"
    )
    rows = base.execute(f"SELECT id FROM jobs WHERE {where}", (study, *kinds)).fetchall()
    base.execute(f"UPDATE jobs SET state = 'cancelled' WHERE {where}", (study, *kinds))
    return [row["id"] for row in rows]


def list_studies(store: Store, ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return studies as the page has them, the newest uploads first, then the folder's.

    Args:
        store: The room's.
        ids: Those wanted; None for all.
    """
    order = "ORDER BY origin = 'folder', CASE origin WHEN 'upload' THEN -rowid ELSE rowid END"
    if ids is None:
        rows = store.rows(f"SELECT * FROM studies {order}")
    else:
        found = [store.row("SELECT * FROM studies WHERE id = ?", (one,)) for one in ids]
        rows = [row for row in found if row is not None]
    query = "SELECT * FROM jobs WHERE kind IN ('import', 'segment') AND state IN "
    jobs = {row["study"]: row for row in store.rows(query + "('waiting', 'running')")}
    results = {(row["study"], row["id"]): row for row in store.rows("SELECT * FROM results")}
    readers: dict[tuple[str, str], list[str]] = {}
    for row in store.rows("SELECT * FROM completed ORDER BY rowid"):
        readers.setdefault((row["study"], row["result"]), []).append(row["reader"])
    return [
        _as_json(row, jobs.get(row["id"]), results, readers.get((row["id"], row["result"]), []))
        for row in rows
    ]


def folder_state(store: Store) -> dict[str, Any] | None:
    """Return how the look at the folder goes; None where no folder is served."""
    row = store.row("SELECT state, reason FROM jobs WHERE kind = 'list'")
    return None if row is None else {"state": row["state"], "reason": row["reason"]}


def _as_json(
    row: Row, job: Row | None, results: dict[tuple[str, str], Row], read_by: list[str]
) -> dict[str, Any]:
    result = results.get((row["id"], row["result"]))
    progress = None
    if job is not None and job["total"]:
        progress = {"done": job["done"], "total": job["total"], "seconds_left": seconds_left(job)}
    return {
        "id": row["id"],
        "name": row["name"],
        "source": row["source"],
        "origin": row["origin"],
        "spacing_mm": row["spacing_mm"],
        "added": row["added"],
        "state": row["state"],
        "reason": row["reason"],
        "progress": progress,
        "settings": _settings(row, job, result),
        "attached": {"phase": row["phase"] is not None, "mask": row["mask"] is not None},
        "series": None if row["series"] is None else json.loads(row["series"]),
        "needs": row["needs"],
        "counts": None
        if result is None
        else {"candidates": result["candidates"], "lesions": result["lesions"]},
        "read_by": read_by,
        "result": row["result"],
        "size": None if row["size"] is None else json.loads(row["size"]),
    }


def _settings(row: Row, job: Row | None, result: Row | None) -> dict[str, Any] | None:
    """Return how a study is being segmented, else how it was."""
    if job is None:
        return None if result is None else _without_point(json.loads(result["settings"]))
    given = json.loads(job["settings"])
    chosen = _without_point({key: given[key] for key in ("model", "point", "threshold")})
    return chosen | {"phase": row["phase"] is not None, "mask": row["mask"] is not None}


def _without_point(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings that name no point where a threshold was given, as older rooms do."""
    return settings if settings["threshold"] is None else settings | {"point": None}
