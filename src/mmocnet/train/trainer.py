"""The state of a training and the steps that change it."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmocnet.config import StageSettings
from mmocnet.errors import InputError, MmocnetError
from mmocnet.nets.losses import stage_loss
from mmocnet.nets.sync_norm import synchronise_norms
from mmocnet.nets.train_state import (
    TrainState,
    copy_tensors,
    load_train_state,
    optimiser_tensors,
    prefixed,
    restore_optimiser,
    save_train_state,
    under,
)
from mmocnet.train.distributed import (
    from_main,
    is_main,
    own_rows,
    parallel,
    sum_over_processes,
    world_size,
)
from mmocnet.train.optimiser import make_optimiser

Batch = tuple[Tensor, Tensor]
Validate = Callable[[nn.Module], Mapping[str, float]]
"""Scores of a network in eval mode; the one named "score" chooses the weights that are kept."""

LOWEST_RATE = 0.01
"""Where the cosine ends, over the highest learning rate."""
BAD_STEPS = 20
"""Steps in a row with a gradient that is not finite, after which training gives up."""


@dataclass
class FitResult:
    """What a training did.

    Attributes:
        history: One row an epoch: epoch, step, elapsed_s, loss of the steps that counted (NaN
            where none did), the validation's scores.
        best_epoch: Epoch whose weights the network now has.
        elapsed_s: Time spent, over all resumptions.
        stopped: Why it ended: "epochs", "budget" or "patience".
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    elapsed_s: float = 0.0
    stopped: str = "epochs"


class Trainer:
    """A network in training: optimiser, running average of the weights, best weights, history.

    Args:
        network: On its device.
        settings: Optimiser, rate, lengths, loss; `steps_per_epoch` must be a number here.
        run_folder: Holds the state; where it does, training goes on from there.

    Raises:
        InputError: If the state is of another network, or `steps_per_epoch` is None.
    """

    def __init__(self, network: nn.Module, settings: StageSettings, run_folder: Path) -> None:
        if settings.steps_per_epoch is None:
            raise InputError("steps_per_epoch must be a number to train, got None")
        self.layout = _layout(network)
        self.network = network.to(memory_format=self.layout)  # type: ignore[call-overload]
        # Alone, the reduction is none and the network is its own parallel form.
        self.reduce = sum_over_processes if world_size() > 1 else None
        if self.reduce is not None:
            synchronise_norms(network, self.reduce)
        self.parallel = parallel(network)
        self.settings = settings
        self.device = next(network.parameters()).device
        self.epoch_steps = settings.steps_per_epoch
        self.total_steps = settings.max_epochs * self.epoch_steps
        self.state_path = run_folder / "state.safetensors"
        self.optimiser = make_optimiser(network, settings)
        self.ema = copy_tensors(network)
        self.best = copy_tensors(network)
        self.best_score = -math.inf
        self.smoothed: float | None = None
        self.step = 0
        self.bad_steps = 0
        self.loss_sum, self.summed = torch.zeros((), device=self.device), 0
        self.result = FitResult()
        self.mark = time.monotonic()
        if self.state_path.exists():
            self._restore(load_train_state(self.state_path))
        run_folder.mkdir(parents=True, exist_ok=True)
        self.saved_at = time.monotonic()

    def train_step(self, batch: Batch) -> Tensor:
        """Take one step and return its loss.

        Args:
            batch: The whole of it; joined processes each take their rows.
        """
        images, masks = (
            part.to(self.device, non_blocking=True, memory_format=self.layout)
            for part in own_rows(batch)
        )
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.parallel(images)
        loss = stage_loss(logits, masks, self.settings.loss, self.reduce)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.step += 1
        if self._is_finite(norm):
            self.optimiser.step()
            self.loss_sum += loss.detach()
            self.summed += 1
            self._average()
        else:
            self._repair_statistics()
        self._tick()
        return loss.detach()

    def rate(self) -> float:
        """Return the learning rate of the next step."""
        settings = self.settings
        warm = min(1.0, (self.step + 1) / max(1, settings.warmup_steps))
        if not settings.cosine:
            return settings.learning_rate * warm
        fall = 0.5 * (1 + math.cos(math.pi * self.progress()))
        return settings.learning_rate * warm * (LOWEST_RATE + (1 - LOWEST_RATE) * fall)

    def progress(self) -> float:
        """Return the share of the training that is done, by steps or by time."""
        done = self.step / self.total_steps if self.total_steps else 1.0
        if self.settings.budget_minutes is not None:
            done = max(done, self.result.elapsed_s / (60 * self.settings.budget_minutes))
        return min(1.0, done)

    def seconds_left(self) -> float:
        """Return the time left at the pace so far."""
        done = self.progress()
        return self.result.elapsed_s * (1 - done) / done if done > 0 else math.nan

    def finished(self) -> bool:
        """Return whether training is over, and note why."""
        if self.result.stopped == "patience":
            return True
        if self.progress() < 1.0:
            return False
        self.result.stopped = "epochs" if self.step >= self.total_steps else "budget"
        return True

    def end_epoch(self, validate: Validate) -> None:
        """Score the averaged weights, note the row, keep the weights if they are the best."""
        scores = self._scores(validate)
        row = {
            "epoch": self.step // self.epoch_steps,
            "step": self.step,
            "elapsed_s": round(self.result.elapsed_s, 1),
            "learning_rate": self.rate(),
            "loss": float(self.loss_sum) / self.summed if self.summed else math.nan,
            **scores,
        }
        self.loss_sum, self.summed = torch.zeros_like(self.loss_sum), 0
        self.result.history.append(row)
        if self._average_is_warm():
            self._judge(scores["score"], int(row["epoch"]))

    def keep_best(self) -> None:
        """Put the best weights into the network, in eval mode."""
        if math.isinf(self.best_score):
            # Too short a training to choose: the last average is all there is.
            self.best = _copies(self.ema)
        self.network.load_state_dict(self.best)
        self.network.eval()

    def save_now_and_then(self) -> None:
        """Save the state if the last time is long ago."""
        if time.monotonic() - self.saved_at > 60 * self.settings.checkpoint_minutes:
            self.save()

    def save(self) -> None:
        """Save the state; nothing in it says how many processes trained."""
        if not is_main():
            return
        model = self.network.state_dict()
        tensors = {
            **prefixed("model", model),
            **prefixed("ema", self.ema),
            **prefixed("best", self.best),
            **optimiser_tensors(self.optimiser),
            "loss_sum": self.loss_sum,
        }
        numbers: dict[str, Any] = {
            "step": self.step,
            "summed": self.summed,
            "smoothed": self.smoothed,
            "best_score": None if math.isinf(self.best_score) else self.best_score,
            "result": vars(self.result),
        }
        save_train_state(self.state_path, TrainState(tensors, numbers))
        self.saved_at = time.monotonic()

    def _restore(self, state: TrainState) -> None:
        try:
            self.network.load_state_dict(under("model", state.tensors))
        except RuntimeError as error:
            raise InputError(
                f"expected the network that {self.state_path.parent.name} was begun with; "
                "give another run folder for other settings"
            ) from error
        on_device = {key: value.to(self.device) for key, value in state.tensors.items()}
        self.ema, self.best = under("ema", on_device), under("best", on_device)
        # Torch moves the moments to the device itself, and keeps step counts on the CPU.
        restore_optimiser(self.optimiser, state.tensors)
        self.loss_sum = on_device["loss_sum"]
        self.step = int(state.numbers["step"])
        self.summed = int(state.numbers.get("summed", self.step % self.epoch_steps))
        self.smoothed = state.numbers["smoothed"]
        best = state.numbers["best_score"]
        self.best_score = -math.inf if best is None else float(best)
        self.result = FitResult(**state.numbers["result"])

    def _is_finite(self, norm: Tensor) -> bool:
        self.bad_steps = 0 if bool(torch.isfinite(norm)) else self.bad_steps + 1
        if self.bad_steps >= BAD_STEPS:
            raise MmocnetError(
                f"gradients were not finite in {BAD_STEPS} steps in a row up to step {self.step}: "
                "lower the learning rate"
            )
        return self.bad_steps == 0

    @torch.no_grad()
    def _average(self) -> None:
        # Early on nearly the plain mean, so that random initial weights are soon forgotten.
        decay = min(self.settings.ema_decay, self.step / (self.step + 10))
        mine = {k: v for k, v in self.network.state_dict().items() if v.is_floating_point()}
        torch._foreach_lerp_([self.ema[key] for key in mine], list(mine.values()), 1 - decay)

    def _repair_statistics(self) -> None:
        # The forward pass of a bad batch has already put its values into batch norm.
        kept = {name: self.ema[name] for name, _ in self.network.named_buffers()}
        self.network.load_state_dict(kept, strict=False)

    def _average_is_warm(self) -> bool:
        return self.step >= self.settings.warmup_steps + 1 / (1 - self.settings.ema_decay)

    def _scores(self, validate: Validate) -> dict[str, float]:
        live = copy_tensors(self.network)
        self.network.load_state_dict(self.ema)
        self.network.eval()
        with torch.inference_mode():
            scores = from_main(dict(validate(self.network)) if is_main() else {})
        self.network.load_state_dict(live)
        self._tick()
        return scores

    def _judge(self, score: float, epoch: int) -> None:
        if not math.isfinite(score):
            # It says nothing, and a running mean would never be rid of it.
            return
        past = self.settings.score_smoothing
        before = score if self.smoothed is None else self.smoothed
        self.smoothed = past * before + (1 - past) * score
        if self.smoothed >= self.best_score:
            self.best_score = self.smoothed
            self.best = _copies(self.ema)
            self.result.best_epoch = epoch
        patience = self.settings.patience
        if patience is not None and epoch - self.result.best_epoch >= patience:
            self.result.stopped = "patience"

    def _tick(self) -> None:
        now = time.monotonic()
        self.result.elapsed_s += now - self.mark
        self.mark = now
        if self.settings.budget_minutes is not None:
            # Rate and end follow the time, so all must read one clock.
            self.result.elapsed_s = from_main(self.result.elapsed_s)


def _layout(network: nn.Module) -> torch.memory_format:
    """Return the order in memory that convolutions over planes or volumes are fastest in."""
    volumes = any(weights.ndim == 5 for weights in network.parameters())
    return torch.channels_last_3d if volumes else torch.channels_last


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in tensors.items()}
