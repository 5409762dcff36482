"""Phase images of real scans brought to one unit and one sign, s = +1."""

import math

import numpy as np
import torch
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.prepare.geometry import slice_axis
from mmocnet.prepare.swi import homodyne_highpass
from mmocnet.simulate.field import field_shift_ppm
from mmocnet.simulate.signal import Echo
from mmocnet.types import FloatArray, Mask3D, Triple
from mmocnet.volume import Volume

SCALED_SPANS = (4095.0, 4096.0, 8190.0, 8191.0, 8192.0)
"""What scanners' whole numbers span over 2 pi."""
LARGEST_RAD = 20.0
"""A phase image in rad, wrapped or not, stays below it."""
LARGEST_CHI_PPM = 15.0
FIELD_PAD_MM = 20.0
RIM_MM = 4.0
LEAST_CORRELATION, LEAST_SKEWNESS = 0.1, 0.6
"""Below them the sign would be a guess."""


def b0_direction(volume: Volume) -> Triple:
    """Return the main field, taken as world z, in the axes of a volume's voxels."""
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    i, j, k = (float(v) for v in axes.T @ (0.0, 0.0, 1.0))
    return i, j, k


def phase_in_rad(phase: FloatArray, name: str) -> FloatArray:
    """Return a phase image in rad; scanners' whole numbers over 2 pi are scaled.

    Args:
        phase: As stored, any shape.
        name: What the error calls it.

    Raises:
        InputError: If its range is that of neither.
    """
    low, high = float(phase.min()), float(phase.max())
    if low == high:
        raise InputError(f"expected a phase image, got one value everywhere in {name}")
    if max(-low, high) <= LARGEST_RAD:
        return phase
    for span in SCALED_SPANS:
        if 0.97 * span <= high - low <= 1.01 * span:
            return np.asarray(phase * np.float32(2 * math.pi / span), np.float32)
    raise InputError(
        f"expected phase in rad, or whole numbers that span 4096 or 8192, got {low:g} to "
        f"{high:g} in {name}"
    )


def phase_of_chi(chi_ppm: FloatArray, grid: Volume, echo: Echo, name: str) -> FloatArray:
    """Return the phase that a susceptibility map's dipole field gives.

    Args:
        chi_ppm: Float32, shape (I, J, K).
        grid: Any volume on the same grid.
        echo: Echo time and field.
        name: What the error calls the map.

    Raises:
        InputError: If the values are not susceptibility in ppm.
    """
    largest = float(np.abs(chi_ppm).max())
    if not 0 < largest <= LARGEST_CHI_PPM:
        raise InputError(
            f"expected susceptibility in ppm, up to {LARGEST_CHI_PPM:g} and not 0 everywhere, "
            f"got up to {largest:g} in {name}"
        )
    i, j, k = (math.ceil(FIELD_PAD_MM / mm) for mm in grid.spacing_mm)
    field = field_shift_ppm(
        torch.from_numpy(chi_ppm), grid.spacing_mm, b0_direction(grid), pad=(i, j, k)
    )
    return np.asarray(field.numpy() * echo.rad_per_ppm, np.float32)


def high_pass(magnitude: Volume, phase_rad: FloatArray) -> FloatArray:
    """Return the phase without what varies slowly, shape (I, J, K)."""
    signal = torch.polar(
        torch.from_numpy(magnitude.array), torch.from_numpy(np.ascontiguousarray(phase_rad))
    )
    return homodyne_highpass(signal, slice_axis=slice_axis(magnitude)).numpy()


def phase_sign(
    magnitude: Volume, phase_rad: FloatArray, brain: Mask3D, modelled: FloatArray | None
) -> int:
    """Return s of a phase image: +1 where blood in veins along the field has positive phase.

    The strongest phase in a brain is that of veins along the field, so without a model the longer
    tail of the high-passed phase tells the sign.

    Args:
        magnitude: Magnitude, float32.
        phase_rad: Phase image in rad, same shape.
        brain: Brain mask, same shape.
        modelled: Phase of the convention s = +1 from the scan's susceptibility map, or None.

    Raises:
        InputError: If neither sign fits clearly.
    """
    inner = _inside(brain, magnitude)
    found = high_pass(magnitude, phase_rad)[inner]
    found = found - found.mean()
    if found.size == 0 or not found.std():
        raise InputError(f"expected phase inside the brain, got none beside {magnitude.name}")
    unit = found / found.std()
    if modelled is not None:
        other = high_pass(magnitude, modelled)[inner]
        tells = float(np.mean(unit * (other - other.mean())) / max(float(other.std()), 1e-9))
        clear = tells if abs(tells) >= LEAST_CORRELATION else 0.0
    else:
        tells = float(np.mean(unit**3))
        clear = tells if abs(tells) >= LEAST_SKEWNESS else 0.0
    if not clear:
        raise InputError(
            f"expected a phase image that tells its sign, got {tells:.2f} of either sign beside "
            f"{magnitude.name}: give --phase-sign 1 or -1"
        )
    return 1 if clear > 0 else -1


def _inside(brain: Mask3D, grid: Volume) -> Mask3D:
    """Return the brain without the rim of its slices, where background phase stays."""
    axis = slice_axis(grid)
    spacing = [1e6 if a == axis else mm for a, mm in enumerate(grid.spacing_mm)]
    return np.asarray(ndimage.distance_transform_edt(brain, spacing) > RIM_MM)
