"""Susceptibility-weighted images from magnitude and phase, real or simulated.

Sign: with phase = s * gamma * dB * TE and s = +1 a vein along the field has positive phase and
the mask darkens positive phase. Vendors differ, so s is always a parameter.

Reference: Haacke et al. 2004, doi:10.1002/mrm.20198.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmocnet.errors import InputError
from mmocnet.prepare.separable import along_axes, fourier_factors, tukey
from mmocnet.types import Triple

Array = Tensor | NDArray[Any]


def homodyne_highpass(image: Array, width: int = 64, slice_axis: int = 2) -> Tensor:
    """Return the phase left when each slice's slowly varying phase is taken out.

    The low-pass image keeps a Hann window of k-space in both in-plane axes; dividing by it needs
    no phase unwrapping.

    Args:
        image: Complex image, shape (I, J, K).
        width: Width of the Hann window in k-space lines, whatever the matrix.
        slice_axis: Axis that is not filtered.

    Returns:
        Phase in rad, wrapped to (-pi, pi], float32, shape (I, J, K).

    Raises:
        InputError: If the image is not complex or the width is below 2.
    """
    image = torch.as_tensor(image)
    if not image.is_complex() or image.ndim != 3:
        raise InputError(f"expected a complex volume, got {image.dtype}, {image.ndim} dimensions")
    if width < 2:
        raise InputError(f"expected a window of at least 2 lines, got {width}")
    smooth = _lowpass(image.to(torch.complex64), width, slice_axis).conj_physical_()
    smooth *= image
    return torch.atan2(smooth.imag, smooth.real)


def _lowpass(image: Tensor, width: int, slice_axis: int) -> Tensor:
    window = tukey(width, 1.0)
    factors = {
        axis: fourier_factors(length, length, window)
        for axis, length in enumerate(image.shape)
        if axis != slice_axis
    }
    few = along_axes(image, {axis: analysis for axis, (_, analysis) in factors.items()})
    return along_axes(few, {axis: synthesis for axis, (synthesis, _) in factors.items()})


def phase_mask(phase_rad: Array, sign: int = 1) -> Tensor:
    """Return the mask that darkens paramagnetic phase.

    Args:
        phase_rad: High-pass filtered phase in rad.
        sign: s of the data's convention, +1 or -1.

    Returns:
        1 where sign * phase is zero or negative, falling linearly to 0 at pi; float32.

    >>> phase_mask(np.array([-1.0, 0.0, np.pi / 2, np.pi], dtype=np.float32)).tolist()
    [1.0, 1.0, 0.5, 0.0]
    """
    if sign not in {1, -1}:
        raise InputError(f"expected a phase sign of 1 or -1, got {sign}")
    phase = torch.as_tensor(phase_rad, dtype=torch.float32)
    return (phase * (-sign / np.pi)).add_(1.0).clamp_(0.0, 1.0)


def swi(magnitude: Array, phase_rad_filtered: Array, power: int = 4, sign: int = 1) -> Tensor:
    """Return the susceptibility-weighted image: magnitude times the phase mask to a power.

    Args:
        magnitude: Shape (I, J, K), any scale.
        phase_rad_filtered: High-pass filtered phase in rad, same shape.
        power: How often the mask multiplies the magnitude, 3 to 5 in practice.
        sign: s of the data's convention, +1 or -1.

    Returns:
        Float32, shape (I, J, K), nowhere above the magnitude.

    Raises:
        InputError: If the shapes differ, the sign is not 1 or -1, or the power is negative.
    """
    magnitude = torch.as_tensor(magnitude, dtype=torch.float32)
    mask = phase_mask(phase_rad_filtered, sign)
    if mask.shape != magnitude.shape:
        raise InputError(f"expected phase of shape {magnitude.shape}, got {mask.shape}")
    if power < 0:
        raise InputError(f"expected a power of 0 or more, got {power}")
    return mask.pow_(power).mul_(magnitude)


def minip(volume: Array, slab_mm: float, spacing_mm: Triple, axis: int = 2) -> Tensor:
    """Return the minimum over a slab that slides along one axis.

    Args:
        volume: Shape (I, J, K).
        slab_mm: Height of the slab, 8 to 16 mm in practice; at least one voxel is taken.
        spacing_mm: Voxel size along each axis.
        axis: Across the slices.

    Returns:
        Same shape; a slab that reaches over the border holds what is inside. An even slab
        reaches one voxel further up than down.
    """
    volume = torch.as_tensor(volume)
    count = max(1, round(slab_mm / spacing_mm[axis]))
    length = volume.shape[axis]
    lowest = volume.clone()
    for step in range(-((count - 1) // 2), count // 2 + 1):
        if step == 0 or abs(step) >= length:
            continue
        here = lowest.narrow(axis, max(0, -step), length - abs(step))
        there = volume.narrow(axis, max(0, step), length - abs(step))
        torch.minimum(here, there, out=here)
    return lowest
