"""The readings in use: folded once, then carried on event by event; each event on disk first."""

import json
import sqlite3
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from mmocnet.errors import InputError
from mmocnet.review.agreement import Side, reader_side
from mmocnet.review.candidates import MachineResult
from mmocnet.review.finding import encode_voxels, finding_json
from mmocnet.review.reading import Change, Event, Reading
from mmocnet.types import IntTriple
from mmocnet.web.problems import OTHER_RESULT, NotFoundError, StaleError
from mmocnet.web.requests import EventRequest, check_payload, checked_seed
from mmocnet.web.results import open_image, open_probability, read_result
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
            DamagedError: If it is missing or damaged.
        """
        key = (study, result)
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                return self._results[key]
        found = read_result(self._room, study, result)
        with self._lock:
            self._results[key] = found
            while len(self._results) > KEPT:
                self._results.popitem(last=False)
        return found

    def current(self, study: str, result: str) -> MachineResult:
        """Return a study's result, which the page shows.

        Raises:
            NotFoundError: If there is no such study.
            StaleError: If the study has another result by now.
        """
        if read_study(self._store, study)["result"] != result:
            raise StaleError(OTHER_RESULT)
        return self.result(study, result)

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
            more = {"result": key[1], "findings": findings, "warnings": list(warnings)}
            return _flags(reading) | more

    def side(self, study: str, reader: str, result: str) -> Side:
        """Return what a reader says of a study's result, to be compared.

        Raises:
            NotFoundError: If there is no such study or reader.
            StaleError: If the study has another result by now.
            InputError: If the reader reads blind and the machine's marks are still hidden.
        """
        key = self._key(study, reader, result)
        entry = self._entry(key)
        with entry.lock:
            reading = self._folded(key, entry)
            if reading.hidden:
                raise InputError("reveal the machine's marks first: agreement would show them")
            return reader_side(reading)

    def events(self, study: str, reader: str) -> list[Event]:
        """Return what a reader did on a study's result."""
        return read_events(self._store, self._key(study, reader))

    def add(self, study: str, sent: EventRequest) -> dict[str, Any]:
        """Apply an event, write it down for good, and return what it changed.

        What was taken already is not taken twice, and answered as the first time.

        Raises:
            NotFoundError: If there is no such study or reader.
            StaleError: If the study has another result by now, or the reader has gone on in
                another window.
            InputError: If the event is none that can follow.
            DamagedError: If the result has lost a file that the event needs.
        """
        key = (study, sent.result, sent.reader)
        taken = self._taken(key, sent.id)
        if taken is not None:
            return self._told(key, taken)
        check_payload(sent.kind, sent.payload)
        entry = self._entry(self._key(study, sent.reader, sent.result))
        with entry.lock:
            # It may have come in twice at once.
            taken = self._taken(key, sent.id)
            if taken is not None:
                return self._told(key, taken)
            reading = self._folded(key, entry)
            if sent.revision != reading.last_event:
                raise StaleError("the reading has gone on in another window: load it again")
            payload = self._filled(key, reading, sent)
            event = Event(sent.revision + 1, sent.reader, now(), sent.kind, payload)
            # Until the event is on the disk, what is in memory must not be relied on.
            change = reading.apply(event)
            entry.reading = None
            with self._store.transaction() as base:
                _write(base, key, event, sent.id, reading.complete)
            entry.reading = reading
            return _answer(reading, change)

    def _taken(self, key: tuple[str, str, str], sent: str) -> int | None:
        """Return the number of an event by the page's id; None where it has not come in."""
        row = self._store.row(
            "SELECT number FROM events WHERE study = ? AND result = ? AND reader = ? AND id = ?",
            (*key, sent),
        )
        return None if row is None else int(row["number"])

    def _told(self, key: tuple[str, str, str], number: int) -> dict[str, Any]:
        """Return what was answered to an event when it came in."""
        events = [one for one in read_events(self._store, key) if one.number <= number]
        result = self.result(*key[:2])
        reading = Reading(result.grid, result.findings, events[:-1])
        return _answer(reading, reading.apply(events[-1]))

    def _filled(
        self, key: tuple[str, str, str], reading: Reading, sent: EventRequest
    ) -> dict[str, Any]:
        """Return a payload with what the server adds to it."""
        kind, payload = sent.kind, sent.payload
        if kind in ("undo", "redo"):
            of = reading.next_undo if kind == "undo" else reading.next_redo
            if of is None:
                raise InputError(f"there is nothing to {kind}")
            return {"of": of}
        if kind != "add":
            return payload
        seed = None if payload.get("seed") is None else checked_seed(payload["seed"], reading.grid)
        if "voxels" in payload:
            return {"voxels": payload["voxels"], "seed": seed, "how": "drawn"}
        if seed is None:
            raise InputError("expected seed or voxels in the payload of add, got neither")
        return self._grown(key, reading, seed)

    def _grown(
        self, key: tuple[str, str, str], reading: Reading, seed: IntTriple
    ) -> dict[str, Any]:
        from mmocnet.review.grow import add_at

        study, result, _ = key
        grid = reading.grid
        # Who reads blind gets no help of the networks either.
        hidden = reading.hidden
        found = add_at(
            open_image(self._room, study, grid),
            None if hidden else open_probability(self._room, study, result, grid),
            grid,
            seed,
            reading.taken(),
        )
        return {"voxels": encode_voxels(found.voxels), "seed": list(seed), "how": found.how}

    def _key(self, study: str, reader: str, shown: str | None = None) -> tuple[str, str, str]:
        """Return study, result and reader.

        Args:
            study: Whose current result is meant.
            reader: Who reads.
            shown: The result that the page shows, where it matters.
        """
        row = read_study(self._store, study)
        if shown is not None and row["result"] != shown:
            raise StaleError(OTHER_RESULT)
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
    base: sqlite3.Connection, key: tuple[str, str, str], event: Event, sent: str, complete: bool
) -> None:
    last = base.execute(
        "SELECT COALESCE(MAX(number), 0) FROM events WHERE study = ? AND result = ? AND reader = ?",
        key,
    ).fetchone()[0]
    if last != event.number - 1:
        raise StaleError("the reading has gone on in another window: load it again")
    row = base.execute("SELECT result FROM studies WHERE id = ?", key[:1]).fetchone()
    if row is None:
        raise NotFoundError("there is no such study")
    if row["result"] != key[1]:
        raise StaleError(OTHER_RESULT)
    base.execute(
        "INSERT INTO events (study, result, reader, number, time, kind, payload, id) "
        "VALUES (?,?,?,?,?,?,?,?)",
        (*key, event.number, event.time, event.kind, json.dumps(event.payload), sent),
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
