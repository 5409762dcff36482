"""Run the article's experiments fold by fold; what is finished is never run again."""

import fcntl
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmocnet.errors import InputError
from mmocnet.nets.settings_json import settings_to_json
from mmocnet.train.distributed import from_main, is_main, on_main
from mmocnet.train.experiment_models import history_of, second_folder, train_variant
from mmocnet.train.experiment_result import HELD_OUT, FoldResult, fold_path, save_fold
from mmocnet.train.experiment_scores import (
    ProbabilityOf,
    add_panel,
    own_threshold,
    panel_slices,
    score_scans,
    thinned_curve,
)
from mmocnet.train.experiment_settings import ExperimentSettings
from mmocnet.train.folds import (
    Folds,
    fold_scans,
    keep_folds,
    keep_or_check,
    scans_of,
    split_into_folds,
)
from mmocnet.train.model_card import environment
from mmocnet.train.patches import TrainingScan
from mmocnet.train.split import Split
from mmocnet.train.variants import (
    FOLD_EXPERIMENTS,
    Variant,
    folds_of,
    variants,
)

FUSED_LEVEL = 0.5
"""Where the fused map, and the map whose training is compared, is cut (the article's)."""


@dataclass(frozen=True)
class Plan:
    """What is to be run, and where it goes.

    Attributes:
        out: Folder of all experiments.
        names: Experiments.
        settings: How they are run.
        label: Dataset, preset, whether simulated: what results say of themselves.
        device: cpu or cuda.
        folds_to_run: Folds of this run; None: all.
    """

    out: Path
    names: tuple[str, ...]
    settings: ExperimentSettings
    label: Mapping[str, Any]
    device: str = "cpu"
    folds_to_run: tuple[int, ...] | None = None


def begin(scans: Sequence[TrainingScan], plan: Plan) -> Folds:
    """Return the folds; write or check the files that say what the folder was begun with.

    Raises:
        InputError: If there are too few subjects, or dataset or settings are others.
    """
    settings = plan.settings
    subjects = [scan.subject for scan in scans]
    folds = split_into_folds(
        subjects, settings.held_out_share, settings.folds, settings.training.seed
    )
    unknown = sorted(set(plan.folds_to_run or ()) - set(range(settings.folds)))
    if unknown:
        raise InputError(f"expected folds from 0 to {settings.folds - 1}, got {unknown}")

    def keep() -> None:
        kept = {**plan.label, "settings": settings_to_json(settings)}
        keep_or_check(plan.out / "settings.json", kept, "the settings")
        keep_folds(plan.out / "folds.json", scans, folds)

    on_main(keep)
    return folds


def run_folds(scans: Sequence[TrainingScan], plan: Plan) -> None:
    """Train and score every variant in every fold that no other process has claimed."""
    folds = begin(scans, plan)
    names = [name for name in plan.names if name in FOLD_EXPERIMENTS]
    for fold in range(plan.settings.folds):
        if plan.folds_to_run is not None and fold not in plan.folds_to_run:
            continue
        with _claimed(plan.out / "claims" / f"fold-{fold}.lock") as mine:
            for name in names if mine else ():
                if fold not in folds_of(name, plan.settings):
                    continue
                for variant in variants(name, plan.settings):
                    _run_variant(scans, plan, folds, (name, fold), variant)


def run_in_processes(
    load: Callable[[], Sequence[TrainingScan]], plan: Plan, workers: int, threads: int
) -> None:
    """Run the folds in several processes, each of which claims the folds it does.

    Args:
        load: Gives the scans; called in each process, so it must be picklable.
        plan: What to run.
        workers: Processes.
        threads: CPU threads of each.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        for job in [pool.submit(_work, load, plan, threads) for _ in range(workers)]:
            job.result()


def _work(load: Callable[[], Sequence[TrainingScan]], plan: Plan, threads: int) -> None:
    torch.set_num_threads(threads)
    run_folds(load(), plan)


def unfinished(plan: Plan, experiment: str) -> list[int]:
    """Return the folds of an experiment in which a variant has no result yet."""
    return [
        fold
        for fold in folds_of(experiment, plan.settings)
        if not all(
            fold_path(plan.out, experiment, variant.name, fold).exists()
            for variant in variants(experiment, plan.settings)
        )
    ]


def check_held_out(settings: ExperimentSettings) -> None:
    """Refuse a comparison without held-out subjects.

    Raises:
        InputError: If none is held out.
    """
    if settings.held_out_share == 0:
        raise InputError(
            "expected held-out subjects for the comparison, got a held-out share of 0: "
            "the folds are made of all subjects"
        )


def score_held_out(scans: Sequence[TrainingScan], plan: Plan) -> None:
    """Score the held-out subjects once, with the mean map of the folds' cascades.

    Raises:
        InputError: If nobody is held out, or the cross-validation is not finished in this folder.
    """
    check_held_out(plan.settings)
    variant = variants("cross-validation", plan.settings)[0]
    path = fold_path(plan.out, "comparison", variant.name, HELD_OUT)
    if from_main(path.exists()):
        return
    missing = from_main(unfinished(plan, "cross-validation"))
    if missing:
        raise InputError(f"expected a finished cross-validation, folds {missing} are missing")
    folds = begin(scans, plan)
    models = []
    for fold in range(plan.settings.folds):
        split, _ = _split(scans, plan, folds, fold)
        if not from_main(
            (second_folder(plan.out, fold, variant) / "segmenter.safetensors").exists()
        ):
            raise InputError(
                f"expected the networks of fold {fold} in {plan.out.name}: "
                "run the comparison where all folds were trained, or copy their folders there"
            )
        models.append(train_variant(plan.out, fold, variant, split, plan.device))

    def mean_map(scan: TrainingScan) -> Any:
        return np.mean([model.fused(scan) for model in models], axis=0, dtype=np.float32)

    chosen = scans_of(scans, folds.held_out)
    where = ("comparison", HELD_OUT)
    on_main(lambda: _save(plan, where, variant, _score(chosen, mean_map, FUSED_LEVEL, {})))


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Yield whether this process, or those it trains with, may work on a fold.

    The system lets go of the lock when the process ends, however it ends.
    """
    if not is_main():
        yield from_main(False)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except OSError:
            mine = False
        yield from_main(mine)


def _run_variant(
    scans: Sequence[TrainingScan],
    plan: Plan,
    folds: Folds,
    where: tuple[str, int],
    variant: Variant,
) -> None:
    experiment, fold = where
    if from_main(fold_path(plan.out, experiment, variant.name, fold).exists()):
        return
    split, scored = _split(scans, plan, folds, fold)
    trained = train_variant(plan.out, fold, variant, split, plan.device)

    def score() -> None:
        probability_of: ProbabilityOf = trained.detected
        threshold = FUSED_LEVEL
        if variant.scored == "cascade":
            probability_of = trained.fused
        elif variant.scored == "detector-at-own-threshold":
            chosen = split.validation[: variant.settings.validation_scans]
            threshold = own_threshold(chosen, trained.detected)
        history = {"stage1": history_of(trained.first)}
        history["stage2"] = history_of(trained.second) if variant.scored == "cascade" else []
        result = _score(scored, probability_of, threshold, history)
        for scan, index in panel_slices(scored, _panels_of(plan, experiment, fold)):
            mask = probability_of(scan)[index] >= threshold
            add_panel(plan.out / experiment / "panels", scan, index, variant.name, mask)
        _save(plan, where, variant, result)

    on_main(score)


def _panels_of(plan: Plan, experiment: str, fold: int) -> int:
    """Return how many of an experiment's pictures a fold gives; the first folds one more."""
    few, more = divmod(plan.settings.panels, len(folds_of(experiment, plan.settings)))
    return few + (fold < more)


def _split(
    scans: Sequence[TrainingScan], plan: Plan, folds: Folds, fold: int
) -> tuple[Split, tuple[TrainingScan, ...]]:
    training = plan.settings.training
    return fold_scans(scans, folds, fold, training.validation_share, training.seed)


def _score(
    scans: Sequence[TrainingScan],
    probability_of: ProbabilityOf,
    threshold: float,
    history: dict[str, list[dict[str, float]]],
) -> dict[str, Any]:
    """Return what scoring gives of a fold's result."""
    started = time.monotonic()
    scores = score_scans(scans, probability_of, threshold)
    recall, precision = thinned_curve(scores.curve)
    trained_s = sum(rows[-1]["elapsed_s"] for rows in history.values() if rows)
    return {
        "seconds": round(trained_s + time.monotonic() - started, 1),
        "images": scores.images,
        "scans": scores.scans,
        "recall": recall,
        "precision": precision,
        "average_precision": scores.curve.average_precision,
        "recall_ceiling": scores.curve.recall_ceiling,
        "history": history,
        "threshold": threshold,
    }


def _save(plan: Plan, where: tuple[str, int], variant: Variant, result: Mapping[str, Any]) -> None:
    experiment, fold = where
    kept = FoldResult(
        experiment=experiment,
        variant=variant.name,
        fold=fold,
        settings={**plan.label, "training": asdict(variant.settings)},
        environment=environment(plan.device),
        **result,
    )
    save_fold(fold_path(plan.out, experiment, variant.name, fold), kept)
