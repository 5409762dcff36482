import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mmocnet.volume import Volume

SHAPE = (48, 40, 9)
SPACING_MM = (0.9, 0.8, 2.0)


def _oblique() -> np.ndarray:
    affine = np.eye(4)
    turned = Rotation.from_euler("xyz", [12, -7, 20], degrees=True).as_matrix()
    # Left to right and front to back along the axes, as scanners store axial slices.
    affine[:3, :3] = turned @ np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2]])
    affine[:3, 3] = [18.5, 22.25, -11.0]
    return affine


@pytest.fixture
def volume() -> Volume:
    values = np.random.default_rng(5).integers(1, 1500, SHAPE).astype(np.float32)
    return Volume(values, _oblique(), "simulated")


@pytest.fixture
def phase() -> Volume:
    """Wrapped phase on the grid of `volume`, in rad."""
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    smooth = 0.4 * grid[0] + 0.3 * grid[1] + 0.1 * grid[2]
    return Volume(np.angle(np.exp(1j * smooth)), _oblique(), "simulated phase")
