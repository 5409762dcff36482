import math

import numpy as np
import pytest
import torch

from mmocnet.simulate.anatomy import Anatomy
from mmocnet.simulate.cloud import Cloud, merge
from mmocnet.simulate.grid import upsample
from mmocnet.simulate.protocols import PROTOCOLS
from mmocnet.simulate.signal import TISSUES, venous_r2star
from mmocnet.simulate.tissue import Blood, Clouds, Head, draw_blood, make_head

PROTOCOL = PROTOCOLS["reference3t"]
BLOOD = Blood(0.4, 0.6)
NOTHING = Clouds(veins=merge([]), arteries=merge([]), fluid=merge([]), iron=merge([]))


def filled(anatomy: Anatomy, voxel: tuple[int, int, int], weight: float) -> Cloud:
    """Return points that fill a voxel and its neighbours."""
    grid = anatomy.grid
    around = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    points = (np.array(voxel) + around + 0.5) * grid.spacing_mm + grid.low_mm
    volume = float(np.prod(grid.spacing_mm))
    return Cloud(points, np.full(len(points), volume), np.full(len(points), weight))


@pytest.fixture(scope="module")
def head(anatomy: Anatomy) -> Head:
    with torch.inference_mode():
        return make_head(anatomy, NOTHING, BLOOD, PROTOCOL, np.random.default_rng(22))


@pytest.fixture(scope="module")
def deep_white(anatomy: Anatomy) -> torch.Tensor:
    depth = upsample(anatomy.depth_mm[None], anatomy.grid.shape)[0]
    plain = (anatomy.lesion_white < 0.01) & (anatomy.iron_ppm == 0)
    return (anatomy.white > 0.999) & (depth > 8) & plain


def test_venous_susceptibility_is_that_of_its_deoxygenated_haemoglobin() -> None:
    """4 pi .27 ppm x haematocrit x (1 - Y), .02 off for tissue (Jain 2012)."""
    assert pytest.approx(4 * math.pi * 0.273 * 0.4 * 0.4 - 0.02) == BLOOD.chi_ppm


def test_subjects_span_the_published_venous_susceptibilities() -> None:
    rng = np.random.default_rng(23)
    chi = np.array([draw_blood(rng).chi_ppm for _ in range(500)]) + 0.02
    assert chi.min() > 0.36
    assert chi.max() < 0.70
    assert np.median(chi) == pytest.approx(0.52, abs=0.03)


def test_white_matter_decays_and_is_magnetised_as_published(
    head: Head, deep_white: torch.Tensor
) -> None:
    assert float(head.r2star_hz[deep_white].mean()) == pytest.approx(1000 / 53, rel=0.02)
    assert float(head.chi_ppm[deep_white].mean()) == pytest.approx(-0.030, abs=0.001)


def test_white_matter_follows_the_ernst_equation(head: Head, deep_white: torch.Tensor) -> None:
    """T1 varies by .95 to 1.25 between subjects, and so the signal between two bounds."""
    flip, tr = math.radians(PROTOCOL.flip_deg), PROTOCOL.tr_ms
    bounds = []
    for factor in (1.25, 0.95):
        e1 = math.exp(-tr / (838 * factor))
        bounds.append(0.70 * math.sin(flip) * (1 - e1) / (1 - math.cos(flip) * e1))
    assert bounds[0] * 0.99 < float(head.m0[deep_white].mean()) < bounds[1] * 1.01


def test_fluid_is_darker_than_tissue_at_a_short_repetition_time(
    anatomy: Anatomy, head: Head, deep_white: torch.Tensor
) -> None:
    ventricle = upsample(anatomy.ventricle_mm[None], anatomy.grid.shape)[0] < -0.0
    ventricle |= upsample(anatomy.ventricle_mm[None], anatomy.grid.shape)[0] == 0
    assert head.m0[ventricle].mean() < 0.5 * head.m0[deep_white].mean()
    csf = TISSUES["csf"].r2star(3.0)
    assert float(head.r2star_hz[ventricle].median()) == pytest.approx(csf, rel=0.1)


def test_far_outside_there_is_no_signal(anatomy: Anatomy, head: Head) -> None:
    air = upsample(anatomy.depth_mm[None], anatomy.grid.shape)[0] < -13
    assert bool(air.any())
    assert not head.m0[air].any()


def test_iron_raises_susceptibility_and_decay_of_the_pallidum(anatomy: Anatomy, head: Head) -> None:
    pallidum = anatomy.iron_ppm > 0.09 * anatomy.traits.iron
    assert float(head.chi_ppm[pallidum].mean()) > 0.08
    assert float(head.r2star_hz[pallidum].mean()) > 1000 / 40


def test_a_voxel_full_of_vein_is_venous_blood(anatomy: Anatomy, deep_white: torch.Tensor) -> None:
    i, j, k = (int(v) for v in torch.nonzero(deep_white)[1000])
    clouds = Clouds(filled(anatomy, (i, j, k), BLOOD.chi_ppm), merge([]), merge([]), merge([]))
    with torch.inference_mode():
        head = make_head(anatomy, clouds, BLOOD, PROTOCOL, np.random.default_rng(22))
    assert float(head.chi_ppm[i, j, k]) == pytest.approx(BLOOD.chi_ppm, rel=1e-3)
    assert float(head.r2star_hz[i, j, k]) == pytest.approx(venous_r2star(3.0, 0.6), rel=1e-3)


def test_fluid_replaces_tissue(anatomy: Anatomy, deep_white: torch.Tensor) -> None:
    i, j, k = (int(v) for v in torch.nonzero(deep_white)[2000])
    clouds = Clouds(merge([]), merge([]), filled(anatomy, (i, j, k), 1.0), merge([]))
    with torch.inference_mode():
        head = make_head(anatomy, clouds, BLOOD, PROTOCOL, np.random.default_rng(22))
    assert float(head.white[i, j, k]) == pytest.approx(0, abs=1e-4)
    assert float(head.chi_ppm[i, j, k]) == pytest.approx(0.017, abs=1e-3)
