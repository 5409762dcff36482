"""What a training shows and writes while it runs: progress bar, lines, TensorBoard, history."""

import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from torch import Tensor

STEPS_BETWEEN = 25
"""Steps between updates of the bar and points of TensorBoard."""


def warn(text: str) -> None:
    """Print a sentence that must not be missed."""
    Console(stderr=True).print(f"warning: {text}", highlight=False)


class TrainLog:
    """Progress of one stage; use as a context.

    Each epoch becomes a line on the console and in `history.jsonl`. TensorBoard events are
    written where tensorboard is installed.

    Args:
        folder: Made if missing.
        silent: Whether to show and write nothing, as all processes but one do.
    """

    def __init__(self, folder: Path, silent: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.silent = silent
        self.console = Console(stderr=True, quiet=silent)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("step {task.fields[step]}, loss {task.fields[loss]:.3f}"),
            TextColumn("{task.fields[left]} left"),
            console=self.console,
            disable=silent,
        )
        self.task = self.progress.add_task(folder.name, total=1.0, step=0, loss=math.nan, left="?")
        self.writer: Any = None

    def __enter__(self) -> "TrainLog":
        self.progress.start()
        if not self.silent and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.folder))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()
        if self.writer is not None:
            self.writer.close()

    def step(self, step: int, loss: Tensor, progress: float, seconds_left: float) -> None:
        """Show a step; every 25th only, because reading a loss makes a GPU wait."""
        if self.silent or step % STEPS_BETWEEN:
            return
        value, left = float(loss), clock_text(seconds_left)
        self.progress.update(self.task, completed=progress, step=step, loss=value, left=left)
        if self.writer is not None:
            self.writer.add_scalar("loss/step", value, step)

    def epoch(self, history: Sequence[Mapping[str, float]]) -> None:
        """Print the last epoch's row and write all rows."""
        if self.silent:
            return
        row = history[-1]
        words = [f"{key} {value:.4g}" for key, value in row.items()]
        self.console.print(f"{self.folder.name}: " + ", ".join(words), highlight=False)
        # Whole each time: a training that resumes repeats the epochs after its last state.
        lines = [json.dumps({k: _plain(v) for k, v in one.items()}) + "\n" for one in history]
        (self.folder / "history.jsonl").write_text("".join(lines), encoding="utf-8")
        if self.writer is not None:
            for key, value in row.items():
                self.writer.add_scalar(f"epoch/{key}", value, int(row["step"]))


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def clock_text(seconds: float) -> str:
    """Return a time for people.

    >>> clock_text(3723.0), clock_text(math.nan)
    ('1:02:03', '?')
    """
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
