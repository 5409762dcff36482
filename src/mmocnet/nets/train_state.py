"""The state of a training, one file from which it goes on exactly; never pickled."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from mmocnet.errors import ModelError
from mmocnet.nets.tensor_file import save_tensors


@dataclass
class TrainState:
    """Tensors and numbers of a training.

    Patches and augmentation draw from generators seeded by (seed, stage, step), so the step is
    the whole state of the randomness; the learning rate is a function of step and time.

    Attributes:
        tensors: By name: `model/...`, `ema/...`, `best/...`, `optimiser/PARAMETER/NAME`.
        numbers: Anything that JSON holds: step, elapsed seconds, history, best score.
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


def optimiser_tensors(optimiser: Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's moments and step counts, by `optimiser/PARAMETER/NAME`."""
    return {
        f"optimiser/{index}/{name}": value
        for index, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimiser(optimiser: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` returned."""
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser/"):
            _, index, name = key.split("/")
            states.setdefault(int(index), {})[name] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": states, "param_groups": groups})


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with `prefix/` before each name."""
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix/`, without it."""
    start = prefix + "/"
    return {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}


def save_train_state(path: Path, state: TrainState) -> None:
    """Write the state; the file is replaced whole or stays as it was.

    Raises:
        MmocnetError: If it cannot be written.
    """
    save_tensors(path, state.tensors, {"numbers": json.dumps(state.numbers)})


def load_train_state(path: Path) -> TrainState:
    """Return what `save_train_state` wrote.

    Raises:
        ModelError: If the file cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            numbers = json.loads((file.metadata() or {})["numbers"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"expected a training state, got {path.name}") from error
    return TrainState(tensors, numbers)


def copy_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's state."""
    return {key: value.detach().clone() for key, value in network.state_dict().items()}
