"""Where a command computes, from its options."""

from typing import Literal


def chosen_device(device: Literal["auto", "cpu", "cuda"], threads: int | None = None) -> str:
    """Return cpu or cuda, and let torch use so many threads.

    Args:
        device: auto takes an NVIDIA GPU where there is one.
        threads: Of the CPU; None leaves the choice to torch.

    Raises:
        InputError: If a GPU is asked for that is not there.
    """
    import torch

    from mmocnet.nets.device import check_device

    if threads is not None:
        torch.set_num_threads(threads)
    if device == "cuda":
        check_device(device)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
