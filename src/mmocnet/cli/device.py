"""Where a command computes, from its options."""

from typing import Literal

from mmocnet.errors import InputError


def chosen_device(device: Literal["auto", "cpu", "cuda"], threads: int | None = None) -> str:
    """Return cpu or cuda, and let torch use so many threads.

    Args:
        device: auto takes an NVIDIA GPU where there is one.
        threads: Of the CPU; None leaves the choice to torch.

    Raises:
        InputError: If a GPU is asked for that is not there, or fewer than one thread.
    """
    check_threads(threads)
    import torch

    from mmocnet.nets.device import check_device

    if threads is not None:
        torch.set_num_threads(threads)
    if device == "cuda":
        check_device(device)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def check_threads(threads: int | None) -> None:
    """Refuse what is no number of threads.

    Raises:
        InputError: If it is below 1.
    """
    if threads is not None and threads < 1:
        raise InputError(f"expected --threads of at least 1, got {threads}")
