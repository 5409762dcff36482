"""Where candidates lie in the brain of their own slice: any scan has that, if only of one slice.

Mineral lies in and beside the basal ganglia, vessels at the surface, microbleeds anywhere. The
brain's size in the slice says at which level the slice is.
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from mmocnet.nets.classifier import PLACE_CHANNELS

DEPTH_SCALE_MM = 40.0
"""Depth below the brain's edge that is 1."""
SIDE_SCALE_MM = 60.0
"""Distance from the midline that is 1."""
FRONT_SCALE_MM = 80.0
"""Distance in front of the brain's middle that is 1; behind it is negative."""
AREA_SCALE_MM2 = 16_000.0
"""Area of the brain in the slice that is 1."""


def places(
    brain: Bool[np.ndarray, "s r c"], centres: NDArray[np.intp], pixel_mm: tuple[float, float]
) -> Float[np.ndarray, "n 4"]:
    """Return where each candidate lies in its slice, each number scaled to about -1 .. 1.

    The midline is the row through the middle of the brain in the slice, holes filled.

    Args:
        brain: Of axial slices, rows left-right, columns back-front.
        centres: Slice, row, column of each, shape (N, 3).
        pixel_mm: Side of a pixel along rows and columns.

    Returns:
        Depth, distance from the midline whatever the side, distance in front of the brain's
        middle, and size of the brain; 0 throughout where the slice has no brain.
    """
    found = np.zeros((len(centres), PLACE_CHANNELS), np.float32)
    for number in np.unique(centres[:, 0]):
        rows = np.flatnonzero(centres[:, 0] == number)
        # A frame around it: the brain ends where the scan does.
        plane = np.pad(ndimage.binary_fill_holes(brain[number]), 1)
        if plane.any():
            found[rows] = _in_slice(plane, centres[rows, 1:] + 1, np.array(pixel_mm))
    return found


def _in_slice(
    plane: NDArray[np.bool_], at: NDArray[np.intp], pixel_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the four numbers of places (N, 2) in a slice that has a brain."""
    edge = np.argwhere(ndimage.binary_dilation(plane) & ~plane)
    away, _ = KDTree(edge * pixel_mm).query(at * pixel_mm)
    depth = np.where(plane[at[:, 0], at[:, 1]], away, 0.0)
    middle = np.argwhere(plane).mean(axis=0)
    side, front = ((at - middle) * pixel_mm).T
    area = np.full(len(at), plane.sum() * pixel_mm.prod())
    return np.stack(
        [
            depth / DEPTH_SCALE_MM,
            np.abs(side) / SIDE_SCALE_MM,
            front / FRONT_SCALE_MM,
            area / AREA_SCALE_MM2,
        ],
        axis=1,
    )
