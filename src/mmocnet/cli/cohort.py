"""`mmocnet cohort`: segment every scan of a dataset and make one table of them."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mmocnet.config import EngineName, OperatingPoint, PhaseSign, SegmentSettings
from mmocnet.errors import InputError, MmocnetError

if TYPE_CHECKING:
    from mmocnet.cohort.record import Outcome
    from mmocnet.cohort.scans import Cohort as FoundCohort
    from mmocnet.cohort.settings import CohortSettings
    from mmocnet.commands.cohort import SegmentedCohort, Told

SHOWN = 20
"""Failed scans printed; the table has all of them."""


@dataclass(frozen=True)
class Cohort:
    """Segment every scan of a dataset; make one table of scans, one of lesions, and a report.

    Each scan gets the files of `mmocnet segment`. Run it again to resume: what is done is not done
    again, what failed is tried again. Research use only - not a medical device.
    """

    dataset: Annotated[Path, tyro.conf.Positional]
    """BIDS folder; or another one, of which every NIfTI file and every DICOM study is a scan; or a
    table (.tsv, .csv) with a column scan and any of participant_id, session_id, phase, mask,
    series, spacing_mm."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the results; made if missing."""
    model: str | None = None
    """compact, standard, paper, or a folder that training wrote; none takes the best there is."""
    operating_point: OperatingPoint = "balanced"
    """screening: sensitivity first. balanced: best lesion F1 with few false calls. report:
    precision first."""
    threshold: float | None = None
    """Confidence from which a candidate is a lesion, in place of the operating point's."""
    phase: bool = True
    """Whether the phase of a BIDS scan's own acquisition is read, where it is there and can be
    used."""
    phase_sign: PhaseSign = "auto"
    """See `mmocnet segment`."""
    location: bool = True
    """Whether each lesion gets a region and a side; needs: pip install 'mmocnet[location]'."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the networks run."""
    engine: EngineName = "torch"
    """What runs them, see `mmocnet segment`."""
    overwrite: bool = False
    """Replace results of other files, settings or versions; the others are not made again."""

    workers: int | None = None
    """Processes on this machine; none takes as many as there are cores and memory for."""
    threads: int | None = None
    """Threads of each process; none shares the cores out."""
    dask: str | None = None
    """Address of a Dask scheduler, such as tcp://node1:8786, whose workers segment; needs: pip
    install 'mmocnet[dask]'."""
    slurm: int | None = None
    """Tasks of a SLURM job array that segments; waits for its end."""
    sbatch: str = ""
    """Options of sbatch, after a "=": --sbatch="--partition=long --cpus-per-task=4 --mem=6G"."""
    share: str | None = None
    """K/N: only every N-th scan, from the K-th on, and no tables: one task of another batch
    system's array of N."""
    tables_only: bool = False
    """Segment nothing: write tables and report of what is there by now."""

    def run(self) -> None:
        """Segment, write the tables, and say what was found and what failed."""
        run, settings = self._checked()
        from mmocnet.commands.cohort import open_cohort, segment_scans, tell_cohort

        cohort = open_cohort(self.dataset, self.out, run)
        for text in cohort.left_out:
            print(f"warning: {text}", file=sys.stderr)
        if self.slurm is not None:
            self._submit(cohort)
        elif not self.tables_only:
            with _shown() as progress:
                outcomes = segment_scans(
                    cohort.scans, self.out, settings, run=run, progress=progress
                )
        if self.share is not None:
            _check_failed([one.key for one in outcomes if one.state == "failed"], len(outcomes))
            return
        done = tell_cohort(cohort, self.dataset, self.out)
        _say(done, may_wait=self.tables_only)

    def _checked(self) -> "tuple[CohortSettings, SegmentSettings]":
        """Return the settings; refuse options that would be ignored."""
        from mmocnet.cohort.settings import CohortSettings

        if self.slurm is not None and self.slurm < 1:
            raise InputError(f"expected --slurm of 1 task or more, got {self.slurm}")
        if self.sbatch and self.slurm is None:
            raise InputError("expected --sbatch with --slurm only")
        ways = ("--dask", self.dask), ("--slurm", self.slurm), ("--share", self.share)
        given = [name for name, value in ways if value is not None]
        if self.tables_only:
            given.append("--tables-only")
        if len(given) > 1:
            raise InputError(f"expected one of {' and '.join(given)}, not both")
        run = CohortSettings(
            phase=self.phase,
            workers=self.workers,
            threads=self.threads,
            dask=self.dask,
            share=self.share,
            overwrite=self.overwrite,
        )
        settings = SegmentSettings(
            model=self.model,
            operating_point=self.operating_point,
            threshold=self.threshold,
            device=self.device,
            engine=self.engine,
            phase_sign=self.phase_sign,
            location=self.location,
        )
        return run, settings

    def _submit(self, cohort: "FoundCohort") -> None:
        from mmocnet.cohort.slurm import submitted

        assert self.slurm is not None  # asked for
        tasks = min(self.slurm, len(cohort.scans))
        with submitted(self._task(), tasks, shlex.split(self.sbatch), self.out) as job:
            print(
                f"SLURM job {job}: {len(cohort.scans)} scans in {tasks} tasks; waiting for its "
                f"end. If this command is interrupted the job goes on: scancel {job} ends it, and "
                "the same command with --tables-only in place of --slurm makes the tables.",
                flush=True,
            )

    def _task(self) -> list[str]:
        """Return the words of one task of an array; K is its number."""
        from mmocnet.commands.cohort import whole_path

        words = [sys.executable, "-m", "mmocnet", "cohort", str(self.dataset.resolve())]
        words += ["-o", str(self.out.resolve()), "--share", "K"]
        for name, value in (
            ("model", whole_path(self.model)),
            ("operating-point", self.operating_point),
            ("threshold", self.threshold),
            ("phase-sign", self.phase_sign),
            ("device", self.device),
            ("engine", self.engine),
            ("workers", self.workers),
            ("threads", self.threads),
        ):
            words += [] if value is None else [f"--{name}={value}"]
        for name, on in (
            ("phase", self.phase),
            ("location", self.location),
            ("overwrite", self.overwrite),
        ):
            words.append(f"--{name}" if on else f"--no-{name}")
        return words


@contextmanager
def _shown() -> "Iterator[Told]":
    """Give what prints a line for each scan as it ends, and a bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, highlight=False, markup=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Segmenting", total=None)

        def told(outcome: "Outcome", done: int, total: int, /) -> None:
            bar.update(task, completed=done, total=total)
            if outcome.state != "present":
                console.print(f"[{done}/{total}] {_line(outcome)}", soft_wrap=True)

        yield told


def _line(outcome: "Outcome") -> str:
    if outcome.state == "failed":
        return f"{outcome.key} failed: {outcome.reason}"
    noun = "microbleed" if outcome.microbleeds == 1 else "microbleeds"
    return f"{outcome.key}: {outcome.microbleeds} {noun}, {outcome.seconds:.0f} s"


def _say(done: "SegmentedCohort", *, may_wait: bool) -> None:
    from mmocnet.cohort.digest import lead
    from mmocnet.cohort.record import LOGS
    from mmocnet.cohort.rows import mixed_settings

    for text in mixed_settings(done.results):
        print(f"warning: {text}", file=sys.stderr)
    print(lead(done.results))
    print(f"  scans: {done.files.scans}\n  lesions: {done.files.lesions}")
    print(f"  report: {done.files.report}\n  Research use only - not a medical device.")
    waiting = sum(one.state == "waiting" for one in done.results)
    if waiting and may_wait:
        print(f"  {waiting} of {len(done.results)} scans wait: run again to segment them")
    failed = [f"{one.scan.key}: {one.reason}" for one in done.results if one.state == "failed"]
    _check_failed(failed, len(done.results))
    if waiting and not may_wait:
        raise MmocnetError(
            f"{waiting} of {len(done.results)} scans were not segmented: run again; what tasks "
            f"printed is in {done.files.out / LOGS}"
        )


def _check_failed(failed: list[str], total: int) -> None:
    if failed:
        more = len(failed) - SHOWN
        lines = "".join(f"\n  {line}" for line in failed[:SHOWN])
        rest = f"\n  ... and {more} more in the table" if more > 0 else ""
        raise MmocnetError(f"{len(failed)} of {total} scans could not be segmented{lines}{rest}")
