"""Blooming: what a reader sees of a small paramagnetic source."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from mmocnet.prepare.swi import homodyne_highpass, swi
from mmocnet.simulate.field import sphere_field_ppm
from mmocnet.simulate.paste import CALCIUM, Footprint, SpinGrid, lesion_footprint
from mmocnet.simulate.signal import TISSUES, Echo

SHAPE = (44, 44, 30)
VOXEL_MM = (0.6, 0.6, 1.0)
GRID = SpinGrid(SHAPE, VOXEL_MM)
CENTRE = (21.25, 21.33, 14.4)
TES = (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0)


@cache
def footprint(radius: float, chi: float = 1.6) -> Footprint:
    return lesion_footprint([((0, 0, 0), radius, chi)], CENTRE, GRID, [Echo(te, 3.0) for te in TES])


def pasted(print_: Footprint, echo: int) -> Tensor:
    signal = torch.ones(SHAPE, dtype=torch.complex64)
    signal[print_.box] *= print_.factors[echo]
    return signal * math.exp(-TES[echo] / 1000 * TISSUES["wm"].r2star(3.0))


def apparent_mm3(radius: float, te_ms: float, processed: bool = False) -> float:
    echo = TES.index(te_ms)
    signal = pasted(footprint(radius), echo)
    image = swi(signal.abs(), homodyne_highpass(signal)) if processed else signal.abs()
    clean = math.exp(-te_ms / 1000 * TISSUES["wm"].r2star(3.0))
    change = (image - clean).abs()
    seen = (change > 0.5 * change.max()) & (change > 0.15 * clean)
    labels, _ = ndimage.label(seen.numpy(), np.ones((3, 3, 3)))
    nearest = labels[tuple(round(c) for c in CENTRE)]
    return float((labels == nearest).sum() * math.prod(VOXEL_MM)) if nearest else 0.0


@pytest.mark.parametrize("processed", [False, True])
@pytest.mark.parametrize("radius", [0.7, 0.9, 1.2, 1.5])
def test_lesion_blooms_with_echo_time(radius: float, processed: bool) -> None:
    volumes = [apparent_mm3(radius, te, processed) for te in TES]
    assert volumes == sorted(volumes)
    assert (6 * volumes[3] / math.pi) ** (1 / 3) > 2
    assert 1.2 < volumes[-1] / volumes[3] < 3


def test_median_source_looks_as_large_as_real_lesions() -> None:
    diameter = (6 * apparent_mm3(0.7, 20.0) / math.pi) ** (1 / 3)
    assert 2.0 < diameter < 3.3


def test_phase_around_a_lesion_is_negative_at_the_equator_and_positive_at_the_poles() -> None:
    phase = pasted(footprint(0.9), 3).angle()
    i, j, k = (round(c) for c in CENTRE)
    assert phase[i + 4, j, k] < 0
    assert phase[i, j - 4, k] < 0
    assert phase[i, j, k + 3] > 0
    assert phase[i, j, k - 3] > 0


def test_calcium_has_the_opposite_phase_of_blood() -> None:
    blood, calcium = (footprint(0.9, chi).factors[1] for chi in (1.6, -1.6))
    torch.testing.assert_close(calcium, blood.conj(), rtol=1e-4, atol=1e-5)


def test_solid_calcium_is_dark_without_dephasing() -> None:
    made = lesion_footprint([((0, 0, 0), 2.5, -1e-4)], CENTRE, GRID, [Echo(0.0, 3.0)], CALCIUM)
    assert float(made.factors[0].abs().min()) == pytest.approx(CALCIUM.density, abs=1e-3)


def test_far_from_a_lesion_only_phase_is_left_and_it_is_a_dipoles() -> None:
    signal = pasted(footprint(0.9), 3)
    voxel = (31, 21, 14)
    offset = [(v - c) * d for v, c, d in zip(voxel, CENTRE, VOXEL_MM, strict=True)]
    expected = sphere_field_ppm(torch.tensor([offset]), 1.6, 0.9)[0] * Echo(20, 3).rad_per_ppm
    assert float(signal[voxel].angle()) == pytest.approx(float(expected), rel=0.03)
    background = math.exp(-0.02 * TISSUES["wm"].r2star(3.0))
    assert float(signal[voxel].abs()) == pytest.approx(background, rel=1e-3)


def test_source_fills_the_volume_of_its_sphere_about_its_centre() -> None:
    made = footprint(1.2)
    volume = float(made.source.sum()) * math.prod(VOXEL_MM)
    assert volume == pytest.approx(4 / 3 * math.pi * 1.2**3, rel=0.02)
    assert made.source_mm3 == pytest.approx(volume, rel=1e-4)
    share = torch.zeros(SHAPE)
    share[made.box] = made.source
    assert ndimage.center_of_mass(share.numpy()) == pytest.approx(CENTRE, abs=0.02)


def test_lesion_at_the_border_is_cut_and_otherwise_the_same() -> None:
    inside = pasted(footprint(0.9), 3)
    made = lesion_footprint([((0, 0, 0), 0.9, 1.6)], (1.25, 21.33, 14.4), GRID, [Echo(20.0, 3.0)])
    edge = torch.ones(SHAPE, dtype=torch.complex64)
    edge[made.box] *= made.factors[0]
    edge *= math.exp(-0.02 * TISSUES["wm"].r2star(3.0))
    torch.testing.assert_close(edge[:10], inside[20:30], rtol=1e-3, atol=1e-4)


def test_lesion_outside_the_grid_touches_nothing() -> None:
    made = lesion_footprint([((0, 0, 0), 0.5, 1.0)], (-90, 5, 5), GRID, [Echo(20.0, 3.0)])
    assert made.factors[0].numel() == 0
