"""Vessels: walkers through the anatomy, and the large veins and arteries by MNI coordinates.

A vessel becomes a cloud of points, each with a volume; splatted on a grid they give the share of
blood in each voxel, so that a vein thinner than a voxel has the right moment.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from mmocnet.simulate.anatomy import Anatomy
from mmocnet.simulate.cloud import STEP_MM, Cloud, merge, spline, tube
from mmocnet.simulate.grid import Grid, sample, smooth_noise, upsample
from mmocnet.types import FloatArray, Triple

_MIDLINE_VEINS: tuple[tuple[float, float, tuple[Triple, ...]], ...] = (
    # Radius at the start and the end in mm, MNI points.
    (1.5, 3.6, ((0, 60, 24), (0, 50, 46), (0, 20, 68), (0, -15, 78), (0, -50, 76), (0, -80, 54),
                (0, -98, 24), (0, -104, 0), (0, -99, -18))),
    (0.5, 0.9, ((0, 30, 26), (0, 8, 36), (0, -15, 36), (0, -36, 22), (0, -42, 10))),
    (1.2, 2.2, ((0, -40, 8), (0, -58, 0), (0, -78, -9), (0, -97, -18))),
)  # fmt: skip
_PAIRED_VEINS: tuple[tuple[float, float, tuple[Triple, ...]], ...] = (
    (0.45, 0.8, ((2, 2, 8), (2, -12, 15), (2, -26, 14), (1, -40, 9))),
    (0.3, 0.5, ((6, 26, 8), (3, 14, 8), (2, 2, 8))),
    (0.3, 0.55, ((20, -22, 22), (15, -8, 19), (8, 2, 12), (2, 2, 8))),
    (0.3, 0.55, ((22, -34, 18), (12, -32, 16), (3, -28, 14))),
    (0.4, 0.8, ((14, 2, -14), (14, -12, -12), (18, -24, -4), (10, -36, 4), (1, -40, 9))),
    (1.8, 2.8, ((0, -98, -19), (28, -90, -25), (52, -68, -28), (60, -48, -32))),
    (0.5, 1.0, ((44, 20, 0), (48, 4, -2), (52, -12, -8), (55, -35, -22))),
)
_PAIRED_ARTERIES: tuple[tuple[float, float, tuple[Triple, ...]], ...] = (
    (1.4, 1.0, ((11, 4, -18), (20, 3, -13), (33, 5, -10), (42, 0, -4), (44, -18, 8))),
    (0.9, 0.6, ((42, 0, -4), (46, 10, 8), (50, 8, 24))),
    (0.9, 0.6, ((44, -18, 8), (50, -35, 18), (54, -48, 28))),
    (1.0, 0.6, ((4, 12, -12), (3, 30, 0), (3, 36, 18), (3, 18, 36), (3, -8, 46))),
    (1.1, 0.7, ((1, -16, -20), (14, -20, -17), (22, -34, -8), (14, -62, -2))),
)
_MIDLINE_ARTERIES: tuple[tuple[float, float, tuple[Triple, ...]], ...] = (
    (1.6, 1.5, ((0, -22, -48), (0, -19, -32), (0, -16, -20))),
)


class Guide:
    """Fields that lead the walkers, sampled at points."""

    def __init__(self, anatomy: Anatomy, rng: np.random.Generator, device: str) -> None:
        grid = anatomy.coarse
        self._grid = grid
        self._device = device
        csf = upsample(anatomy.csf[None], grid.shape)[0]
        scalars = [anatomy.depth_mm, anatomy.ventricle_mm, csf]
        slopes = [s for f in scalars for s in torch.gradient(f, spacing=list(grid.spacing_mm))]
        noise = smooth_noise(grid, 12.0, rng, device, channels=3)
        self._fields = torch.cat([torch.stack([*scalars, *slopes]), noise])
        self.csf = csf

    def at(self, points_mm: FloatArray) -> FloatArray:
        """Return depth, ventricle distance, CSF, their gradients (9) and noise (3): (N, 15)."""
        voxel = torch.tensor(self._grid.voxel(points_mm).T, dtype=torch.float32)
        out = sample(self._fields, voxel[:, None].to(self._device))
        return np.asarray(out[:, 0].T.cpu(), np.float64)


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))


def _pick(mask: torch.Tensor, count: int, grid: Grid, rng: np.random.Generator) -> FloatArray:
    """Return `count` random points in mm inside a mask on a grid, shape (count, 3)."""
    where = np.argwhere(np.asarray(mask.cpu()))
    if len(where) == 0:
        return np.zeros((0, 3))
    voxel = where[rng.integers(len(where), size=count)] + rng.uniform(-0.5, 0.5, (count, 3))
    return np.asarray((voxel + 0.5) * grid.spacing_mm + grid.low_mm)


def _walk_pial(guide: Guide, start: FloatArray, steps: int, rng: np.random.Generator) -> FloatArray:
    """Return paths along sulci and over the surface, shape (steps, N, 3)."""
    position = start.copy()
    heading = _unit(rng.standard_normal(start.shape))
    path = []
    for _ in range(steps):
        path.append(position.copy())
        f = guide.at(position)
        depth, outward, toward_csf, noise = f[:, 0], -_unit(f[:, 3:6]), f[:, 9:12], f[:, 12:15]
        lift = np.clip((depth - 2.5) / 6, -0.8, 0.5)[:, None]
        drain = np.zeros_like(position)
        # Upper veins climb to the sagittal sinus, lower ones go down and back.
        drain[:, 2] = np.where(position[:, 2] > 5, 1.0, -0.4)
        drain[:, 1] = np.where(position[:, 2] > 5, 0.0, -0.6)
        pull = lift * outward + 1.8 * toward_csf + 0.18 * noise + 0.14 * drain
        heading = _unit(heading + pull)
        position = position + STEP_MM * heading
    return np.asarray(path)


def _walk_medullary(guide: Guide, start: FloatArray, steps: int) -> FloatArray:
    """Return nearly straight paths to the ventricles, shape (steps, N, 3)."""
    position = start.copy()
    path = []
    for _ in range(steps):
        path.append(position.copy())
        f = guide.at(position)
        heading = _unit(-_unit(f[:, 6:9]) + 0.22 * f[:, 12:15])
        moving = (f[:, 1] > 0.8)[:, None]
        position = position + STEP_MM * heading * moving
    return np.asarray(path)


def _tubes(
    paths: FloatArray, radius: FloatArray, growth: float, chi: FloatArray, rng: np.random.Generator
) -> list[Cloud]:
    """Return one cloud a path of random length; radii grow along it as tributaries join."""
    clouds = []
    for n in range(paths.shape[1]):
        path = paths[: int(rng.uniform(0.35, 1.0) * len(paths)), n]
        moved = np.r_[True, np.linalg.norm(np.diff(path, axis=0), axis=1) > 1e-3]
        path = path[moved]
        if len(path) < 4:
            continue
        # Murray: cubes of the radii add up, so the cube grows linearly along the path.
        along = np.linspace(0, 1, len(path))
        radii = radius[n] * np.cbrt(1 + growth * along)
        clouds.append(tube(path, radii, float(chi[n]), rng))
    return clouds


def _named(
    anatomy: Anatomy,
    table: tuple[tuple[float, float, tuple[Triple, ...]], ...],
    sides: NDArray[np.float64],
    weight: float,
    rng: np.random.Generator,
) -> list[Cloud]:
    """Return the vessels of a table of MNI points, on the given sides (-1, 1)."""
    clouds = []
    for side in sides:
        for first, last, points in table:
            mni = np.asarray(points, float) * [side, 1, 1]
            path = anatomy.warp.to_subject(spline(mni, 1.2, rng))
            scale = rng.uniform(0.7, 1.25)
            radii = np.linspace(first, last, len(path)) * scale
            clouds.append(tube(path, radii, weight, rng))
    return clouds


def _subependymal(
    anatomy: Anatomy, guide: Guide, chi_ppm: float, rng: np.random.Generator
) -> list[Cloud]:
    """Return the veins along the walls of the ventricles; slices cut many of them across."""
    grid = anatomy.coarse
    count = int(160 * np.exp(rng.uniform(np.log(0.2), np.log(2.5))) * grid.size_mm[2] / 150.0) + 2
    wall = (anatomy.ventricle_mm > 0.3) & (anatomy.ventricle_mm < 3.0) & (anatomy.hind < 0.3)
    position = _pick(wall & (anatomy.depth_mm > 8), count, grid, rng)
    heading = _unit(rng.standard_normal(position.shape) * [0.6, 1.0, 1.3])
    path = []
    for _ in range(24):
        path.append(position.copy())
        f = guide.at(position)
        outward = _unit(f[:, 6:9])
        # Along the wall, and back to it where a step has left it.
        heading = heading - (heading * outward).sum(1, keepdims=True) * outward
        heading = _unit(heading + np.clip(1.2 - f[:, 1:2], -0.6, 0.6) * outward + 0.1 * f[:, 12:15])
        position = position + STEP_MM * heading
    radius = np.clip(rng.lognormal(np.log(0.26), 0.35, len(position)), 0.12, 0.6)
    chi = chi_ppm * rng.uniform(0.75, 1.1, len(position))
    return _tubes(np.asarray(path), radius, 1.0, chi, rng)


def draw_veins(anatomy: Anatomy, chi_ppm: float, rng: np.random.Generator, device: str) -> Cloud:
    """Return all veins of a subject; the weight is susceptibility in ppm.

    Args:
        anatomy: The head.
        chi_ppm: Susceptibility of this subject's venous blood against tissue.
        rng: Randomness.
        device: Where the anatomy lives.
    """
    guide = Guide(anatomy, rng, device)
    grid = anatomy.coarse
    share = grid.size_mm[2] / 150.0
    density = np.exp(rng.uniform(np.log(0.7), np.log(2.8)))
    count = max(8, int(2300 * density * share))
    start = _pick(
        (guide.csf > 0.15) & (anatomy.cortex > 0.4) & (anatomy.depth_mm > 1), count, grid, rng
    )
    radius = np.clip(
        rng.lognormal(np.log(0.37 * rng.uniform(0.9, 1.3)), 0.36, len(start)), 0.16, 1.1
    )
    chi = chi_ppm * rng.uniform(0.75, 1.1, len(start))
    clouds = _tubes(_walk_pial(guide, start, 70, rng), radius, 3.0, chi, rng)
    count = max(4, int(260 * np.exp(rng.uniform(np.log(0.4), np.log(3.0))) * share))
    deep = (anatomy.ventricle_mm > 4) & (anatomy.ventricle_mm < 24) & (anatomy.cortex < 0.6)
    white = upsample(anatomy.white[None], grid.shape)[0] > 0.7
    start = _pick(deep & white & (anatomy.hind < 0.3), count, grid, rng)
    radius = rng.uniform(0.10, rng.uniform(0.17, 0.26), len(start))
    chi = chi_ppm * rng.uniform(0.8, 1.1, len(start))
    clouds += _tubes(_walk_medullary(guide, start, 45), radius, 1.0, chi, rng)
    clouds += _subependymal(anatomy, guide, chi_ppm, rng)
    both = np.array([-1.0, 1.0])
    clouds += _named(anatomy, _MIDLINE_VEINS, np.array([1.0]), chi_ppm, rng)
    clouds += _named(anatomy, _PAIRED_VEINS, both, chi_ppm, rng)
    return merge(clouds)


def _walk_cistern(
    guide: Guide, start: FloatArray, steps: int, rng: np.random.Generator
) -> FloatArray:
    """Return winding paths that keep to CSF, many of them upright, shape (steps, N, 3)."""
    position = start.copy()
    heading = np.zeros_like(start)
    climb = np.zeros_like(start)
    climb[:, 2] = rng.uniform(-0.6, 0.6, len(start))
    path = []
    for _ in range(steps):
        path.append(position.copy())
        f = guide.at(position)
        heading = _unit(heading + 2.5 * f[:, 9:12] + 0.25 * f[:, 12:15] + climb)
        position = position + STEP_MM * heading
    return np.asarray(path)


def _sulcal_arteries(anatomy: Anatomy, rng: np.random.Generator, device: str) -> list[Cloud]:
    """Return the arteries of sulci and fissures, the insula's above all; parts in CSF only."""
    guide = Guide(anatomy, rng, device)
    grid = anatomy.coarse
    share = grid.size_mm[2] / 150.0
    x, y, z = anatomy.warp.mni_mm
    sylvian = (x.abs() > 32) & (x.abs() < 56) & (y > -42) & (y < 24) & (z > -16) & (z < 28)
    open_csf = (guide.csf > 0.45) & (anatomy.depth_mm > 1.5) & (anatomy.ventricle_mm > 8)
    starts = [
        _pick(open_csf & sylvian, int(rng.uniform(40, 130) * share) + 2, grid, rng),
        _pick(open_csf, int(rng.uniform(80, 350) * share) + 4, grid, rng),
    ]
    start = np.concatenate(starts)
    if len(start) == 0:
        return []
    paths = _walk_cistern(guide, start, 50, rng)
    radii = np.clip(rng.lognormal(np.log(0.58), 0.35, len(start)), 0.25, 1.3)
    clouds = []
    for n in range(paths.shape[1]):
        path = paths[:, n]
        outside = np.flatnonzero(guide.at(path)[:, 2] < 0.3)
        path = path[: outside[0]] if len(outside) else path
        if len(path) >= 4:
            clouds.append(tube(path, np.full(len(path), radii[n]), 1.0, rng))
    return clouds


_AQUEDUCT: tuple[Triple, ...] = ((0, -25, -2), (0, -30, -9), (0, -34, -16), (0, -37, -22))


def draw_arteries(anatomy: Anatomy, rng: np.random.Generator, device: str) -> Cloud:
    """Return what flows fast: arteries, and CSF in the aqueduct; the weight is 1.

    Args:
        anatomy: The head.
        rng: Randomness.
        device: Where the anatomy lives.
    """
    both = np.array([-1.0, 1.0])
    clouds = _named(anatomy, _MIDLINE_ARTERIES, np.array([1.0]), 1.0, rng)
    clouds += _named(anatomy, _PAIRED_ARTERIES, both, 1.0, rng)
    if rng.random() < 0.8:
        path = anatomy.warp.to_subject(spline(np.asarray(_AQUEDUCT, float), 0.5, rng))
        clouds.append(tube(path, np.full(len(path), rng.uniform(0.6, 1.4)), 1.0, rng))
    return merge(clouds + _sulcal_arteries(anatomy, rng, device))
