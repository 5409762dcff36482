import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from torch import Tensor

from mmocnet.errors import InputError
from mmocnet.simulate.field import (
    cylinder_field_ppm,
    dipole_field_ppm,
    downsample,
    field_shift_ppm,
    lesion_patch,
    patch_spacing_mm,
    sphere_field_ppm,
    spheres_patch,
    upsample,
)


def points(count: int) -> Tensor:
    axis = torch.arange(count) - (count - 1) / 2
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def ball(count: int, radius: float, fine: int = 5) -> Tensor:
    axis = (torch.arange(count * fine) + 0.5) / fine - count / 2
    inside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < radius**2
    return torch.nn.functional.avg_pool3d(inside.float()[None, None], fine)[0, 0]


@pytest.mark.parametrize(("radius", "count", "limit"), [(5, 40, 0.02), (2, 24, 0.04)])
def test_field_outside_a_ball_is_a_dipole(radius: int, count: int, limit: float) -> None:
    shift = field_shift_ppm(ball(count, radius), (1, 1, 1), pad=count // 2)
    true = sphere_field_ppm(points(count), 1.0, radius)
    outside = points(count).norm(dim=-1) > radius + 1
    error = (shift - true)[outside].square().mean().sqrt()
    assert error / true[outside].square().mean().sqrt() < limit


def test_field_inside_a_ball_is_nearly_unshifted() -> None:
    shift = field_shift_ppm(ball(40, 8), (1, 1, 1), pad=20)
    inside = points(40).norm(dim=-1) < 6
    assert shift[inside].abs().max() < 0.02


@pytest.mark.parametrize(
    ("b0", "expected"), [((0.0, 0.0, 1.0), 0.5 / 3), ((1.0, 0.0, 0.0), -0.5 / 6)]
)
def test_field_in_a_cylinder_follows_its_angle_to_b0(b0, expected) -> None:
    axis = (torch.arange(64 * 8) + 0.5) / 8 - 32
    disc = (axis[:, None] ** 2 + axis**2 < 25).float()
    disc = torch.nn.functional.avg_pool2d(disc[None, None], 8)[0, 0]
    chi = 0.5 * disc[:, :, None].expand(64, 64, 8)
    centre = field_shift_ppm(chi, (1, 1, 1), b0, pad=(64, 64, 0))[32, 32, 4]
    assert float(centre) == pytest.approx(expected, rel=0.02)


def test_field_around_a_cylinder_agrees_with_the_analytic_one() -> None:
    at = points(48)
    chi = (at[..., :2].norm(dim=-1) < 6).float()[:, :, :8].contiguous()
    shift = field_shift_ppm(chi, (1, 1, 1), (0, 1, 0), pad=(48, 48, 0))
    true = cylinder_field_ppm(at[:, :, :8], 1.0, 6, (0, 0, 1), (0, 1, 0))
    outside = at[:, :, :8, :2].norm(dim=-1) > 8
    assert (shift - true)[outside].square().mean().sqrt() < 0.03 * true[outside].abs().max()


def test_cylinder_field_is_a_line_of_dipoles() -> None:
    at = (3.0, 2.0, 0.0)

    def line(z: float) -> float:
        point = torch.tensor([at[0], at[1], at[2] - z], dtype=torch.float64)
        return float(dipole_field_ppm(point, math.pi * 0.25, (1.0, 0.0, 1.0)))

    expected, _ = integrate.quad(line, -500, 500, limit=400, points=[0])
    field = cylinder_field_ppm(torch.tensor([at]), 1.0, 0.5, (0, 0, 1), (1, 0, 1))
    assert float(field[0]) == pytest.approx(expected, rel=1e-3)


def test_sphere_field_is_a_dipole_of_its_moment() -> None:
    at = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 3.0]])
    moment = 1.6 * 4 / 3 * math.pi * 0.7**3
    torch.testing.assert_close(sphere_field_ppm(at, 1.6, 0.7), dipole_field_ppm(at, moment))


def test_paramagnetic_sphere_shifts_up_at_its_poles_and_down_at_its_equator() -> None:
    shift = field_shift_ppm(ball(24, 4), (1, 1, 1), pad=12)
    assert shift[12, 12, 18] > 0
    assert shift[18, 12, 12] < 0
    assert shift[12, 18, 12] < 0


@settings(max_examples=15, deadline=None)
@given(
    scale=st.floats(0.1, 5),
    tilt=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda d: math.hypot(*d) > 0.1),
    spacing=st.tuples(*[st.floats(0.3, 3)] * 3),
)
def test_field_is_linear_and_odd_in_susceptibility(scale, tilt, spacing) -> None:
    chi = torch.randn((7, 6, 8), generator=torch.Generator().manual_seed(3))
    shift = field_shift_ppm(chi, spacing, tilt)
    torch.testing.assert_close(
        field_shift_ppm(-scale * chi, spacing, tilt), -scale * shift, rtol=1e-4, atol=1e-5
    )


def test_field_turns_with_the_main_field() -> None:
    chi = torch.randn((8, 8, 8), generator=torch.Generator().manual_seed(3))
    turned = field_shift_ppm(chi.permute(2, 1, 0).contiguous(), (1, 1, 2), (1, 0, 0))
    straight = field_shift_ppm(chi, (2, 1, 1), (0, 0, 1))
    torch.testing.assert_close(turned, straight.permute(2, 1, 0), rtol=1e-4, atol=1e-5)


def test_length_of_b0_does_not_matter() -> None:
    chi = ball(12, 3)
    torch.testing.assert_close(
        field_shift_ppm(chi, (1, 1, 1), (0, 3, 4)), field_shift_ppm(chi, (1, 1, 1), (0, 0.6, 0.8))
    )


def test_uniform_background_leaves_no_field() -> None:
    shift = field_shift_ppm(torch.full((9, 10, 11), -9.2), (1, 1, 1), pad=3, background_ppm=-9.2)
    assert shift.abs().max() == 0


def test_zero_b0_is_refused() -> None:
    with pytest.raises(InputError, match="b0_direction"):
        field_shift_ppm(torch.zeros(4, 4, 4), (1, 1, 1), (0, 0, 0))


def test_coarse_field_upsampled_agrees_with_the_fine_field_far_away() -> None:
    fine = ball(48, 5)
    coarse = field_shift_ppm(downsample(fine, (24, 24, 24)), (2, 2, 2), pad=24)
    shift = upsample(coarse, (48, 48, 48))
    true = sphere_field_ppm(points(48), 1.0, 5)
    outside = points(48).norm(dim=-1) > 12
    assert (shift - true)[outside].square().mean().sqrt() < 0.05 * true[
        outside
    ].square().mean().sqrt()


def test_upsample_is_trilinear_interpolation() -> None:
    coarse = torch.randn((5, 4, 3), generator=torch.Generator().manual_seed(3))
    expected = torch.nn.functional.interpolate(
        coarse[None, None], (11, 8, 7), mode="trilinear", align_corners=False
    )[0, 0]
    torch.testing.assert_close(upsample(coarse, (11, 8, 7)), expected)


def test_downsample_by_whole_blocks_is_their_mean() -> None:
    fine = torch.randn((6, 8, 4), generator=torch.Generator().manual_seed(3))
    expected = torch.nn.functional.avg_pool3d(fine[None, None], (3, 2, 2))[0, 0]
    torch.testing.assert_close(downsample(fine, (2, 4, 2)), expected)


def test_downsample_keeps_the_moment_of_uneven_grids() -> None:
    fine = torch.rand((7, 9, 5), generator=torch.Generator().manual_seed(3))
    assert float(downsample(fine, (3, 4, 2)).mean()) == pytest.approx(float(fine.mean()), rel=1e-5)


@pytest.mark.parametrize("radius", [0.5, 0.7, 1.5])
def test_patch_holds_the_moment_of_its_sphere(radius: float) -> None:
    spacing = patch_spacing_mm(radius)
    chi, _ = lesion_patch([((0.03, -0.05, 0.02), radius, 1.6)], spacing, radius + 1)
    expected = 1.6 * 4 / 3 * math.pi * radius**3
    assert float(chi.sum()) * spacing**3 == pytest.approx(expected, rel=0.03)


def test_patch_field_at_its_rim_is_the_dipole_of_its_moment() -> None:
    chi, shift = lesion_patch([((0, 0, 0), 0.6, 2.0), ((0.4, 0, 0), 0.5, 1.5)], 0.15, 3.0)
    moment = float(chi.sum()) * 0.15**3
    axis = (torch.arange(40) - 19.5) * 0.15
    at = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    weight = chi / chi.sum()
    centre = torch.stack([(weight * at[..., i]).sum() for i in range(3)])
    rim = at.norm(dim=-1) > 2.7
    true = dipole_field_ppm(at - centre, moment)
    assert (shift - true)[rim].square().mean().sqrt() < 0.06 * true[rim].square().mean().sqrt()


def test_overlapping_spheres_count_once() -> None:
    one = spheres_patch([((0, 0, 0), 1.0, 1.6)], (0.2, 0.2, 0.2), (16, 16, 16))
    two = spheres_patch([((0, 0, 0), 1.0, 1.6)] * 2, (0.2, 0.2, 0.2), (16, 16, 16))
    assert torch.equal(one, two)


def test_calcium_in_a_patch_keeps_its_sign() -> None:
    chi = spheres_patch([((0, 0, 0), 1.0, -2.0)], (0.2, 0.2, 0.2), (16, 16, 16))
    assert float(chi.min()) == -2.0
    assert float(chi.max()) <= 0
