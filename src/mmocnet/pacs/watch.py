"""Watching an archive: which series wait, which are done, what is tried again and when."""

import datetime
import fnmatch
import hashlib
import logging
import sqlite3
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from mmocnet.errors import InputError, MmocnetError
from mmocnet.pacs.dicomweb import DicomWeb, FoundSeries
from mmocnet.pacs.errors import AccessError, ServerError, StillArrivingError
from mmocnet.pacs.state import Row, State

LOG = logging.getLogger("mmocnet.pacs")

DESCRIPTIONS = ("*swi*", "*swan*", "*suscept*", "*ven*bold*", "*fsbb*")
"""What vendors call susceptibility-weighted series: Siemens, GE, Philips, Canon."""

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

    def result_uid(self, series_uid: str) -> str:
        """Return the UID of the object that is stored last: when it is there, all is."""

    def make(
        self, series_uid: str, folder: Path, out: Path, *, named: bool
    ) -> Mapping[str, Path] | None:
        """Return the file of each object's UID; None for a series of no SWI that nobody named."""


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
        key = self.key(found)
        row = Row(key, "waiting", found.instances, time.time())
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
        for found in self.archive.new_series(self._since()):
            if stop.is_set():
                break
            if not self._may_be_swi(found):
                continue
            row = self._counted(found)
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

    def _counted(self, found: FoundSeries) -> Row:
        """Return what is known of a series; with another number of instances it waits anew."""
        key = self.key(found)
        row = self.state.get(key)
        if row is not None and row.instances == found.instances:
            return row
        if row is not None and row.state == "done":
            LOG.warning("series %s: instances came after its result, which stays", short(found.uid))
            row = replace(row, instances=found.instances)
        else:
            row = Row(key, "waiting", found.instances, time.time())
        self.state.put(row)
        return row

    def _process(self, found: FoundSeries, row: Row, *, named: bool = False) -> None:
        """Work on one series; whatever happens is remembered and goes no further."""
        name = short(found.uid)
        try:
            self._make(found, name, named)
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

    def _make(self, found: FoundSeries, name: str, named: bool) -> None:
        uid = self.maker.result_uid(found.uid)
        if self.archive.has_instance(found.study_uid, uid):
            LOG.info("series %s: its result is there already", name)
            return
        with tempfile.TemporaryDirectory(prefix="work-", dir=self.folder) as work:
            source, out = Path(work) / "dicom", Path(work) / "out"
            source.mkdir()
            LOG.info("series %s: fetching %d instances", name, found.instances)
            files = self.archive.fetch(found, source)
            now = self.archive.series(found.uid)
            if now is None or now.instances > len(files):
                raise StillArrivingError("instances came while the series was fetched")
            LOG.info("series %s: segmenting", name)
            objects = self.maker.make(found.uid, source, out, named=named)
            if objects is None:
                LOG.info("series %s: no SWI", name)
                return
            # The last object says that all are there: it must not come before the others.
            others = {one: path for one, path in objects.items() if one != uid}
            for group in (others, {uid: objects[uid]}):
                if group:
                    self.archive.store(found.study_uid, group)
            LOG.info("series %s: stored %d objects", name, len(objects))

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


def short(uid: str) -> str:
    """Return what a series is called in logs: nothing that leads to a patient.

    >>> short("1.2.3")
    'c47f5b18b8'
    """
    return hashlib.sha256(uid.encode()).hexdigest()[:10]
