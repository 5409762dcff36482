"""`mmocnet experiment`: the article's experiments on any dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mmocnet.cli.device import check_threads, chosen_device
from mmocnet.errors import InputError


@dataclass(frozen=True)
class Experiment:
    """Run one of the article's experiments on a BIDS dataset with references.

    A share of the subjects is held out and scored once, by the comparison; five folds by subject
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
    dataset: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATASET")]
    """Folder of the dataset."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of results: folds, settings, a JSON a fold, tables, figures, networks."""
    preset: Literal["small", "full"] = "small"
    """small: narrow networks and short trainings, to try it on a CPU. full: the article's."""
    held_out_share: float = 0.2
    """Share of the subjects that no fold sees; 0 makes the folds of all, without a comparison."""
    folds_to_run: tuple[int, ...] | None = None
    """Folds of this run, to spread them over machines; none takes all."""
    workers: int = 1
    """Processes, each of which claims the folds that it does."""
    threads: int | None = None
    """CPU threads of each process; none leaves the choice to torch."""
    cache: Path | None = None
    """Folder of prepared scans; none takes OUT/cache."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: an NVIDIA GPU where there is one."""

    def run(self) -> None:
        """Run what is not finished, score, write tables and figures."""
        check_threads(self.threads)
        if self.workers < 1:
            raise InputError(f"expected --workers of at least 1, got {self.workers}")
        if not 0 <= self.held_out_share < 1:
            raise InputError(
                f"expected --held-out-share of at least 0 and below 1, got {self.held_out_share:g}"
            )
        from mmocnet.commands.experiment import run_experiment

        done = run_experiment(
            self.name,
            self.dataset,
            self.out,
            self.preset,
            held_out_share=self.held_out_share,
            folds_to_run=self.folds_to_run,
            workers=self.workers,
            threads=self.threads,
            cache=self.cache,
            device=chosen_device(self.device),
        )
        if self.name == "all" and self.held_out_share == 0:
            print("comparison: left out, no subject is held out")
        for one in done:
            if one.missing:
                print(f"{one.name}: folds {list(one.missing)} are not finished yet")
            if one.folder is not None:
                print(f"{one.name}: {one.folder}  (research use only - not a medical device)")
