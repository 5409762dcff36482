"""`mmocnet cohort` as one call."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmocnet.cohort.dask_cluster import run_on_dask
from mmocnet.cohort.job import Job, cascade_of, is_current, stamp_of
from mmocnet.cohort.local import machine_share, run_local
from mmocnet.cohort.page import write_page
from mmocnet.cohort.record import Outcome
from mmocnet.cohort.rows import ScanResult, read_results
from mmocnet.cohort.scans import Cohort, CohortScan, find_scans
from mmocnet.cohort.settings import CohortSettings, share_of
from mmocnet.cohort.tables import CohortFiles, write_tables
from mmocnet.config import SegmentSettings
from mmocnet.io.atomic import check_folder

Told = Callable[[Outcome, int, int], None]
"""Told what became of a scan, how many have ended and how many there are."""


@dataclass(frozen=True)
class SegmentedCohort:
    """What `segment_cohort` did.

    Attributes:
        results: What is there of each scan.
        files: Where tables and report are.
        left_out: What is no scan of the cohort's, in sentences.
    """

    results: tuple[ScanResult, ...]
    files: CohortFiles
    left_out: tuple[str, ...] = ()


def segment_cohort(
    dataset: Path | str,
    out: Path | str,
    settings: SegmentSettings | None = None,
    *,
    run: CohortSettings | None = None,
    progress: Told | None = None,
) -> SegmentedCohort:
    """Segment every scan of a dataset and write a table of scans, one of lesions and a report.

    What is there already is not made again; a scan that fails is told and the others go on. The
    processes that work are started anew: a script calls this below `if __name__ == "__main__":`.

    Args:
        dataset: A BIDS folder, another folder of NIfTI or DICOM, or a table of scans, see
            `find_scans`.
        out: Folder of the results; made if missing.
        settings: How each scan is segmented; None takes the defaults.
        run: Where, and which of them; None takes the defaults.
        progress: Told of each scan as it ends.

    Raises:
        InputError: If there is no scan, two would write the same files, or the folder cannot be
            written to.
        ModelError: If the model is missing or was never trained.
        DependencyError: If Dask is asked for and not installed.
        MmocnetError: If processes cannot start, or the Dask scheduler is lost.
        OSError: If the disk is full.
    """
    run = run or CohortSettings()
    cohort = open_cohort(dataset, out, run)
    segment_scans(cohort.scans, Path(out), settings, run=run, progress=progress)
    return tell_cohort(cohort, dataset, out)


def open_cohort(dataset: Path | str, out: Path | str, run: CohortSettings) -> Cohort:
    """Return the scans of a cohort whose results can be written.

    Raises:
        InputError: As `segment_cohort`.
    """
    check_folder(Path(out))
    # Other processes may work elsewhere.
    return find_scans(Path(dataset).resolve(), Path(out).resolve(), phase=run.phase)


def segment_scans(
    scans: Sequence[CohortScan],
    out: Path,
    settings: SegmentSettings | None,
    *,
    run: CohortSettings,
    progress: Told | None = None,
) -> list[Outcome]:
    """Segment the scans of a share, and return what became of each of them."""
    settings, out = settings or SegmentSettings(), out.resolve()
    settings = replace(settings, model=whole_path(settings.model))
    # A missing model is said before the work, not by each scan.
    cascade_of(settings)
    jobs = [
        Job(_asked(scan, run), out, settings, stamp_of(scan, settings))
        for scan in scans[share_of(run.share)]
    ]
    there: list[Job] = []
    left: list[Job] = []
    for job in jobs:
        (there if is_current(job) else left).append(job)
    outcomes = []
    for outcome in _outcomes(there, left, run):
        outcomes.append(outcome)
        if outcome.is_disk_full:
            # The next ones would be for nothing.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if progress is not None:
            progress(outcome, len(outcomes), len(jobs))
    return outcomes


def whole_path(model: str | None) -> str | None:
    """Return a model; a folder by its whole path, as other processes may start elsewhere."""
    return model if model is None or not Path(model).is_dir() else str(Path(model).resolve())


def _asked(scan: CohortScan, run: CohortSettings) -> CohortScan:
    return replace(scan, options=replace(scan.options, overwrite=run.overwrite))


def _outcomes(there: Sequence[Job], left: Sequence[Job], run: CohortSettings) -> Iterator[Outcome]:
    yield from (Outcome(job.scan.key, "present") for job in there)
    if not left:
        return
    if run.dask is not None:
        yield from run_on_dask(left, run.dask)
        return
    # Several processes would share one GPU.
    workers = 1 if run.workers is None and left[0].settings.device == "cuda" else run.workers
    workers, threads = machine_share(os.environ, len(left), workers, run.threads)
    yield from run_local(left, workers, threads)


def tell_cohort(cohort: Cohort, dataset: Path | str, out: Path | str) -> SegmentedCohort:
    """Write tables and report of what is there of a cohort by now."""
    files = CohortFiles(Path(out).resolve())
    results = read_results(cohort.scans, files.out)
    write_tables(results, files)
    write_page(results, files, Path(dataset).resolve().name, cohort.left_out)
    return SegmentedCohort(tuple(results), files, cohort.left_out)
