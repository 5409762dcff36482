"""A volume: an array and where it lies in the world."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.errors import InputError
from mmocnet.types import FloatArray, IntTriple, Triple

GRID_TOLERANCE = 0.05
"""Of the smallest voxel side: as far as corners move where tools round a side to four decimals."""


@dataclass(frozen=True)
class Volume:
    """A 3D array with its geometry.

    Attributes:
        array: Shape (I, J, K); any dtype of real numbers. A slice has one voxel along its slice
            axis.
        affine: Shape (4, 4), voxel index to world RAS+ mm.
        name: What errors call it: a file's name without its folder, never a patient's.

    Raises:
        InputError: If the array has another number of dimensions or no real numbers, or the
            affine cannot be one.
    """

    array: NDArray[Any]
    affine: FloatArray
    name: str = "volume"

    def __post_init__(self) -> None:
        # Lists, and arrays of other libraries.
        for name in ("array", "affine"):
            object.__setattr__(self, name, np.asarray(getattr(self, name)))
        if self.array.dtype.kind not in "biuf":
            raise InputError(f"expected real numbers, got {self.array.dtype} in {self.name}")
        if self.array.ndim != 3:
            raise InputError(f"expected 3 dimensions, got shape {self.array.shape} in {self.name}")
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise InputError(f"affine must be 4 x 4 and finite in {self.name}")
        if abs(np.linalg.det(self.affine[:3, :3])) < 1e-9:
            raise InputError(f"affine must be invertible, got determinant 0 in {self.name}")

    @property
    def shape(self) -> IntTriple:
        """Number of voxels along each axis."""
        i, j, k = self.array.shape
        return i, j, k

    @property
    def spacing_mm(self) -> Triple:
        """Voxel size along each axis in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in mm3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def like(self, array: NDArray[Any], name: str | None = None) -> "Volume":
        """Return another array on this volume's grid.

        Raises:
            InputError: If the shapes differ.
        """
        if array.shape != self.array.shape:
            raise InputError(
                f"expected shape {self.array.shape} as in {self.name}, got {array.shape}"
            )
        return Volume(array, self.affine, self.name if name is None else name)

    def world(self, voxel: FloatArray) -> FloatArray:
        """Return world mm of voxel coordinates, both of shape (..., 3)."""
        return np.asarray(voxel @ self.affine[:3, :3].T + self.affine[:3, 3])

    def voxel(self, world_mm: FloatArray) -> FloatArray:
        """Return voxel coordinates of world mm, both of shape (..., 3)."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(world_mm @ inverse[:3, :3].T + inverse[:3, 3])


def on_grid(volume: Volume, scan: Volume, wanted: str) -> Volume:
    """Return a volume on a scan's grid: axes that run the other way are turned.

    Args:
        volume: What is to lie there.
        scan: What it is to lie on.
        wanted: What it is to be, in words for the error.

    Raises:
        InputError: If no turn brings it there, as `check_grid` says.
    """
    against = np.sum(volume.affine[:3, :3] * scan.affine[:3, :3], axis=0) < 0
    axes = tuple(int(axis) for axis in np.flatnonzero(against))
    flip = np.eye(4)
    for axis in axes:
        flip[axis, axis], flip[axis, 3] = -1, volume.shape[axis] - 1
    array = np.ascontiguousarray(np.flip(volume.array, axes))
    turned = Volume(array, volume.affine @ flip, volume.name)
    check_grid(turned, scan, wanted)
    return turned


def check_grid(volume: Volume, scan: Volume, wanted: str) -> None:
    """Refuse what does not lie on a scan's grid.

    Corners are compared and not affines: a small turn moves the far corner by millimetres.

    Args:
        volume: What is to lie there.
        scan: What it is to lie on.
        wanted: What it is to be, in words for the error.

    Raises:
        InputError: If the shapes differ, or a corner voxel lies over `GRID_TOLERANCE` off along
            an axis of the world.
    """
    if volume.shape != scan.shape:
        raise InputError(
            f"expected {wanted} on the grid of {scan.name}, {scan.shape}, "
            f"got {volume.shape} in {volume.name}"
        )
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in scan.shape])).reshape(3, -1).T
    apart_mm = float(np.abs(volume.world(corners) - scan.world(corners)).max())
    if apart_mm > GRID_TOLERANCE * min(scan.spacing_mm):
        raise InputError(
            f"expected {wanted} on the grid of {scan.name}, got another affine, "
            f"corners {apart_mm:.3g} mm apart, in {volume.name}"
        )
