"""Data sets of simulated studies: on disk as BIDS, or one after another in memory."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from mmocnet.config.checked import Checked
from mmocnet.errors import InputError
from mmocnet.io.children import start_child, threads_each
from mmocnet.simulate.bids import MAKER, RAW, RECORD, REFERENCE, write_root, write_subject_files
from mmocnet.simulate.own_folder import check_own, record_of
from mmocnet.simulate.record import SimulatedStudy
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.study import simulate_study
from mmocnet.simulate.testset import FIRST_TEST_SEED, SubjectPlan
from mmocnet.simulate.visits import SimulatedVisits, simulate_visits

Simulate = Callable[[StudySettings, int, str], SimulatedStudy | SimulatedVisits]

UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class WriteSettings(Checked):
    """How a data set is written."""

    workers: int = 1
    """Processes, each with one thread."""
    device: str = "cpu"
    """Torch device that simulates: cpu or cuda."""


@dataclass(frozen=True)
class SubjectResult:
    """What became of one subject.

    Attributes:
        label: BIDS subject label.
        state: "written", "present" when it was there already, or "failed".
        reason: Why it failed, else empty.
        refused: Whether what was given cannot be used, so that it fails again.
    """

    label: str
    state: Literal["written", "present", "failed"]
    reason: str = ""
    refused: bool = False


def failure(label: str, error: Exception, scan: str = "") -> SubjectResult:
    """Return the result of a subject that failed.

    Args:
        label: BIDS subject label.
        error: Why.
        scan: Name of the file that it was made from, to be told; empty for none.
    """
    refused = isinstance(error, InputError)
    reason = str(error) if refused else f"{type(error).__name__}: {error}"
    told = reason if scan in reason else f"{scan}: {reason}"
    return SubjectResult(label, "failed", told, refused)


def place_subject(folder: Path, out: Path, label: str) -> None:
    """Move a finished subject into the data set, the raw part last: it says "finished"."""
    target = out / "derivatives" / "reference" / f"sub-{label}"
    if target.exists():
        shutil.rmtree(target)  # left by a run that ended between the two moves
    target.parent.mkdir(parents=True, exist_ok=True)
    (folder / REFERENCE / f"sub-{label}").replace(target)
    (folder / RAW / f"sub-{label}").replace(out / f"sub-{label}")


def write_subject(
    out: Path, plan: SubjectPlan, settings: WriteSettings, make: Simulate | None = None
) -> SubjectResult:
    """Simulate and write one subject; whatever goes wrong, no part of it stays behind."""
    if make is None:
        make = simulate_visits if plan.visits == 2 else simulate_study
    folder = out / UNFINISHED / f"{plan.label}-{os.getpid()}"
    try:
        made = make(plan.settings, plan.seed, settings.device)
        write_subject_files(folder, made, plan)
        place_subject(folder, out, plan.label)
    except Exception as error:  # one subject's failure is reported, the others go on
        return failure(plan.label, error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return SubjectResult(plan.label, "written")


def _check_same(out: Path, plan: SubjectPlan) -> None:
    record = record_of(out / f"sub-{plan.label}", RECORD)
    wanted = json.loads(json.dumps(asdict(plan.settings)))  # JSON has no tuples
    made = record["Seed"], record["Settings"], record.get("Visits", 1)
    if made != (plan.seed, wanted, plan.visits):
        raise InputError(
            f"expected an empty folder or the same data set to resume, got sub-{plan.label} of "
            f"another seed or other settings in {out.name}"
        )


def _in_processes(
    out: Path, plans: Sequence[SubjectPlan], settings: WriteSettings, make: Simulate | None
) -> Iterator[SubjectResult]:
    pool = ProcessPoolExecutor(
        min(settings.workers, len(plans)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_child,
        initargs=(1, os.getpid()),
    )
    with threads_each(1):
        try:
            futures: dict[Future[SubjectResult], SubjectPlan] = {
                pool.submit(write_subject, out, plan, settings, make): plan for plan in plans
            }
            for future in as_completed(futures):
                error = future.exception()
                label = futures[future].label
                yield (
                    future.result()
                    if error is None
                    else SubjectResult(
                        label, "failed", f"its process ended ({type(error).__name__})"
                    )
                )
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def write_subjects(
    out: Path,
    plans: Sequence[SubjectPlan],
    settings: WriteSettings | None = None,
    make: Simulate | None = None,
) -> Iterator[SubjectResult]:
    """Write the planned subjects as the result is iterated over, and yield what became of each.

    A subject whose folder is there is not made again; its folder appears only when it is whole.
    The dataset's own files are written first, and again at the end, also when it is interrupted.

    Args:
        out: Root of the data set; made if missing.
        plans: Who to simulate.
        settings: How to write them; None takes the defaults.
        make: What simulates a subject, a module's function, so that processes can find it; None
            takes `simulate_study`, or `simulate_visits` where the plan says two.

    Raises:
        InputError: If the folder holds anything of another dataset, or a subject that another plan
            or another version of the simulator made.
    """
    settings = WriteSettings() if settings is None else settings
    if settings.workers < 1:
        raise InputError(f"workers must be 1 or more, got {settings.workers}")
    check_own(out, MAKER, RECORD)
    present = [plan for plan in plans if (out / f"sub-{plan.label}").is_dir()]
    for plan in present:
        _check_same(out, plan)
    # The checks above run now, the writing as its results are asked for.
    return _results(out, present, [plan for plan in plans if plan not in present], settings, make)


def _results(
    out: Path,
    present: Sequence[SubjectPlan],
    missing: Sequence[SubjectPlan],
    settings: WriteSettings,
    make: Simulate | None,
) -> Iterator[SubjectResult]:
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    # First of all, so that a run that is killed can be told to be ours.
    write_root(out)
    try:
        yield from (SubjectResult(plan.label, "present") for plan in present)
        if settings.workers == 1 or len(missing) < 2:
            yield from (write_subject(out, plan, settings, make) for plan in missing)
        else:
            yield from _in_processes(out, missing, settings, make)
    finally:
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)
        write_root(out)


def iterate_studies(
    settings: StudySettings, seeds: Iterable[int], device: str = "cpu"
) -> Iterator[SimulatedStudy]:
    """Yield a study for each seed, for training straight from the simulator.

    Raises:
        InputError: If a seed belongs to the test sets.
    """
    for seed in seeds:
        if seed >= FIRST_TEST_SEED:
            raise InputError(f"seeds from {FIRST_TEST_SEED} on are for tests, got {seed}")
        yield simulate_study(settings, seed, device)
