"""Planes across a scan's slices: what a person who looks at single images may show a model."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.config import PreparationSettings
from mmocnet.prepare.geometry import WorkingGrid, slice_axis
from mmocnet.prepare.slices import PreparedSlices, prepare_slices
from mmocnet.types import Mask3D
from mmocnet.volume import Volume

ACROSS_PLANES = 6, 2
"""Of each direction: planes with a lesion, as long there as slices are thick, and without."""


@dataclass(frozen=True)
class PlaneAcross:
    """A plane prepared as a scan of one slice.

    Attributes:
        axis: Voxel axis of the scan that it is perpendicular to.
        index: Of its voxels along that axis.
        slices: The plane on its working grid, S = 1.
        labels: Lesions, shape (1, R, C), numbered as the scan's.
    """

    axis: int
    index: int
    slices: PreparedSlices
    labels: NDArray[np.int64]


def planes_across(
    volume: Volume, brain: Mask3D, reference: NDArray[np.int64], settings: PreparationSettings
) -> Iterator[PlaneAcross]:
    """Yield planes across a scan's slices, most of them through the middle of a lesion.

    A scan of one slice has none.

    Args:
        volume: The scan.
        brain: Its brain mask, shape (I, J, K).
        reference: Its lesions, same shape, numbered.
        settings: Preparation of each plane.
    """
    through = slice_axis(volume)
    if volume.shape[through] == 1:
        return
    for axis in sorted({0, 1, 2} - {through}):
        labels, inside = np.moveaxis(reference, axis, 0), np.moveaxis(brain, axis, 0)
        for k in chosen_planes(labels, inside, ACROSS_PLANES):
            image, mask, lesions = (
                array.take([k], axis) for array in (volume.array, brain, reference)
            )
            cut = Volume(image, volume.affine, volume.name)
            plane = prepare_slices(cut, settings, mask)
            yield PlaneAcross(axis, k, plane, placed(lesions, plane.grid))


def placed(labels: NDArray[np.int64], grid: WorkingGrid) -> NDArray[np.int64]:
    """Return numbered lesions on a working grid."""
    return np.rint(grid.to_working(labels, order=0)).astype(np.int64)


def chosen_planes(
    labels: NDArray[np.int64], brain: NDArray[np.bool_], counts: tuple[int, int]
) -> list[int]:
    """Return evenly spread planes along the first axis.

    Args:
        labels: Numbered lesions.
        brain: Same shape.
        counts: Of planes through the middle of a lesion, and of planes without any.
    """
    numbers = np.setdiff1d(labels, 0)
    middles = ndimage.center_of_mass(labels > 0, labels, numbers)
    area = brain.sum(axis=(1, 2))
    free = (area > 0.5 * area.max()) & ~(labels > 0).any(axis=(1, 2))
    chosen: list[int] = []
    through = np.unique([round(middle[0]) for middle in middles]).astype(int)
    for places, count in zip((through, np.flatnonzero(free)), counts, strict=True):
        at = np.unique(np.linspace(0, len(places) - 1, count).round().astype(int))
        chosen += places[at].tolist() if len(places) else []
    return chosen
