"""The training loop of either stage, read from top to bottom."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from mmocnet.config import StageSettings
from mmocnet.train.distributed import barrier, is_main
from mmocnet.train.log import TrainLog
from mmocnet.train.trainer import Batch, FitResult, Trainer, Validate

DrawBatch = Callable[[int], Batch]
"""Images and masks of a step, (B, 1, H, W); the same step gives the same batch."""

DRAWN_AHEAD = {"cpu": 1, "cuda": 4}
"""Batches that threads prepare ahead: a GPU would wait for a single one."""


def fit(
    network: nn.Module,
    draw: DrawBatch,
    validate: Validate,
    settings: StageSettings,
    run_folder: Path,
    max_steps: int | None = None,
) -> FitResult:
    """Train a network, and leave its best weights in it.

    Where the run folder holds a state, training goes on from it exactly. The learning rate
    follows the larger of the shares of steps and of time that are spent. What is validated and
    kept is the running average of the weights, chosen on the smoothed score, once the average
    has had time to forget the start.

    Where several processes are joined, each calls this with the same arguments and takes its
    rows of every batch; the first one validates and writes. The result, and the state to resume
    from, are those of one process but for rounding.

    Args:
        network: On its device; trained in place.
        draw: Gives the batch of a step, on any device.
        validate: Scores the network after each epoch.
        settings: Optimiser, rate, lengths, loss; `steps_per_epoch` must be a number here.
        run_folder: Where state, history and TensorBoard events go; made if missing.
        max_steps: Stop after this step, to be resumed later; the learning rate still follows
            the settings. None trains to the end.

    Raises:
        MmocnetError: If gradients stay not finite.
    """
    trainer = Trainer(network, settings, run_folder)
    ahead = DRAWN_AHEAD[trainer.device.type]
    coming = _batches(draw, trainer.step, trainer.total_steps, ahead)
    with TrainLog(run_folder, silent=not is_main()) as log, coming as batches:
        while not trainer.finished() and trainer.step != max_steps:
            loss = trainer.train_step(next(batches))
            log.step(trainer.step, loss, trainer.progress(), trainer.seconds_left())
            if trainer.step % trainer.epoch_steps == 0:
                trainer.end_epoch(validate)
                log.epoch(trainer.result.history)
            trainer.save_now_and_then()
    trainer.save()
    barrier()
    if trainer.finished():
        trainer.keep_best()
    return trainer.result


@contextmanager
def _batches(draw: DrawBatch, first: int, end: int, ahead: int) -> Iterator[Iterator[Batch]]:
    """Yield the batches of steps first .. end - 1, drawn by threads while others train."""

    def generate(pool: ThreadPoolExecutor) -> Iterator[Batch]:
        coming = deque(pool.submit(draw, step) for step in range(first, min(first + ahead, end)))
        for step in range(first + ahead, end + ahead):
            ready = coming.popleft().result()
            if step < end:
                coming.append(pool.submit(draw, step))
            yield ready

    pool = ThreadPoolExecutor(max_workers=ahead, thread_name_prefix="patches")
    try:
        yield generate(pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
