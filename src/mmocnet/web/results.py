"""What a segmentation and an import left for the web process: small texts and mapped arrays."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.errors import InputError
from mmocnet.review.candidates import MachineResult, read_candidates
from mmocnet.review.finding import Grid
from mmocnet.types import FloatArray
from mmocnet.web.problems import DamagedError
from mmocnet.web.room import Room
from mmocnet.web.views import open_view

ABOUT = "about.json"
PROBABILITY = "probability.npy"


def read_about(view: Path) -> dict[str, Any] | None:
    """Return what the import found out about a study; None where it left nothing to be read."""
    try:
        about = json.loads((view / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None


def read_result(room: Room, study: str, result: str) -> MachineResult:
    """Return a result.

    Raises:
        DamagedError: If it is missing or damaged.
    """
    try:
        return read_candidates(room.result(study, result))
    except InputError as error:
        raise DamagedError("the result is missing or damaged: run the study again") from error


def open_image(room: Room, study: str, grid: Grid) -> NDArray[np.int16]:
    """Return the display copy's voxels, mapped and not read.

    Raises:
        DamagedError: If it is missing, damaged, or of another grid.
    """
    try:
        return open_view(room.view(study) / "image.nii", grid.shape)
    except (OSError, InputError) as error:
        raise DamagedError(
            "the image on the page is missing, damaged or not the one that was segmented: run the "
            "study again"
        ) from error


def open_probability(room: Room, study: str, result: str, grid: Grid) -> NDArray[np.float16]:
    """Return a result's probability, mapped and not read.

    Raises:
        DamagedError: If it is missing, damaged, or of another grid.
    """
    path = room.result(study, result) / PROBABILITY
    try:
        array: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DamagedError(
            "the probability of the result is missing or damaged: run the study again"
        ) from error
    if array.shape != grid.shape:
        raise DamagedError("the probability of the result has another grid: run the study again")
    return array


def view_is_whole(view: Path, about: dict[str, Any]) -> bool:
    """Return whether the display copies are there as the import wrote them."""
    names = ["image.nii", *(["phase.nii"] if about.get("has_phase") else [])]
    try:
        i, j, k = about["shape"]
        for name in names:
            open_view(view / name, (i, j, k))
    except (OSError, InputError, KeyError, ValueError, TypeError):
        return False
    return True


def result_is_whole(room: Room, study: str, result: str, about: dict[str, Any]) -> bool:
    """Return whether all of a result that readers need is there, and it is of the scan shown."""
    try:
        machine = read_result(room, study, result)
        open_probability(room, study, result, machine.grid)
    except DamagedError:
        return False
    grid = machine.grid
    return is_shown(about, grid.shape, grid.affine, machine.provenance)


def is_shown(
    about: dict[str, Any],
    shape: tuple[int, ...],
    affine: FloatArray,
    provenance: dict[str, Any],
) -> bool:
    """Return whether a result is of the scan that the import read: its content and its grid."""
    content = provenance["Input"]["SHA256"]
    return (
        list(shape) == about["shape"]
        and np.allclose(affine, about["affine"])
        # Imports of earlier versions did not tell.
        and about.get("sha256", content) == content
    )


def to_disk(folder: Path) -> None:
    """Have all files of a folder on the disk, so that a crash leaves none of them cut short."""
    for path in (*folder.rglob("*"), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
