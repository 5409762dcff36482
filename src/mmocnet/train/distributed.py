"""Several processes that train one network, as `torchrun` starts them.

Without `torchrun` every function here is that of a single process, and costs nothing. All
processes must call the functions that wait or exchange, in the same order.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from mmocnet.errors import InputError

T = TypeVar("T")

PATIENCE = timedelta(hours=24)
"""How long a process waits: the first one validates, mines and writes while others wait."""


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the processes that `torchrun` started, for the time of the context.

    Does nothing without `torchrun` or inside another such context. On a GPU each process of a
    machine takes the one of its number.

    Args:
        device: cpu (joined by gloo) or cuda (by NCCL).
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ or _joined():
        yield
        return
    if device == "cuda":
        gpu = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(gpu)
        dist.init_process_group("nccl", timeout=PATIENCE, device_id=gpu)
    else:
        dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return this process's number, 0 where it is alone."""
    return dist.get_rank() if _joined() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if _joined() else 1


def is_main() -> bool:
    """Return whether this process is the one that validates, writes and saves."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()


def from_main(value: T) -> T:
    """Return the first process's value in every process."""
    if world_size() == 1:
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=0)
    result: T = box[0]
    return result


def on_main(work: Callable[[], T]) -> T | None:
    """Do the work in the first process while the others wait; they get None."""
    result = work() if is_main() else None
    barrier()
    return result


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum of every process's tensor, differentiably.

    The gradient is that of the sum of all processes' results, so the mean that
    DistributedDataParallel takes over processes is the gradient of one process's result.
    """
    if world_size() == 1:
        return values
    result: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return result


def own_rows(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return this process's rows of images and masks; shares may differ by one row.

    Raises:
        InputError: If a process would get none.
    """
    images, masks = batch
    if len(images) < world_size():
        raise InputError(
            "expected at most as many processes as images in a batch, "
            f"got {world_size()} for {len(images)}"
        )
    return images[rank() :: world_size()], masks[rank() :: world_size()]


def parallel(network: nn.Module) -> nn.Module:
    """Return the network to train with: gradients are the mean over processes.

    All processes then have the first one's weights and statistics. Alone, the network itself
    comes back.
    """
    if world_size() == 1:
        return network
    return DistributedDataParallel(network)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def _summed(values: Tensor) -> Tensor:
    total = values.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()
