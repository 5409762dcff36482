from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from mmocnet.locate.maps import region_map, target
from mmocnet.locate.regions import REGION_BY_NAME
from mmocnet.locate.register import Registration, register_to_mni
from mmocnet.volume import Volume

DARK = ("basal ganglia", "thalamus", "corpus callosum", "internal capsule", "external capsule")


def rotation(degrees: float, axis: int) -> np.ndarray:
    a, b = (n for n in range(3) if n != axis)
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(np.radians(degrees))
    matrix[a, b] = -np.sin(np.radians(degrees))
    matrix[b, a] = -matrix[a, b]
    return matrix


@pytest.fixture
def turned() -> Callable[[float, int], np.ndarray]:
    """Return what makes the matrix, (3, 3), of a turn by degrees about an axis."""
    return rotation


@pytest.fixture(scope="session")
def world_to_mni() -> np.ndarray:
    """A head turned by 8 and 5 degrees, 0.92 to 1.06 of the usual size, 30 mm off."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(8, 0) @ rotation(-5, 2) @ np.diag([1.06, 0.92, 0.97])
    matrix[:3, 3] = (12, -25, 14)
    return matrix


@pytest.fixture(scope="session")
def toy_head(world_to_mni) -> Volume:
    """The template's brain with SWI-like contrast, skull-stripped, 1.2 x 1.2 x 2.5 mm."""
    affine = np.diag([1.2, 1.2, 2.5, 1.0])
    low = np.linalg.inv(world_to_mni) @ [-80, -112, -76, 1]
    affine[:3, 3] = low[:3] - [8, 12, 8]
    shape = (160, 190, 74)
    to_voxel = np.linalg.inv(target().affine) @ world_to_mni @ affine
    tissue = ndimage.affine_transform(
        target().array.astype(np.float32), to_voxel[:3, :3], to_voxel[:3, 3], shape, order=1
    )
    to_label = np.linalg.inv(region_map().affine) @ world_to_mni @ affine
    labels = ndimage.affine_transform(
        region_map().array, to_label[:3, :3], to_label[:3, 3], shape, order=0
    )
    # Fluid bright, white matter darker than grey, nuclei and central white matter darkest.
    signal = np.where(tissue > 1, 900 - 7 * tissue, 0)
    dark = np.isin(labels, [REGION_BY_NAME[name].label for name in DARK])
    signal = signal - 120 * (dark & (tissue > 1))
    noise = np.random.default_rng(3).normal(0, 15, shape)
    array = np.where(signal > 0, np.maximum(signal + noise, 1), 0).astype(np.float32)
    return Volume(array, affine, "toy head")


@pytest.fixture(scope="session")
def registered(toy_head) -> Registration:
    pytest.importorskip("SimpleITK", reason="needs the extra mmocnet[location]")
    return register_to_mni(toy_head, toy_head.array > 0)
