"""From tissue shares to the signal at TE = 0, its decay, and its susceptibility."""

from dataclasses import dataclass

import numpy as np
import torch

from mmocnet.simulate.anatomy import Anatomy
from mmocnet.simulate.cloud import Cloud, splat
from mmocnet.simulate.grid import coarse_noise, plane_blocks, upsample, upsample_planes
from mmocnet.simulate.settings import Protocol
from mmocnet.simulate.signal import (
    IRON_R2PRIME_HZ_PER_PPM,
    TISSUES,
    spoiled_gre,
    venous_r2star,
)

CHI_PPM = {"wm": -0.030, "gm": 0.020, "csf": 0.017}
VENOUS_PPM_PER_HCT = 4 * np.pi * 0.273
"""Susceptibility of blood per haematocrit and unit of deoxygenation (Jain 2012)."""


@dataclass(frozen=True)
class Blood:
    """A subject's venous blood.

    Attributes:
        haematocrit: 0.36 to 0.45.
        oxygenation: Venous, 0.55 to 0.70.
    """

    haematocrit: float
    oxygenation: float

    @property
    def chi_ppm(self) -> float:
        """Susceptibility against tissue: that against oxygenated blood less 0.02."""
        return float(VENOUS_PPM_PER_HCT * self.haematocrit * (1 - self.oxygenation) - 0.02)


def draw_blood(rng: np.random.Generator) -> Blood:
    """Return a subject's venous blood."""
    return Blood(float(rng.uniform(0.36, 0.45)), float(rng.uniform(0.55, 0.70)))


@dataclass(frozen=True)
class Clouds:
    """What is drawn into the tissue: veins and iron weigh ppm, arteries and fluid 1."""

    veins: Cloud
    arteries: Cloud
    fluid: Cloud
    iron: Cloud


@dataclass(frozen=True)
class Head:
    """Signal properties on the spin grid, each a tensor (I, J, K).

    Attributes:
        m0: Signal at TE = 0.
        r2star_hz: Decay.
        chi_ppm: Susceptibility.
        white: White-matter share, for the signal-to-noise ratio.
    """

    m0: torch.Tensor
    r2star_hz: torch.Tensor
    chi_ppm: torch.Tensor
    white: torch.Tensor


def _flash(name: str, protocol: Protocol, t1_factor: float = 1.0, inflow: float = 0.0) -> float:
    tissue = TISSUES[name]
    t1 = tissue.t1(protocol.field_t) * t1_factor
    return spoiled_gre(tissue.pd, t1, protocol.tr_ms, protocol.flip_deg, inflow)


def _blend(target: torch.Tensor, share: torch.Tensor, value: float) -> None:
    """Replace a share of each voxel by a value, in place."""
    target.add_((value - target).mul_(share))


def _add_falx(m0: torch.Tensor, r2star: torch.Tensor, anatomy: Anatomy, value: float) -> None:
    """Draw the falx, a thin dark sheet in the midline of the fissure, in place."""
    grid = anatomy.grid
    # Only the columns around the midline: the whole grid's coordinates would be costly.
    low, high = (round((x - grid.low_mm[0]) / grid.spacing_mm[0]) for x in (-16.0, 16.0))
    columns = slice(max(low, 0), min(high, grid.shape[0]))
    at = torch.arange(columns.start, columns.stop, device=m0.device, dtype=torch.float32)
    coarse = (at + 0.5) * grid.spacing_mm[0] / anatomy.coarse.spacing_mm[0] - 0.5
    index = coarse.floor().clamp(0, anatomy.coarse.shape[0] - 2).long()
    part = (coarse - index)[None, :, None, None]
    fields = torch.cat([anatomy.warp.mni_mm, anatomy.depth_mm[None]])
    strip = torch.lerp(fields[:, index], fields[:, index + 1], part)
    x, y, z, depth = upsample(strip, (len(at), grid.shape[1], grid.shape[2]))
    above = ((z - 12 - 0.25 * (y.abs() - 20).clamp_min(-30)) / 4).clamp(0, 1)
    ends = ((y - 38) / 4).clamp(0, 1) + ((-62 - y) / 4).clamp(0, 1)
    share = (1.1 - x.abs()).clamp(0, 1) * ((26 - depth) / 4).clamp(0, 1)
    share *= torch.maximum(above, ends.clamp(0, 1))
    _blend(m0[columns], share, value)
    _blend(r2star[columns], share, 60.0)


def _add_skull(m0: torch.Tensor, out: torch.Tensor, signals: dict[str, float]) -> None:
    """Paint skull, scalp and air outside the brain, in place."""
    for low, high, name in ((1.0, 6.5, "bone"), (6.5, 9.5, "fat"), (9.5, 12.5, "skin")):
        m0.masked_fill_((out > low) & (out <= high), signals[name])
    m0.masked_fill_(out > 12.5, 0.0)


def _rest(share: torch.Tensor) -> torch.Tensor:
    return share.neg().add_(1.0)


def _mix(parts: tuple[torch.Tensor, ...], values: tuple[float, ...]) -> torch.Tensor:
    """Return the sum of shares times values."""
    total = parts[0] * values[0]
    for part, value in zip(parts[1:], values[1:], strict=True):
        total.add_(part, alpha=value)
    return total


def _artery(protocol: Protocol, signals: dict[str, float], rng: np.random.Generator) -> float:
    """Return the signal of arteries at TE = 0, one of a subject.

    Without flow compensation they lose it. With it few subjects show bright inflow: a 3D slab is
    thick. In the others pulsation leaves them between a void and the tissue around them.
    """
    if protocol.flow_compensated and rng.random() < 0.06:
        return _flash("artery", protocol, 1.0, float(rng.uniform(0.02, 0.25)))
    if protocol.flow_compensated and rng.random() < 0.4:
        return signals["gm"] * float(rng.uniform(0.5, 1.1))
    return signals["gm"] * float(rng.uniform(0.1, 0.3))


def _signals(protocol: Protocol, rng: np.random.Generator) -> dict[str, float]:
    """Return the signal at TE = 0 of each tissue.

    T1 of tissue varies between subjects by the range that published values span: for grey matter
    1.1 to 1.8 s at 3 T.
    """
    factors = {"wm": float(rng.uniform(0.95, 1.25)), "gm": float(rng.uniform(0.70, 1.10))}
    names = ("wm", "gm", "csf", "bone", "fat", "skin", "vein")
    signals = {name: _flash(name, protocol, factors.get(name, 1.0)) for name in names}
    signals["gm"] *= float(rng.uniform(0.95, 1.08))  # proton density
    signals["csf"] *= float(rng.uniform(0.75, 1.0))  # lost to pulsation
    signals["artery"] = _artery(protocol, signals, rng)
    return signals


def _add_tissue(
    head: Head,
    anatomy: Anatomy,
    fluid: torch.Tensor,
    signals: dict[str, float],
    protocol: Protocol,
    rng: np.random.Generator,
) -> None:
    """Draw the brain without vessels, in place."""
    field = protocol.field_t
    names = ("wm", "gm", "csf")
    decay = [TISSUES[name].r2star(field) for name in names]
    iron_hz_per_ppm = IRON_R2PRIME_HZ_PER_PPM * field / 3
    grid = anatomy.grid
    speckle = coarse_noise(grid, 4.0, rng, str(fluid.device))
    grain = float(rng.uniform(0.01, 0.05))
    for at in plane_blocks(grid.shape[0], fluid.device):
        solid = _rest(fluid[at])
        white, grey = torch.mul(anatomy.white[at], solid, out=head.white[at]), solid
        grey.mul_(anatomy.grey[at])
        parts = (white, grey, _rest(white).sub_(grey))
        noise = upsample_planes(speckle, grid.shape, at)[0]
        lesion = anatomy.lesion_white[at]
        # Iron is grainy, and so is tissue: unresolved vessels and fibres.
        iron = (noise * 0.45).add_(1).clamp_min_(0).mul_(anatomy.iron_ppm[at])
        m0 = _mix(parts, tuple(signals[name] for name in names))
        m0.mul_(1 - 0.10 * lesion).mul_(noise.mul_(grain).add_(1))
        r2star = _mix(parts, tuple(decay)).mul_(1 - 0.25 * lesion)
        head.m0[at] = m0
        head.r2star_hz[at] = r2star.add_(iron, alpha=iron_hz_per_ppm)
        head.chi_ppm[at] = _mix(parts, tuple(CHI_PPM[name] for name in names)).add_(iron)


def make_head(
    anatomy: Anatomy,
    clouds: Clouds,
    blood: Blood,
    protocol: Protocol,
    rng: np.random.Generator,
) -> Head:
    """Return the head's signal properties at a protocol's field, TR and flip angle."""
    device, grid = str(anatomy.white.device), anatomy.grid
    signals = _signals(protocol, rng)
    head = Head(*(torch.empty_like(anatomy.white) for _ in range(4)))
    fluid = splat(clouds.fluid, grid, device)[0]
    _add_tissue(head, anatomy, fluid, signals, protocol, rng)
    _add_falx(head.m0, head.r2star_hz, anatomy, 0.35 * signals["gm"])
    artery = splat(clouds.arteries, grid, device)[0]
    veins, iron = splat(clouds.veins, grid, device), splat(clouds.iron, grid, device)
    field = protocol.field_t
    for at in plane_blocks(grid.shape[0], artery.device):
        m0, r2star, chi = head.m0[at], head.r2star_hz[at], head.chi_ppm[at]
        _blend(m0, artery[at], signals["artery"])
        for cloud, decay, m in (
            (veins, venous_r2star(field, blood.oxygenation), signals["vein"]),
            (iron, 120.0 * field / 3, 0.8 * signals["gm"]),
        ):
            share = cloud[0, at]
            _blend(m0, share, m)
            _blend(r2star, share, decay)
            chi.mul_(_rest(share)).add_(cloud[1, at])
        depth = upsample_planes(anatomy.depth_mm[None], grid.shape, at)[0]
        _add_skull(m0, depth.neg_(), signals)
    return head
