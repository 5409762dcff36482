from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmocnet.config import CascadeSettings, PreparationSettings
from mmocnet.nets.checkpoint import Cascade
from mmocnet.volume import Volume

RADII_MM = np.array([62.0, 75.0, 55.0])


class DarkSpots(nn.Module):
    """A network that calls microbleed what is darker than `level` and not background."""

    def __init__(self, level: float = 0.25) -> None:
        super().__init__()
        self.level = level

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0.01, 40 * (self.level - x), torch.full_like(x, -20.0))


def _phantom(
    affine: np.ndarray, shape: tuple[int, int, int], spheres: Sequence[tuple] = ()
) -> Volume:
    """A stripped ellipsoidal brain about the world's origin with dark balls in it."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = grid @ affine[:3, :3].T + affine[:3, 3]
    radius = np.sqrt(((world / RADII_MM) ** 2).sum(axis=-1))
    # Speckle of a tenth, the same at each place whatever the grid.
    speckle = np.sin(world @ [0.9, 1.3, 0.7]) * np.cos(world @ [1.7, -0.6, 1.1])
    image = 500.0 + 60 * speckle
    for centre, diameter in spheres:
        image[np.linalg.norm(world - centre, axis=-1) <= diameter / 2] = 100.0
    return Volume((image * (radius < 1)).astype(np.float32), affine, "phantom")


@pytest.fixture
def phantom() -> Callable[..., Volume]:
    return _phantom


@pytest.fixture
def head_affine() -> np.ndarray:
    """1.5 x 1.5 x 3 mm; with shape (96, 120, 42) the ellipsoid is in the middle."""
    affine = np.diag([1.5, 1.5, 3.0, 1.0])
    affine[:3, 3] = [-71.25, -89.25, -61.5]
    return affine


@pytest.fixture
def dark_spots() -> Cascade:
    """A cascade whose both stages are a rule, so that the truth is known."""
    settings = CascadeSettings(preparation=PreparationSettings(pixel_mm=1.5))
    card = {"dataset": "none: a rule"}
    return Cascade(settings, DarkSpots(), DarkSpots(), card, "rule", {"rule": "0" * 64})
