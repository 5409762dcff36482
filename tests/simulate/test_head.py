import numpy as np
import pytest
import torch

from mmocnet.simulate.anatomy import Anatomy
from mmocnet.simulate.head import background_field_ppm
from mmocnet.simulate.templates import Templates


@pytest.fixture(scope="module")
def field(anatomy: Anatomy, templates: Templates) -> torch.Tensor:
    with torch.inference_mode():
        return background_field_ppm(
            anatomy.warp, templates, anatomy.grid, np.random.default_rng(21), "cpu"
        )


def test_the_field_lies_on_the_coarse_grid_and_is_finite(
    anatomy: Anatomy, field: torch.Tensor
) -> None:
    assert field.shape == anatomy.coarse.shape
    assert bool(field.isfinite().all())


def test_the_shim_leaves_nothing_of_first_order(anatomy: Anatomy, field: torch.Tensor) -> None:
    """A scanner shims the brain's mean and slopes away: less than .3 ppm over 50 mm is left."""
    brain = anatomy.depth_mm > 2
    x, y, z = anatomy.coarse.centres_mm("cpu")[:, brain] / 50.0
    design = torch.stack([torch.ones_like(x), x, y, z], 1)
    weights = torch.linalg.lstsq(design, field[brain][:, None]).solution
    assert float(weights.abs().max()) < 0.3


def test_the_field_is_strongest_above_the_sinuses_and_quiet_at_the_vertex(
    anatomy: Anatomy, field: torch.Tensor
) -> None:
    brain = anatomy.depth_mm > 2
    x, y, z = anatomy.warp.mni_mm
    above_sphenoid = brain & (x.abs() < 15) & (y > 5) & (y < 40) & (z < -12)
    centre = brain & (x.abs() < 40) & (y.abs() < 40) & (z > 10) & (z < 50)
    assert field[above_sphenoid].abs().quantile(0.9) > 3 * field[centre].abs().quantile(0.9)


def test_inside_the_brain_the_field_obeys_laplace(anatomy: Anatomy, field: torch.Tensor) -> None:
    """Sources lie outside, so the Laplacian vanishes: small against each second derivative."""
    step = anatomy.coarse.spacing_mm
    seconds = []
    for axis in range(3):
        smooth = torch.nn.functional.avg_pool3d(field[None, None], 5, 1, 2)[0, 0]
        there = smooth.roll(-3, axis) - 2 * smooth + smooth.roll(3, axis)
        seconds.append(there / (3 * step[axis]) ** 2)
    deep = anatomy.depth_mm > 20
    laplacian = sum(seconds, torch.zeros_like(field))[deep].square().mean().sqrt()
    largest = max(s[deep].square().mean().sqrt() for s in seconds)
    assert float(laplacian) < 0.25 * float(largest)
