"""From a scene to what the scanner gives: complex images, noise, processing, output grid."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from mmocnet.prepare.separable import along_axes, along_axis, linear_matrix
from mmocnet.prepare.swi import homodyne_highpass, swi
from mmocnet.simulate.acquisition import (
    add_noise,
    bias_field,
    coil_phase,
    crop_kspace,
    motion_ghosts,
    shift_kspace,
)
from mmocnet.simulate.field import downsample, field_shift_ppm
from mmocnet.simulate.grid import Grid, plane_blocks, upsample, upsample_planes
from mmocnet.simulate.head import background_field_ppm
from mmocnet.simulate.lesions import Source
from mmocnet.simulate.paste import BLOOD, CALCIUM, SpinGrid, lesion_footprint
from mmocnet.simulate.scene import Scene
from mmocnet.simulate.settings import Protocol
from mmocnet.simulate.signal import Echo, complex_signal
from mmocnet.simulate.templates import load_templates
from mmocnet.simulate.tissue import make_head
from mmocnet.types import FloatArray, IntTriple, Triple


@dataclass(frozen=True)
class Scan:
    """Complex images on the acquired grid, without noise, with and without microbleeds."""

    grid: Grid
    with_lesions: torch.Tensor
    without: torch.Tensor
    white: torch.Tensor


def _multiply(signal: torch.Tensor, sources: list[Source], grid: Grid, echo: Echo) -> None:
    """Multiply the signal around each source by what the source does to it, in place."""
    spins = SpinGrid(grid.shape, grid.spacing_mm, device=signal.device)
    for source in sources:
        i, j, k = (float(v) for v in grid.voxel(source.centre_mm[None])[0])
        material = replace(
            CALCIUM if source.kind == "calcification" else BLOOD, density=source.density
        )
        footprint = lesion_footprint(source.spheres, (i, j, k), spins, [echo], material)
        signal[footprint.box] *= footprint.factors[0]


def _fading_hz(outer_ppm: torch.Tensor, grid: Grid, echo: Echo, width_mm: float) -> torch.Tensor:
    """Return the decay that the field of bone and air adds where it is steep, in 1/s.

    A steep slope takes the echo to the rim of k-space and beyond; scanners filter there, so real
    images fade to black beside sinuses. It is drawn as dephasing over `width_mm`.

    Args:
        outer_ppm: The field of bone and air on a coarse grid, shape (I, J, K).
        grid: That grid.
        echo: The echo that makes the image.
        width_mm: Length over which the slope takes signal.
    """
    slopes = torch.gradient(outer_ppm, spacing=list(grid.spacing_mm))
    squared = sum((s**2 for s in slopes), torch.zeros_like(outer_ppm))
    return squared * ((echo.rad_per_ppm * width_mm) ** 2 / 24 / (echo.te_ms / 1000))


def _spins(
    scene: Scene, protocol: Protocol, rng: np.random.Generator, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the complex signal of the spin grid without any lesion, and white-matter share."""
    anatomy = scene.anatomy
    grid = anatomy.grid
    echo = Echo(protocol.te_ms[-1], protocol.field_t, protocol.phase_sign)
    head = make_head(anatomy, scene.clouds, scene.blood, protocol, rng)
    pad = (8, 8, round(12 / grid.spacing_mm[2]))
    field = field_shift_ppm(head.chi_ppm, grid.spacing_mm, pad=pad)
    outer = background_field_ppm(anatomy.warp, load_templates(device), grid, rng, device)
    fading = _fading_hz(outer, anatomy.coarse, echo, float(rng.uniform(1.0, 4.0)))
    outer = torch.stack([outer, fading])
    for planes in plane_blocks(grid.shape[0], field.device):
        shift, decay = upsample_planes(outer, grid.shape, planes)
        field[planes] += shift
        head.r2star_hz[planes] += decay
    return complex_signal(head.m0, head.r2star_hz, field, echo), head.white


def slice_matrix(length: int, slices: int, shift: float) -> FloatArray:
    """Return the mean over slices that lie part of one beside those that divide an axis.

    Between the axis's voxels its band-limited course is taken, mirrored at both ends: linear
    interpolation would thicken thin slices.

    Args:
        length: Voxels of the axis, a multiple of the slices.
        slices: How many slices.
        shift: How far on they lie, in slices, -0.5 to 0.5; the one that leaves the axis is the
            mean of what it still covers.

    Returns:
        Shape (slices, length); its rows add up to 1.
    """
    count = length // slices
    at = np.arange(length) + shift * count
    voxel = np.arange(length)
    course = _periodic_sinc(at[:, None] - voxel, 2 * length)
    course += _periodic_sinc(at[:, None] - (2 * length - 1 - voxel), 2 * length)
    course[(at < -0.5) | (at > length - 0.5)] = 0
    total = course.reshape(slices, count, length).sum(axis=1)
    return np.asarray(total / total.sum(axis=1, keepdims=True))


def _periodic_sinc(apart: FloatArray, period: int) -> FloatArray:
    """Return the weight of a sample so many steps apart, of an even number in a period."""
    turn = np.pi * apart / period
    away = np.abs(np.sin(turn)) > 1e-12
    slope = np.where(away, np.tan(turn), 1.0)
    return np.where(away, np.sin(np.pi * apart) / (period * slope), 1.0)


def _acquire(spins: torch.Tensor, acquired: IntTriple, shift: Triple) -> torch.Tensor:
    """Return the signal of the spin grid on the acquired grid, `shift` of its voxels on."""
    if not any(shift):
        slices = (spins.shape[0], spins.shape[1], acquired[2])
        return crop_kspace(downsample(spins, slices), acquired)
    sliced = along_axis(spins, slice_matrix(spins.shape[2], acquired[2], shift[2]), 2)
    return shift_kspace(crop_kspace(sliced, acquired), shift[:2])


def make_scan(
    scene: Scene,
    protocol: Protocol,
    acquired: IntTriple,
    rng: np.random.Generator,
    device: str,
    shift: Triple = (0.0, 0.0, 0.0),
) -> Scan:
    """Return the noise-free complex images of the last echo on the acquired grid.

    Args:
        scene: What lies in the scanner.
        protocol: The acquisition.
        acquired: Voxels along each axis.
        rng: Randomness of tissue and surroundings.
        device: Where the tensors live.
        shift: How far on the acquired grid lies in the scene, in its voxels along each axis.
    """
    grid = scene.anatomy.grid
    echo = Echo(protocol.te_ms[-1], protocol.field_t, protocol.phase_sign)
    spins, white = _spins(scene, protocol, rng, device)
    _multiply(spins, scene.mimics, grid, echo)
    without = _acquire(spins, acquired, shift)
    if without is spins:  # acquired as it was simulated
        spins = spins.clone()
    _multiply(spins, scene.microbleeds, grid, echo)
    with_lesions = _acquire(spins, acquired, shift)
    i, j, k = (s / n for s, n in zip(grid.size_mm, acquired, strict=True))
    box = Grid(grid.low_mm, (i, j, k), acquired).moved(shift)
    return Scan(box, with_lesions, without, downsample(white, acquired))


def receive(scan: Scan, generator: torch.Generator) -> None:
    """Multiply both images by the phase and the gain of the coils, in place."""
    device = scan.white.device
    phase = coil_phase(scan.grid.shape, generator, device=device)
    amplitude = 0.05 + 0.13 * float(torch.rand((), generator=generator))
    gain = bias_field(scan.grid.shape, generator, amplitude, device=device)
    factor = torch.polar(gain, phase)
    scan.with_lesions.mul_(factor)
    scan.without.mul_(factor)


def process(image: torch.Tensor, protocol: Protocol) -> torch.Tensor:
    """Return the SWI, or the magnitude where the protocol makes none."""
    if protocol.image == "magnitude":
        return image.abs()
    filtered = homodyne_highpass(image, protocol.highpass_width)
    return swi(image.abs(), filtered, protocol.mask_power, protocol.phase_sign)


def finish(image: torch.Tensor, out: Grid) -> torch.Tensor:
    """Return a real or complex image of the acquired grid on the output grid."""
    if tuple(image.shape) == out.shape:
        return image
    if not image.is_complex():
        return upsample(image[None], out.shape)[0]
    # Two images, not two channels: interleaved they would be copied.
    return torch.complex(*(upsample(part[None], out.shape)[0] for part in (image.real, image.imag)))


def finish_slices(image: torch.Tensor, slices: list[int], grid: Grid, out: Grid) -> torch.Tensor:
    """Return on the output grid an image that is 0 but in the given slices.

    Args:
        image: Those slices of the acquired grid.
        slices: Which they are.
        grid: The acquired grid.
        out: The output grid.
    """
    lengths = enumerate(zip(grid.shape, out.shape, strict=True))
    matrices = {axis: linear_matrix(old, new) for axis, (old, new) in lengths if old != new}
    matrices[2] = matrices.get(2, np.eye(grid.shape[2]))[:, slices]
    return along_axes(image, matrices)


def with_noise(
    scan: Scan, protocol: Protocol, generator: torch.Generator, twin: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return both images with the same noise, and sometimes the same ghosts.

    Args:
        scan: Images without noise.
        protocol: The signal-to-noise ratio.
        generator: Randomness.
        twin: Whether the image without microbleeds is wanted; None otherwise.
    """
    white = scan.white > 0.9
    if not bool(white.any()):
        white = scan.white >= scan.white.max()
    seen = add_noise(scan.with_lesions, protocol.snr, white, generator)
    free = (seen - scan.with_lesions).add_(scan.without) if twin else None
    strength = float(torch.rand((), generator=generator)) * 1.6 - 1.2
    if strength <= 0:
        return seen, free
    state = generator.get_state()
    moved = motion_ghosts(seen, strength, generator)
    if free is not None:
        free = motion_ghosts(free, strength, generator.set_state(state))
    return moved, free
