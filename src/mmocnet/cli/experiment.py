"""`mmocnet experiment`: the article's experiments on any dataset."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from mmocnet.cli.device import chosen_device
from mmocnet.errors import InputError

if TYPE_CHECKING:
    from mmocnet.train.experiments import Plan


@dataclass(frozen=True)
class Experiment:
    """Run one of the article's experiments on a BIDS dataset with references.

    A fifth of the subjects is held out and scored once, by the comparison; five folds by subject
    are made of the others. Run it again to go on where it ended: a finished fold is not run
    again. Research use only - not a medical device.
    """

    name: tyro.conf.Positional[
        Literal[
            "environment",
            "lambda",
            "cross-validation",
            "roi-size",
            "ablation",
            "comparison",
            "all",
        ]
    ]
    """environment: hardware, versions, settings, times. lambda: weights of the sensitivity loss.
    cross-validation. roi-size: patches of 16 to 128 pixels. ablation: without each part.
    comparison: the held-out subjects, beside published figures. all."""
    dataset: tyro.conf.Positional[Path]
    """Folder of the dataset."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of results: folds, settings, a JSON a fold, tables, figures, networks."""
    preset: Literal["small", "full"] = "small"
    """small: narrow networks and short trainings, to try it on a CPU. full: the article's."""
    folds_to_run: tuple[int, ...] | None = None
    """Folds of this run, to spread them over machines; None: all."""
    workers: int = 1
    """Processes, each of which claims the folds that it does."""
    threads: int | None = None
    """CPU threads of each process; None leaves the choice to torch."""
    cache: Path | None = None
    """Folder of prepared scans; None takes OUT/cache."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: an NVIDIA GPU where there is one."""

    def run(self) -> None:
        """Run what is not finished, score, write tables and figures."""
        from mmocnet.train.distributed import process_group, world_size

        device = chosen_device(self.device)
        plan = self._plan(device)
        with process_group(device):
            if world_size() > 1 and self.workers > 1:
                raise InputError(f"expected one worker under torchrun, got {self.workers}")
            self._run(plan)

    def _run(self, plan: "Plan") -> None:
        import torch

        from mmocnet.train.distributed import barrier, is_main
        from mmocnet.train.experiments import begin, run_folds, run_in_processes, score_held_out
        from mmocnet.train.scans import load_training_scans

        load = partial(
            load_training_scans,
            self.dataset,
            plan.settings.training.cascade.preparation,
            self.out / "cache" if self.cache is None else self.cache,
            self.workers,
        )
        if is_main():
            # The first process prepares the scans; the others then find them in the cache.
            load()
        barrier()
        scans = load()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        begin(scans, plan)
        if self.workers > 1:
            run_in_processes(load, plan, self.workers, self.threads or 1)
        else:
            run_folds(scans, plan)
        if self._compares(plan):
            score_held_out(scans, plan)
        if is_main():
            self._report(plan)

    def _compares(self, plan: "Plan") -> bool:
        from mmocnet.train.experiments import unfinished

        if "comparison" not in plan.names:
            return False
        # `all` on some of the folds leaves the comparison to the run that ends the last fold.
        return self.name == "comparison" or not unfinished(plan, "cross-validation")

    def _report(self, plan: "Plan") -> None:
        from mmocnet.train.experiment_report import write_experiment
        from mmocnet.train.experiments import unfinished
        from mmocnet.train.variants import FOLD_EXPERIMENTS

        for name in plan.names:
            missing = unfinished(plan, name) if name in FOLD_EXPERIMENTS else []
            if missing:
                print(f"{name}: folds {missing} are not finished yet")
            if name == "environment" or any((plan.out / name).glob("*/*.json")):
                write_experiment(plan.out, name)
                print(f"{name}: {plan.out / name}  (research use only - not a medical device)")

    def _plan(self, device: str) -> "Plan":
        from mmocnet.train.experiment_settings import experiment_settings
        from mmocnet.train.experiments import Plan
        from mmocnet.train.variants import EXPERIMENTS

        return Plan(
            out=self.out,
            names=EXPERIMENTS if self.name == "all" else (self.name,),
            settings=experiment_settings(self.preset),
            label=self._label(),
            device=device,
            folds_to_run=self.folds_to_run,
        )

    def _label(self) -> dict[str, Any]:
        description = self.dataset / "dataset_description.json"
        text = description.read_text(encoding="utf-8") if description.is_file() else ""
        return {
            "dataset": self.dataset.resolve().name,
            "preset": self.preset,
            "simulated": "mmocnet simulate" in text,
        }
