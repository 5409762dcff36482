"""Clouds of points that carry volume: splatted on a grid they give the share of each voxel.

A vein thinner than a voxel so has the right moment.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from mmocnet.simulate.grid import Grid, plane_blocks
from mmocnet.types import FloatArray

STEP_MM = 0.5


@dataclass(frozen=True)
class Cloud:
    """Points that carry volume.

    Attributes:
        points_mm: Subject mm, shape (N, 3).
        volume_mm3: Shape (N,).
        weight: What a unit of volume carries (susceptibility in ppm, or 1), shape (N,).
    """

    points_mm: FloatArray
    volume_mm3: FloatArray
    weight: FloatArray


def splat(cloud: Cloud, grid: Grid, device: str) -> torch.Tensor:
    """Return the share of each voxel that the cloud fills, and share times weight.

    Each point is shared among its eight neighbours, so moments and volumes are kept.

    Returns:
        Shape (2, I, J, K); the share is clipped at 1 and the second scaled alike.
    """
    # In the precision of what follows: a point just inside must not be rounded onto the border.
    voxel = grid.voxel(cloud.points_mm).astype(np.float32)
    near = ((voxel > -1) & (voxel < grid.shape)).all(1)
    at = torch.from_numpy(voxel[near]).to(device)
    share = torch.from_numpy(cloud.volume_mm3[near] / np.prod(grid.spacing_mm))
    share = share.to(device, torch.float32)
    weight = torch.from_numpy(cloud.weight[near]).to(device, torch.float32)
    # A border of one voxel takes what falls outside.
    i, j, k = (n + 2 for n in grid.shape)
    low = at.floor()
    part = (at - low).unbind(1)
    x, y, z = (low.long() + 1).unbind(1)
    flat = (x * j + y) * k + z
    out = torch.zeros((2, i * j * k), device=device)
    for corner in range(8):
        a, b, c = corner & 1, corner >> 1 & 1, corner >> 2
        fraction = share
        for bit, inner in zip((a, b, c), part, strict=True):
            fraction = fraction * (inner if bit else 1 - inner)
        index = flat + ((a * j + b) * k + c)
        out[0].index_add_(0, index, fraction)
        out[1].index_add_(0, index, fraction * weight)
    out = out.reshape(2, i, j, k)[:, 1:-1, 1:-1, 1:-1]
    for planes in plane_blocks(grid.shape[0], out.device):
        out[:, planes] /= out[0, planes].clamp_min(1.0)
    return out


def tube(
    path_mm: FloatArray, radius_mm: FloatArray, weight: float, rng: np.random.Generator
) -> Cloud:
    """Return a tube as points spread over its cross-sections.

    Args:
        path_mm: Centre line, about STEP_MM apart, shape (N, 3).
        radius_mm: Shape (N,).
        weight: What a unit of volume carries.
        rng: Randomness of the spread.
    """
    steps = np.gradient(path_mm, axis=0)
    length = np.linalg.norm(steps, axis=1)
    count = np.clip(np.ceil((radius_mm / 0.2) ** 2 * 1.5), 1, 160).astype(int)
    owner = np.repeat(np.arange(len(path_mm)), count)
    # Uniform in a ball of the same radius, then flattened along the path: a disc.
    offset = rng.standard_normal((len(owner), 3))
    along = steps[owner] / np.maximum(length[owner, None], 1e-6)
    offset -= (offset * along).sum(1, keepdims=True) * along
    offset /= np.maximum(np.linalg.norm(offset, axis=1, keepdims=True), 1e-6)
    offset *= (radius_mm[owner] * np.sqrt(rng.random(len(owner))))[:, None]
    jitter = along * (rng.uniform(-0.5, 0.5, len(owner)) * length[owner])[:, None]
    volume = np.pi * radius_mm**2 * length / count
    return Cloud(path_mm[owner] + offset + jitter, volume[owner], np.full(len(owner), weight))


def merge(clouds: list[Cloud]) -> Cloud:
    """Return several clouds as one; none gives an empty cloud."""
    if not clouds:
        return Cloud(np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    return Cloud(
        np.concatenate([c.points_mm for c in clouds]),
        np.concatenate([c.volume_mm3 for c in clouds]),
        np.concatenate([c.weight for c in clouds]),
    )


def spline(points: FloatArray, noise_mm: float, rng: np.random.Generator) -> FloatArray:
    """Return a smooth path through jittered points, about STEP_MM apart, shape (N, 3)."""
    jittered = points + rng.normal(0, noise_mm, points.shape)
    at = np.r_[0, np.cumsum(np.linalg.norm(np.diff(jittered, axis=0), axis=1))]
    curve = CubicSpline(at, jittered)
    return np.asarray(curve(np.arange(0, at[-1], STEP_MM)))
