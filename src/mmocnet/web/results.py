"""What a segmentation and an import left for the web process: small texts and mapped arrays."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.review.finding import Grid
from mmocnet.web.problems import NotFoundError
from mmocnet.web.room import Room
from mmocnet.web.views import open_view

ABOUT = "about.json"
PROBABILITY = "probability.npy"


def read_about(room: Room, study: str) -> dict[str, Any]:
    """Return what the import found out about a study.

    Raises:
        NotFoundError: If it has not been imported.
    """
    try:
        text = (room.view(study) / ABOUT).read_text(encoding="utf-8")
    except OSError as error:
        raise NotFoundError("the study has not been read yet") from error
    about: dict[str, Any] = json.loads(text)
    return about


def open_image(room: Room, study: str, grid: Grid) -> NDArray[np.int16]:
    """Return the display copy's voxels, mapped and not read."""
    return open_view(room.view(study) / "image.nii", grid.shape)


def open_probability(room: Room, study: str, result: str) -> NDArray[np.float16]:
    """Return a result's probability, mapped and not read."""
    path = room.result(study, result) / PROBABILITY
    array: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
