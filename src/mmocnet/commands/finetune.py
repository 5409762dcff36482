"""`mmocnet finetune` as one call."""

from collections.abc import Callable
from pathlib import Path

from mmocnet.nets.card import default_model
from mmocnet.nets.checkpoint import load_cascade
from mmocnet.train.finetune import Outcome, check_steps, finetune
from mmocnet.train.finetune_data import (
    check_scans,
    read_labelled,
    simulate_replay,
    split_for_tuning,
)
from mmocnet.train.finetune_settings import FinetuneSettings
from mmocnet.train.finetune_subjects import is_untold, learned_before
from mmocnet.train.run_folder import REPLAY, check_run_folder


def finetune_model(
    dataset: Path | str,
    out: Path | str,
    start: str | None = None,
    settings: FinetuneSettings | None = None,
    *,
    workers: int = 1,
    say: Callable[[str], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Outcome:
    """Fine-tune a model on labelled scans or a reader's verdicts.

    A part of the subjects is not learned from; the tuned model is kept only if it finds more on
    them and loses nothing on simulated scans.

    Args:
        dataset: BIDS folder with `derivatives/reference`, `derivatives/reviewed` or both.
        out: Folder of the run: simulated scans, figures, and at the end `model`.
        start: compact, standard, paper, or a folder that training wrote; None takes the best
            shipped.
        settings: How to tune; None takes the defaults.
        workers: Processes that simulate.
        say: Told in a sentence what is left out, or belongs to no scan.
        progress: Told what is being done, how much of it is done and how much there is to do.

    Raises:
        InputError: If there are too few subjects or lesions to tune on, there is nothing to tune,
            or the folder is of another run.
        ModelError: If the model is missing or was never trained.
    """
    out, settings = Path(out), settings or FinetuneSettings()
    check_run_folder(out, "finetune", start)
    labelled = read_labelled(Path(dataset), out / "reference")
    if say is not None:
        for name in labelled.unfinished:
            say(f"left out, its review is not complete: {name}")
        for doubt in labelled.doubts:
            say(doubt)
    before = load_cascade(start or default_model(), settings.device)
    if say is not None and is_untold(before.card):
        say(
            f"{before.name} was fine-tuned before, on subjects it does not tell: some may now judge"
        )
    # What cannot do is refused before anything takes time.
    learned = learned_before(before.card)
    split_for_tuning(labelled.scans, settings.held_out_share, settings.seed, learned)
    check_scans(labelled.scans)
    check_steps(before, settings)

    def simulated(done: int, total: int) -> None:
        if progress is not None:
            progress("Simulating", done, total)

    replay = simulate_replay(
        out / REPLAY,
        settings.replay_subjects,
        settings.seed,
        before.classifier is not None,
        workers,
        simulated,
    )
    return finetune(before, labelled, replay, out, settings, progress)
