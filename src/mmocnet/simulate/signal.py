"""From tissue and field to the complex gradient-echo signal."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmocnet.errors import InputError
from mmocnet.simulate.field import downsample
from mmocnet.types import IntTriple, Triple

GYROMAGNETIC_MHZ_PER_T = 42.577478
FIELDS_T = (1.5, 3.0, 7.0)
PLANES = 8
BLOOD_R2PRIME_HZ_PER_PPM = 323.0
"""R2' of a cloud of magnetised particles in the static dephasing regime at 3 T, per ppm of its mean
susceptibility: 2 pi / (3 sqrt 3) * gamma B0 / 3 (Yablonskiy and Haacke 1994,
doi:10.1002/mrm.1910320610)."""
IRON_R2PRIME_HZ_PER_PPM = 200.0
"""The same for tissue iron at 3 T, of the susceptibility above grey matter's. Chosen so that the
pallidum comes to 27 ms at 3 T; diffusion between ferritin clusters keeps it under the static
limit."""


@dataclass(frozen=True)
class Echo:
    """One echo of a gradient-echo sequence.

    Attributes:
        te_ms: Echo time.
        field_t: Main field in tesla.
        phase_sign: s in phase = s * gamma * dB * TE, +1 or -1.
    """

    te_ms: float
    field_t: float
    phase_sign: int = 1

    def __post_init__(self) -> None:
        if self.te_ms < 0 or self.field_t <= 0 or self.phase_sign not in {1, -1}:
            raise InputError(f"expected TE >= 0, a field > 0 and a sign of 1 or -1, got {self}")

    @property
    def hz_per_ppm(self) -> float:
        """Frequency of one ppm of the main field."""
        return GYROMAGNETIC_MHZ_PER_T * self.field_t

    @property
    def rad_per_ppm(self) -> float:
        """Phase of one ppm of the main field, signed."""
        return self.phase_sign * 2 * math.pi * self.hz_per_ppm * self.te_ms / 1000


@dataclass(frozen=True)
class Tissue:
    """Relaxation and proton density of a tissue.

    Attributes:
        pd: Proton density, water 1.
        t1_ms: At 1.5, 3 and 7 T.
        t2star_ms: At 1.5, 3 and 7 T.
    """

    pd: float
    t1_ms: Triple
    t2star_ms: Triple

    def t1(self, field_t: float) -> float:
        """Return T1 in ms at a field: linear in log B0, constant outside 1.5 to 7 T."""
        return float(np.exp(np.interp(math.log(field_t), np.log(FIELDS_T), np.log(self.t1_ms))))

    def r2star(self, field_t: float) -> float:
        """Return R2* in 1/s at a field: linear in B0, constant outside 1.5 to 7 T."""
        return float(np.interp(field_t, FIELDS_T, [1000 / t for t in self.t2star_ms]))


# T1 and T2* of grey and white matter: the design's table. CSF: Rooney 2007
# (doi:10.1002/mrm.21122), T2* shortened by pulsation and partial volume. Fat: Gold 2004
# (doi:10.2214/ajr.183.2.1830343). Bone, air, calcification: next to no signal. Where a field has no
# figure it is continued from the others.
TISSUES: dict[str, Tissue] = {
    "wm": Tissue(0.70, (646, 838, 1126), (66, 53, 27)),
    "gm": Tissue(0.82, (1197, 1607, 1939), (84, 66, 33)),
    "csf": Tissue(1.0, (4000, 4200, 4400), (500, 400, 200)),
    "artery": Tissue(0.86, (1440, 1650, 2100), (250, 150, 60)),
    "vein": Tissue(0.86, (1440, 1650, 2100), (68, 28, 8)),
    "calcification": Tissue(0.25, (1000, 1200, 1400), (12, 8, 4)),
    "bone": Tissue(0.10, (300, 400, 500), (2, 1.5, 1)),
    "air": Tissue(0.0, (1000, 1000, 1000), (10, 5, 2)),
    "skin": Tissue(0.75, (900, 1100, 1400), (25, 18, 9)),
    "fat": Tissue(0.90, (290, 370, 450), (40, 30, 15)),
}


def venous_r2star(field_t: float, oxygenation: float) -> float:
    """Return R2* of venous blood in 1/s; at 3 T and Y = .6 about 36, T2* 28 ms.

    >>> round(venous_r2star(3.0, 0.6), 1)
    36.0
    """
    if not 0 <= oxygenation <= 1:
        raise InputError(f"expected an oxygenation of 0 to 1, got {oxygenation}")
    return 3.0 + 33.0 * float((field_t / 3) ** 1.5) * float(((1 - oxygenation) / 0.4) ** 1.5)


def spoiled_gre(pd: float, t1_ms: float, tr_ms: float, flip_deg: float, inflow: float = 0) -> float:
    """Return the steady state of a spoiled gradient echo at TE = 0 (Ernst).

    Args:
        pd: Proton density.
        t1_ms: Longitudinal relaxation time.
        tr_ms: Repetition time.
        flip_deg: Flip angle.
        inflow: Share of spins that are fresh at each pulse, 0 to 1: bright arteries.

    >>> round(spoiled_gre(1.0, 1000.0, 1e9, 90.0), 6)
    1.0
    """
    flip, decay = math.radians(flip_deg), math.exp(-tr_ms / t1_ms)
    steady = (1 - decay) / (1 - math.cos(flip) * decay)
    return pd * math.sin(flip) * (inflow + (1 - inflow) * steady)


def gradient_dephasing(field_hz: Tensor, te_ms: float) -> Tensor:
    """Return the share of the signal that the field's slope across each voxel leaves.

    Args:
        field_hz: Field shift in Hz, shape (I, J, K).
        te_ms: Echo time.

    Returns:
        exp(-(pi TE)^2 / 6 * sum of squared differences across the voxel), the second order of
        a product of sincs; float32, shape (I, J, K).
    """
    return _squared_slope(field_hz).mul_(-((math.pi * te_ms / 1000) ** 2) / 6).exp_()


def _squared_slope(field: Tensor) -> Tensor:
    """Return the sum over axes of the squared difference across a voxel, one-sided at borders."""
    total = torch.zeros_like(field)
    for axis, length in enumerate(field.shape):
        if length < 2:
            continue
        step = field.diff(dim=axis)
        total.narrow(axis, 0, 1).add_(step.narrow(axis, 0, 1) ** 2)
        total.narrow(axis, length - 1, 1).add_(step.narrow(axis, length - 2, 1) ** 2)
        if length > 2:
            both = step.narrow(axis, 0, length - 2) + step.narrow(axis, 1, length - 2)
            total.narrow(axis, 1, length - 2).add_(both.square_(), alpha=0.25)
    return total


def complex_signal(
    m0: Tensor, r2star_hz: Tensor, field_ppm: Tensor, echo: Echo, dephasing: bool = True
) -> Tensor:
    """Return the gradient-echo signal at one echo.

    Args:
        m0: Signal at TE = 0, see `spoiled_gre`; shape (I, J, K).
        r2star_hz: Decay rate in 1/s, same shape.
        field_ppm: Field shift in ppm, same shape.
        echo: Echo time, field strength and sign of phase.
        dephasing: Whether the field's slope inside a voxel takes signal.

    Returns:
        Complex64, shape (I, J, K).
    """
    signal = torch.empty(field_ppm.shape, dtype=torch.complex64, device=field_ppm.device)
    length = len(field_ppm)
    # A few planes at a time stay in a processor's cache, which halves the time.
    step = length if field_ppm.is_cuda else PLANES
    for first in range(0, length, step):
        part = slice(first, min(first + step, length))
        log_decay = r2star_hz[part] * (-echo.te_ms / 1000)
        if dephasing:
            low = max(0, first - 1)
            slope = _squared_slope(field_ppm[low : part.stop + 1])[first - low :]
            # (pi TE)^2 / 6 of a frequency difference, which is rad_per_ppm / 2 of one in ppm.
            log_decay.add_(slope[: len(log_decay)], alpha=-(echo.rad_per_ppm**2) / 24)
        phase = field_ppm[part] * echo.rad_per_ppm
        torch.polar(log_decay.exp_().mul_(m0[part]), phase, out=signal[part])
    return signal


def lesion_factor(
    chi_ppm: Tensor,
    field_ppm: Tensor,
    block: IntTriple,
    echo: Echo,
    r2prime_hz_per_ppm: float = BLOOD_R2PRIME_HZ_PER_PPM,
    density: float = 1.0,
) -> Tensor:
    """Return by what a lesion multiplies the signal of each voxel that its fine patch covers.

    The mean over a voxel of exp(i phase) and of decay inside the lesion, so that what a voxel
    loses to dephasing near a lesion follows from the field itself. What lies around the patch is
    a pure dipole: `paste.lesion_footprint`.

    Args:
        chi_ppm: Susceptibility on the fine patch, see `field.lesion_patch`.
        field_ppm: Its field, same shape.
        block: Fine voxels in a voxel along each axis; divides the patch's shape.
        echo: Echo time, field strength and sign of phase.
        r2prime_hz_per_ppm: R2' inside at 3 T per ppm of susceptibility of either sign; in
            proportion to the field.
        density: Signal inside at TE = 0 over that of the tissue around it.

    Returns:
        Complex64, shape of the patch over `block`.

    Raises:
        InputError: If the block does not divide the patch.
    """
    if any(n % b for n, b in zip(chi_ppm.shape, block, strict=True)):
        raise InputError(f"expected blocks {block} to divide the patch {tuple(chi_ppm.shape)}")
    inside = chi_ppm.abs()
    share = inside / inside.max().clamp_min(1e-6)
    within = 1 - share * (1 - density)
    decay = inside * (r2prime_hz_per_ppm * echo.field_t / 3)
    fine = complex_signal(within, decay, field_ppm, echo)
    i, j, k = (n // b for n, b in zip(chi_ppm.shape, block, strict=True))
    return downsample(fine, (i, j, k))
