"""Watching an archive: which series wait, which are done, what is tried again and when."""

import datetime
import fnmatch
import hashlib
import logging
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from mmocnet.errors import InputError, MmocnetError
from mmocnet.io.dicom.vendors import named_as_phase
from mmocnet.pacs.dicomweb import DicomWeb, FoundSeries
from mmocnet.pacs.errors import AccessError, ServerError, StillArrivingError
from mmocnet.pacs.state import Row, State

LOG = logging.getLogger("mmocnet.pacs")

DESCRIPTIONS = ("*swi*", "*swan*", "*suscept*", "*ven*bold*", "*fsbb*")
"""What vendors call susceptibility-weighted series: Siemens, GE, Philips, Canon."""

MOST_PHASES = 4
"""Phase series that are fetched with one of SWI, the nearest in number: a study has one for each
time that it was acquired."""
PHASE_TRIES = 3
"""After so many a series is segmented without the phase that could not be fetched."""

NEVER = float("inf")


@dataclass(frozen=True)
class WatchSettings:
    """How an archive is watched."""

    every_s: float = 60.0
    """Between two looks."""
    settle_s: float = 30.0
    """A series is taken when its number of instances has not changed for so long."""
    since: datetime.date | int = 2
    """Studies from this day on, or from so many days before each look."""
    descriptions: tuple[str, ...] = DESCRIPTIONS
    """Series descriptions that may be SWI; * stands for anything, case does not matter."""
    backoff_s: float = 60.0
    """Before the second try; doubled for each further one."""
    backoff_most_s: float = 3600.0
    """Between two tries at most."""
    attempts: int = 8
    """Tries of a series that fails although the server answers."""


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
        self, series_uid: str, folder: Path, out: Path, *, named: bool
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
        self.state = State(folder / "state.sqlite")
        self.failures = 0

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
            except sqlite3.Error as error:
                # As on a full disk, which somebody may mend.
                LOG.error("cannot write the state: %s", type(error).__name__)
            first = False
            stop.wait(self.settings.every_s)

    def run_once(self, stop: threading.Event) -> None:
        """Work on all that is there and complete.

        Raises:
            ServerError: If the series cannot be listed.
            InputError: If a series failed.
        """
        if self.look(stop) and self.settings.settle_s:
            LOG.info("waiting %g s for series that may still arrive", self.settings.settle_s)
            stop.wait(self.settings.settle_s)
            waiting = 0 if stop.is_set() else self.look(stop)
            if waiting:
                LOG.info("%d series are still arriving", waiting)
        self._say_failures()

    def run_series(self, uid: str) -> None:
        """Work on one series, however it is named and whatever was tried before.

        Raises:
            ServerError: If the server cannot be reached.
            InputError: If it has no such series, or the series failed.
        """
        found = self.archive.series(uid)
        if found is None:
            raise InputError("expected --series of a series in the archive, got none of this UID")
        # The only try: it does not fail for a phase that cannot be fetched.
        tries = PHASE_TRIES - 1
        row = Row(self.key(found), "waiting", self._count(found), time.time(), attempts=tries)
        self._process(found, row, named=True)
        self._say_failures()

    def look(self, stop: threading.Event) -> int:
        """List the archive's series and work on those that are complete.

        Returns:
            How many seem to be still arriving.

        Raises:
            ServerError: If they cannot be listed.
        """
        waiting = 0
        listed = self.archive.new_series(self._since())
        for found in listed:
            if stop.is_set():
                break
            if not self._may_be_swi(found):
                continue
            row = self._counted(found, self._count(found, listed))
            if row.state == "done" or time.time() < row.next_try:
                continue
            if time.time() - row.counted < self.settings.settle_s:
                waiting += 1
                continue
            self._process(found, row)
        return waiting

    def key(self, found: FoundSeries) -> str:
        """Return what names a series, model and settings at this server; leads nowhere else."""
        text = f"{self.archive.connection.url} {self.maker.result_uid(found.uid)}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _since(self) -> datetime.date:
        since = self.settings.since
        if isinstance(since, datetime.date):
            return since
        return datetime.datetime.now().astimezone().date() - datetime.timedelta(days=since)

    def _may_be_swi(self, found: FoundSeries) -> bool:
        text = found.description.lower()
        return any(fnmatch.fnmatchcase(text, one.lower()) for one in self.settings.descriptions)

    def _phases(
        self, found: FoundSeries, listed: Sequence[FoundSeries] | None = None
    ) -> list[FoundSeries]:
        """Return the other series of a study that are named as phase; none where of no use.

        Args:
            found: A series of the study.
            listed: Series of the archive; None asks for those of the study.
        """
        if not self.maker.reads_phase or named_as_phase(found.description):
            return []
        listed = self.archive.series_of(found.study_uid) if listed is None else listed
        same = [one for one in listed if one.study_uid == found.study_uid and one.uid != found.uid]
        return [one for one in same if named_as_phase(one.description)]

    def _count(self, found: FoundSeries, listed: Sequence[FoundSeries] | None = None) -> int:
        """Return how many instances a series has with those that may be its phase."""
        return found.instances + sum(one.instances for one in self._phases(found, listed))

    def _counted(self, found: FoundSeries, instances: int) -> Row:
        """Return what is known of a series; with another number of instances it waits anew."""
        key = self.key(found)
        row = self.state.get(key)
        if row is not None and row.instances == instances:
            return row
        if row is not None and row.state == "done":
            LOG.warning("series %s: instances came after its result, which stays", short(found.uid))
            row = replace(row, instances=instances)
        else:
            row = Row(key, "waiting", instances, time.time())
        self.state.put(row)
        return row

    def _process(self, found: FoundSeries, row: Row, *, named: bool = False) -> None:
        """Work on one series; whatever happens is remembered and goes no further."""
        name = short(found.uid)
        try:
            self._make(found, row, name, named)
            row = replace(row, state="done", attempts=0, next_try=0.0)
        except StillArrivingError:
            LOG.info("series %s: still arriving", name)
            row = replace(row, state="waiting", counted=time.time())
        except ServerError as error:
            row = self._failed(row, name, str(error), again=True)
        except MmocnetError as error:
            row = self._failed(row, name, str(error), again=False)
        except Exception as error:
            # The text of a stranger's exception may hold what is in the files.
            again = row.attempts + 1 < self.settings.attempts
            row = self._failed(row, name, type(error).__name__, again=again)
        self.state.put(row)

    def _make(self, found: FoundSeries, row: Row, name: str, named: bool) -> None:
        phases = self._phases(found)
        if self._has_result(found, phases):
            LOG.info("series %s: its result is there already", name)
            return
        with tempfile.TemporaryDirectory(prefix="work-", dir=self.folder) as work:
            source, out = Path(work) / "dicom", Path(work) / "out"
            source.mkdir()
            self._fetch(found, _fitting(phases, found), row, source)
            LOG.info("series %s: segmenting", name)
            objects = self.maker.make(found.uid, source, out, named=named)
            if objects is None:
                LOG.info("series %s: no SWI", name)
                return
            # The last object says that all are there: it must not come before the others.
            *others, last = objects.items()
            for group in (dict(others), dict([last])):
                if group:
                    self.archive.store(found.study_uid, group)
            LOG.info("series %s: stored %d objects", name, len(objects))

    def _has_result(self, found: FoundSeries, phases: Sequence[FoundSeries]) -> bool:
        """Return whether the archive has a result of a series, with whatever phase or none."""
        sources: list[str | None] = [None]
        if self.maker.reads_phase:
            # Philips keeps phase in the series itself.
            sources += [found.uid, *(one.uid for one in phases)]
        uids = (self.maker.result_uid(found.uid, one) for one in sources)
        return any(self.archive.has_instance(found.study_uid, uid) for uid in uids)

    def _fetch(
        self, found: FoundSeries, phases: Sequence[FoundSeries], row: Row, folder: Path
    ) -> None:
        """Fetch a series and what may be its phase, each into a folder of its own.

        Raises:
            ServerError: If the series cannot be fetched, or a phase at one of the first tries.
            StillArrivingError: If there are more instances now.
        """
        name = short(found.uid)
        LOG.info("series %s: fetching %d instances", name, found.instances)
        (folder / "series").mkdir()
        files = self.archive.fetch(found, folder / "series")
        for number, phase in enumerate(phases, 1):
            LOG.info("series %s: fetching phase, %d instances", name, phase.instances)
            place = folder / f"phase-{number}"
            place.mkdir()
            try:
                self.archive.fetch(phase, place)
            except ServerError as error:
                if row.attempts + 1 < PHASE_TRIES:
                    raise
                LOG.warning("series %s: its phase is not used: %s", name, error)
                shutil.rmtree(place)
        now = self.archive.series(found.uid)
        if now is None or now.instances > len(files) or self._count(now) != row.instances:
            raise StillArrivingError("instances came while the series was fetched")

    def _failed(self, row: Row, name: str, why: str, *, again: bool) -> Row:
        self.failures += 1
        attempts = row.attempts + 1
        longer = self.settings.backoff_s * 2.0 ** min(row.attempts, 30)
        wait_s = min(longer, self.settings.backoff_most_s)
        LOG.error(
            "series %s: failed: %s; %s",
            name,
            why,
            f"trying again in {wait_s:g} s" if again else "not tried again",
        )
        next_try = time.time() + wait_s if again else NEVER
        return replace(row, state="failed", attempts=attempts, next_try=next_try)

    def _say_failures(self) -> None:
        if self.failures:
            raise InputError(f"{self.failures} series could not be processed: see the lines above")


def _fitting(phases: Sequence[FoundSeries], found: FoundSeries) -> list[FoundSeries]:
    """Return those that may lie on the grid of a series, the nearest in number first."""
    # Several echoes in one series are as many times as many.
    same = [one for one in phases if found.instances and one.instances % found.instances == 0]
    here = found.number or 0
    return sorted(same, key=lambda one: (abs((one.number or 0) - here), one.uid))[:MOST_PHASES]


def short(uid: str) -> str:
    """Return what a series is called in logs: nothing that leads to a patient.

    >>> short("1.2.3")
    'c47f5b18b8'
    """
    return hashlib.sha256(uid.encode()).hexdigest()[:10]
