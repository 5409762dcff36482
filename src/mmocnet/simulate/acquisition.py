"""What a scanner does to the signal: coils, sampling, noise, motion.

Random numbers come from the generator's own device and are then moved, so one CPU generator
gives the same study on every device.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from mmocnet.errors import InputError
from mmocnet.prepare.separable import along_axes, fourier_matrix, tukey
from mmocnet.types import IntTriple


def _normal(shape: Sequence[int], generator: Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, device=generator.device)


def _uniform(generator: Generator) -> float:
    return float(torch.rand((), generator=generator, device=generator.device))


def smooth_map(
    shape: IntTriple, generator: Generator, device: torch.device | None = None
) -> Tensor:
    """Return a random polynomial of second order over the volume, mean 0 and SD 1.

    Shape (I, J, K), float32.
    """
    w = _normal((9,), generator).tolist()
    x, y, z = (torch.linspace(-1, 1, n, device=device) for n in shape)
    x, y = x[:, None, None], y[:, None]
    value: Tensor = (w[0] * x + w[3] * x**2 + w[6] * x * y) + (w[1] * y + w[4] * y**2)
    value = value + (w[2] * z + w[5] * z**2) + (w[7] * x + w[8] * y) * z
    value -= value.mean()
    return value.div_(value.std().clamp_min(1e-6))


def coil_phase(
    shape: IntTriple,
    generator: Generator,
    amplitude_rad: float = 1.5,
    device: torch.device | None = None,
) -> Tensor:
    """Return the smooth phase of coil and reconstruction.

    Args:
        shape: (I, J, K).
        generator: Source of randomness.
        amplitude_rad: Standard deviation over the volume; the offset is uniform.
        device: Where the map is made.

    Returns:
        Phase in rad, float32, not wrapped.
    """
    offset = 2 * math.pi * _uniform(generator)
    return smooth_map(shape, generator, device).mul_(amplitude_rad).add_(offset)


def bias_field(
    shape: IntTriple,
    generator: Generator,
    amplitude: float = 0.15,
    device: torch.device | None = None,
) -> Tensor:
    """Return the smooth sensitivity of reception.

    Args:
        shape: (I, J, K).
        generator: Source of randomness.
        amplitude: Standard deviation of its logarithm.
        device: Where the map is made.

    Returns:
        Positive factor, mean 1, float32.
    """
    factor = smooth_map(shape, generator, device).mul_(amplitude).exp_()
    return factor.div_(factor.mean())


def crop_kspace(image: Tensor, shape: IntTriple, taper: float = 0.0) -> Tensor:
    """Return the image on the acquired grid over the same extent, by cropping k-space.

    Args:
        image: Complex signal of the spin grid, shape (I, J, K).
        shape: Acquired voxels along each axis; more than there are fill k-space with zeros.
        taper: Share of each half of k-space that a Tukey window takes down: 0 keeps all of it
            and rings (Gibbs), 1 is a Hann window.

    Returns:
        Complex64, shape `shape`; the mean is kept.

    Raises:
        InputError: If a length is below 1.
    """
    if min(shape) < 1:
        raise InputError(f"expected at least one voxel along each axis, got {shape}")
    matrices = {}
    for axis, (old, new) in enumerate(zip(image.shape, shape, strict=True)):
        if old != new or taper > 0:
            window = tukey(min(old, new), taper)
            matrices[axis] = fourier_matrix(old, new, window)
    return along_axes(image, matrices)


def shift_kspace(image: Tensor, shift: tuple[float, float]) -> Tensor:
    """Return the image sampled between its voxels in plane, by a phase ramp over k-space.

    Args:
        image: Complex, shape (I, J, K).
        shift: How far on the new voxels lie along the first and the second axis, in voxels.

    Returns:
        Complex, same shape; taken as periodic.
    """
    for axis, voxels in enumerate(shift):
        length = image.shape[axis]
        turn = 2 * math.pi * voxels * torch.fft.fftfreq(length, dtype=torch.float64)
        ramp = torch.polar(torch.ones_like(turn), turn)
        if length % 2 == 0:  # the line at Nyquist is its own mirror image
            ramp[length // 2] = math.cos(math.pi * voxels)
        ramp = ramp.to(image.device, image.dtype).reshape(
            [-1 if a == axis else 1 for a in range(3)]
        )
        image = torch.fft.ifft(torch.fft.fft(image, dim=axis).mul_(ramp), dim=axis)
    return image


def add_noise(image: Tensor, snr: float, wm_mask: Tensor, generator: Generator) -> Tensor:
    """Return the image with complex Gaussian noise.

    Args:
        image: Complex, shape (I, J, K).
        snr: Mean magnitude in white matter over the noise's standard deviation in one channel
            (real or imaginary).
        wm_mask: Bool, same shape.
        generator: Source of randomness.

    Returns:
        Complex64, same shape.

    Raises:
        InputError: If the mask is empty or the SNR is not positive.
    """
    if not snr > 0 or not bool(wm_mask.any()):
        raise InputError(f"expected SNR > 0 and a white-matter mask, got {snr}, {wm_mask.sum()}")
    sigma = float(image[wm_mask].abs().mean()) / snr
    noise = _normal((*image.shape, 2), generator).mul_(sigma).to(image.device)
    return torch.view_as_complex(noise).add_(image)


def motion_ghosts(
    image: Tensor, strength: float, generator: Generator, axis: int = 1, bursts: int = 3
) -> Tensor:
    """Return the image with a few bursts of phase-encode lines corrupted by motion.

    Each burst is a run of neighbouring lines taken with the head shifted along `axis` and the
    phase off; the centre of k-space is spared, as there a scan would be repeated.

    Args:
        image: Complex, shape (I, J, K).
        strength: Standard deviation of the phase error in rad and of the shift in voxels.
        generator: Source of randomness.
        axis: Phase-encode axis, 0, 1 or 2.
        bursts: How many runs of lines.

    Returns:
        Complex64, same shape.
    """
    length = image.shape[axis]
    if strength <= 0 or length < 16:
        return image.clone()
    factors: dict[int, complex] = {}
    for _ in range(bursts):
        start = round((0.02 + 0.28 * _uniform(generator)) * length)
        side = 1 if _uniform(generator) < 0.5 else -1
        count = 2 + int(4 * _uniform(generator))
        error, shift = (strength * _normal((2,), generator)).tolist()
        for k in range(start, min(start + count, length // 2)):
            angle = error - 2 * math.pi * side * k * shift / length
            factors[side * k] = complex(math.cos(angle), math.sin(angle)) - 1
    return _add_lines(image, factors, axis)


def _add_lines(image: Tensor, factors: dict[int, complex], axis: int) -> Tensor:
    """Return the image plus a multiple of some of its own k-space lines along an axis."""
    length = image.shape[axis]
    lines = torch.tensor(list(factors), dtype=torch.float64)
    turns = lines[:, None] * torch.arange(length) / length
    waves = torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
    weight = torch.tensor(list(factors.values()), dtype=waves.dtype)[:, None] / length
    synthesis = (waves * weight).to(image.device, torch.complex64)
    analysis = waves.conj().resolve_conj().to(image.device, torch.complex64)
    moved = image.movedim(axis, 0)
    spectrum = torch.tensordot(analysis, moved, dims=1)
    ghosted: Tensor = moved + torch.tensordot(synthesis.T, spectrum, dims=1)
    return ghosted.movedim(0, axis).contiguous()
