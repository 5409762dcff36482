"""Sizes and places of outlined lesions, on the grid of the scan.

A voxel counts with its whole volume. For the largest diameter it reaches half of the smallest
voxel side beyond its centre, along every axis: on isotropic voxels that is its faces, so that a
digitised ball measures its true diameter, and on thick slices it keeps the slice's thickness,
which is not the lesion's, from making a small lesion long. Three slices of 5 mm are 10 mm from
middle to middle all the same, and a lesion of 5 mm can reach into all of them: what is sure of its
diameter takes it to end as early as it may in its outermost slices.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Num
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from mmocnet.types import Affine, FloatArray, IntTriple, Triple


@dataclass(frozen=True)
class Measurement:
    """Where one labelled object is and how large.

    Attributes:
        centre_mm: Centroid of its voxels, world RAS+ mm.
        centre_voxel: Voxel of the grid nearest the centroid.
        volume_mm3: Voxels times the volume of one.
        diameter_mm: Largest Feret diameter.
        sure_diameter_mm: What is sure of it; it decides whether a haemorrhage is over 10 mm.
        diameter_eq_mm: Diameter of the sphere of the same volume; on a single slice, of the
            disc of the same area.
    """

    centre_mm: Triple
    centre_voxel: IntTriple
    volume_mm3: float
    diameter_mm: float
    sure_diameter_mm: float
    diameter_eq_mm: float


def measure(labels: Int[np.ndarray, "i j k"], affine: Affine) -> dict[int, Measurement]:
    """Return the measurements of every label above 0.

    Args:
        labels: Shape (I, J, K); an axis of length 1 makes it a slice, measured in its plane.
        affine: Shape (4, 4), voxel to world mm, oblique or sheared or not.

    >>> one = np.zeros((5, 5, 5), int); one[2, 2, 1:4] = 7
    >>> found = measure(one, np.diag([1.0, 1.0, 2.0, 1.0]))[7]
    >>> found.centre_mm, found.volume_mm3, found.diameter_mm
    ((2.0, 2.0, 4.0), 6.0, 5.0)
    """
    found = {}
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        voxels = np.argwhere(labels[box] == number) + [part.start for part in box]
        found[number] = measure_voxels(voxels, affine, labels.shape)
    return found


def measure_voxels(
    voxels: NDArray[np.intp], affine: FloatArray, shape: tuple[int, ...]
) -> Measurement:
    """Return the measurements of one set of voxels; nothing of the grid's size is made.

    Args:
        voxels: Indices on the grid, shape (N, 3), N at least 1.
        affine: Shape (4, 4), voxel to world mm.
        shape: Of the grid; an axis of length 1 makes it a slice, measured in its plane.
    """
    columns = affine[:3, :3]
    centre = voxels.mean(axis=0)
    x, y, z = (columns @ centre + affine[:3, 3]).tolist()
    i, j, k = np.rint(centre).astype(int).tolist()
    volume = len(voxels) * float(abs(np.linalg.det(columns)))
    plane = [axis for axis in range(3) if shape[axis] > 1]
    if len(plane) == 2:
        area = float(np.linalg.norm(np.cross(columns[:, plane[0]], columns[:, plane[1]])))
        equivalent = 2 * math.sqrt(len(voxels) * area / math.pi)
    else:
        equivalent = 2 * (3 * volume / (4 * math.pi)) ** (1 / 3)
    inside, steps = voxels[:, plane], columns[:, plane]
    return Measurement(
        centre_mm=(x, y, z),
        centre_voxel=(i, j, k),
        volume_mm3=volume,
        diameter_mm=feret_diameter_mm(inside, steps),
        sure_diameter_mm=feret_diameter_mm(_ended_early(inside, steps), steps),
        diameter_eq_mm=equivalent,
    )


def _ended_early(voxels: NDArray[np.intp], columns: FloatArray) -> FloatArray:
    """Return voxels nearer together along the thickest axis, by what is not sure of their slices.

    That is a slice less a smallest voxel side; on isotropic voxels and single slices it is nothing.
    """
    side = np.linalg.norm(columns, axis=0)
    across, smallest = int(np.argmax(side)), side.min()
    nearer, slices = voxels.astype(np.float64), np.ptp(voxels[:, across])
    if slices > 0:
        nearer[:, across] *= 1 - (side[across] - smallest) / (slices * side[across])
    return nearer


def feret_diameter_mm(voxels: Num[np.ndarray, "n p"], columns: Float[np.ndarray, "3 p"]) -> float:
    """Return the largest distance between two points of a set of voxels.

    Each voxel is taken as its centre plus and minus half of the smallest voxel side along
    each of its axes (see the module's text).

    Args:
        voxels: Indices, shape (N, 3) for a volume, (N, 2) for a slice.
        columns: World mm of one step along each axis, shape (3, 3), or (3, 2) for a slice.
    """
    side = np.linalg.norm(columns, axis=0)
    reach = columns * (side.min() / 2 / side)
    centres = voxels @ columns.T
    points = np.concatenate([centres + way * step for step in reach.T for way in (-1, 1)])
    if columns.shape[1] == 2:
        # Coordinates inside the plane: a hull needs points that fill its space.
        points = points @ np.linalg.qr(columns)[0]
    hull = points[ConvexHull(points).vertices]
    return float(np.linalg.norm(hull[:, None] - hull[None], axis=-1).max())
