"""The readings in use: folded once, then carried on event by event; each event on disk first."""

import json
import sqlite3
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from mmocnet.errors import InputError
from mmocnet.review.agreement import Side, reader_side
from mmocnet.review.candidates import MachineResult, read_candidates
from mmocnet.review.finding import encode_voxels, finding_json
from mmocnet.review.reading import Change, Event, Reading
from mmocnet.web.problems import NotFoundError, StaleError
from mmocnet.web.results import open_image, open_probability
from mmocnet.web.room import Room
from mmocnet.web.store import Store, now
from mmocnet.web.studies import read_study

KEPT = 16
"""Readings and results kept in memory."""


@dataclass
class _Open:
    """A reading in memory; `reading` is None until it was folded, and after a failure."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    reading: Reading | None = None


class Readings:
    """All readings of a room; safe to use from many threads."""

    def __init__(self, room: Room, store: Store) -> None:
        self._room, self._store = room, store
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[str, str, str], _Open] = OrderedDict()
        self._results: OrderedDict[tuple[str, str], MachineResult] = OrderedDict()

    def result(self, study: str, result: str) -> MachineResult:
        """Return a result.

        Raises:
            NotFoundError: If it is not there.
        """
        key = (study, result)
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                return self._results[key]
        found = read_candidates(self._room.result(study, result))
        with self._lock:
            self._results[key] = found
            while len(self._results) > KEPT:
                self._results.popitem(last=False)
        return found

    def current(self, study: str) -> MachineResult:
        """Return a study's result.

        Raises:
            NotFoundError: If there is no such study, or no result.
        """
        row = read_study(self._store, study)
        if row["result"] is None:
            raise NotFoundError("the study has no result to be read yet")
        return self.result(study, row["result"])

    def forget(self, study: str) -> None:
        """Drop what is kept of a study."""
        with self._lock:
            for kept in (self._open, self._results):
                for key in [key for key in kept if key[0] == study]:
                    del kept[key]  # type: ignore[arg-type]

    def state(self, study: str, reader: str) -> dict[str, Any]:
        """Return a reading as the page has it.

        Raises:
            NotFoundError: If there is no such study or reader, or no result.
        """
        key = self._key(study, reader)
        entry = self._entry(key)
        with entry.lock:
            reading = self._folded(key, entry)
            findings = [finding_json(one, reading.grid) for one in reading.visible_findings()]
            # Some tell of candidates.
            warnings = () if reading.hidden else self.result(*key[:2]).warnings
            return _flags(reading) | {"findings": findings, "warnings": list(warnings)}

    def side(self, study: str, reader: str) -> Side:
        """Return what a reader says of a study, to be compared.

        Raises:
            NotFoundError: If there is no such study or reader, or no result.
            InputError: If the reader reads blind and the machine's marks are still hidden.
        """
        key = self._key(study, reader)
        entry = self._entry(key)
        with entry.lock:
            reading = self._folded(key, entry)
            if reading.hidden:
                raise InputError("reveal the machine's marks first: agreement would show them")
            return reader_side(reading)

    def events(self, study: str, reader: str) -> list[Event]:
        """Return what a reader did on a study's result."""
        return read_events(self._store, self._key(study, reader))

    def add(
        self, study: str, reader: str, revision: int, kind: str, payload: dict[str, Any]
    ) -> dict[str, Any]:
        """Apply an event, write it down for good, and return what it changed.

        Raises:
            NotFoundError: If there is no such study or reader, or no result.
            StaleError: If the reader has gone on in another window.
            InputError: If the event is none that can follow.
        """
        key = self._key(study, reader)
        entry = self._entry(key)
        with entry.lock:
            reading = self._folded(key, entry)
            if revision != reading.last_event:
                raise StaleError("the reading has gone on in another window: load it again")
            payload = self._filled(study, reading, kind, payload)
            event = Event(revision + 1, reader, now(), kind, payload)
            # Until the event is on the disk, what is in memory must not be relied on.
            change = reading.apply(event)
            entry.reading = None
            with self._store.transaction() as base:
                _write(base, key, event, reading.complete)
            entry.reading = reading
            return _answer(reading, change)

    def _filled(
        self, study: str, reading: Reading, kind: str, payload: dict[str, Any]
    ) -> dict[str, Any]:
        """Return a payload with what the server adds to it."""
        if kind in ("undo", "redo"):
            of = reading.next_undo if kind == "undo" else reading.next_redo
            if of is None:
                raise InputError(f"there is nothing to {kind}")
            return {"of": of}
        if kind != "add":
            return payload
        if "voxels" in payload:
            return {"voxels": payload["voxels"], "seed": payload.get("seed"), "how": "drawn"}
        return self._grown(study, reading, payload)

    def _grown(self, study: str, reading: Reading, payload: dict[str, Any]) -> dict[str, Any]:
        from mmocnet.review.grow import add_at

        row = read_study(self._store, study)
        seed = payload.get("seed")
        if (
            not isinstance(seed, list)
            or len(seed) != 3
            or any(isinstance(at, bool) or not isinstance(at, int) for at in seed)
            or any(not 0 <= at < side for at, side in zip(seed, reading.grid.shape, strict=True))
        ):
            raise InputError("expected seed as three voxel numbers inside the scan")
        # Who reads blind gets no help of the networks either.
        hidden = reading.hidden
        found = add_at(
            open_image(self._room, study, reading.grid),
            None if hidden else open_probability(self._room, study, row["result"]),
            reading.grid,
            (seed[0], seed[1], seed[2]),
            reading.taken(),
        )
        return {"voxels": encode_voxels(found.voxels), "seed": seed, "how": found.how}

    def _key(self, study: str, reader: str) -> tuple[str, str, str]:
        row = read_study(self._store, study)
        if row["result"] is None:
            raise NotFoundError("the study has no result to be read yet")
        if self._store.row("SELECT 1 FROM readers WHERE id = ?", (reader,)) is None:
            raise NotFoundError("there is no such reader")
        return study, row["result"], reader

    def _entry(self, key: tuple[str, str, str]) -> _Open:
        with self._lock:
            entry = self._open.setdefault(key, _Open())
            self._open.move_to_end(key)
            for old in list(self._open)[: max(0, len(self._open) - KEPT)]:
                # One that is at work must stay the only one.
                if not self._open[old].lock.locked():
                    del self._open[old]
        return entry

    def _folded(self, key: tuple[str, str, str], entry: _Open) -> Reading:
        if entry.reading is None:
            entry.reading = self._fold(key)
        return entry.reading

    def _fold(self, key: tuple[str, str, str]) -> Reading:
        result = self.result(*key[:2])
        return Reading(result.grid, result.findings, read_events(self._store, key))


def read_events(store: Store, key: tuple[str, str, str]) -> list[Event]:
    """Return what a reader did, in order; the key is study, result and reader."""
    rows = store.rows(
        "SELECT * FROM events WHERE study = ? AND result = ? AND reader = ? ORDER BY number", key
    )
    return [
        Event(row["number"], row["reader"], row["time"], row["kind"], json.loads(row["payload"]))
        for row in rows
    ]


def _write(
    base: sqlite3.Connection, key: tuple[str, str, str], event: Event, complete: bool
) -> None:
    last = base.execute(
        "SELECT COALESCE(MAX(number), 0) FROM events WHERE study = ? AND result = ? AND reader = ?",
        key,
    ).fetchone()[0]
    if last != event.number - 1:
        raise StaleError("the reading has gone on in another window: load it again")
    if base.execute("SELECT 1 FROM studies WHERE id = ?", key[:1]).fetchone() is None:
        raise NotFoundError("there is no such study")
    base.execute(
        "INSERT INTO events VALUES (?,?,?,?,?,?,?)",
        (*key, event.number, event.time, event.kind, json.dumps(event.payload)),
    )
    if event.kind == "complete":
        base.execute("DELETE FROM completed WHERE study = ? AND result = ? AND reader = ?", key)
        if complete:
            base.execute("INSERT INTO completed VALUES (?,?,?)", key)


def _flags(reading: Reading) -> dict[str, Any]:
    return {
        "revision": reading.last_event,
        "blind": reading.blind,
        "revealed": reading.revealed,
        "complete": reading.complete,
        "can_undo": reading.can_undo,
        "can_redo": reading.can_redo,
    }


def _answer(reading: Reading, change: Change) -> dict[str, Any]:
    changed = [finding_json(one, reading.grid) for one in change.changed]
    more = {"number": reading.last_event, "changed": changed, "removed": list(change.removed)}
    return _flags(reading) | more
