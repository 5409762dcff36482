"""Anatomy: a deformed, aged head from the MNI152 maps, as tissue shares on a grid.

The maps are averages of 152 people and look like no patient. What is put back: the warp, sulci
(where the distance to white matter peaks, and along random sheets), nuclei as bodies, atrophy,
iron, white-matter lesions, a skull and air.
"""

from dataclasses import dataclass

import numpy as np
import torch

from mmocnet.simulate.grid import (
    Grid,
    plane_blocks,
    sample,
    smooth_noise,
    upsample,
    upsample_planes,
)
from mmocnet.simulate.nuclei import NUCLEI, signed_distance_mm
from mmocnet.simulate.subject import Traits, Warp
from mmocnet.simulate.templates import COARSE_MM, Templates

CORTEX_MM = 2.6
"""Thickness of the cortex."""
GROUPS = (
    "outside",
    "csf",
    "subcortical white matter",
    "cortex",
    "cerebellum",
    "basal ganglia",
    "thalamus",
    "brainstem",
)
"""Location classes; a voxel's class is its index here."""


@dataclass(frozen=True)
class Anatomy:
    """A head on a grid.

    Attributes:
        grid: The spin grid.
        coarse: A grid of 2 mm on the same box.
        traits: The subject.
        warp: To MNI and back.
        white: White-matter share, shape of `grid`, like the next three.
        grey: Grey-matter share, nuclei included.
        csf: CSF share; white + grey + csf is 1 inside the brain.
        iron_ppm: Susceptibility of the nuclei above grey matter.
        lesion_white: Share of white-matter hyperintensity.
        depth_mm: Depth below the brain's surface, shape of `coarse`, like the rest.
        cortex: Share of cortex.
        ventricle_mm: Distance to the ventricles.
        hind: Share of brain stem and cerebellum.
        sulcus_mm: Signed distance from the mid-surface of the nearest random sulcus.
        groups: Location class, an index into GROUPS.
    """

    grid: Grid
    coarse: Grid
    traits: Traits
    warp: Warp
    white: torch.Tensor
    grey: torch.Tensor
    csf: torch.Tensor
    iron_ppm: torch.Tensor
    lesion_white: torch.Tensor
    depth_mm: torch.Tensor
    cortex: torch.Tensor
    ventricle_mm: torch.Tensor
    hind: torch.Tensor
    sulcus_mm: torch.Tensor
    groups: torch.Tensor


def _sheets_mm(grid: Grid, rng: np.random.Generator, device: str) -> torch.Tensor:
    """Return the signed distance to random sheets, in mm, clipped to +-9: (I, J, K)."""
    field = smooth_noise(grid, 26.0, rng, device)[0]
    field = field + 0.35 * smooth_noise(grid, 11.0, rng, device)[0]
    slopes = torch.gradient(field, spacing=[float(s) for s in grid.spacing_mm])
    slope = torch.sqrt(sum((s**2 for s in slopes), torch.zeros_like(field)))
    # Where the field is flat the nearest sheet is far: the floor keeps blobs from forming.
    return (field / slope.clamp_min(0.06)).clamp(-9, 9)


def _softstep(distance_mm: torch.Tensor, width_mm: float) -> torch.Tensor:
    """Return 1 where the distance is well below 0, 0 well above, linear in between."""
    return (0.5 - distance_mm / width_mm).clamp_(0, 1)


def _cortical_distances(
    fine: torch.Tensor, smooth: torch.Tensor, traits: Traits
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what the cortex is drawn from, in mm.

    Args:
        fine: Distance to white matter, grey and white probability, shape (3, ...).
        smooth: Depth, cortex share, sheet distance, ventricle distance, thickness noise.
        traits: The subject.

    Returns:
        Distance to white matter, distance to the CSF that the folds enclose (negative inside
        it), half width of the random sulci.
    """
    depth, _, _, _, noise = smooth
    wide = 0.15 + 0.75 * traits.atrophy
    far = fine[0] + 0.5 * noise
    folds = torch.minimum(CORTEX_MM + 1.5 - 0.6 * wide - far, depth - 0.6 * wide)
    # A sheet opens at the surface and closes in the depth.
    half = (wide * (0.5 + 0.4 * noise)).clamp_min(0.0) * (1.25 - depth / 20).clamp(0, 1.1)
    return far, folds, half


def _template_shares(
    fine: torch.Tensor, smooth: torch.Tensor, traits: Traits
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the template's own white and CSF shares, sharpened, with aged ventricles."""
    _, _, _, ventricle, noise = smooth
    grey, white = fine[1] ** 2, fine[2] ** 2
    csf = ((1 - fine[1] - fine[2]).clamp(0, 1) * (1 + 0.6 * traits.atrophy)) ** 2
    inside = _softstep(ventricle - 4.5 * traits.atrophy + 1.0 + noise, 1.2)
    csf = torch.maximum(csf, 20 * inside)
    total = (grey + white + csf).clamp_min(1e-3)
    return white / total, csf / total


def _nuclei(
    mni: torch.Tensor, noise: torch.Tensor, traits: Traits
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the distance to the nearest nucleus in mm and that one's susceptibility in ppm."""
    distance = torch.full_like(noise, 99.0)
    chi = torch.zeros_like(noise)
    for nucleus in NUCLEI:
        here = signed_distance_mm(nucleus, mni) + 0.8 * noise
        chi = torch.where(here < distance, torch.full_like(chi, nucleus.chi_ppm), chi)
        distance = torch.minimum(distance, here)
    return distance.clamp_max(9.0), chi * traits.iron


def _draw_tissues(fields: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return white, grey and CSF shares, and the nuclei's, from fields on the same grid.

    Args:
        fields: Distance to white matter, to enclosed CSF, to sheets; half width of sheets;
            cortex share; template's white and CSF; distance to nuclei. Shape (8, ...).
    """
    far, folds, sheet, half, cortex, white_m, csf_m, nucleus = fields
    sheet = sheet.abs()
    edge = 0.9
    csf_c = _softstep(torch.minimum(folds, sheet - half), edge)
    white_c = _softstep(far, edge) * _softstep(CORTEX_MM + half - sheet, edge)
    white_c = torch.minimum(white_c, 1 - csf_c)
    white = torch.lerp(white_m, white_c, cortex)
    csf = torch.lerp(csf_m, csf_c, cortex)
    share = _softstep(nucleus, 1.4) * (1 - csf)
    white = white * (1 - share)
    csf = csf * (1 - share)
    return white, (1 - white - csf).clamp_(0, 1), csf, share


def _locate(
    smooth: dict[str, torch.Tensor], mni: torch.Tensor, white: torch.Tensor
) -> torch.Tensor:
    """Return the location class of each coarse voxel, int64."""
    groups = torch.zeros(white.shape, dtype=torch.int64, device=white.device)
    depth, cortex = smooth["depth"], smooth["cortex"]
    inside = depth > 1.5
    groups[inside] = GROUPS.index("csf")
    groups[inside & (white > 0.6)] = GROUPS.index("subcortical white matter")
    solid = inside & (smooth["csf"] < 0.35)
    groups[solid & (cortex > 0.4) & (white < 0.75)] = GROUPS.index("cortex")
    x, y, _ = mni.unbind(0)
    hind = solid & (smooth["hind"] > 0.5)
    groups[hind] = GROUPS.index("cerebellum")
    stem = (x.abs() < 15) & (y > -42) & (y < -11)
    groups[hind & stem] = GROUPS.index("brainstem")
    for nucleus in NUCLEI:
        index = GROUPS.index(nucleus.group)
        groups[solid & (signed_distance_mm(nucleus, mni) < 0)] = index
    return groups


def _sharp_maps(fields: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Return what varies within a millimetre, drawn on the spin grid.

    Args:
        fields: Those of `_draw_tissues`, then the susceptibility of the nearest nucleus and the
            share of hyperintensity; shape (10, ...) on a coarser grid over the same box.
        grid: The spin grid.

    Returns:
        White, grey and CSF share, iron in ppm, share of hyperintense white matter.
    """
    maps = torch.empty((5, *grid.shape), device=fields.device)
    for planes in plane_blocks(grid.shape[0], fields.device):
        here = upsample_planes(fields, grid.shape, planes)
        white, grey, csf, share = _draw_tissues(here[:8])
        maps[0, planes], maps[1, planes], maps[2, planes] = white, grey, csf
        torch.mul(here[8], share, out=maps[3, planes])
        torch.mul(here[9], white, out=maps[4, planes])
    return maps


def make_anatomy(
    grid: Grid, templates: Templates, traits: Traits, rng: np.random.Generator, device: str
) -> Anatomy:
    """Return a subject's head on a grid.

    Args:
        grid: The spin grid, in subject mm (the template's origin is the subject's).
        templates: The MNI152 maps on `device`.
        traits: The subject.
        rng: Randomness of warp and sulci.
        device: Where the tensors live.
    """
    coarse = grid.with_spacing(float(COARSE_MM))
    warp = Warp(coarse, traits, rng, device)
    origin = torch.tensor(templates.origin_mm, dtype=torch.float32, device=device)
    template_voxel = warp.mni_mm - origin[:, None, None, None]
    depth, cortex, ventricle, hind = sample(templates.coarse, template_voxel / COARSE_MM)
    sheets = _sheets_mm(coarse, rng, device)
    noise = smooth_noise(coarse, 18.0, rng, device)[0]
    spots = smooth_noise(coarse, 9.0, rng, device)[0]
    smooth = torch.stack([depth, cortex, sheets, ventricle, noise])
    fields = _smooth_fields(smooth, spots, template_voxel, warp, templates, traits)
    white, grey, csf, iron, lesion = _sharp_maps(fields, grid)
    low = upsample(torch.stack([white, csf]), coarse.shape)
    parts = {"depth": depth, "cortex": cortex, "hind": hind, "csf": low[1]}
    return Anatomy(
        grid=grid,
        coarse=coarse,
        traits=traits,
        warp=warp,
        white=white,
        grey=grey,
        csf=csf,
        iron_ppm=iron,
        lesion_white=lesion,
        depth_mm=depth,
        cortex=cortex,
        ventricle_mm=ventricle,
        hind=hind,
        sulcus_mm=sheets,
        groups=_locate(parts, warp.mni_mm, low[0]),
    )


def _smooth_fields(
    smooth: torch.Tensor,
    spots: torch.Tensor,
    template_voxel: torch.Tensor,
    warp: Warp,
    templates: Templates,
    traits: Traits,
) -> torch.Tensor:
    """Return the fields that `_sharp_maps` cuts: distances vary slowly, so 1 mm will do.

    Args:
        smooth: Depth, cortex share, sheet distance, ventricle distance, thickness noise, 2 mm.
        spots: Noise that hyperintensities follow, 2 mm.
        template_voxel: Voxel of the 1 mm template maps at each 2 mm voxel.
        warp: Subject to MNI.
        templates: The MNI152 maps.
        traits: The subject.
    """
    nucleus, chi = _nuclei(warp.mni_mm, smooth[4], traits)
    extent = 14 * traits.white_matter_lesions
    hyper = _softstep(1.0 - spots * 1.5 - (extent - smooth[3]) / 4, 2.0)
    shape = warp.grid.with_spacing(1.0).shape
    fields = torch.empty((10, *shape), device=spots.device)
    wide = torch.cat([smooth, template_voxel, torch.stack([nucleus, chi, hyper])])
    for planes in plane_blocks(shape[0], spots.device):
        here = upsample_planes(wide, shape, planes)
        fine = sample(templates.fine, here[5:8])
        far, folds, half = _cortical_distances(fine, here[:5], traits)
        white, csf = _template_shares(fine, here[:5], traits)
        parts = [far, folds, here[2], half, here[1], white, csf]
        torch.stack([*parts, *here[8:]], out=fields[:, planes])
    return fields
