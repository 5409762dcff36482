"""How a NIfTI volume lies, by its sform, its qform or neither, where they may disagree."""

import math
from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError

from mmocnet.errors import InputError
from mmocnet.types import FloatArray

UNIT_QUATERNION_TOLERANCE = 1e-3
SAME_SIDE = 0.02
"""Sides of voxels that differ by less than this share are the same."""
SAME_DIRECTION = 0.7
"""Cosine of the angle between two axes below which they are not the same axis."""


def affine_of(header: Any, name: str) -> tuple[FloatArray, tuple[str, ...]]:
    """Return the affine of a NIfTI header, and one sentence for each doubt.

    Args:
        header: Of nibabel, not checked.
        name: Of the file, for messages.

    Raises:
        InputError: If it is not finite, not invertible, or says two sizes of voxels.
    """
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    warnings: tuple[str, ...] = ()
    if sform_code > 0:
        sform = np.asarray(header.get_sform(), dtype=np.float64)
        if not np.isfinite(sform).all():
            raise InputError(f"expected a finite affine, got NaN or infinity in {name}")
        if abs(np.linalg.det(sform[:3, :3])) > 1e-9:
            return sform, _agreed(sform, header, name)
        warnings = (f"the sform is singular in {name}; the qform is used",)
        if qform_code <= 0:
            raise InputError(f"expected an invertible affine, got a singular sform in {name}")
    if qform_code > 0:
        return _qform(header, name), warnings
    return _base_affine(header, name), (
        f"{name} does not say how it lies (qform and sform codes are 0): axes are taken as "
        "right, anterior, superior, and sides may be swapped",
    )


def _agreed(sform: FloatArray, header: Any, name: str) -> tuple[str, ...]:
    """Return how the rest of a header lies otherwise than its sform, which viewers go by."""
    sides, stated = np.linalg.norm(sform[:3, :3], axis=0), np.asarray(header["pixdim"][1:4], float)
    several = np.array([int(n) > 1 for n in header["dim"][1:4]])
    known = several & np.isfinite(stated) & (stated > 0)
    has_qform = int(header["qform_code"]) > 0
    # Writers that know of the sform alone leave 1.
    unset = not has_qform and (stated[known] == 1).all()
    if not unset and (np.abs(sides - stated)[known] > SAME_SIDE * stated[known]).any():
        by_sform, by_pixdim = (" x ".join(f"{n:.3g}" for n in given) for given in (sides, stated))
        raise InputError(
            f"expected one size of voxels, got {by_sform} mm by the sform and {by_pixdim} mm by "
            f"pixdim in {name}: correct its header"
        )
    if not has_qform:
        return ()
    try:
        qform = _qform(header, name)
    except InputError:
        return ()
    lengths = sides * np.linalg.norm(qform[:3, :3], axis=0)
    if ((sform[:3, :3] * qform[:3, :3]).sum(axis=0) < SAME_DIRECTION * lengths).any():
        return (
            f"the sform and the qform of {name} lie otherwise: the sform is used, and sides may be "
            "swapped",
        )
    return ()


def _qform(header: Any, name: str) -> FloatArray:
    fields = [float(header[key]) for key in ("quatern_b", "quatern_c", "quatern_d")]
    fields += [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    _check_spacing(header, name)
    if not np.isfinite(fields).all():
        raise InputError(f"expected a finite affine, got NaN or infinity in {name}")
    if float(np.sum(np.square(fields[:3]))) > 1 + UNIT_QUATERNION_TOLERANCE:
        raise InputError(f"expected a rotation, got a quaternion longer than 1 in {name}")
    try:
        affine = np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise InputError(f"the qform is not valid in {name}") from error
    return affine


def _base_affine(header: Any, name: str) -> FloatArray:
    _check_spacing(header, name)
    spacing_mm = [float(v) for v in header["pixdim"][1:4]]
    return np.diag([*spacing_mm, 1.0])


def _check_spacing(header: Any, name: str) -> None:
    spacing_mm = [float(v) for v in header["pixdim"][1:4]]
    if not all(math.isfinite(v) and v > 0 for v in spacing_mm):
        raise InputError(f"spacing_mm must be positive, got {tuple(spacing_mm)} in {name}")
