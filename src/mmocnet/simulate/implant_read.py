"""Lesion-free scans that a user holds: found in a folder, read, checked, and made one convention.

Implanting needs the complex signal: magnitude, and phase or a susceptibility map whose field
gives the phase. A weighted image alone has lost it and is refused.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmocnet.errors import InputError
from mmocnet.io.dataset import nifti_ending
from mmocnet.io.digest import file_sha256
from mmocnet.io.nifti import read_nifti
from mmocnet.prepare.brain import brain_mask
from mmocnet.simulate.implant_find import ScanFiles
from mmocnet.simulate.implant_phase import b0_direction, phase_in_rad, phase_of_chi, phase_sign
from mmocnet.simulate.signal import Echo
from mmocnet.types import FloatArray, Mask3D, Triple
from mmocnet.volume import Volume


@dataclass(frozen=True)
class Overrides:
    """What the user says about the scans, in place of their sidecars.

    Attributes:
        te_ms: Echo time.
        field_t: Main field in tesla.
        phase_sign: s of the phase images, see `mmocnet.prepare.swi`; None finds it out.
    """

    te_ms: float | None = None
    field_t: float | None = None
    phase_sign: int | None = None

    def __post_init__(self) -> None:
        if self.te_ms is not None and not 1 <= self.te_ms <= 100:
            raise InputError(f"te_ms must be 1 to 100, got {self.te_ms}")
        if self.field_t is not None and not 0.2 <= self.field_t <= 15:
            raise InputError(f"field_t must be 0.2 to 15, got {self.field_t}")
        if self.phase_sign not in {None, 1, -1}:
            raise InputError(f"phase_sign must be 1 or -1, got {self.phase_sign}")


@dataclass(frozen=True)
class RealScan:
    """A scan as its signal is: ready to be implanted.

    Attributes:
        magnitude: Float32, any orientation.
        phase_rad: Of the convention s = +1, shape of the magnitude; from the phase image or the
            susceptibility map's field.
        brain: Brain mask.
        echo: Echo time and field, phase sign +1.
        phase_from: "phase image" or "susceptibility map".
        sha256: Hash of each file that was read, by role.
    """

    magnitude: Volume
    phase_rad: FloatArray
    brain: Mask3D
    echo: Echo
    phase_from: str
    sha256: dict[str, str]

    @property
    def b0_direction(self) -> Triple:
        """Main field, the scanner's z, in voxel axes."""
        return b0_direction(self.magnitude)


def read_real_scan(files: ScanFiles, overrides: Overrides) -> RealScan:
    """Read one scan.

    Args:
        files: Where its images are.
        overrides: What the user says about it.

    Raises:
        InputError: If images do not share a grid, echo time or field is unknown, or phase or
            susceptibility is in no known unit.
    """
    magnitude = _magnitude(files.magnitude)
    echo = read_echo(files, overrides)
    brain = _brain(files, magnitude)
    phase = _phase(files, magnitude, brain, echo, overrides.phase_sign)
    return RealScan(
        magnitude=magnitude,
        phase_rad=phase,
        brain=brain,
        echo=echo,
        phase_from="susceptibility map" if files.phase is None else "phase image",
        sha256=file_hashes(files),
    )


def _magnitude(path: Path) -> Volume:
    volume = read_nifti(path)
    array = np.nan_to_num(volume.array.astype(np.float32), posinf=0.0, neginf=0.0)
    if array.min() < 0 or array.max() <= 0 or min(array.shape[:2]) < 16:
        raise InputError(
            f"expected a magnitude of at least 16 x 16 voxels with values of 0 and more, got "
            f"{array.shape}, {array.min():g} to {array.max():g} in {path.name}"
        )
    return volume.like(array)


def _same_grid(path: Path, magnitude: Volume) -> FloatArray:
    """Return another image of the scan as float32."""
    volume = read_nifti(path)
    if volume.shape != magnitude.shape or not np.allclose(
        volume.affine, magnitude.affine, atol=0.05
    ):
        raise InputError(
            f"expected {path.name} on the grid of {magnitude.name}, {magnitude.shape}, got "
            f"{volume.shape} or another position"
        )
    return np.nan_to_num(volume.array.astype(np.float32), posinf=0.0, neginf=0.0)


def _phase(
    files: ScanFiles, magnitude: Volume, brain: Mask3D, echo: Echo, sign: int | None
) -> FloatArray:
    """Return the phase in rad in the convention s = +1."""
    modelled = None
    if files.chi is not None:
        modelled = phase_of_chi(_same_grid(files.chi, magnitude), magnitude, echo, files.chi.name)
        if files.phase is None:
            return modelled
    if files.phase is None:
        raise InputError(f"expected phase or susceptibility beside {files.magnitude.name}")
    phase = phase_in_rad(_same_grid(files.phase, magnitude), files.phase.name)
    if sign is None:
        sign = phase_sign(magnitude, phase, brain, modelled)
    return phase if sign == 1 else -phase


def _brain(files: ScanFiles, magnitude: Volume) -> Mask3D:
    if files.brain is None:
        return brain_mask(magnitude)
    mask = np.asarray(_same_grid(files.brain, magnitude) > 0.5)
    if not mask.any():
        raise InputError(f"expected a brain mask, got nothing in {files.brain.name}")
    return mask


def read_echo(files: ScanFiles, overrides: Overrides) -> Echo:
    """Return echo time and field of a scan, its phase taken as of sign +1.

    Raises:
        InputError: If either is not known.
    """
    sidecar = _sidecar(files.magnitude)
    te_ms, field_t = overrides.te_ms, overrides.field_t
    if te_ms is None:
        te_ms = 1000 * _number(sidecar, "EchoTime", "--te-ms", files)
    if field_t is None:
        field_t = _number(sidecar, "MagneticFieldStrength", "--field-t", files)
    checked = Overrides(te_ms, field_t)
    return Echo(checked.te_ms or te_ms, checked.field_t or field_t, 1)


def _number(sidecar: dict[str, Any], key: str, option: str, files: ScanFiles) -> float:
    value = sidecar.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InputError(
            f"expected {key} in the JSON beside {files.magnitude.name}, or {option}, got neither"
        )
    return float(value)


def _sidecar(image: Path) -> dict[str, Any]:
    path = image.with_name(image.name.removesuffix(nifti_ending(image.name)) + ".json")
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"expected JSON in {path.name}: {error}") from error
    return content if isinstance(content, dict) else {}


def file_hashes(files: ScanFiles) -> dict[str, str]:
    """Return the hash of each file of a scan, by role."""
    return {role: file_sha256(path) for role, path in files.by_role().items()}
