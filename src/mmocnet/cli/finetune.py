"""`mmocnet finetune`: a user's own scans and corrections improve a model."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mmocnet.cli.device import chosen_device
from mmocnet.errors import InputError

if TYPE_CHECKING:
    from mmocnet.train.finetune import Outcome
    from mmocnet.train.finetune_settings import FinetuneSettings


@dataclass(frozen=True)
class Finetune:
    """Fine-tune a model on your own scans: references, or a reader's verdicts.

    DATASET is a BIDS folder with `derivatives/reference`, `derivatives/reviewed` or both. A third
    of the subjects is not learned from; the tuned model is kept only if it finds more on them
    and loses nothing on simulated scans. RUN/model is then a model for `mmocnet segment`.
    Research use only - not a medical device.
    """

    dataset: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATASET")]
    """Folder of the dataset."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the run: simulated scans, figures, and at the end `model`."""
    start: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """compact, standard, paper, or a folder that training wrote; none takes the best shipped."""
    steps: tuple[int, int, int] = (240, 480, 240)
    """Steps of stage 1, stage 2 and the classifier; 0 0 0 fits the confidence alone, which a model
    trained without --thresholds-on does not have."""
    learning_rate: float = 2e-4
    """Highest learning rate."""
    replay_subjects: int = 48
    """Simulated subjects: slabs to learn from, and a third whole heads, which only judge."""
    held_out_share: float = 0.34
    """Share of the subjects that are not learned from."""
    force: bool = False
    """Whether to write the tuned model even where it is not better."""
    workers: int = 1
    """Processes that simulate."""
    threads: int | None = None
    """CPU threads; none leaves the choice to torch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: an NVIDIA GPU where there is one."""
    seed: int = 0
    """Seed of split, simulation, patches."""

    def run(self) -> None:
        """Tune, print what it came to, say where the model is."""
        from rich.console import Console
        from rich.progress import Progress

        from mmocnet.commands.finetune import finetune_model

        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("Fine-tuning", total=None)

            def told(what: str, done: int, total: int) -> None:
                bar.update(task, description=what, completed=done, total=total)

            outcome = finetune_model(
                self.dataset,
                self.out,
                self.start,
                self.settings(),
                workers=self.workers,
                say=_warn,
                progress=told,
            )
        _report(outcome)

    def settings(self) -> "FinetuneSettings":
        """Return the settings of this command."""
        from mmocnet.train.finetune_settings import FinetuneSettings

        self._check()
        return FinetuneSettings(
            steps=self.steps,
            learning_rate=self.learning_rate,
            replay_subjects=self.replay_subjects,
            held_out_share=self.held_out_share,
            force=self.force,
            seed=self.seed,
            device=chosen_device(self.device, self.threads),
        )

    def _check(self) -> None:
        for name, value, least in (
            ("seed", self.seed, 0),
            ("steps", min(self.steps), 0),
            ("workers", self.workers, 1),
            ("replay-subjects", self.replay_subjects, 2),
        ):
            if value < least:
                raise InputError(f"expected --{name} of at least {least}, got {value}")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"expected --learning-rate above 0, got {self.learning_rate:g}")
        if not 0 < self.held_out_share < 1:
            raise InputError(
                f"expected --held-out-share between 0 and 1, got {self.held_out_share:g}"
            )


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _report(outcome: "Outcome") -> None:
    """Print the scores before and after, and what was kept."""
    from mmocnet.train.finetune import comparable

    for name, scores in (("your", "own"), ("simulated", "simulated")):
        for one in outcome.judged:
            values = getattr(one, scores)
            print(
                f"held-out {name} scans, {one.name}: lesion F1 {values['lesion_f1']:.3f}, "
                f"sensitivity {values['lesion_sensitivity']:.3f}, "
                f"{values['fp_per_scan']:.2f} false positives a scan"
            )
    if outcome.better:
        print(f"better on held-out scans: {outcome.kept}")
    elif not comparable(outcome.judged):
        print(f"no lesion F1 on some held-out scans, nothing to compare by: kept {outcome.kept}")
    elif outcome.kept == "start":
        print("not better on held-out scans: the model's weights are kept as they were")
    else:
        print(f"not better on held-out scans, written nevertheless: {outcome.kept}")
    print(f"model: {outcome.model}  (research use only - not a medical device)")
