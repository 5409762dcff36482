import sys

import numpy as np
import pytest
import torch

from mmocnet.errors import DependencyError
from mmocnet.simulate.templates import COARSE_MM, Templates, load_templates, tentorium_mm

DEPTH, CORTEX, VENTRICLE, HIND = range(4)


def at(templates: Templates, mni_mm: tuple[float, float, float], coarse: bool) -> list[float]:
    maps, step = (templates.coarse, COARSE_MM) if coarse else (templates.fine, 1)
    i, j, k = np.round((np.array(mni_mm) - templates.origin_mm) / step).astype(int)
    return [float(v) for v in maps[:, i, j, k]]


@pytest.mark.parametrize("side", [-1, 1])
def test_the_centrum_semiovale_is_white_on_both_sides(templates: Templates, side: int) -> None:
    distance, grey, white = at(templates, (side * 28, -20, 32), coarse=False)
    assert white > 0.9
    assert grey < 0.1
    assert distance < -3


@pytest.mark.parametrize("side", [-1, 1])
def test_the_body_of_the_lateral_ventricle_is_where_it_should_be(
    templates: Templates, side: int
) -> None:
    _, grey, white = at(templates, (side * 8, -10, 22), coarse=False)
    assert grey + white < 0.2
    assert at(templates, (side * 8, -10, 22), coarse=True)[VENTRICLE] == 0


def test_cerebellum_and_brain_stem_are_hind_and_the_frontal_lobe_is_not(
    templates: Templates,
) -> None:
    assert at(templates, (25, -65, -38), coarse=True)[HIND] > 0.95
    assert at(templates, (0, -28, -38), coarse=True)[HIND] > 0.95
    assert at(templates, (30, 20, 34), coarse=True)[HIND] == 0


def test_depth_is_negative_outside_and_falls_by_a_millimetre_a_millimetre(
    templates: Templates,
) -> None:
    high = [at(templates, (0, -20, z), coarse=True)[DEPTH] for z in (92, 104)]
    assert high[0] < 0
    assert high[0] - high[1] == pytest.approx(12, abs=1.5)
    assert at(templates, (0, -20, 20), coarse=True)[DEPTH] > 40


def test_away_from_the_surface_distance_changes_by_at_most_a_millimetre_a_millimetre(
    templates: Templates,
) -> None:
    distance = templates.fine[0]
    for axis in range(3):
        length = distance.shape[axis] - 1
        near, far = (distance.narrow(axis, start, length) for start in (0, 1))
        away = (near.abs() > 3) & (far.abs() > 3)
        assert float((far - near)[away].abs().max()) < 1.01


def test_the_maps_are_symmetric(templates: Templates) -> None:
    """The template is: a mistaken axis or offset would show."""
    for maps in (templates.fine, templates.coarse[DEPTH : DEPTH + 1]):
        torch.testing.assert_close(maps, maps.flip(1), atol=0.05, rtol=0)


def test_the_tentorium_is_lower_behind_and_aside() -> None:
    x, y = np.array([0.0, 40.0, 0.0]), np.array([-45.0, -45.0, -80.0])
    middle, aside, behind = tentorium_mm(y, x)
    assert middle > aside
    assert middle > behind


def test_a_missing_nilearn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(DependencyError, match="nilearn"):
        load_templates.__wrapped__()
