import math

import pytest
import torch
from scipy import optimize

from mmocnet.errors import InputError
from mmocnet.simulate.signal import (
    FIELDS_T,
    IRON_R2PRIME_HZ_PER_PPM,
    TISSUES,
    Echo,
    complex_signal,
    gradient_dephasing,
    lesion_factor,
    spoiled_gre,
    venous_r2star,
)


def test_ernst_angle_gives_the_most_signal() -> None:
    best = optimize.minimize_scalar(
        lambda flip: -spoiled_gre(1.0, 838.0, 28.0, flip), bounds=(1, 89), method="bounded"
    )
    assert best.x == pytest.approx(math.degrees(math.acos(math.exp(-28 / 838))), abs=1e-3)


def test_steady_state_is_what_many_pulses_reach() -> None:
    flip, decay, along = math.radians(15), math.exp(-28 / 1607), 1.0
    for _ in range(2000):
        transverse = along * math.sin(flip)
        along = 1 + (along * math.cos(flip) - 1) * decay
    assert spoiled_gre(1.0, 1607.0, 28.0, 15.0) == pytest.approx(transverse, rel=1e-9)


def test_fresh_spins_give_all_their_signal() -> None:
    assert spoiled_gre(0.8, 1650, 28, 15, inflow=1.0) == pytest.approx(
        0.8 * math.sin(math.radians(15))
    )


@pytest.mark.parametrize(
    ("name", "field_t", "t1", "t2star"), [("wm", 3.0, 838, 53), ("gm", 7.0, 1939, 33)]
)
def test_tissue_at_a_tabled_field_is_the_table(name, field_t, t1, t2star) -> None:
    assert TISSUES[name].t1(field_t) == pytest.approx(t1)
    assert 1000 / TISSUES[name].r2star(field_t) == pytest.approx(t2star)


@pytest.mark.parametrize("name", sorted(TISSUES))
def test_relaxation_changes_with_field_in_the_known_direction(name: str) -> None:
    t1 = [TISSUES[name].t1(f) for f in (*FIELDS_T[:2], 4.0, FIELDS_T[2])]
    r2star = [TISSUES[name].r2star(f) for f in (*FIELDS_T[:2], 4.0, FIELDS_T[2])]
    assert t1 == sorted(t1)
    assert r2star == sorted(r2star)


@pytest.mark.parametrize(("field_t", "t2star_ms"), [(3.0, 25.0), (7.0, 7.4)])
def test_venous_t2star_is_near_the_published(field_t: float, t2star_ms: float) -> None:
    assert 1000 / venous_r2star(field_t, 0.6) == pytest.approx(t2star_ms, rel=0.15)


def test_iron_shortens_t2star_of_the_pallidum_to_about_27_ms() -> None:
    iron_hz = IRON_R2PRIME_HZ_PER_PPM * (0.13 - 0.02)
    assert 1000 / (TISSUES["gm"].r2star(3.0) + iron_hz) == pytest.approx(27, abs=1)


def test_dephasing_in_a_uniform_gradient_is_nearly_a_sinc() -> None:
    hz = 15.0
    field = hz * torch.arange(6.0)[:, None, None].expand(6, 5, 4)
    turns = hz * 0.02
    expected = math.sin(math.pi * turns) / (math.pi * turns)
    torch.testing.assert_close(
        gradient_dephasing(field, 20.0), torch.full((6, 5, 4), expected), rtol=0.01, atol=0
    )


def test_phase_of_a_ppm_is_two_pi_gamma_b0_te() -> None:
    one = torch.ones((2, 2, 2))
    signal = complex_signal(one, 0 * one, 0.1 * one, Echo(20.0, 3.0), dephasing=False)
    expected = 2 * math.pi * 42.577478e6 * 3 * 0.1e-6 * 0.02
    assert float(signal[0, 0, 0].angle()) == pytest.approx(expected, rel=1e-5)


def test_phase_sign_of_susceptibility_is_antisymmetric() -> None:
    field = 0.05 * torch.randn((12, 6, 5), generator=torch.Generator().manual_seed(3))
    one = torch.ones_like(field)
    up = complex_signal(one, 20 * one, field, Echo(20.0, 3.0))
    down = complex_signal(one, 20 * one, -field, Echo(20.0, 3.0))
    flipped = complex_signal(one, 20 * one, field, Echo(20.0, 3.0, phase_sign=-1))
    assert torch.equal(down, up.conj())
    assert torch.equal(flipped, up.conj())


def test_planes_taken_a_few_at_a_time_join_without_a_seam() -> None:
    field = torch.randn((21, 6, 5), generator=torch.Generator().manual_seed(3))
    one = torch.ones_like(field)
    echo = Echo(5.0, 3.0)
    magnitude = complex_signal(one, 10 * one, field, echo).abs()
    expected = gradient_dephasing(field * echo.hz_per_ppm, 5.0) * math.exp(-0.05)
    torch.testing.assert_close(magnitude, expected)


def test_slice_of_one_voxel_has_no_slope_across_it() -> None:
    assert torch.equal(gradient_dephasing(torch.full((3, 3, 1), 50.0), 20.0), torch.ones(3, 3, 1))


def test_lesion_without_susceptibility_changes_nothing() -> None:
    none = torch.zeros((8, 8, 8))
    factor = lesion_factor(none, none, (4, 4, 4), Echo(20.0, 3.0))
    torch.testing.assert_close(factor, torch.ones((2, 2, 2), dtype=torch.complex64))


def test_decay_inside_a_lesion_is_static_dephasing() -> None:
    inside = torch.ones((4, 4, 4))
    factor = lesion_factor(inside, 0 * inside, (2, 2, 2), Echo(2.0, 7.0))
    rate = 2 * math.pi / (3 * math.sqrt(3)) * 2 * math.pi * 42.577478 * 7 / 3
    assert float(factor[0, 0, 0].abs()) == pytest.approx(math.exp(-0.002 * rate), rel=0.01)


def test_block_that_does_not_divide_the_patch_is_refused() -> None:
    with pytest.raises(InputError, match="divide"):
        lesion_factor(torch.zeros(8, 8, 9), torch.zeros(8, 8, 9), (4, 4, 4), Echo(20.0, 3.0))


def test_phase_sign_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="sign"):
        Echo(20.0, 3.0, 0)
