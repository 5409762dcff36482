"""Where networks run."""

import torch

from mmocnet.errors import InputError


def check_device(device: str | torch.device) -> None:
    """Refuse what is no device, and a GPU that is not there.

    Raises:
        InputError: If it is neither cpu nor cuda, or cuda and torch finds no NVIDIA GPU.
    """
    kind = str(device).partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise InputError(f"expected device cpu or cuda, got {str(device)!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("expected an NVIDIA GPU for device cuda, got none: use --device cpu")
