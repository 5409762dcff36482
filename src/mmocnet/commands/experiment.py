"""`mmocnet experiment` as one call."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmocnet.errors import InputError
from mmocnet.io.atomic import check_folder
from mmocnet.train import experiment_settings as presets
from mmocnet.train.datasets import labelled_scans
from mmocnet.train.distributed import barrier, is_main, process_group, world_size
from mmocnet.train.experiment_report import check_environment, write_experiment
from mmocnet.train.experiment_settings import ExperimentSettings
from mmocnet.train.experiments import (
    Plan,
    begin,
    check_held_out,
    run_folds,
    run_in_processes,
    score_held_out,
    unfinished,
)
from mmocnet.train.scans import load_training_scans
from mmocnet.train.thresholds import is_simulated
from mmocnet.train.variants import EXPERIMENTS, FOLD_EXPERIMENTS


@dataclass(frozen=True)
class ExperimentFolder:
    """What became of an experiment.

    Attributes:
        name: Which.
        folder: Its tables and figures; None where it has no result yet.
        missing: Folds that are not finished.
    """

    name: str
    folder: Path | None
    missing: tuple[int, ...] = ()


def run_experiment(
    name: str,
    dataset: Path | str,
    out: Path | str,
    settings: presets.ExperimentPreset | ExperimentSettings = "small",
    *,
    held_out_share: float | None = None,
    folds_to_run: Sequence[int] | None = None,
    workers: int = 1,
    threads: int | None = None,
    cache: Path | str | None = None,
    device: str = "cpu",
) -> tuple[ExperimentFolder, ...]:
    """Run one of the article's experiments on a BIDS dataset with references.

    Called again it goes on where it ended: a finished fold is not run again.

    Args:
        name: environment, lambda, cross-validation, roi-size, ablation, comparison, or all.
        dataset: Folder of the dataset.
        out: Folder of all experiments' results.
        settings: A preset, small or full, or settings of one's own.
        held_out_share: Share of the subjects that no fold sees, 0 for none; None takes that of the
            settings.
        folds_to_run: Folds of this run, to spread them over machines; None runs all.
        workers: Processes, each of which claims the folds that it does.
        threads: CPU threads of each process; None leaves the choice to torch.
        cache: Folder of prepared scans; None takes one in `out`.
        device: cpu or cuda.

    Raises:
        InputError: If there is no such experiment, there are too few subjects or threads, `out`
            was begun with another dataset or settings, `comparison` has no finished
            cross-validation or nobody held out, or `environment` no result of another experiment.
    """
    if threads is not None and threads < 1:
        raise InputError(f"expected at least 1 thread, got {threads}")
    plan = make_plan(name, Path(dataset), Path(out), settings, device, folds_to_run)
    plan = _holding_out(plan, held_out_share)
    _check_needs(plan)
    cache = plan.out / "cache" if cache is None else Path(cache)
    for folder in (plan.out, cache):
        check_folder(folder)
    load = partial(
        load_training_scans,
        Path(dataset),
        plan.settings.training.cascade.preparation,
        cache,
        workers,
    )
    with process_group(device):
        if world_size() > 1 and workers > 1:
            raise InputError(f"expected one worker under torchrun, got {workers}")
        if is_main():
            labelled_scans(Path(dataset))
            # The first process prepares the scans; the others then find them in the cache.
            load()
        barrier()
        scans = load()
        if threads is not None:
            torch.set_num_threads(threads)
        begin(scans, plan)
        if workers > 1:
            run_in_processes(load, plan, workers, threads or 1)
        else:
            run_folds(scans, plan)
        if _is_compared(plan, name):
            score_held_out(scans, plan)
        return tuple(_written(plan, one) for one in plan.names) if is_main() else ()


def _holding_out(plan: Plan, share: float | None) -> Plan:
    """Return a plan with a share held out, or its own."""
    if share is None:
        return plan
    return replace(plan, settings=replace(plan.settings, held_out_share=share))


def _check_needs(plan: Plan) -> None:
    """Refuse an experiment that, alone, lacks what it is made from.

    Raises:
        InputError: If nobody is held out for the comparison, or the environment has no results.
    """
    if plan.names == ("comparison",):
        check_held_out(plan.settings)
    if plan.names == ("environment",):
        check_environment(plan.out)


def _is_compared(plan: Plan, name: str) -> bool:
    """Return whether the held-out subjects are scored.

    `all` leaves it to the run that ends the last fold, and out where nobody is held out.
    """
    whole = name == "all" and plan.settings.held_out_share > 0
    return name == "comparison" or (whole and not unfinished(plan, "cross-validation"))


def make_plan(
    name: str,
    dataset: Path,
    out: Path,
    settings: presets.ExperimentPreset | ExperimentSettings = "small",
    device: str = "cpu",
    folds_to_run: Sequence[int] | None = None,
) -> Plan:
    """Return what `run_experiment` runs for the same arguments.

    Raises:
        InputError: If there is no such experiment.
    """
    if name not in (*EXPERIMENTS, "all"):
        raise InputError(
            f"expected an experiment of {', '.join((*EXPERIMENTS, 'all'))}, got {name!r}"
        )
    own = isinstance(settings, ExperimentSettings)
    label: dict[str, Any] = {
        "dataset": dataset.resolve().name,
        "preset": "own" if own else settings,
        "simulated": is_simulated(dataset),
    }
    if not isinstance(settings, ExperimentSettings):
        settings = presets.experiment_settings(settings)
    return Plan(
        out=out,
        names=EXPERIMENTS if name == "all" else (name,),
        settings=settings,
        label=label,
        device=device,
        folds_to_run=None if folds_to_run is None else tuple(folds_to_run),
    )


def _written(plan: Plan, name: str) -> ExperimentFolder:
    missing = tuple(unfinished(plan, name)) if name in FOLD_EXPERIMENTS else ()
    if name != "environment" and not any((plan.out / name).glob("*/*.json")):
        return ExperimentFolder(name, None, missing)
    write_experiment(plan.out, name)
    return ExperimentFolder(name, plan.out / name, missing)
