"""Heads made of ellipsoids, in RAS mm about the middle of the brain."""

import numpy as np
import pytest

from mmocnet.volume import Volume

HALF_AXES_MM = np.array([68.0, 85.0, 62.0])


def ellipsoid(grid: np.ndarray, half_axes_mm: np.ndarray, centre_mm=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Return where an ellipsoid is."""
    scaled = (grid - np.array(centre_mm).reshape(3, 1, 1, 1)) / half_axes_mm.reshape(3, 1, 1, 1)
    return (scaled**2).sum(axis=0) <= 1


def make_head(
    rng: np.random.Generator,
    spacing_mm=(1.0, 1.0, 2.0),
    bottom_mm=-110.0,
    top_mm=85.0,
    *,
    bias=0.4,
    noise=0.04,
    neck=True,
) -> tuple[Volume, np.ndarray]:
    """Return a head as a T2*-weighted magnitude, and its brain.

    Brain with cortex, ventricles and dark veins, a gap of CSF, a dark skull, a bright scalp, and a
    neck with its spine; the coils are stronger at the skin.
    """
    fov = np.array([190.0, 230.0, top_mm - bottom_mm])
    shape = np.maximum(1, np.round(fov / spacing_mm)).astype(int)
    origin = np.array([-95.0, -115.0, bottom_mm]) + np.array(spacing_mm) / 2
    axes = [o + np.arange(n) * s for o, n, s in zip(origin, shape, spacing_mm, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    image = _tissue(grid, rng, neck)
    brain = ellipsoid(grid, HALF_AXES_MM)
    radius = np.sqrt(((grid / (HALF_AXES_MM + 14).reshape(3, 1, 1, 1)) ** 2).sum(axis=0))
    image *= 1 - bias + bias * np.minimum(radius, 1.3)
    parts = rng.normal(size=(2, *image.shape)) * noise
    image = np.hypot(image + parts[0], parts[1])
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = origin
    return Volume((600 * image).astype(np.float32), affine, "head"), brain


def _tissue(grid: np.ndarray, rng: np.random.Generator, neck: bool) -> np.ndarray:
    image = np.zeros(grid.shape[1:])
    if neck:
        x, y, z = grid
        below = z < -30
        image[below & (np.hypot(x, y + 15) < 58)] = 0.75
        image[below & (np.hypot(x, y + 20) < 16)] = 0.1
        image[below & (np.hypot(x, y + 20) < 9)] = 0.8
    for extra_mm, value in ((14.0, 1.0), (9.0, 0.04), (3.0, 0.6), (0.0, 0.85), (-4.0, 0.95)):
        image[ellipsoid(grid, HALF_AXES_MM + extra_mm)] = value
    if neck:
        # The foramen magnum: brainstem and cord pass the skull.
        image[(grid[2] < -50) & (np.hypot(grid[0], grid[1] + 20) < 7)] = 0.8
    for side in (-1, 1):
        image[ellipsoid(grid, np.array([7.0, 32.0, 11.0]), (side * 13.0, 0.0, 8.0))] = 0.7
    for _ in range(60):
        direction = rng.normal(size=3)
        centre = direction / np.linalg.norm(direction) * HALF_AXES_MM * rng.uniform(0.6, 1.0)
        _vein(image, grid, centre)
    return image


def _vein(image: np.ndarray, grid: np.ndarray, centre_mm: np.ndarray) -> None:
    half_axes_mm = np.array([1.2, 1.2, 10.0])
    box = []
    for axis in range(3):
        places = np.moveaxis(grid[axis], axis, 0)[:, 0, 0]
        near = np.flatnonzero(np.abs(places - centre_mm[axis]) <= half_axes_mm[axis])
        if not near.size:
            return
        box.append(slice(near[0], near[-1] + 1))
    image[tuple(box)][ellipsoid(grid[(slice(None), *box)], half_axes_mm, centre_mm)] = 0.15


@pytest.fixture(scope="session")
def head_phantom():
    return make_head
