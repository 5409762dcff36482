"""Read whatever holds one scan: DICOM, a NIfTI volume, or a slice as NIfTI, PNG or TIFF."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.io import nifti, picture
from mmocnet.io.dicom.source import DicomSource
from mmocnet.io.digest import file_sha256
from mmocnet.io.sidecar import is_projection, read_acquisition
from mmocnet.volume import Volume

MIN_SIDE_VOXELS = 16
"""A slice with fewer pixels along a side shows no brain."""

SPACING_RANGE_MM = (0.02, 20.0)
"""Voxel sizes outside it are another unit than mm, or an error."""

LARGEST_HOLE = 1000
"""Voxels that are not finite at the border: more of them in a piece are background."""


@dataclass(frozen=True)
class Scan:
    """One image as it was read.

    Attributes:
        volume: float32 and finite; the file's own grid.
        kind: "slice" where an axis has one voxel, else "volume".
        source: The kind of file.
        sha256: Hash of the file's bytes; of a DICOM series, of its instance UIDs and pixels.
        warnings: One sentence for each doubt.
        dicom: The files of a DICOM series, else None.
        echo_s: Echo time by the DICOM header or the sidecar, seconds; NaN where it is not stated.
        is_projection: Whether the sidecar calls it a minimum intensity projection.
    """

    volume: Volume
    kind: Literal["volume", "slice"]
    source: Literal["nifti", "picture", "dicom"]
    sha256: str
    warnings: tuple[str, ...] = ()
    dicom: DicomSource | None = None
    echo_s: float = math.nan
    is_projection: bool = False


def read_scan(path: Path, spacing_mm: float | None = None, series: str | None = None) -> Scan:
    """Read a scan.

    Args:
        path: `.nii`, `.nii.gz`, `.png`, `.tif` or `.tiff`; DICOM as a file, a folder or a zip.
        spacing_mm: Pixel size of a picture; the other files have their own.
        series: Number or UID of the DICOM series, where there are several to choose from.

    Returns:
        The scan, its voxels finite.

    Raises:
        InputError: If it cannot be read, or holds no image.
    """
    is_dicom = may_be_dicom(path)
    warnings: tuple[str, ...] = ()
    if spacing_mm is not None and not path.name.lower().endswith(picture.SUFFIXES):
        warnings += (f"--spacing-mm is not used: {path.name} has its own spacing",)
    if series is not None and not is_dicom:
        warnings += (f"--series is not used: {path.name} is not DICOM",)
    if is_dicom:
        scan = _read_dicom(path, series)
    elif path.name.lower().endswith(nifti.SUFFIXES):
        volume, doubts = nifti.read_nifti_warned(path)
        scan = Scan(
            volume, "volume", "nifti", file_sha256(path), doubts,
            echo_s=_echo_s(read_acquisition(path)), is_projection=is_projection(path),
        )  # fmt: skip
    else:
        if spacing_mm is None:
            raise InputError(f"a picture has no spacing: give --spacing-mm for {path.name}")
        scan = Scan(picture.read_picture(path, spacing_mm), "slice", "picture", file_sha256(path))
    _check_grid(scan.volume)
    volume, doubts = _finite(scan.volume)
    return replace(
        scan,
        volume=volume,
        kind="slice" if 1 in volume.shape else "volume",
        warnings=scan.warnings + warnings + _tilted(volume) + doubts,
    )


def _read_dicom(path: Path, wanted: str | None) -> Scan:
    from mmocnet.io.dicom.find import choose_swi, find_series
    from mmocnet.io.dicom.match import matching_phase
    from mmocnet.io.dicom.volume import read_series

    found = find_series(path)
    swi = choose_swi(found, wanted)
    volume, source, warnings = read_series(swi)
    phase, doubts = matching_phase(found, swi)
    source = replace(source, phase=phase)
    echo_s = _echo_s(source.technique)
    return Scan(volume, "volume", "dicom", source.sha256, (*warnings, *doubts), source, echo_s)


def _echo_s(technique: Mapping[str, float | str]) -> float:
    stated = technique.get("EchoTime")
    return float(stated) if isinstance(stated, int | float) else math.nan


def may_be_dicom(path: Path) -> bool:
    """Return whether a path may hold DICOM.

    Raises:
        InputError: If it holds nothing that can be read.
    """
    name = path.name
    try:
        if not path.exists():
            raise InputError(f"no such file: {name}")
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from error
    if path.is_dir():
        return True
    if not path.is_file():
        raise InputError(f"expected a regular file, got {name}")
    if path.stat().st_size == 0:
        raise InputError(f"{name} is empty")
    if path.suffix.lower() == ".zip" or _is_dicom(path):
        return True
    if not name.lower().endswith(nifti.SUFFIXES + picture.SUFFIXES):
        raise InputError(f"expected .nii, .nii.gz, .png, .tif, .tiff, .zip or DICOM, got {name}")
    return False


def _is_dicom(path: Path) -> bool:
    from mmocnet.io.dicom.guard import is_dicom

    if path.suffix.lower() in (".dcm", ".ima", ".dicom"):
        return True
    try:
        return is_dicom(path)
    except OSError as error:
        raise InputError(f"cannot read {path.name}: {error.strerror}") from error


def _tilted(volume: Volume) -> tuple[str, ...]:
    cosine = nifti.largest_cosine(volume.affine)
    if cosine <= nifti.RIGHT_ANGLE:
        return ()
    off = math.degrees(math.asin(cosine))
    return (
        f"slices are tilted in {volume.name}: its axes are up to {off:.1f} degrees off right "
        "angles",
    )


def _check_grid(volume: Volume) -> None:
    low, high = SPACING_RANGE_MM
    if not all(low <= side <= high for side in volume.spacing_mm):
        spacing = ", ".join(f"{side:.3g}" for side in volume.spacing_mm)
        raise InputError(
            f"expected voxels of {low} to {high:g} mm, got ({spacing}) in {volume.name}"
        )
    if sorted(volume.shape)[1] < MIN_SIDE_VOXELS:
        raise InputError(
            f"expected slices of at least {MIN_SIDE_VOXELS} x {MIN_SIDE_VOXELS} pixels, "
            f"got shape {volume.shape} in {volume.name}"
        )


def _finite(volume: Volume) -> tuple[Volume, tuple[str, ...]]:
    """Return the volume as float32 without NaN and infinity, and a warning where any were.

    A large part at the border is what a mask left out, and becomes 0. A hole becomes the median of
    what is around it: a black dot in the brain would look like a microbleed.
    """
    stored = volume.array
    # Before the copy to float32: a bomb of zeros takes no more memory than it has to.
    if stored.min() == stored.max():
        raise InputError(f"expected an image, got the same value everywhere in {volume.name}")
    with np.errstate(over="ignore"):
        array = stored.astype(np.float32)
    bad = ~np.isfinite(array)
    count = int(bad.sum())
    if not count:
        return volume.like(array), ()
    array[bad] = 0.0
    filled = _fill_holes(array, bad)
    if array.min() == array.max():
        raise InputError(f"expected an image, got no two finite values in {volume.name}")
    told = [
        f"voxels that are not finite in {volume.name}: {number} {became}"
        for number, became in (
            (count - filled, "set to 0"),
            (filled, "given the median of what is around them: look at the image there"),
        )
        if number
    ]
    return volume.like(array), tuple(told)


def _fill_holes(array: NDArray[np.float32], bad: NDArray[np.bool_]) -> int:
    """Give holes the median of what is around them, in place; return the number of voxels."""
    parts, _ = ndimage.label(bad, np.ones((3, 3, 3)))
    filled = 0
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        size = int((parts[box] == number).sum())
        at_border = any(
            side.start == 0 or side.stop == length
            for side, length in zip(box, array.shape, strict=True)
            if length > 1
        )
        if at_border and size > LARGEST_HOLE:
            continue
        around = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        hole = parts[around] == number
        shell = ndimage.binary_dilation(hole, np.ones((3, 3, 3))) & (parts[around] == 0)
        if shell.any():
            array[around][hole] = np.median(array[around][shell])
            filled += size
    return filled
