import numpy as np
import pytest

from mmocnet.lesion import Certainty, Lesion
from mmocnet.locate.rigid import RigidAlignment


@pytest.fixture
def lesion():
    """Makes a lesion of a sphere's volume; diameter in mm."""

    def make(index, centre_mm, diameter_mm=3.0, **changes):
        values = {
            "index": index,
            "name": f"CMB {index}",
            "centre_mm": tuple(map(float, centre_mm)),
            "centre_voxel": (0, 0, 0),
            "volume_mm3": np.pi / 6 * diameter_mm**3,
            "diameter_mm": diameter_mm,
            "diameter_eq_mm": diameter_mm,
            "confidence": 0.9,
            "certainty": Certainty.DEFINITE,
        }
        return Lesion(**(values | changes))

    return make


@pytest.fixture
def moved():
    """An alignment that only shifts: the second visit lies 5 mm to the right of the first."""
    matrix = np.eye(4)
    matrix[0, 3] = -5.0
    return RigidAlignment(matrix, 0.9, 1.0, 0.0, 5.0, True, "registered")
