"""The supervisor: claims jobs and has a child process do each, one a lane at a time."""

import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from mmocnet.web.limits import LIMITS
from mmocnet.web.queue import Job, Kind, claim, fail, release_all
from mmocnet.web.room import Room
from mmocnet.web.store import Store

LOG = logging.getLogger("mmocnet.web")

LANES: tuple[tuple[Kind, ...], ...] = (("list", "import"), ("segment",), ("export",))
"""Kinds of jobs; one of each lane at a time."""

IDLE_S = 2.0
LOOK_S = 0.1
WORDS: dict[Kind, str] = {
    "list": "looking through the folder",
    "import": "reading the files",
    "segment": "segmentation",
    "export": "the export",
}


@dataclass
class Supervisor:
    """Lanes of jobs in threads of their own.

    Attributes:
        room: Whose jobs.
        store: The room's database.
        threads: Threads of the networks; None leaves it to them.
    """

    room: Room
    store: Store
    threads: int | None = None
    _owner: str = field(default_factory=lambda: secrets.token_hex(8))
    _stopping: threading.Event = field(default_factory=threading.Event)
    _news: list[threading.Event] = field(default_factory=list)
    _lanes: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Take up what a server that is gone left, and begin."""
        release_all(self.store)
        self.store.tidy()
        self._remove_orphans()
        for kinds in LANES:
            news = threading.Event()
            lane = threading.Thread(target=self._lane, args=(kinds, news), daemon=True)
            self._news.append(news)
            self._lanes.append(lane)
            lane.start()

    def _remove_orphans(self) -> None:
        """Remove folders of uploads whose study was never listed, or was deleted."""
        for folder in (self.room.root / "studies").iterdir():
            if not self._exists(folder.name) and folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)

    def wake(self) -> None:
        """Say that there is something new in the queue."""
        for news in self._news:
            news.set()

    def stop(self) -> None:
        """End the children and the threads; their jobs wait for the next server."""
        self._stopping.set()
        self.wake()
        for lane in self._lanes:
            lane.join()
        release_all(self.store, in_peace=True)

    def _lane(self, kinds: tuple[Kind, ...], news: threading.Event) -> None:
        while not self._stopping.is_set():
            news.clear()
            try:
                job = claim(self.store, kinds, self._owner)
                if job is not None:
                    self._work(job)
                    # What it made may be another lane's work.
                    self.wake()
                    continue
            except Exception as error:
                # A lane that ended would leave its jobs waiting for ever.
                LOG.error("unexpected %s in the queue", type(error).__name__)
                self._stopping.wait(IDLE_S)
                continue
            news.wait(IDLE_S)

    def _work(self, job: Job) -> None:
        LOG.info("%s of study %s begins", job.kind, job.study or "-")
        work = self.room.work / f"{job.id}-{job.attempts}"
        work.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            reason = self._run_child(job, str(work))
        finally:
            shutil.rmtree(work, ignore_errors=True)
            self._forget_deleted(job)
        if self._stopping.is_set():
            return
        if reason is not None:
            fail(self.store, job, reason)
        row = self.store.row("SELECT state FROM jobs WHERE id = ?", (job.id,))
        # A study that is deleted takes its jobs along.
        state = "deleted" if row is None else row["state"]
        LOG.info("%s of study %s: %s", job.kind, job.study or "-", state)

    def _run_child(self, job: Job, work: str) -> str | None:
        """Return why the child failed where it could not say so itself, else None."""
        words = [sys.executable, "-m", "mmocnet.web.worker"]
        words += [str(self.room.root), job.id, str(os.getpid())]
        if self.threads is not None:
            words.append(str(self.threads))
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # What libraries say may quote what is in files.
            stderr=subprocess.DEVNULL,
            env=os.environ | {"TMPDIR": work},
            cwd=work,
            start_new_session=True,
        )
        deadline = time.monotonic() + LIMITS[job.kind].seconds
        late = False
        try:
            while child.poll() is None and not late:
                late = time.monotonic() > deadline
                if late or self._stopping.is_set() or not self._wanted(job):
                    break
                try:
                    child.wait(LOOK_S)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            _end(child)
        if late:
            minutes = LIMITS[job.kind].seconds / 60
            return f"{WORDS[job.kind]} took more than {minutes:g} minutes and was ended"
        return _reason(job.kind, child.returncode)

    def _forget_deleted(self, job: Job) -> None:
        """Remove what a child wrote of a study that was deleted meanwhile."""
        if job.study is not None and not self._exists(job.study):
            for folder in (self.room.study(job.study), self.room.exports / job.id):
                shutil.rmtree(folder, ignore_errors=True)

    def _exists(self, study: str) -> bool:
        return self.store.row("SELECT 1 FROM studies WHERE id = ?", (study,)) is not None

    def _wanted(self, job: Job) -> bool:
        row = self.store.row("SELECT state, attempts FROM jobs WHERE id = ?", (job.id,))
        if row is None or row["attempts"] != job.attempts:
            return False
        # One that has said how it ended is left to end.
        return row["state"] in ("running", "done", "failed")


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Kill a child with all that it started."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _reason(kind: Kind, code: int) -> str | None:
    if code == 0:
        return None
    gib = LIMITS[kind].data_bytes / 2**30
    if code < 0:
        name = signal.Signals(-code).name
        return (
            f"{WORDS[kind]} was ended by the system ({name}): it may need more than the "
            f"{gib:g} GB of memory that it is allowed"
        )
    return f"{WORDS[kind]} ended without saying why (code {code})"
