"""The child process that does one job: nothing of a user's file is parsed anywhere else.

`python -m mmocnet.web.worker ROOM JOB SERVER [THREADS]`, started by the supervisor.
"""

import logging
import os
import re
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmocnet.errors import MmocnetError
from mmocnet.io.children import die_with_parent, is_orphan
from mmocnet.web.limits import LIMITS, limit_this_process
from mmocnet.web.queue import Job, Kind, as_job, extend, fail, read_job
from mmocnet.web.room import Room
from mmocnet.web.store import Store

BEAT_S = 2.0

STORED = re.compile(r"\b(scan\.nii(\.gz)?|slice\.(png|tiff?)|study\.zip|(?<=in )dicom)\b")
"""Names of uploaded scans in a study's folder."""
STORED_BESIDE = re.compile(r"\b(phase|mask)-[0-9a-f]{16}(\.\w+)+")
"""Names of what was uploaded with them."""


@dataclass(frozen=True)
class Task:
    """What a job's work is given.

    Attributes:
        room: Whose.
        store: The room's database, this process's connection.
        job: What is to be done.
        threads: Threads of the networks; None leaves it to them.
    """

    room: Room
    store: Store
    job: Job
    threads: int | None = None

    @property
    def study(self) -> str:
        """The study's id."""
        return self.job.study or ""


def main(words: list[str]) -> int:
    """Do a job; return 0 when its end, good or bad, is in the database."""
    root, number, server = Path(words[0]), words[1], int(words[2])
    die_with_parent(server)
    _quiet()
    room = Room(root)
    store = Store(room.database)
    job = as_job(read_job(store, number))
    threading.Thread(target=_beat, args=(store, job, server), daemon=True).start()
    threads = int(words[3]) if len(words) > 3 else None
    try:
        limit_this_process(job.kind)
        _work_of(job.kind)(Task(room, store, job, threads))
    except BaseException as error:
        fail(store, job, as_uploaded(store, job, reason_of(error, job.kind)))
    return 0


def reason_of(error: BaseException, kind: Kind) -> str:
    """Return one sentence of why a job failed; of an unexpected error never its text.

    >>> reason_of(MemoryError(), "import")
    'it needs more than the 2.5 GB of memory that it is allowed'
    """
    if isinstance(error, MmocnetError):
        return str(error)
    # torch says it in words.
    memory = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
    if memory:
        gib = LIMITS[kind].data_bytes / 2**30
        return f"it needs more than the {gib:g} GB of memory that it is allowed"
    if isinstance(error, OSError) and error.strerror:
        return f"a file could not be read or written: {error.strerror}"
    where = traceback.extract_tb(error.__traceback__)
    last = f" at {Path(where[-1].filename).name}:{where[-1].lineno}" if where else ""
    return f"unexpected {type(error).__name__}{last}: please report it"


def as_uploaded(store: Store, job: Job, reason: str) -> str:
    """Return a reason in which an uploaded file has the user's name for it, not ours.

    Of a phase or a mask the user's name is not kept: there it says which of them it is.
    """
    row = store.row("SELECT name, source, path FROM studies WHERE id = ?", (job.study,))
    if row is None or row["path"] is not None:
        return reason
    reason, name = STORED_BESIDE.sub(r"the \1", reason), str(row["name"])
    if row["source"] != "dicom" and name in reason:
        # Once read it is called so already, and a user's name may end in one of ours.
        return reason
    return STORED.sub(lambda _: name, reason)


def _work_of(kind: Kind) -> Callable[[Task], None]:
    if kind == "import":
        from mmocnet.web.work_import import import_study as work
    elif kind == "segment":
        from mmocnet.web.work_segment import segment_study as work
    elif kind == "list":
        from mmocnet.web.work_list import list_folder as work
    else:
        from mmocnet.web.work_export import export_study as work
    return work


def _beat(store: Store, job: Job, server: int) -> None:
    """Say that this process lives, and end it where its job is no longer its own."""
    while True:
        if is_orphan(server) or not extend(store, job):
            os._exit(1)
        time.sleep(BEAT_S)


def _quiet() -> None:
    """Let no library say anything: what they say quotes what is in files."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
