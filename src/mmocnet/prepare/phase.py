"""Phase images: from what a scanner stores to the phase of small things, of one known sign.

A vein and a microbleed are paramagnetic, calcium is diamagnetic: both are dark in SWI, and their
phase tells them apart, but only where it is known which sign the scanner gives to which. Vendors
differ, and files do not say. It is taken from the scan itself, in two ways that are averaged:

- SWI is darkened by phase masking where phase is paramagnetic, so darkness goes with phase.
- Veins and iron are dark in every T2*-weighted image. Their phase has either sign, depending on
  their direction, but the susceptibility that phase tells of has one (inversion of the dipole
  kernel, cut off where it is small), so darkness goes with susceptibility.

Sign: as in `mmocnet.prepare.swi`, a vein along the field has positive phase.

Reference: Shmueli et al. 2009, doi:10.1002/mrm.22135 (susceptibility from phase).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.config import PhaseSign
from mmocnet.errors import InputError
from mmocnet.prepare.geometry import WorkingGrid, slice_axis
from mmocnet.prepare.swi import homodyne_highpass
from mmocnet.types import FloatArray, Mask3D, Triple
from mmocnet.volume import Volume, check_grid

PERIODS = (360.0, 4096.0, 8192.0, 65536.0, 200 * np.pi, 2000 * np.pi, 2 * np.pi)
"""Spans of a full turn that files have: degrees, integers, rad x 100 or x 1000, rad."""

MIN_WRAP_SHARE = 0.001
"""Neighbours in plane that differ by nearly a full turn. Wrapped phase has more, magnitude and SWI
at most 0.0007."""

MAX_LIKENESS = 0.5
"""Correlation with the scan in the brain above which an image is no phase but another magnitude."""

FINEST_MM = 6.9
"""Wavelength from which phase is background: 64 lines of k-space over 220 mm."""

MIN_AGREEMENT = 0.05
"""Correlation of darkness with phase and susceptibility from which the sign is believed."""

_SPAN_TOLERANCE = (0.9, 1.01)
_DEPTH_MM = 5.0
_LOCAL_SIGMA_MM = 2.5
_SLAB_MM = 40.0
_SMALLEST_KERNEL = 0.15


@dataclass(frozen=True)
class HighPassedPhase:
    """Phase of small things, and how sure its sign is.

    Attributes:
        volume: Phase in rad, float32, 0 outside the brain; positive where paramagnetic if `sure`.
        sign: What the stored phase was multiplied by, 1 or -1.
        agreement: Correlation that the sign rests on, 0 to 1; NaN where the sign was given.
        sure: Whether the sign was given or can be believed.
        by_vendor: Whether the vendor's sign stands for one that the scan does not tell.
    """

    volume: Volume
    sign: int
    agreement: float
    sure: bool
    by_vendor: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence where the sign is doubtful, else none."""
        if self.by_vendor:
            return (
                f"the sign of phase in {self.volume.name} cannot be told from the scan "
                f"(agreement {self.agreement:.3f}): the usual sign of the scanner's vendor is used",
            )
        if self.sure:
            return ()
        return (
            f"the sign of phase in {self.volume.name} cannot be told from the scan "
            f"(agreement {self.agreement:.3f}, expected {MIN_AGREEMENT} or more): "
            "phase is not used",
        )

    def slices(self, grid: WorkingGrid) -> NDArray[np.float32]:
        """Return the phase in rad on working slices, shape (S, R, C); all 0 where unsure."""
        if not self.sure:
            return np.zeros(grid.shape, dtype=np.float32)
        # Strong phase wraps: the mean of pi and -pi is pi, not 0.
        sine, cosine = (
            grid.to_working(part(self.volume.array), order=1) for part in (np.sin, np.cos)
        )
        return np.arctan2(sine, cosine).astype(np.float32)


def high_passed_phase(
    phase: Volume,
    swi: Volume,
    brain: Mask3D | None = None,
    sign: PhaseSign = "auto",
    hint: int | None = None,
) -> HighPassedPhase:
    """Return phase without its smooth background, of the sign that this package uses.

    Args:
        phase: Wrapped phase on the scan's grid, in any unit of `PERIODS`.
        swi: The scan: SWI or magnitude.
        brain: Shape (I, J, K), bool; None takes all voxels above 0 in the scan.
        sign: "auto" takes it from the scan; "+1" and "-1" are s of the stored phase.
        hint: The sign of the scanner's vendor, for a scan that does not tell; None where unknown.

    Raises:
        InputError: If the image lies on another grid or cannot be phase.
    """
    if sign not in {"auto", "+1", "-1"}:
        raise InputError(f"expected a phase sign of auto, +1 or -1, got {sign}")
    check_grid(phase, swi, "phase")
    inside = np.asarray(swi.array > 0) if brain is None else brain
    radians = to_radians(phase, swi, inside)
    small = _small_things(phase.like(radians), inside)
    if sign == "auto":
        agreement = sign_agreement(phase.like(small), swi, inside)
        found = -1 if agreement < 0 else 1
        sure = abs(agreement) >= MIN_AGREEMENT
    else:
        agreement, found, sure = np.nan, int(sign), True
    by_vendor = not sure and hint is not None
    if by_vendor and hint is not None:
        found, sure = hint, True
    small *= found
    return HighPassedPhase(phase.like(small), found, abs(agreement), sure, by_vendor)


def to_radians(phase: Volume, swi: Volume, brain: Mask3D) -> NDArray[np.float32]:
    """Return wrapped phase in rad, up to a constant that removing the background takes out.

    A span that is none of `PERIODS` is a full turn all the same where neighbours wrap.

    Raises:
        InputError: If there are no wraps, or the image looks like the scan itself.
    """
    array = np.asarray(phase.array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"expected finite phase, got NaN or infinity in {phase.name}")
    low, high = float(array.min()), float(array.max())
    span = high - low
    wraps = _wrap_share(array, 0.8 * span, slice_axis(phase))
    if not span > 0 or wraps < MIN_WRAP_SHARE:
        raise InputError(
            "expected wrapped phase in rad or in a scanner's units, got values from "
            f"{low:.4g} to {high:.4g} without wraps in {phase.name}"
        )
    if abs(_correlation(array[brain], np.asarray(swi.array, np.float32)[brain])) > MAX_LIKENESS:
        raise InputError(f"expected phase, got what looks like magnitude in {phase.name}")
    least, most = _SPAN_TOLERANCE
    known = [period for period in PERIODS if least * period <= span <= most * period]
    scale = 2 * np.pi / (known[0] if known else span)
    return array * np.float32(scale)


def sign_agreement(small: Volume, swi: Volume, brain: Mask3D) -> float:
    """Return how darkness goes with phase and with susceptibility: positive where s is +1.

    Args:
        small: High-passed phase in rad.
        swi: The scan: SWI or magnitude.
        brain: Shape (I, J, K), bool.

    Returns:
        Mean of both correlations, -1 to 1; 0 where there is too little brain.
    """
    part = _middle(small, brain)
    across, inside = slice_axis(small), brain[part]
    image = np.asarray(swi.array[part], dtype=np.float32)
    deep = _deep(inside, small.spacing_mm, across)
    if np.count_nonzero(deep) < 1000:
        return 0.0
    darkness = _darkness(image, inside, small.spacing_mm, across)[deep]
    phase = np.where(deep, small.array[part], 0).astype(np.float32)
    direction = (small.affine[:3, :3] / np.array(small.spacing_mm))[2]
    chi = _susceptibility(phase, small.spacing_mm, direction)
    return 0.5 * (_correlation(darkness, phase[deep]) + _correlation(darkness, chi[deep]))


def _small_things(radians: Volume, brain: Mask3D) -> NDArray[np.float32]:
    across = slice_axis(radians)
    sides = [n * mm for n, mm in zip(radians.shape, radians.spacing_mm, strict=True)]
    del sides[across]
    lines = max(2, round(2 * float(np.sqrt(sides[0] * sides[1])) / FINEST_MM))
    weight = torch.from_numpy(brain.astype(np.float32))
    image = torch.polar(weight, torch.from_numpy(np.ascontiguousarray(radians.array)))
    small: NDArray[np.float32] = homodyne_highpass(image, lines, across).numpy()
    return np.where(brain, small, np.float32(0))


def _wrap_share(array: FloatArray, step: float, across: int) -> float:
    axes = [axis for axis in range(3) if axis != across]
    return max(float(np.mean(np.abs(np.diff(array, axis=axis)) > step)) for axis in axes)


def _middle(volume: Volume, brain: Mask3D) -> tuple[slice, slice, slice]:
    """Return the brain's box, cut to `_SLAB_MM` across slices: enough veins, and fast."""
    across, parts = slice_axis(volume), []
    for axis in range(3):
        found = np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis)))
        first, last = (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)
        most = max(1, round(_SLAB_MM / volume.spacing_mm[axis]))
        if axis == across and last - first > most:
            first += (last - first - most) // 2
            last = first + most
        parts.append(slice(first, last))
    return parts[0], parts[1], parts[2]


def _deep(brain: Mask3D, spacing_mm: Triple, across: int) -> Mask3D:
    """Return the brain without its rim, where phase is disturbed by air and skull."""
    planes = np.moveaxis(brain, across, 0)
    sampling = [mm for axis, mm in enumerate(spacing_mm) if axis != across]
    deep = [
        ndimage.distance_transform_edt(np.pad(p, 1), sampling)[1:-1, 1:-1] > _DEPTH_MM
        for p in planes
    ]
    return np.moveaxis(np.array(deep, dtype=bool).reshape(planes.shape), 0, across)


def _darkness(image: FloatArray, brain: Mask3D, spacing_mm: Triple, across: int) -> FloatArray:
    """Return by which share a voxel is darker than its surroundings in the brain, 0 to 1."""
    sigma = [0.0 if a == across else _LOCAL_SIGMA_MM / mm for a, mm in enumerate(spacing_mm)]
    weight = ndimage.gaussian_filter(brain.astype(np.float32), sigma)
    mean = ndimage.gaussian_filter(np.where(brain, image, 0).astype(np.float32), sigma)
    mean /= np.maximum(weight, 0.01)
    floor = max(1e-30, 1e-6 * float(np.abs(mean).max()))
    return np.asarray(np.clip(1 - image / np.maximum(mean, floor), 0, 1))


def _susceptibility(phase: FloatArray, spacing_mm: Triple, field: FloatArray) -> FloatArray:
    """Return a susceptibility map of any scale.

    Args:
        phase: In rad, 0 outside the brain.
        spacing_mm: Voxel along each axis.
        field: Unit vector of the main field along the voxel axes.
    """
    steps = [np.fft.fftfreq(n, mm) for n, mm in zip(phase.shape, spacing_mm, strict=True)]
    steps[2] = np.fft.rfftfreq(phase.shape[2], spacing_mm[2])
    k = np.meshgrid(*steps, indexing="ij", sparse=True)
    square = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    along = (field[0] * k[0] + field[1] * k[1] + field[2] * k[2]) ** 2
    square[0, 0, 0] = 1.0
    kernel = 1 / 3 - along / square
    inverse = np.sign(kernel) / np.maximum(np.abs(kernel), _SMALLEST_KERNEL)
    inverse[0, 0, 0] = 0.0
    spectrum = np.fft.rfftn(phase) * inverse.astype(np.float32)
    return np.asarray(np.fft.irfftn(spectrum, phase.shape, axes=(0, 1, 2)))


def _correlation(first: FloatArray, second: FloatArray) -> float:
    """Return Pearson's correlation; 0 where one is constant."""
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
