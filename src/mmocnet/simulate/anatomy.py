"""Anatomy: a deformed, aged head from the MNI152 maps, as tissue shares on a grid.

The maps are averages of 152 people and look like no patient. What is put back: the warp, sulci
(where the distance to white matter peaks, and along random sheets), nuclei as bodies, atrophy,
iron, white-matter lesions, a skull and air.
"""

from dataclasses import dataclass

import numpy as np
import torch

from mmocnet.simulate.grid import Grid, sample, smooth_noise, upsample
from mmocnet.simulate.nuclei import NUCLEI, signed_distance_mm
from mmocnet.simulate.templates import COARSE_MM, Templates
from mmocnet.types import FloatArray

WARP_MM = ((90.0, 1.8), (40.0, 0.7), (16.0, 0.5), (8.0, 0.25))
"""Wavelength and SD of the displacement along each axis, mm."""
SCALE_SD = 0.05
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
class Traits:
    """What distinguishes one subject.

    Attributes:
        age: Years.
        atrophy: 0 (young) to about 1: widens sulci and ventricles.
        iron: Factor on the nuclei's susceptibility.
        white_matter_lesions: 0 to 1: extent of hyperintensities around the ventricles.
        rotation: Shape (3, 3), head position.
        scale: Shape (3,), head size relative to the template.
    """

    age: float
    atrophy: float
    iron: float
    white_matter_lesions: float
    rotation: FloatArray
    scale: FloatArray


def draw_traits(rng: np.random.Generator) -> Traits:
    """Return a subject aged 50 to 88; atrophy, iron and lesions rise with age."""
    age = float(rng.uniform(50, 88))
    years = (age - 50) / 38
    angles = np.deg2rad(rng.normal(0, (4, 2.5, 3)))
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        rotation = turn @ rotation
    return Traits(
        age=age,
        atrophy=float(np.clip(0.15 + 0.6 * years + rng.normal(0, 0.2), 0, 1.3)),
        iron=float(np.clip(0.85 + 0.35 * years + rng.normal(0, 0.2), 0.4, 1.9)),
        white_matter_lesions=float(np.clip(rng.beta(1.2, 3) * (0.4 + years), 0, 1)),
        rotation=rotation,
        scale=rng.normal(1.0, SCALE_SD, 3),
    )


class Warp:
    """Subject mm to MNI mm and back.

    Attributes:
        grid: The coarse grid that carries the displacement.
        mni_mm: MNI coordinates of its voxels, shape (3, I, J, K).
    """

    def __init__(self, grid: Grid, traits: Traits, rng: np.random.Generator, device: str) -> None:
        self.grid = grid
        self._linear = traits.rotation / traits.scale[:, None]
        mni = self.linear_mni(grid.centres_mm(device))
        for wavelength, sd in WARP_MM:
            mni = mni + sd * smooth_noise(grid, wavelength, rng, device, channels=3)
        self.mni_mm = mni

    def linear_mni(self, points_mm: torch.Tensor) -> torch.Tensor:
        """Return MNI mm of subject points, both (3, ...), by head position and size alone."""
        linear = torch.tensor(self._linear, dtype=torch.float32, device=points_mm.device)
        mni: torch.Tensor = torch.tensordot(linear, points_mm, dims=1)
        return mni

    def to_mni(self, points_mm: FloatArray) -> FloatArray:
        """Return MNI mm of subject points, both of shape (N, 3)."""
        voxel = torch.tensor(self.grid.voxel(points_mm).T, dtype=torch.float32)
        out = sample(self.mni_mm, voxel.to(self.mni_mm.device)[:, None])
        return np.asarray(out[:, 0].T.cpu(), np.float64)

    def to_subject(self, mni_mm: FloatArray) -> FloatArray:
        """Return subject mm of MNI points, both of shape (N, 3), by fixed-point iteration."""
        inverse = np.linalg.inv(self._linear)
        points = mni_mm @ inverse.T
        for _ in range(6):
            points = points + (mni_mm - self.to_mni(points)) @ inverse.T
        return np.asarray(points)


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
    middle = grid.with_spacing(1.0)
    warp = Warp(coarse, traits, rng, device)
    origin = torch.tensor(templates.origin_mm, dtype=torch.float32, device=device)
    template_voxel = warp.mni_mm - origin[:, None, None, None]
    channels = sample(templates.coarse, template_voxel / COARSE_MM)
    sheets = _sheets_mm(coarse, rng, device)
    noise = smooth_noise(coarse, 18.0, rng, device)[0]
    spots = smooth_noise(coarse, 9.0, rng, device)[0]
    extent = 14 * traits.white_matter_lesions
    hyper = _softstep(1.0 - spots * 1.5 - (extent - channels[2]) / 4, 2.0)
    nucleus, chi = _nuclei(warp.mni_mm, noise, traits)
    # Distances are smooth, so they are computed on 1 and 2 mm and cut sharp on the spin grid.
    smooth = upsample(
        torch.stack([channels[0], channels[1], sheets, channels[2], noise]), middle.shape
    )
    fine = sample(templates.fine, upsample(template_voxel, middle.shape))
    far, folds, half = _cortical_distances(fine, smooth, traits)
    white_m, csf_m = _template_shares(fine, smooth, traits)
    more = upsample(torch.stack([nucleus, chi, hyper]), middle.shape)
    fields = torch.stack([far, folds, smooth[2], half, smooth[1], white_m, csf_m, more[0]])
    white, grey, csf, share = _draw_tissues(upsample(fields, grid.shape))
    chi, lesion = upsample(more[1:], grid.shape)
    low = upsample(torch.stack([white, csf]), coarse.shape)
    parts = {"depth": channels[0], "cortex": channels[1], "hind": channels[3], "csf": low[1]}
    return Anatomy(
        grid=grid,
        coarse=coarse,
        traits=traits,
        warp=warp,
        white=white,
        grey=grey,
        csf=csf,
        iron_ppm=chi * share,
        lesion_white=lesion * white,
        depth_mm=channels[0],
        cortex=channels[1],
        ventricle_mm=channels[2],
        hind=channels[3],
        sulcus_mm=sheets,
        groups=_locate(parts, warp.mni_mm, low[0]),
    )
