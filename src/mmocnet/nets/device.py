"""Where networks run."""

import torch

from mmocnet.errors import InputError


def check_device(device: str | torch.device) -> None:
    """Refuse a GPU that is not there.

    Raises:
        InputError: If it is cuda, and torch finds no NVIDIA GPU.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise InputError("expected an NVIDIA GPU for device cuda, got none: use --device cpu")
