"""What a model card says of how a model was made."""

import os
import platform
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mmocnet import __version__
from mmocnet.config import TrainSettings
from mmocnet.nets.settings_json import settings_to_json
from mmocnet.train.distributed import world_size
from mmocnet.train.patches import TrainingScan


def hardware_text(device: str) -> str:
    """Return the name of the processor or GPU and the number of CPU cores."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor()
    return f"{name or platform.machine()}, {os.cpu_count()} CPU cores"


def made(
    train: Sequence[TrainingScan],
    validation: Sequence[TrainingScan],
    settings: TrainSettings,
    device: str,
) -> dict[str, Any]:
    """Return on what, how and where a model was trained."""
    return {
        "notice": "Research use only - not a medical device.",
        "version": __version__,
        "seed": settings.seed,
        "train_subjects": len({scan.subject for scan in train}),
        "validation_subjects": len({scan.subject for scan in validation}),
        "hardware": hardware_text(device),
        "torch": torch.__version__,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "training": settings_to_json(settings),
    }


def environment(device: str) -> dict[str, Any]:
    """Return hardware and versions."""
    return {
        "hardware": hardware_text(device),
        "device": device,
        "processes": world_size(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "mmocnet": __version__,
        "finished": time.strftime("%Y-%m-%d", time.gmtime()),
    }
