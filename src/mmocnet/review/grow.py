"""A microbleed that the machine missed, outlined from one click.

Where the networks left a probability there, its component is the outline, from half of its
local peak. Else the outline is what is darker than half-way from the local background to the
darkest voxel near the click, and hangs together. Either way it stays within 5 mm of its darkest or
most probable voxel, as a microbleed is at most 10 mm wide, and out of all other findings.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.review.finding import Grid, Voxels
from mmocnet.types import FloatArray, IntTriple

SEARCH_MM = 2.0
"""How far from the click the darkest or most probable voxel is looked for."""
RADIUS_MM = 5.0
"""How far from there the outline may reach: a microbleed is at most 10 mm wide."""
BACKGROUND_MM = 10.0
"""How far around the click the local background is measured."""
FLOOR = 0.05
"""Probability below which the networks have said nothing."""
HALF = 0.5
"""Share of the depth or of the peak from which a voxel belongs to it."""
SHARES = (0.5, 0.6, 0.7, 0.8)
"""Share of the depth that is tried next where the outline would flow out into a vein or sulcus."""
MIN_NOISE = 4.0
"""A place is dark where it lies so many standard deviations of the noise below the background.."""
MIN_DEPTH = 0.25
""".. and by this share of the background's brightness."""
SD_OF_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
NEIGHBOURS = np.ones((3, 3, 3))

How = Literal["probability", "growing"]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Grown:
    """An outline and how it came about.

    Attributes:
        voxels: Flat indices.
        how: From the networks' probability or from the image.
    """

    voxels: Voxels
    how: How


@dataclass(frozen=True)
class _Box:
    """The surroundings of a click.

    Attributes:
        part: Where they lie in the grid.
        image: Intensities, float32, shape (A, B, C).
        free: Whether a voxel is held by no finding.
        places_mm: Of each voxel from the click, shape (A, B, C, 3).
        radius_mm: How far centres of voxels may lie from the middle, so that the outline with
            the corners of its voxels is no wider than 10 mm.
    """

    part: tuple[slice, slice, slice]
    image: FloatArray
    free: Mask
    places_mm: FloatArray
    radius_mm: float

    def within(self, at: NDArray[np.intp]) -> Mask:
        """Return which voxels may belong to an outline with this middle; itself always."""
        offset = self.places_mm - self.places_mm[tuple(at)]
        near: Mask = (offset**2).sum(axis=-1) <= max(self.radius_mm, 0.0) ** 2
        return near


def add_at(
    image: NDArray[Any],
    probability: NDArray[Any] | None,
    grid: Grid,
    seed: IntTriple,
    taken: Voxels | Iterable[int],
) -> Grown:
    """Outline what is dark at a click.

    Args:
        image: Intensities, shape (I, J, K); may be mapped from a file: only a box is read.
        probability: Of the networks, same shape; None where it is not to be used, as in a blind
            reading.
        grid: Of both.
        seed: Voxel that was clicked.
        taken: Flat indices of the voxels that other findings hold.

    Returns:
        At least one voxel; never one of `taken`.

    Raises:
        InputError: If the click is outside the grid or in another finding, or nothing is dark
            there.
    """
    if tuple(image.shape) != grid.shape:
        raise InputError(f"expected an image of {grid.shape}, got {tuple(image.shape)}")
    inside = len(seed) == 3 and all(0 <= at < n for at, n in zip(seed, grid.shape, strict=True))
    if not inside:
        raise InputError(f"expected a voxel inside the grid of {grid.shape}, got {tuple(seed)}")
    box = _box(image, grid, seed, taken)
    start = np.array([part.start for part in box.part])
    if not box.free[tuple(np.array(seed) - start)]:
        raise InputError("another finding is there already")
    found = None if probability is None else _from_probability(box, probability[box.part])
    how: How = "growing" if found is None else "probability"
    mask = _from_image(box) if found is None else found
    return Grown(grid.flat(np.argwhere(mask) + start), how)


def _box(image: NDArray[Any], grid: Grid, seed: IntTriple, taken: Voxels | Iterable[int]) -> _Box:
    # Of an oblique grid the box is a little too small, not too large: spheres are cut by its faces.
    reach = [int(np.ceil(BACKGROUND_MM / side)) for side in grid.spacing_mm]
    bounds = [
        (max(0, at - far), min(n, at + far + 1))
        for at, far, n in zip(seed, reach, grid.shape, strict=True)
    ]
    i, j, k = (slice(low, high) for low, high in bounds)
    index = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in bounds), indexing="ij"), axis=-1)
    flat = np.ravel_multi_index(tuple(np.moveaxis(index, -1, 0)), grid.shape)
    held = taken if isinstance(taken, np.ndarray) else np.fromiter(taken, np.int64)
    return _Box(
        part=(i, j, k),
        image=np.array(image[i, j, k], np.float32),
        free=~np.isin(flat, held),
        places_mm=(index - np.array(seed)) @ grid.affine[:3, :3].T,
        radius_mm=RADIUS_MM - math.sqrt(3) * min(grid.spacing_mm) / 2,
    )


def _near(box: _Box) -> Mask:
    """Return the free voxels in which the middle of what was clicked is looked for."""
    distance = np.sqrt((box.places_mm**2).sum(axis=-1))
    # The voxel that was clicked, however large voxels are.
    near: Mask = (distance <= max(SEARCH_MM, float(distance.min()))) & box.free
    return near


def _from_probability(box: _Box, probability: NDArray[Any]) -> Mask | None:
    values = np.where(_near(box), np.asarray(probability, np.float32), -1.0)
    at = np.array(np.unravel_index(int(values.argmax()), values.shape))
    peak = float(values[tuple(at)])
    if not peak >= FLOOR:
        return None
    return _component(box, np.asarray(probability, np.float32) >= HALF * peak, at)


def _from_image(box: _Box) -> Mask:
    level, noise = _background(box)
    values = np.where(_near(box), box.image, np.inf)
    at = np.array(np.unravel_index(int(values.argmin()), values.shape))
    depth = level - float(values[tuple(at)])
    if not depth > max(MIN_NOISE * noise, MIN_DEPTH * abs(level)):
        raise InputError("nothing dark is there: click on a dark spot, or draw it")
    for share in SHARES:
        mask = box.image <= level - share * depth
        own = _component(box, mask, at)
        if not _leaks(box, mask, own, at):
            break
    return own


def _background(box: _Box) -> tuple[float, float]:
    """Return brightness and noise of the tissue around.

    Neither air nor cerebrospinal fluid nor veins count as tissue: it is what has at least half of
    the brightness that one voxel in ten exceeds. The noise is taken from steps between
    neighbours, of which most lie within one tissue.
    """
    around = (box.places_mm**2).sum(axis=-1) <= BACKGROUND_MM**2
    values = box.image[around & box.free]
    bright = float(np.percentile(values, 90))
    level = float(np.median(values[values >= HALF * bright]))
    steps = [np.diff(box.image, axis=axis).ravel() for axis in range(3)]
    between = np.abs(np.concatenate(steps))
    return level, SD_OF_MAD * float(np.median(between)) / math.sqrt(2)


def _leaks(box: _Box, mask: Mask, own: Mask, at: NDArray[np.intp]) -> bool:
    """Return whether an outline goes on beyond the reach that it was cut to."""
    rim: Mask = ndimage.binary_dilation(own, NEIGHBOURS)
    beyond: Mask = rim & mask & box.free & ~box.within(at)
    return bool(beyond.any())


def _component(box: _Box, mask: Mask, at: NDArray[np.intp]) -> Mask:
    """Return the part of a mask that hangs together with a voxel and lies around it, filled."""
    allowed = box.free & box.within(at)
    labels, _ = ndimage.label(mask & allowed, NEIGHBOURS)
    own: Mask = labels == labels[tuple(at)]
    filled: Mask = ndimage.binary_fill_holes(own)
    return filled & allowed
