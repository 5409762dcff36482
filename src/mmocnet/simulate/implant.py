"""Lesions implanted into a real scan by physics: S' = S * (signal with) / (signal without).

Both field and decay of a small body multiply the signal around it, whatever the tissue is; so
the factor is simulated on a fine grid at the lesion's place, brought to the scan's voxels as an
acquisition would, and multiplied into the measured complex signal. The weighted image is then
made from it, as from the signal left alone: its twin.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from mmocnet.prepare.geometry import slice_axis
from mmocnet.prepare.swi import homodyne_highpass, swi
from mmocnet.simulate.acquisition import crop_kspace
from mmocnet.simulate.field import Sphere, downsample
from mmocnet.simulate.implant_read import RealScan
from mmocnet.simulate.lesions import Source
from mmocnet.simulate.paste import (
    BLOOD,
    CALCIUM,
    Material,
    SpinGrid,
    lesion_footprint,
)
from mmocnet.simulate.reference import apparent_labels, source_labels
from mmocnet.types import FloatArray, IntTriple, Triple
from mmocnet.volume import Volume

SPIN_MM, SPIN_SLICE_MM = 0.6, 1.0
RINGS = 6
"""Voxels around a footprint that hold what an acquisition spreads of it."""
# Deoxygenated blood inside a vein: its R2* above white matter's, per ppm, at 3 T.
VEIN = Material(r2prime_hz_per_ppm=40.0)
MATERIALS = {"calcification": CALCIUM, "vein": VEIN}


@dataclass(frozen=True)
class Weighting:
    """How the susceptibility-weighted image is made.

    Attributes:
        highpass_width: Width of the homodyne Hann window in k-space lines.
        mask_power: How often the phase mask multiplies the magnitude.
    """

    highpass_width: int = 64
    mask_power: int = 4


@dataclass(frozen=True)
class Implanted:
    """A scan with lesions.

    Attributes:
        signal: Complex signal with microbleeds and mimics, complex64, shape (I, J, K).
        swi: Susceptibility-weighted image of it.
        twin: The same without the microbleeds, mimics included.
        apparent: What a reader outlines, each microbleed its index, int16.
        source: Where blood is, each microbleed its index, int16.
    """

    signal: torch.Tensor
    swi: Volume
    twin: Volume
    apparent: Volume
    source: Volume


def complex_of(scan: RealScan) -> torch.Tensor:
    """Return the measured signal, complex64, shape (I, J, K)."""
    phase = torch.from_numpy(np.ascontiguousarray(scan.phase_rad, np.float32))
    return torch.polar(torch.from_numpy(np.ascontiguousarray(scan.magnitude.array)), phase)


def weighted(signal: torch.Tensor, scan: RealScan, how: Weighting) -> FloatArray:
    """Return the susceptibility-weighted image of a complex signal, float32."""
    axis = slice_axis(scan.magnitude)
    filtered = homodyne_highpass(signal, how.highpass_width, axis)
    return swi(signal.abs(), filtered, how.mask_power).numpy()


def implant(
    scan: RealScan,
    microbleeds: list[Source],
    mimics: list[Source],
    seed: int,
    how: Weighting | None = None,
) -> Implanted:
    """Return a scan with lesions in it.

    Args:
        scan: The scan.
        microbleeds: In world mm.
        mimics: Put into the twin too.
        seed: Of the noise that the signal taken away would take with it.
        how: How the weighted image is made; None takes the defaults.
    """
    how = Weighting() if how is None else how
    signal = complex_of(scan)
    other, blood = factors(scan, mimics), factors(scan, microbleeds)
    free = signal * other
    seen = free * blood
    noise = _noise(signal, scan, seed)
    grid = scan.magnitude
    unlit, lit = (weighted(image, scan, how) for image in (free, seen))
    apparent = apparent_labels(unlit - lit, unlit, grid, microbleeds)
    free = free + noise * _missing(other)
    seen = seen + noise * _missing(other * blood)
    return Implanted(
        signal=seen,
        swi=grid.like(weighted(seen, scan, how), "swi"),
        twin=grid.like(weighted(free, scan, how), "twin"),
        apparent=grid.like(apparent, "apparent"),
        source=grid.like(source_labels(grid, microbleeds), "source"),
    )


def factors(scan: RealScan, sources: list[Source]) -> torch.Tensor:
    """Return by what bodies multiply the signal of a scan, complex64, shape (I, J, K)."""
    grid = scan.magnitude
    product = torch.ones(grid.shape, dtype=torch.complex64)
    for source in sources:
        box, delta = _body(scan, source)
        if delta.numel():
            product[box] *= 1 + delta
    return product


def _blocks(grid: Volume) -> IntTriple:
    """Return into how many parts each axis of a voxel is cut to simulate the spins."""
    axis = slice_axis(grid)
    i, j, k = (
        max(1, math.ceil(mm / (SPIN_SLICE_MM if a == axis else SPIN_MM) - 0.05))
        for a, mm in enumerate(grid.spacing_mm)
    )
    return i, j, k


def _turned(spheres: tuple[Sphere, ...], grid: Volume) -> list[Sphere]:
    """Return spheres with offsets along the voxels' axes in place of the world's."""
    axes = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    turned = []
    for offset, radius, chi in spheres:
        x, y, z = (float(v) for v in axes.T @ np.asarray(offset))
        turned.append(((x, y, z), radius, chi))
    return turned


def _body(scan: RealScan, source: Source) -> tuple[tuple[slice, slice, slice], torch.Tensor]:
    """Return voxels around a body and its factor there less 1."""
    grid = scan.magnitude
    blocks = _blocks(grid)
    spacing = _triple(mm / b for mm, b in zip(grid.spacing_mm, blocks, strict=True))
    i, j, k = (n * b for n, b in zip(grid.shape, blocks, strict=True))
    spins = SpinGrid((i, j, k), spacing, scan.b0_direction)
    at = (grid.voxel(source.centre_mm) + 0.5) * np.asarray(blocks) - 0.5
    material = replace(MATERIALS.get(source.kind, BLOOD), density=source.density)
    footprint = lesion_footprint(
        _turned(source.spheres, grid), _triple(at), spins, [scan.echo], material
    )
    box = _whole_voxels(footprint.box, blocks, grid)
    a, b, c = ((s.stop - s.start) * n for s, n in zip(box, blocks, strict=True))
    fine = torch.zeros((a, b, c), dtype=torch.complex64)
    inner = tuple(
        slice(part.start - s.start * n, part.stop - s.start * n)
        for part, s, n in zip(footprint.box, box, blocks, strict=True)
    )
    fine[inner] = footprint.factors[0] - 1
    return box, _acquired(fine, blocks, slice_axis(grid))


def _triple(values: Iterable[float]) -> Triple:
    i, j, k = (float(v) for v in values)
    return i, j, k


def _whole_voxels(
    box: tuple[slice, slice, slice], blocks: IntTriple, grid: Volume
) -> tuple[slice, slice, slice]:
    """Return the scan's voxels that hold a box of the spin grid, and a rim in the slices."""
    axis = slice_axis(grid)
    parts = []
    for a, (part, block, length) in enumerate(zip(box, blocks, grid.shape, strict=True)):
        rim = 0 if a == axis else RINGS
        first = max(0, part.start // block - rim)
        parts.append(slice(first, max(first, min(length, -(-part.stop // block) + rim))))
    return parts[0], parts[1], parts[2]


def _acquired(fine: torch.Tensor, blocks: IntTriple, axis: int) -> torch.Tensor:
    """Return a map of the spin grid on the scan's voxels: slices averaged, k-space cropped."""
    if not fine.numel():
        return fine
    lengths = [n // b for n, b in zip(fine.shape, blocks, strict=True)]
    i, j, k = (lengths[a] if a == axis else n for a, n in enumerate(fine.shape))
    return crop_kspace(downsample(fine, (i, j, k)), (lengths[0], lengths[1], lengths[2]))


def _missing(factor: torch.Tensor) -> torch.Tensor:
    """Return the share of noise to give back where a factor took it away with the signal."""
    return (1 - factor.abs().square()).clamp_(0, 1).sqrt_()


def _noise(signal: torch.Tensor, scan: RealScan, seed: int) -> torch.Tensor:
    """Return complex noise as strong as the scan's, where the scan has signal."""
    sigma = noise_sd(scan)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(7,)))
    parts = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(sigma)
    noise = torch.complex(torch.from_numpy(parts[0]), torch.from_numpy(parts[1]))
    return noise * (signal.abs() > 0)


def noise_sd(scan: RealScan) -> float:
    """Return the SD of a channel's noise, from differences of neighbours in the brain."""
    first, second = (a for a in range(3) if a != slice_axis(scan.magnitude))
    array = np.moveaxis(scan.magnitude.array, (first, second), (0, 1))
    brain = np.moveaxis(scan.brain, (first, second), (0, 1))
    cross = array[1:, 1:] - array[1:, :-1] - array[:-1, 1:] + array[:-1, :-1]
    inside = brain[1:, 1:] & brain[1:, :-1] & brain[:-1, 1:] & brain[:-1, :-1]
    if not inside.any():
        return 0.0
    # The difference of four has twice the SD; the median is deaf to edges.
    return float(np.median(np.abs(cross[inside]))) / 0.6745 / 2
