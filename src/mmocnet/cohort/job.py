"""One scan of a cohort as work that any process on any machine can do."""

import hashlib
import json
import os
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from mmocnet import __version__
from mmocnet.cohort.record import Outcome, read_outcome, write_outcome
from mmocnet.cohort.scans import CohortScan
from mmocnet.config import SegmentSettings
from mmocnet.errors import FULL_DISK, InputError, reason_of
from mmocnet.io.burden import microbleeds
from mmocnet.io.dataset import nifti_ending
from mmocnet.locate.register import has_simpleitk
from mmocnet.nets.card import default_model
from mmocnet.nets.checkpoint import Cascade, load_cascade
from mmocnet.predict.outputs import all_there
from mmocnet.predict.pipeline import segment_file

SERIES = "a table of scans, by its column series"
"""What chooses among the series of a study here."""

# A process has one torch; what has several threads (Dask) takes turns.
_TURN = threading.Lock()


@dataclass(frozen=True)
class Job:
    """A scan to be segmented.

    Attributes:
        scan: Which.
        out: Folder of the cohort's results.
        settings: How.
        stamp: What its files and settings are, see `stamp_of`.
    """

    scan: CohortScan
    out: Path
    settings: SegmentSettings
    stamp: str


@lru_cache(maxsize=1)
def cascade_of(settings: SegmentSettings) -> Cascade:
    """Return the model that settings name, loaded once in each process.

    Raises:
        ModelError: If it is missing or was never trained.
    """
    return load_cascade(settings.model or default_model(), settings.device)


def stamp_of(scan: CohortScan, settings: SegmentSettings) -> str:
    """Return what tells a scan, its files as they are now, and its settings from any others.

    Files are told by size and time, not by content, so that thousands take seconds.
    """
    given = scan.options
    sidecar = scan.path.with_name(
        scan.path.name.removesuffix(nifti_ending(scan.path.name)) + ".json"
    )
    paths = [path for path in (scan.path, sidecar, given.phase, given.mask) if path is not None]
    parts = [
        __version__,
        cascade_of(settings).sha256,
        asdict(settings),
        asdict(replace(given, overwrite=False)),
        str(scan.files.summary),
        has_simpleitk(),
        [[str(path), _looks(path)] for path in paths],
    ]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def _looks(path: Path) -> list[tuple[str, int, int]]:
    """Return place, size and time of each file of a path; nothing where there is none."""
    places = [path]
    if path.is_dir():
        places = sorted(Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    found = []
    for place in places:
        try:
            status = place.stat()
        except OSError:
            continue
        found.append((place.relative_to(path).as_posix(), status.st_size, status.st_mtime_ns))
    return found


def is_current(job: Job) -> bool:
    """Return whether a job's results are there, made of the same files by the same settings."""
    outcome, stamp = read_outcome(job.out, job.scan)
    try:
        return outcome.state == "done" and stamp == job.stamp and all_there(job.scan.files)
    except InputError:
        return False


def run_job(job: Job) -> Outcome:
    """Segment a scan, keep what became of it and return that; whatever it raises is told."""
    begun = time.perf_counter()
    with _TURN:
        try:
            outcome = _segmented(job, begun)
            write_outcome(job.out, job.scan, outcome, job.stamp)
            return outcome
        except Exception as error:  # one scan's failure is reported, the others go on
            reason = reason_of(job.scan.path.name, error)
            return _failed(job, reason.replace("--series", SERIES), _is_disk_full(error))


def _segmented(job: Job, begun: float) -> Outcome:
    cascade, options = cascade_of(job.settings), job.scan.options
    if not cascade.settings.reads_phase:
        options = replace(options, phase=None)
    done = segment_file(job.scan.path, job.scan.out, job.settings, options=options, cascade=cascade)
    count = len(microbleeds(done.lesions))
    if done.result is None:
        return Outcome(job.scan.key, "present", microbleeds=count)
    return Outcome(job.scan.key, "done", "", time.perf_counter() - begun, count)


def _is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error comes of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            return True
        error = error.__cause__
    return False


def lost(job: Job, why: str) -> Outcome:
    """Keep and return that a job's process ended before the job did."""
    return _failed(job, f"{job.scan.path.name}: {why}")


def _failed(job: Job, reason: str, is_disk_full: bool = False) -> Outcome:
    outcome = Outcome(job.scan.key, "failed", reason, is_disk_full=is_disk_full)
    # On a full disk not even that; it is told all the same.
    with suppress(OSError, InputError):
        write_outcome(job.out, job.scan, outcome, job.stamp)
    return outcome
