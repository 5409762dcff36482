"""Lesions put into the signal of the spin grid: what each multiplies the voxels around it by.

The field is linear in susceptibility and decay adds in the exponent, so a lesion is a complex
factor near it and nothing elsewhere. The lesion-free twin is the signal before the factors, and
a lesion costs the same whatever the grid.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmocnet.simulate.field import (
    AXIAL,
    Sphere,
    dipole_field_ppm,
    downsample,
    lesion_patch,
    patch_spacing_mm,
    spheres_patch,
)
from mmocnet.simulate.signal import BLOOD_R2PRIME_HZ_PER_PPM, Echo, complex_signal, lesion_factor
from mmocnet.types import IntTriple, Triple

Box = tuple[slice, slice, slice]

FAINTEST_PPM = 0.0005
"""Field at which a lesion's footprint ends: .008 rad at 3 T and TE 20 ms."""
MARGIN_MM = 1.2
"""Tissue around the spheres that the fine patch holds."""


@dataclass(frozen=True)
class SpinGrid:
    """The grid on which spins are simulated.

    Attributes:
        shape: Voxels along each axis.
        voxel_mm: Voxel size along each axis.
        b0_direction: Main field in voxel axes.
        device: Where footprints are made.
    """

    shape: IntTriple
    voxel_mm: Triple
    b0_direction: Triple = AXIAL
    device: torch.device | None = None


@dataclass(frozen=True)
class Material:
    """What a lesion is made of.

    Attributes:
        r2prime_hz_per_ppm: R2' inside at 3 T per ppm of susceptibility of either sign.
        density: Signal inside at TE = 0 over that of the tissue around it.
    """

    r2prime_hz_per_ppm: float = BLOOD_R2PRIME_HZ_PER_PPM
    density: float = 1.0


BLOOD = Material()
# Chosen: solid calcium holds little mobile water and is magnetically smoother than blood.
CALCIUM = Material(r2prime_hz_per_ppm=100.0, density=0.3)


@dataclass(frozen=True)
class Footprint:
    """What a lesion does to the part of the spin grid around it.

    Attributes:
        box: Where: `signal[box] *= factors[echo]`.
        factors: For each echo, complex64, shape of the box.
        source: Share of each voxel that the source fills, 0 to 1, shape of the box.
        source_mm3: Volume of the source, overlaps counted once.
        moment_ppm_mm3: Its susceptibility times volume.
    """

    box: Box
    factors: tuple[Tensor, ...]
    source: Tensor
    source_mm3: float
    moment_ppm_mm3: float


def lesion_footprint(
    spheres: Sequence[Sphere],
    centre_voxel: Triple,
    grid: SpinGrid,
    echoes: Sequence[Echo],
    material: Material = BLOOD,
) -> Footprint:
    """Return by what a lesion multiplies the signal around it.

    Near the lesion the factor is the mean over fine voxels; further out its field is a dipole's.

    Args:
        spheres: Overlapping spheres; offsets in mm from the lesion's centre.
        centre_voxel: Its centre in voxels of the grid; may lie near or beyond the border.
        grid: The spin grid.
        echoes: Echoes wanted.
        material: What it is made of.

    Returns:
        The footprint, cut at the border of the grid.
    """
    whole, moved = _centred(spheres, centre_voxel, grid.voxel_mm)
    half_mm = max(math.hypot(*offset) + radius for offset, radius, _ in spheres) + MARGIN_MM
    # A small sphere in a large lesion must not make its patch huge.
    fine_mm = max(patch_spacing_mm(min(radius for _, radius, _ in spheres)), half_mm / 32)
    block = _int_triple(max(1, math.ceil(d / fine_mm - 0.1)) for d in grid.voxel_mm)
    near = _reach(half_mm, grid.voxel_mm)
    spacing = _triple(d / b for d, b in zip(grid.voxel_mm, block, strict=True))
    extent = _triple((n + 0.5) * d for n, d in zip(near, grid.voxel_mm, strict=True))
    chi, field = lesion_patch(moved, spacing, extent, grid.b0_direction, grid.device)
    moment = float(chi.sum()) * math.prod(spacing)
    share = _filled(moved, chi, spacing)
    far_mm = (abs(moment) / (2 * math.pi * FAINTEST_PPM)) ** (1 / 3)
    far = _int_triple(map(max, near, _reach(far_mm, grid.voxel_mm)))
    inner = tuple(slice(f - n, f + n + 1) for f, n in zip(far, near, strict=True))
    dipole = dipole_field_ppm(_points(far, whole, centre_voxel, grid), moment, grid.b0_direction)
    box, cut = _clipped(whole, far, grid.shape)
    factors = []
    for echo in echoes:
        factor = complex_signal(torch.ones_like(dipole), torch.zeros_like(dipole), dipole, echo)
        factor[inner] = lesion_factor(
            chi, field, block, echo, material.r2prime_hz_per_ppm, material.density
        )
        factors.append(factor[cut])
    source = torch.zeros_like(dipole)
    source[inner] = downsample(share, _int_triple(2 * n + 1 for n in near))
    source_mm3 = float(share.sum()) * math.prod(spacing)
    return Footprint(box, tuple(factors), source[cut], source_mm3, moment)


def _triple(values: Iterable[float]) -> Triple:
    i, j, k = values
    return i, j, k


def _int_triple(values: Iterable[int]) -> IntTriple:
    i, j, k = values
    return i, j, k


def _reach(distance_mm: float, voxel_mm: Triple) -> IntTriple:
    return _int_triple(math.ceil(distance_mm / d) for d in voxel_mm)


def _centred(
    spheres: Sequence[Sphere], centre_voxel: Triple, voxel_mm: Triple
) -> tuple[IntTriple, list[Sphere]]:
    """Return the voxel nearest to the centre, and the spheres relative to that voxel's."""
    whole = _int_triple(math.floor(c + 0.5) for c in centre_voxel)
    rest = [(c - w) * d for c, w, d in zip(centre_voxel, whole, voxel_mm, strict=True)]
    moved = [
        (_triple(o + r for o, r in zip(offset, rest, strict=True)), radius, chi)
        for offset, radius, chi in spheres
    ]
    return whole, moved


def _filled(spheres: Sequence[Sphere], chi: Tensor, spacing: Triple) -> Tensor:
    """Return the share of each fine voxel that any of the spheres fills."""
    unit = [(offset, radius, 1.0) for offset, radius, _ in spheres]
    return spheres_patch(unit, spacing, _int_triple(chi.shape), chi.device)


def _points(reach: IntTriple, whole: IntTriple, centre: Triple, grid: SpinGrid) -> Tensor:
    """Return voxel centres around the lesion, in mm relative to it, shape (I, J, K, 3)."""
    axes = [
        (torch.arange(-n, n + 1, device=grid.device) + (w - c)) * d
        for n, w, c, d in zip(reach, whole, centre, grid.voxel_mm, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def _clipped(whole: IntTriple, reach: IntTriple, shape: IntTriple) -> tuple[Box, Box]:
    """Return the box on the grid, and what part of the unclipped box it is."""
    box, cut = [], []
    for w, r, n in zip(whole, reach, shape, strict=True):
        first = min(n, max(0, w - r))
        last = max(first, min(n, w + r + 1))
        box.append(slice(first, last))
        cut.append(slice(first - (w - r), last - (w - r)))
    return (box[0], box[1], box[2]), (cut[0], cut[1], cut[2])
