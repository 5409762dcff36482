"""What distinguishes one subject: age and its marks, head position, size and shape."""

from dataclasses import dataclass

import numpy as np
import torch

from mmocnet.simulate.grid import Grid, sample, smooth_noise
from mmocnet.types import FloatArray

WARP_MM = ((90.0, 1.8), (40.0, 0.7), (16.0, 0.5), (8.0, 0.25))
"""Wavelength and SD of the displacement along each axis, mm."""
SCALE_SD = 0.05


@dataclass(frozen=True)
class Traits:
    """What distinguishes one subject.

    Attributes:
        age: Years.
        atrophy: 0 (young) to about 1: widens sulci and ventricles.
        iron: Factor on the nuclei's susceptibility.
        white_matter_lesions: 0 to 1: extent of hyperintensities around the ventricles.
        rotation: Shape (3, 3), head position.
        scale: Shape (3,), head size relative to the template.
    """

    age: float
    atrophy: float
    iron: float
    white_matter_lesions: float
    rotation: FloatArray
    scale: FloatArray


def draw_traits(rng: np.random.Generator) -> Traits:
    """Return a subject aged 50 to 88; atrophy, iron and lesions rise with age."""
    age = float(rng.uniform(50, 88))
    years = (age - 50) / 38
    angles = np.deg2rad(rng.normal(0, (4, 2.5, 3)))
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        rotation = turn @ rotation
    return Traits(
        age=age,
        atrophy=float(np.clip(0.15 + 0.6 * years + rng.normal(0, 0.2), 0, 1.3)),
        iron=float(np.clip(0.65 + 0.35 * years + rng.normal(0, 0.25), 0.3, 1.9)),
        white_matter_lesions=float(np.clip(rng.beta(1.2, 3) * (0.4 + years), 0, 1)),
        rotation=rotation,
        scale=rng.normal(1.0, SCALE_SD, 3),
    )


class Warp:
    """Subject mm to MNI mm and back.

    Attributes:
        grid: The coarse grid that carries the displacement.
        mni_mm: MNI coordinates of its voxels, shape (3, I, J, K).
    """

    def __init__(self, grid: Grid, traits: Traits, rng: np.random.Generator, device: str) -> None:
        self.grid = grid
        self._linear = traits.rotation / traits.scale[:, None]
        linear = self.linear_mni(grid.centres_mm(device))
        mni = linear
        for wavelength, sd in WARP_MM:
            mni = mni + sd * smooth_noise(grid, wavelength, rng, device, channels=3)
        self.mni_mm = mni
        self._shift_mm = mni - linear

    def linear_mni(self, points_mm: torch.Tensor) -> torch.Tensor:
        """Return MNI mm of subject points, both (3, ...), by head position and size alone."""
        linear = torch.tensor(self._linear, dtype=torch.float32, device=points_mm.device)
        mni: torch.Tensor = torch.tensordot(linear, points_mm, dims=1)
        return mni

    def to_mni(self, points_mm: FloatArray) -> FloatArray:
        """Return MNI mm of subject points, both of shape (N, 3).

        Outside the grid the displacement is that of its border.
        """
        voxel = torch.tensor(self.grid.voxel(points_mm).T, dtype=torch.float32)
        shift = sample(self._shift_mm, voxel.to(self._shift_mm.device)[:, None])[:, 0]
        return np.asarray(points_mm @ self._linear.T + shift.T.cpu().numpy())

    def to_subject(self, mni_mm: FloatArray) -> FloatArray:
        """Return subject mm of MNI points, both of shape (N, 3), by fixed-point iteration."""
        inverse = np.linalg.inv(self._linear)
        points = mni_mm @ inverse.T
        for _ in range(6):
            points = points + (mni_mm - self.to_mni(points)) @ inverse.T
        return np.asarray(points)
