"""From a volume in any orientation to slices on the working grid, and back.

Working arrays are (S, R, C). S is the slice axis of the scan, in its own number of slices. R and C
are the other two axes in the order left-right, back-front, inferior-superior: axial slices have R
left-right and C back-front, coronal ones left-right and inferior-superior, sagittal ones back-front
and inferior-superior. Every axis grows towards right, anterior or superior.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.errors import InputError
from mmocnet.prepare.sampling import Order, resample_planes, resampling_matrix, sample_positions
from mmocnet.types import FloatArray, IntTriple, Mask3D
from mmocnet.volume import Volume

SAME_SPACING = 1.05
"""Voxel sizes within this ratio of each other are the same: such a volume is isotropic."""

PAD_MULTIPLE = 32
"""Sides of a working slice are a multiple of it, so that stage 1 can halve them five times."""

BRAIN_MARGIN_MM = 8.0
"""Kept around the brain's box, so that a lesion at its edge has surroundings."""


def world_axes(affine: FloatArray) -> tuple[IntTriple, tuple[bool, bool, bool]]:
    """Return which world axis each voxel axis is nearest to, and whether it runs against it.

    Args:
        affine: Shape (4, 4), voxel to RAS+ mm; oblique is allowed.

    Returns:
        For each voxel axis 0 (left-right), 1 (back-front) or 2 (inferior-superior), each once;
        and True where the index grows towards left, posterior or inferior.

    >>> world_axes(np.diag([-1.0, 1.0, 2.0, 1.0]))
    ((0, 1, 2), (True, False, False))
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(
        itertools.permutations(range(3)),
        key=lambda order: sum(abs(directions[world, axis]) for axis, world in enumerate(order)),
    )
    i, j, k = (bool(directions[world, axis] < 0) for axis, world in enumerate(best))
    return (best[0], best[1], best[2]), (i, j, k)


SIDES = (("R", "L"), ("A", "P"), ("S", "I"))
"""Ends of each world axis, the one shown left or on top first."""
Display = tuple[tuple[int, int], tuple[int, int]]
"""Voxel axes that run down and across a slice on a screen, and the step along each."""


def display_axes(affine: FloatArray, through: int) -> Display:
    """Return how a slice is turned for display: front or head up, the patient's right on the left.

    A sagittal slice has its front on the left.

    Args:
        affine: Shape (4, 4), voxel to RAS+ mm; oblique is allowed.
        through: Voxel axis across which slices are cut.

    >>> display_axes(np.diag([-1.0, 1.0, 2.0, 1.0]), 2)
    ((1, 0), (-1, 1))
    """
    nearest, against = world_axes(affine)
    across, down = sorted((axis for axis in range(3) if axis != through), key=nearest.__getitem__)
    # Both run from right, front or head, so against the world axis.
    return (down, across), (1 if against[down] else -1, 1 if against[across] else -1)


def side_letters(affine: FloatArray, through: int) -> tuple[str, str, str, str]:
    """Return the sides of a slice turned so, of left, right, top and bottom.

    >>> side_letters(np.eye(4), 2)
    ('R', 'L', 'A', 'P')
    """
    nearest, _ = world_axes(affine)
    (down, across), _ = display_axes(affine, through)
    return (*SIDES[nearest[across]], *SIDES[nearest[down]])


def slice_axis(volume: Volume) -> int:
    """Return the voxel axis across which slices are cut.

    It is the axis with one voxel, if there is one; else the axis of the thickest voxels; among
    axes of the same thickness (within 5 %) the one nearest inferior-superior.
    """
    single = [axis for axis, count in enumerate(volume.shape) if count == 1]
    if len(single) == 1:
        return single[0]
    thickest = max(volume.spacing_mm) / SAME_SPACING
    candidates = [axis for axis in range(3) if volume.spacing_mm[axis] >= thickest]
    nearest, _ = world_axes(volume.affine)
    return max(candidates, key=lambda axis: nearest[axis])


@dataclass(frozen=True)
class WorkingGrid:
    """The map between an input grid and working slices.

    The map keeps mm: pixel r of a working slice is centred at (r + start + 0.5) * pixel_mm from
    the edge of the first voxel, as voxel x is at (x + 0.5) * spacing_mm.

    Attributes:
        input_shape: (I, J, K) of the input.
        axes: Input axes of S, R and C.
        flips: Whether S, R and C run against their input axes.
        spacing_mm: Input voxel along R and C.
        pixel_mm: Working pixel along R and C.
        start: Working index of the first row and column that are kept; negative where padded.
        size: Rows and columns.
        thickness_mm: Distance of slices.
        axial: Whether slices are axial, or nearer to that than to coronal or sagittal ones.
    """

    input_shape: IntTriple
    axes: IntTriple
    flips: tuple[bool, bool, bool]
    spacing_mm: tuple[float, float]
    pixel_mm: tuple[float, float]
    start: tuple[int, int]
    size: tuple[int, int]
    thickness_mm: float
    axial: bool

    @property
    def shape(self) -> IntTriple:
        """Shape (S, R, C) of a working array."""
        return self.input_shape[self.axes[0]], *self.size

    def to_working(self, array: NDArray[Any], order: Order = 1) -> NDArray[np.float32]:
        """Resample an array on the input grid to working slices.

        Args:
            array: Shape `input_shape`.
            order: 0 nearest, 1 linear, 3 cubic. Coarser pixels are anti-aliased but for 0.

        Returns:
            Shape (S, R, C); 0 outside the input. Cubic may overshoot.

        Raises:
            InputError: If the shape differs.
        """
        if array.shape != self.input_shape:
            raise InputError(f"expected shape {self.input_shape}, got {array.shape}")
        turned = self._flip(np.transpose(array, self.axes))
        rows, cols = (
            resampling_matrix(
                sample_positions(self.size[a], self.start[a], self.pixel_mm[a], self.spacing_mm[a]),
                turned.shape[1 + a],
                order,
                widen=self.pixel_mm[a] / self.spacing_mm[a],
            )
            for a in range(2)
        )
        return resample_planes(rows, turned, cols)

    def to_input(self, array: NDArray[Any], order: Order = 1) -> NDArray[np.float32]:
        """Resample working slices to the input grid.

        Args:
            array: Shape (S, R, C).
            order: 0 nearest, 1 linear, 3 cubic; never anti-aliased, so that the probability of
                a small lesion keeps its height.

        Returns:
            Shape `input_shape`; 0 where no working pixel lies.

        Raises:
            InputError: If the shape differs.
        """
        if array.shape != self.shape:
            raise InputError(f"expected shape {self.shape}, got {array.shape}")
        rows, cols = (
            resampling_matrix(
                sample_positions(
                    self.input_shape[self.axes[1 + a]], 0, self.spacing_mm[a], self.pixel_mm[a]
                )
                - self.start[a],
                self.size[a],
                order,
            )
            for a in range(2)
        )
        back = self._flip(resample_planes(rows, array, cols))
        return np.ascontiguousarray(np.transpose(back, np.argsort(self.axes)))

    def to_voxel(self, points: FloatArray) -> FloatArray:
        """Return input voxel coordinates of working coordinates (s, r, c), both (..., 3)."""
        turned = np.array(points, dtype=np.float64)
        for a in range(2):
            scale = self.pixel_mm[a] / self.spacing_mm[a]
            turned[..., 1 + a] = (turned[..., 1 + a] + self.start[a] + 0.5) * scale - 0.5
        for a, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            if flip:
                turned[..., a] = self.input_shape[axis] - 1 - turned[..., a]
        return np.asarray(turned[..., np.argsort(self.axes)])

    def _flip(self, array: NDArray[Any]) -> NDArray[Any]:
        return array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]


def working_grid(
    volume: Volume,
    pixel_mm: float | None,
    input_shape: tuple[int, int] = (352, 448),
    brain: Mask3D | None = None,
) -> WorkingGrid:
    """Return the working grid of a volume.

    Args:
        volume: The scan; only its geometry is used.
        pixel_mm: In-plane pixel; None scales the whole slice to `input_shape`.
        input_shape: Rows and columns where `pixel_mm` is None.
        brain: Shape (I, J, K); where given, and `pixel_mm` too, slices are cut to the brain's
            box with a margin of `BRAIN_MARGIN_MM`.

    Raises:
        InputError: If `pixel_mm` is not positive.
    """
    if pixel_mm is not None and not pixel_mm > 0:
        raise InputError(f"pixel_mm must be positive, got {pixel_mm}")
    axes, flips = _orientation(volume)
    counts = [volume.shape[axis] for axis in axes[1:]]
    spacing_mm = [volume.spacing_mm[axis] for axis in axes[1:]]
    if pixel_mm is None:
        scaled = [
            n * mm / side for n, mm, side in zip(counts, spacing_mm, input_shape, strict=True)
        ]
        parts = [(0, side) for side in input_shape]
    else:
        scaled = [pixel_mm, pixel_mm]
        parts = []
        for a in range(2):
            first, last = _kept(brain, axes[1 + a], flips[1 + a], volume)
            parts.append(_padded(first * spacing_mm[a], last * spacing_mm[a], pixel_mm))
    return WorkingGrid(
        input_shape=volume.shape,
        axes=axes,
        flips=flips,
        spacing_mm=(spacing_mm[0], spacing_mm[1]),
        pixel_mm=(scaled[0], scaled[1]),
        start=(parts[0][0], parts[1][0]),
        size=(parts[0][1], parts[1][1]),
        thickness_mm=volume.spacing_mm[axes[0]],
        axial=world_axes(volume.affine)[0][axes[0]] == 2,
    )


def _orientation(volume: Volume) -> tuple[IntTriple, tuple[bool, bool, bool]]:
    nearest, against = world_axes(volume.affine)
    across = slice_axis(volume)
    first, second = sorted((a for a in range(3) if a != across), key=lambda a: nearest[a])
    return (across, first, second), (against[across], against[first], against[second])


def _kept(brain: Mask3D | None, axis: int, flip: bool, volume: Volume) -> tuple[float, float]:
    """Return the edges, in voxels along a working axis, of the brain with its margin, or of all."""
    count = volume.shape[axis]
    if brain is None or not brain.any():
        return 0.0, float(count)
    others = tuple(a for a in range(3) if a != axis)
    found = np.flatnonzero(brain.any(axis=others))
    margin = BRAIN_MARGIN_MM / volume.spacing_mm[axis]
    first, last = found[0] - margin, found[-1] + 1 + margin
    return (count - last, count - first) if flip else (first, last)


def _padded(first_mm: float, last_mm: float, pixel_mm: float) -> tuple[int, int]:
    """Return start and size in pixels of a range, padded evenly."""
    start = int(np.floor(first_mm / pixel_mm))
    # Rounding keeps 63.999999 and 64 pixels the same.
    stop = int(np.ceil(np.round(last_mm / pixel_mm, 6)))
    size = -(-(stop - start) // PAD_MULTIPLE) * PAD_MULTIPLE
    return start - (size - (stop - start)) // 2, size
