"""Registration of two visits: what tells one person from two."""

import numpy as np
import pytest
from scipy import ndimage

from mmocnet.locate.rigid import SURE_DETAIL, align
from mmocnet.volume import Volume

pytest.importorskip("SimpleITK", reason="registration needs SimpleITK")

SHAPE, SPACING_MM = (80, 96, 30), 2.0


def _head(seed, shift_mm=0.0):
    """A head of large structures that all share and fine ones of its own."""
    x, y, z = (
        (np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1) - np.array(SHAPE) / 2)
        * SPACING_MM
    ).transpose(3, 0, 1, 2)
    brain = np.hypot(x / 65, y / 80) < 1
    large = 500 + 150 * np.cos(x / 20) * np.cos(y / 25) * np.cos(z / 15)
    fine = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 0.8)
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[0, 3] = shift_mm
    array = (large + 40 * fine / fine.std()) * brain
    return Volume(array.astype(np.float32), affine, f"head {seed}"), brain


def test_fine_structures_tell_two_people_whose_heads_are_alike():
    same = align(*_head(1), *_head(1, shift_mm=7.0))
    other = align(*_head(1), *_head(2, shift_mm=7.0))
    assert same.ok
    assert other.ok
    assert other.correlation > 0.6
    assert same.matrix[0, 3] == pytest.approx(-7.0, abs=0.3)
    assert same.detail > 0.8
    assert abs(other.detail) < SURE_DETAIL / 2
