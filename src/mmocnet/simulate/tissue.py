"""From tissue shares to the signal at TE = 0, its decay, and its susceptibility."""

from dataclasses import dataclass

import numpy as np
import torch

from mmocnet.simulate.anatomy import Anatomy
from mmocnet.simulate.grid import smooth_noise, upsample
from mmocnet.simulate.settings import Protocol
from mmocnet.simulate.signal import (
    IRON_R2PRIME_HZ_PER_PPM,
    TISSUES,
    spoiled_gre,
    venous_r2star,
)
from mmocnet.simulate.vessels import Cloud, splat

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
    target.add_(share * (value - target))


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


def _skull_signal(m0: torch.Tensor, out: torch.Tensor, protocol: Protocol) -> torch.Tensor:
    """Return the signal with skull, scalp and air painted outside the brain."""
    for low, high, name in ((1.0, 6.5, "bone"), (6.5, 9.5, "fat"), (9.5, 12.5, "skin")):
        band = (out > low) & (out <= high)
        m0 = torch.where(band, torch.full_like(m0, _flash(name, protocol)), m0)
    return torch.where(out > 12.5, torch.zeros_like(m0), m0)


def make_head(
    anatomy: Anatomy,
    clouds: Clouds,
    blood: Blood,
    protocol: Protocol,
    rng: np.random.Generator,
) -> Head:
    """Return the head's signal properties at a protocol's field, TR and flip angle."""
    device = str(anatomy.white.device)
    field = protocol.field_t
    grid = anatomy.grid
    r2 = {name: tissue.r2star(field) for name, tissue in TISSUES.items()}
    # T1 of tissue varies between subjects by the range that published values span.
    white_t1, grey_t1 = float(rng.uniform(0.95, 1.25)), float(rng.uniform(0.82, 1.05))
    wm, gm, csf = (
        _flash("wm", protocol, white_t1),
        _flash("gm", protocol, grey_t1),
        _flash("csf", protocol),
    )
    fluid = splat(clouds.fluid, grid, device)[0]
    white, grey = anatomy.white * (1 - fluid), anatomy.grey * (1 - fluid)
    water = 1 - white - grey
    m0 = wm * white + gm * grey + csf * water
    r2star = r2["wm"] * white + r2["gm"] * grey + r2["csf"] * water
    chi = CHI_PPM["wm"] * white + CHI_PPM["gm"] * grey + CHI_PPM["csf"] * water
    m0 *= 1 - 0.10 * anatomy.lesion_white
    r2star *= 1 - 0.25 * anatomy.lesion_white
    speckle = smooth_noise(grid, 4.0, rng, device)[0]
    # Iron is grainy, and so is tissue: unresolved vessels and fibres.
    iron = anatomy.iron_ppm * (1 + 0.45 * speckle).clamp_min(0)
    chi += iron
    r2star += iron * (IRON_R2PRIME_HZ_PER_PPM * field / 3)
    m0 *= 1 + float(rng.uniform(0.005, 0.02)) * speckle
    depth = upsample(anatomy.depth_mm[None], grid.shape)[0]
    _add_falx(m0, r2star, anatomy, 0.35 * gm)
    artery = splat(clouds.arteries, grid, device)[0]
    # Inflow brightens arteries in 3D; without flow compensation they lose their signal.
    bright = protocol.flow_compensated and rng.random() < 0.4
    _blend(m0, artery, _flash("artery", protocol, 1.0, 0.25) if bright else 0.15 * gm)
    for cloud, decay, m in (
        (clouds.veins, venous_r2star(field, blood.oxygenation), _flash("vein", protocol)),
        (clouds.iron, 120.0 * field / 3, 0.8 * gm),
    ):
        share, weighted = splat(cloud, grid, device)
        _blend(m0, share, m)
        _blend(r2star, share, decay)
        chi = chi * (1 - share) + weighted
    m0 = _skull_signal(m0, -depth, protocol)
    return Head(m0=m0, r2star_hz=r2star, chi_ppm=chi, white=white)
