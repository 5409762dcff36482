import math

import numpy as np
import pytest

from mmocnet.simulate.field import Sphere
from mmocnet.simulate.lesions import Source, draw_spheres
from mmocnet.simulate.rows import lesion_row


def body(spheres: tuple[Sphere, ...]) -> Source:
    return Source("microbleed", np.zeros(3), spheres, 0.8)


def drawn_by_lot(source: Source, rng: np.random.Generator) -> tuple[float, float]:
    """Return volume and mean susceptibility of points in a box, the strongest sphere's each."""
    reach = source.reach_mm
    points = rng.uniform(-reach, reach, (400_000, 3))
    chi = np.zeros(len(points))
    for offset, radius, value in source.spheres:
        inside = np.linalg.norm(points - offset, axis=1) < radius
        chi = np.where(inside, np.maximum(chi, value), chi)
    return float((chi > 0).mean() * (2 * reach) ** 3), float(chi[chi > 0].mean())


def test_what_spheres_share_is_counted_once_in_the_table(rng: np.random.Generator) -> None:
    several = 0
    while several < 8:
        source = body(draw_spheres(float(rng.uniform(0.3, 3.0)), 1.6, rng))
        if len(source.spheres) == 1:
            continue
        several += 1
        volume, chi = drawn_by_lot(source, rng)
        row = lesion_row(source, 1, (0.0, 0.0, 0.0), "cortex", 2.0)
        assert row.source_mm3 == pytest.approx(volume, rel=0.04)
        assert row.radius_mm == pytest.approx((3 * volume / (4 * math.pi)) ** (1 / 3), rel=0.02)
        assert row.chi_ppm == pytest.approx(chi, rel=0.02)


def test_one_sphere_has_its_own_radius_and_susceptibility() -> None:
    row = lesion_row(body((((0.0, 0.0, 0.0), 0.1, -2.0),)), 0, (0.0, 0.0, 0.0), "csf", math.nan)
    assert (row.radius_mm, row.chi_ppm) == (pytest.approx(0.1), pytest.approx(-2.0))
    assert math.isnan(row.apparent_diameter_mm)
