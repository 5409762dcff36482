"""Run a cohort's jobs in processes of this machine; one that is killed takes no other with it."""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

from mmocnet.cohort.job import Job, lost, run_job
from mmocnet.cohort.record import Outcome
from mmocnet.errors import MmocnetError
from mmocnet.io.children import start_child, threads_each

WORKER_BYTES = 3_200_000_000
"""Memory that one process may need: that of a head of 320 x 392 x 308 voxels with its phase."""

CGROUP, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
"""Where Linux says what limits this process."""

KILLED = "its process was ended, perhaps for lack of memory"

READY = "ready"
NOT_BEGUN = (
    "the processes that segment could not start: a script calls segment_cohort below "
    '`if __name__ == "__main__":`, and is a file'
)


class _Worker:
    """A process that does one job after another, and the line to it."""

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, threads, os.getpid()), daemon=True
        )
        with threads_each(threads):
            self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.has_begun = self.has_ended = False

    def give(self, job: Job) -> None:
        self.job = job
        # One that has ended meanwhile is told by its line, as any other.
        with suppress(OSError):
            self.line.send(job)

    def take(self) -> tuple[Job, Outcome | None] | None:
        """Return its job and what became of it, None where the process ended; nothing if it began.

        Raises:
            MmocnetError: If it could not begin.
        """
        assert self.job is not None  # it has one when it is waited for
        job, outcome = self.job, None
        try:
            said = self.line.recv()
            if said == READY:
                self.has_begun = True
                return None
            outcome = said
        except (EOFError, OSError):
            self.has_ended = True
            self.process.join()
            # What ends by itself before it begins ends so each time.
            if not self.has_begun and (self.process.exitcode or 0) >= 0:
                raise MmocnetError(NOT_BEGUN) from None
        self.job = None
        return job, outcome

    def end(self) -> None:
        self.process.terminate()
        self.process.join()
        self.line.close()


def _serve(line: Connection, threads: int, parent: int) -> None:
    start_child(threads, parent)
    line.send(READY)
    while True:
        try:
            job = line.recv()
        except EOFError:
            return
        line.send(run_job(job))


def run_local(jobs: Sequence[Job], workers: int, threads: int) -> Iterator[Outcome]:
    """Do jobs in processes and yield what became of each as it ends.

    A job whose process is killed is done once more at the end, with no other beside it.

    Args:
        jobs: In the order in which they are begun.
        workers: Processes.
        threads: Of each.

    Raises:
        MmocnetError: If processes cannot start.
    """
    killed: list[Job] = []
    for job, outcome in _run(jobs, workers, threads):
        if outcome is None:
            killed.append(job)
        else:
            yield outcome
    for job, outcome in _run(killed, 1, threads * workers):
        yield lost(job, KILLED) if outcome is None else outcome


def _run(jobs: Sequence[Job], workers: int, threads: int) -> Iterator[tuple[Job, Outcome | None]]:
    waiting, team = deque(jobs), [_Worker(threads) for _ in range(min(workers, len(jobs)))]
    try:
        while True:
            for one in team:
                if one.job is None and waiting:
                    one.give(waiting.popleft())
            busy = [one for one in team if one.job is not None]
            if not busy:
                return
            yield from filter(None, map(_Worker.take, _speaking(busy)))
            for dead in [one for one in team if one.has_ended]:
                dead.end()
                team[team.index(dead)] = _Worker(threads)
    finally:
        for one in team:
            one.end()


def _speaking(busy: Sequence[_Worker]) -> list[_Worker]:
    """Wait, and return those who have said something or ended."""
    lines = wait([one.line for one in busy])
    return [one for one in busy if one.line in lines]


def machine_share(
    environ: Mapping[str, str], jobs: int, workers: int | None = None, threads: int | None = None
) -> tuple[int, int]:
    """Return how many processes to start here and how many threads each may take.

    As many processes as cores, unless there are fewer jobs or memory does not suffice.

    Args:
        environ: SLURM_CPUS_ON_NODE and SLURM_MEM_PER_NODE say what a SLURM job may take.
        jobs: To be done.
        workers: Processes, where they were chosen.
        threads: Of each, where they were chosen.
    """
    given = environ.get("SLURM_CPUS_ON_NODE", "")
    cores = int(given) if given.isdigit() else len(os.sched_getaffinity(0))
    if workers is None:
        able = min(cores // (threads or 1), _memory_bytes(environ) // WORKER_BYTES)
        workers = max(1, min(jobs, able))
    return workers, threads or max(1, cores // workers)


def _memory_bytes(environ: Mapping[str, str]) -> int:
    """Return the memory of this machine, or what a container or a SLURM job may take of it."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    given = environ.get("SLURM_MEM_PER_NODE", "")
    if given.isdigit() and int(given):
        limits.append(int(given) * 2**20)
    try:
        place = Path(
            CGROUP.read_text(encoding="utf-8").splitlines()[-1].split(":", 2)[2].strip("/")
        )
    except (OSError, IndexError):
        return min(limits)
    for folder in (place, *place.parents):
        try:
            text = (CGROUPS / folder / "memory.max").read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits)
