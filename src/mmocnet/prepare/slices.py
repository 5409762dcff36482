"""From a scan and its brain to the slices that stage 1 reads."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.config import PreparationSettings
from mmocnet.errors import InputError
from mmocnet.prepare.geometry import WorkingGrid, working_grid
from mmocnet.prepare.intensity import normalise
from mmocnet.types import Mask3D
from mmocnet.volume import Volume


@dataclass(frozen=True)
class PreparedSlices:
    """What the networks read.

    Attributes:
        array: Shape (S, R, C), float32, 0..1.
        brain: Shape (S, R, C), bool; all True inside the scan where no brain was given.
        shown: The brain with its margin, same shape: where microbleeds are looked for.
        grid: The way back to the input.
    """

    array: NDArray[np.float32]
    brain: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    grid: WorkingGrid


def prepare_slices(
    volume: Volume, settings: PreparationSettings, brain: Mask3D | None
) -> PreparedSlices:
    """Return a scan as normalised slices on the working grid.

    Args:
        volume: The scan.
        settings: Grid and normalisation. "minmax" scales each slice by itself, as the article's
            images are slices; "median" scales the whole volume.
        brain: Shape (I, J, K); None where it is unknown: nothing is cut or stripped then.

    Raises:
        InputError: If the brain has another shape or no positive median.
    """
    if brain is not None and brain.shape != volume.shape:
        raise InputError(
            f"expected a brain mask of shape {volume.shape} as {volume.name}, got {brain.shape}"
        )
    grid = working_grid(volume, settings.pixel_mm, settings.input_shape, brain)
    source = np.asarray(volume.array, dtype=np.float32)
    inside = np.ones(volume.shape, dtype=bool) if brain is None else brain
    working_brain = grid.to_working(inside, order=1) >= 0.5
    shown = _widened(working_brain, settings.margin_mm, grid.pixel_mm)
    if settings.normalisation == "median":
        source = normalise(source, brain, "median", volume.name)
    array = grid.to_working(source, order=3)
    if settings.strip_skull:
        array[~shown] = 0.0
    if settings.normalisation == "minmax":
        array = np.concatenate([normalise(plane[None], None, "minmax") for plane in array])
    return PreparedSlices(np.clip(array, 0.0, 1.0), working_brain, shown, grid)


def _widened(
    brain: NDArray[np.bool_], margin_mm: float, pixel_mm: tuple[float, float]
) -> NDArray[np.bool_]:
    """Return a mask (S, R, C) that reaches further along the rows and columns of its slices."""
    wide = brain
    for axis, side in enumerate(pixel_mm, start=1):
        reach = round(margin_mm / side)
        if reach:
            wide = ndimage.maximum_filter1d(wide, 2 * reach + 1, axis=axis, mode="constant")
    return wide
