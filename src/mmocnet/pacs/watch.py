"""Watching an archive: which series wait, which are done, what is tried again and when."""

import datetime
import fnmatch
import hashlib
import logging
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from mmocnet.errors import InputError
from mmocnet.pacs.dicomweb import DicomWeb, FoundSeries
from mmocnet.pacs.errors import AccessError, ServerError, StillArrivingError
from mmocnet.pacs.sources import PHASE_TRIES, Sources
from mmocnet.pacs.state import Look, Row, State, StateName
from mmocnet.pacs.tries import NEVER, after_failure, after_try, reason

LOG = logging.getLogger("mmocnet.pacs")

DESCRIPTIONS = ("*swi*", "*swan*", "*suscept*", "*ven*bold*", "*fsbb*")
"""What vendors call susceptibility-weighted series: Siemens, GE, Philips, Canon."""
ENDED: tuple[StateName, ...] = ("done", "outgrown", "none")
"""States of series that nothing is done with any more."""
AMISS: dict[StateName, str] = {
    "failed": "could not be processed",
    "outgrown": "have more instances than their result is of",
}
"""States that a run which ends must not pass over."""


@dataclass(frozen=True)
class WatchSettings:
    """How an archive is watched."""

    every_s: float = 60.0
    """Between two looks."""
    settle_s: float = 30.0
    """A series is taken when its number of instances has not changed for so long."""
    since: datetime.date | int = 2
    """Studies from this day on, or from so many days before each look and the one before it."""
    descriptions: tuple[str, ...] = DESCRIPTIONS
    """Series descriptions that may be SWI; * stands for anything, case does not matter."""
    backoff_s: float = 60.0
    """Before the second try; doubled for each further one."""
    backoff_most_s: float = 3600.0
    """Between two tries at most."""
    attempts: int = 8
    """Tries of a series that fails although the server answers, or ends the process."""


class Maker(Protocol):
    """What makes results of a series."""

    @property
    def reads_phase(self) -> bool:
        """Whether a phase series of the same study is of use."""

    def result_uid(self, series_uid: str, phase_uid: str | None = None) -> str:
        """Return the UID of the object that is stored last: when it is there, all is.

        It depends on the series that the phase was taken from, None for a result without phase.
        """

    def make(
        self, series: FoundSeries, folder: Path, out: Path, *, named: bool
    ) -> Mapping[str, Path] | None:
        """Return the file of each object's UID; None for a series of no SWI that nobody named.

        The folder holds the series and those that may be its phase. The last object is the one
        to be stored last.
        """


class Watcher:
    """One archive and what is done with its series."""

    def __init__(
        self, archive: DicomWeb, maker: Maker, folder: Path, settings: WatchSettings | None = None
    ) -> None:
        """Open the state; what a killed run left in `folder` is removed.

        Args:
            archive: The server.
            maker: What makes results.
            folder: Private folder of state and work, from `folder.private_folder`.
            settings: Times and choices.
        """
        self.archive, self.maker, self.folder = archive, maker, folder
        self.settings = settings or WatchSettings()
        self.sources = Sources(archive, maker.reads_phase)
        self.state = State(folder / "state.sqlite")
        # What waits or is to be tried again, with the first day of the look that listed it first.
        self._open: dict[str, datetime.date] = {}
        self._has_looked = False

    def run(self, stop: threading.Event) -> None:
        """Look and work until told to stop; the series at hand is finished first.

        Raises:
            AccessError: If the server does not let us in at the first look.
        """
        first = True
        while not stop.is_set():
            try:
                self.look(stop)
            except ServerError as error:
                if first and isinstance(error, AccessError):
                    raise
                LOG.warning("%s; trying again in %g s", error, self.settings.every_s)
            except InputError as error:
                # A state that cannot be written, as on a full disk, which somebody may mend.
                LOG.error("%s", error)
            except Exception as error:
                # Whatever an odd answer leads to, whose text may quote it.
                LOG.error("a look failed: %s", type(error).__name__)
            first = False
            stop.wait(self.settings.every_s)

    def run_once(self, stop: threading.Event) -> None:
        """Work on all that is there and complete, and on what failed before without waiting.

        Raises:
            ServerError: If the series cannot be listed.
            InputError: If a series failed, now or before, or has grown since its result, or the
                state cannot be written.
        """
        rows = self._look(stop, at_once=True)
        if _number(rows, "waiting") and self.settings.settle_s and not stop.is_set():
            LOG.info("waiting %g s for series that may still arrive", self.settings.settle_s)
            stop.wait(self.settings.settle_s)
            rows = rows if stop.is_set() else self._look(stop)
        if _number(rows, "waiting"):
            LOG.info("%d series are still arriving", _number(rows, "waiting"))
        left = [
            f"{_number(rows, state)} series {what}"
            for state, what in AMISS.items()
            if _number(rows, state)
        ]
        if left:
            raise InputError(f"{' and '.join(left)}: see the lines above")

    def run_series(self, uid: str) -> None:
        """Work on one series, however it is named and whatever was tried before.

        Raises:
            ServerError: If the server cannot be reached.
            InputError: If it has no such series, or the series has no result in the end, or one
                from when it had fewer instances, or the state cannot be written.
        """
        found = self.archive.series(uid)
        if found is None:
            raise InputError("expected --series of a series in the archive, got none of this UID")
        # The only try: it does not fail for a phase that cannot be fetched.
        tries, count = PHASE_TRIES - 1, self.sources.count(found)
        grown = self._counted(found, count).state == "outgrown"
        if grown and self._has_result(found, self.sources.phases(found)):
            raise InputError(
                "expected a series with a result of all its instances, got one with more: delete "
                "its SEG, SR and PDF from the archive first"
            )
        row = Row(self.key(found), "waiting", count, time.time(), attempts=tries)
        row = self._process(found, row, named=True)
        if row.state == "waiting":
            raise InputError(
                "expected --series of a whole series, got more of it meanwhile: try again"
            )
        if row.state == "failed":
            raise InputError("the series could not be processed: see the lines above")

    def look(self, stop: threading.Event) -> int:
        """List the archive's series and work on those that are complete.

        Returns:
            How many seem to be still arriving.

        Raises:
            ServerError: If they cannot be listed.
            InputError: If the state cannot be written.
        """
        return _number(self._look(stop), "waiting")

    def _look(self, stop: threading.Event, *, at_once: bool = False) -> list[Row]:
        """Look; return what is known of each series that may be SWI.

        Args:
            stop: Ends the look after the series at hand.
            at_once: Whether what may be tried again need not wait for its time.
        """
        day, asked, since = _today(), time.time(), self._since()
        if self.state.last_look(self._look_key()) is None:
            # Of a first look that does not reach its end, nothing must be missed either.
            self.state.put_look(self._look_key(), Look(day, None))
        turns = []
        for turn in self._turns(since):
            # Some servers are asked about each series.
            if stop.is_set():
                return []
            turns.append(turn)
        # What ends the process must not come first at each start.
        turns.sort(key=lambda turn: turn[1].faults)
        rows: list[Row] = []
        for found, known in turns:
            if stop.is_set():
                return rows
            row = self._take(found, known, asked, at_once=at_once)
            rows.append(row)
            if row.state in ENDED or row.next_try == NEVER:
                self._open.pop(found.uid, None)
            else:
                self._open.setdefault(found.uid, since)
        self._has_looked = True
        self.state.put_look(self._look_key(), Look(day, min(self._open.values(), default=None)))
        return rows

    def _turns(self, since: datetime.date) -> Iterator[tuple[FoundSeries, Row]]:
        """Give the series that may be SWI of studies from a day on, and older ones that wait."""
        listed = self.archive.new_series(since)
        for one in filter(self._may_be_swi, listed):
            found = self.archive.counted(one)
            yield found, self._counted(found, self.sources.count(found, listed))
        for uid in self._open.keys() - {one.uid for one in listed}:
            older = self.archive.series(uid)
            if older is None:
                del self._open[uid]
            else:
                yield older, self._counted(older, self.sources.count(older))

    def _take(self, found: FoundSeries, row: Row, asked: float, *, at_once: bool) -> Row:
        """Work on a series if it is its time; return what is known of it then."""
        if row.state == "outgrown" and (row.counted >= asked or not self._has_looked):
            LOG.warning("series %s: instances came after its result, which stays", found.name)
        if row.state in ENDED:
            return row
        if row.next_try == NEVER:
            if at_once:
                LOG.error("series %s: failed before; not tried again", found.name)
            return row
        if row.faults >= self.settings.attempts:
            LOG.error("series %s: ended the watch at its last try; not tried again", found.name)
            row = replace(row, next_try=NEVER)
            self.state.put(row)
            return row
        # A number of instances that was counted in this look has been seen once.
        settled_s = max(asked - row.counted, 0.0)
        early = time.time() < row.next_try and not at_once
        if early or settled_s < self.settings.settle_s:
            return row
        return self._process(found, row)

    def key(self, found: FoundSeries) -> str:
        """Return what names a series, model and settings at this server; leads nowhere else."""
        return self._hash(found.uid)

    def _look_key(self) -> str:
        """Return what names model and settings at this server."""
        return self._hash("")

    def _hash(self, uid: str) -> str:
        text = f"{self.archive.connection.url} {self.maker.result_uid(uid)}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _since(self) -> datetime.date:
        """Return the first day of the studies to be listed."""
        since = self.settings.since
        if isinstance(since, datetime.date):
            return since
        days, last = datetime.timedelta(days=since), self.state.last_look(self._look_key())
        if last is None:
            return _today() - days
        first = min(_today(), last.day) - days
        # Those that wait are known by name from the first look on.
        return first if self._has_looked or last.open is None else min(first, last.open)

    def _may_be_swi(self, found: FoundSeries) -> bool:
        text = found.description.lower()
        return any(fnmatch.fnmatchcase(text, one.lower()) for one in self.settings.descriptions)

    def _counted(self, found: FoundSeries, instances: int) -> Row:
        """Return what is known of a series; with another number of instances it waits anew."""
        key = self.key(found)
        row = self.state.get(key)
        if row is not None and row.instances == instances:
            return row
        if row is not None and row.state in ("done", "outgrown"):
            if instances < row.instances:
                return row
            row = replace(row, state="outgrown", instances=instances, counted=time.time())
        else:
            row = Row(key, "waiting", instances, time.time())
        self.state.put(row)
        return row

    def _process(self, found: FoundSeries, row: Row, *, named: bool = False) -> Row:
        """Work on one series; whatever happens is remembered, returned and goes no further."""
        # Before the work: what ends the process must not be the first thing it does again.
        self.state.put(after_try(row, self.settings, fault=True))
        try:
            state = self._make(found, row, named)
            row = replace(row, state=state, attempts=0, faults=0, next_try=0.0)
        except StillArrivingError:
            LOG.info("series %s: still arriving", found.name)
            row = replace(row, state="waiting", counted=time.time())
        except Exception as error:
            row = self._failed(found, row, error)
        except BaseException:
            # A person ends us, which is no fault of the series.
            self.state.put(row)
            raise
        self.state.put(row)
        return row

    def _make(self, found: FoundSeries, row: Row, named: bool) -> StateName:
        name, phases = found.name, self.sources.phases(found)
        if self._has_result(found, phases):
            LOG.info("series %s: its result is there already", name)
            return "done"
        with tempfile.TemporaryDirectory(prefix="work-", dir=self.folder) as work:
            source, out = Path(work) / "study", Path(work) / "out"
            source.mkdir()
            self.sources.fetch(found, phases, row, source)
            LOG.info("series %s: segmenting", name)
            objects = self.maker.make(found, source, out, named=named)
            if objects is None:
                LOG.info("series %s: no SWI", name)
                return "none"
            # The last object says that all are there: it must not come before the others.
            *others, last = objects.items()
            for group in (dict(others), dict([last])):
                if group:
                    self.archive.store(found.study_uid, group)
            LOG.info("series %s: stored %d objects", name, len(objects))
            return "done"

    def _has_result(self, found: FoundSeries, phases: Sequence[FoundSeries]) -> bool:
        """Return whether the archive has a result of a series, with whatever phase or none."""
        sources: list[str | None] = [None]
        if self.maker.reads_phase:
            # Philips keeps phase in the series itself.
            sources += [found.uid, *(one.uid for one in phases)]
        uids = (self.maker.result_uid(found.uid, one) for one in sources)
        return any(self.archive.has_instance(found.study_uid, uid) for uid in uids)

    def _failed(self, found: FoundSeries, row: Row, error: Exception) -> Row:
        row = after_failure(row, error, self.settings)
        again = f"trying again in {max(row.next_try - time.time(), 0.0):.0f} s"
        LOG.error(
            "series %s: failed: %s; %s",
            found.name,
            reason(error),
            "not tried again" if row.next_try == NEVER else again,
        )
        return row


def _number(rows: Sequence[Row], state: str) -> int:
    return sum(row.state == state for row in rows)


def _today() -> datetime.date:
    return datetime.datetime.now().astimezone().date()
