"""Refuse what is not SWI or T2*-weighted magnitude of a human brain, and warn of what is doubtful.

Where a statistic cannot tell, the scan is accepted: each limit is set from images of both kinds.
"""

import re

import numpy as np
from numpy.typing import NDArray

from mmocnet.errors import InputError
from mmocnet.io.read import Scan
from mmocnet.prepare.contrast import is_t1_like
from mmocnet.prepare.geometry import slice_axis
from mmocnet.types import FloatArray, Mask3D
from mmocnet.volume import Volume

MAX_PIXEL_MM = 1.5
"""A microbleed of 2 mm has one pixel there."""

MAX_PIXEL_RATIO = 1.5
FEW_SLICES = 8

MAX_NEGATIVE_SHARE = 0.05
"""Of all voxels. Signed phase has 0.4, a susceptibility map of a masked brain 0.11; resampling
rings to below zero, but not below `NEGATIVE_LEVEL`."""

NEGATIVE_LEVEL = 0.02

MIN_WRAP_SHARE = 0.005
"""Neighbours that differ by nearly the whole range: wrapped phase has 0.015 to 0.044 (3 T EPI, 7 T
GRE), magnitude and SWI at most 0.0007."""

BRAIN_RANGE_MM = (45.0, 230.0)
"""Diameter of a disc as large as the brain's largest cross-section: adults 120 to 160, a rat 17."""

T2STAR_ECHO_S = (0.010, 0.100)
"""Echo times of SWI and T2*-weighted images; T1-weighted ones have 2 to 5 ms. Over it another unit
was meant."""

AIR_LEVEL = (0.8, 0.9)
"""Of the range, the darkest tenth and the median of the border: brighter ones, about a darker
middle, are air in inverted grey values, 0.89 and 0.96 or more in heads. Tissue that fills the
field of view reaches 0.76 and 0.86, air itself 0.02 and 0.04."""

MIN_LEVELS = 16
"""Fewer different values are a mask or labels."""

_SAMPLE_VOXELS = 1_000_000
_PHASE_NAME = re.compile(r"(^|[-_.])(part-phase|phase|pha)(?!-\d)([-_.]|$)", re.IGNORECASE)
"""But not phase-2: that is of a trial, or of a cycle."""
_MINIP_NAME = re.compile(r"min[-_]?ip|(^|[-_. ])mn?ip([-_. (]|$)", re.IGNORECASE)
_WHO_NAME = re.compile(r"(^|_)(sub|ses)-[^_.]*")
"""A label may be called anything."""


def check_scan(scan: Scan, brain: Mask3D | None) -> tuple[str, ...]:
    """Refuse or warn.

    Args:
        scan: As it was read.
        brain: Shape (I, J, K); None leaves out what needs it.

    Returns:
        One sentence for each doubt, those of reading not among them.

    Raises:
        InputError: If it is phase, a map with negative values, of inverted grey values, looks
            T1-weighted and has no long echo time to say otherwise, has no brain, or one that
            cannot be human.
    """
    check_values(scan.volume)
    warnings = _grid_warnings(scan)
    if brain is None:
        return warnings
    warnings += _brain_warnings(scan.volume, brain)
    if not is_t1_like(scan.volume, brain):
        return warnings
    if not T2STAR_ECHO_S[0] <= scan.echo_s <= T2STAR_ECHO_S[1]:
        raise InputError(
            "expected SWI or T2*-weighted magnitude, "
            f"got what looks T1-weighted in {scan.volume.name}"
        )
    doubt = (
        f"{scan.volume.name} has the contrast of a T1-weighted image; with its echo time of "
        f"{1000 * scan.echo_s:.3g} ms it is taken as T2*-weighted"
    )
    return (*warnings, doubt)


def check_values(volume: Volume) -> None:
    """Refuse phase, other maps and inverted images, by name and by values; needs no brain.

    Raises:
        InputError: If the volume is no magnitude or SWI.
    """
    name, array = volume.name, np.asarray(volume.array, dtype=np.float32)
    if _PHASE_NAME.search(name):
        raise InputError(f"expected SWI or magnitude, got phase by its name in {name}")
    levels = len(np.unique(array.ravel()[:: max(1, array.size // _SAMPLE_VOXELS)]))
    if levels < MIN_LEVELS:
        raise InputError(f"expected an image, got {levels} different values as in a mask in {name}")
    large = float(np.percentile(np.abs(array), 99))
    negative = float(np.mean(array < -NEGATIVE_LEVEL * large))
    if negative > MAX_NEGATIVE_SHARE:
        raise InputError(
            f"expected SWI or magnitude, got {100 * negative:.0f} % negative values "
            f"as in phase or a susceptibility map in {name}"
        )
    array = np.moveaxis(array, slice_axis(volume), 0)
    low, high = (float(v) for v in np.percentile(array, [0.1, 99.9]))
    if not high > low:
        return
    array = (array - low) / (high - low)
    if _is_unsigned_phase(array):
        raise InputError(f"expected SWI or magnitude, got what looks like phase in {name}")
    if _is_inverted(array):
        raise InputError(
            "expected air that is darker than the brain, "
            f"got a bright border as of inverted grey values in {name}"
        )


def _is_unsigned_phase(array: NDArray[np.float32]) -> bool:
    """Return whether air lies in the middle of the range, as 0 does in phase stored from 0.

    Air is noise over the whole range, or has been set to the middle; both with wraps in between.
    """
    level = _border(array)
    if not 0.4 < float(np.median(level)) < 0.6:
        return False
    constant = float(np.mean(level == np.median(level))) > 0.9
    return constant or _wrap_share(array, 0.8) > MIN_WRAP_SHARE


def _is_inverted(array: NDArray[np.float32]) -> bool:
    """Return whether air lies at the upper end of the range, and what is in the middle does not."""
    darkest, usual = np.percentile(_border(array), [10, 50])
    if darkest < AIR_LEVEL[0] or usual < AIR_LEVEL[1]:
        return False
    rows, columns = (slice(n // 4, n - n // 4) for n in array.shape[1:])
    return float(np.median(array[:, rows, columns])) < AIR_LEVEL[0]


def _border(array: NDArray[np.float32]) -> FloatArray:
    edges = (array[:, 0], array[:, -1], array[:, :, 0], array[:, :, -1])
    return np.concatenate([edge.ravel() for edge in edges])


def _wrap_share(array: NDArray[np.float32], step: float) -> float:
    return float(np.mean(np.abs(np.diff(array, axis=1)) > step))


def _grid_warnings(scan: Scan) -> tuple[str, ...]:
    volume, found = scan.volume, []
    across = slice_axis(volume)
    slices = volume.shape[across]
    small, large = sorted(volume.spacing_mm[a] for a in range(3) if a != across)
    if 1 < slices < FEW_SLICES:
        found.append(f"{volume.name} has only {slices} slices")
    if large > MAX_PIXEL_MM:
        found.append(
            f"pixels of {large:.2f} mm in {volume.name}: "
            f"microbleeds under {2 * large:.0f} mm are lost"
        )
    if large > MAX_PIXEL_RATIO * small:
        found.append(f"pixels of {small:.2f} x {large:.2f} mm are not square in {volume.name}")
    by = _projection_by(scan)
    if by:
        found.append(
            f"{volume.name} is a minimum intensity projection by its {by}: veins and microbleeds "
            "overlap there, use the SWI itself"
        )
    return tuple(found)


def _projection_by(scan: Scan) -> str:
    """Return what tells that a scan is a minimum intensity projection, "" where nothing does."""
    if _MINIP_NAME.search(_WHO_NAME.sub("", scan.volume.name)):
        return "name"
    return "sidecar" if scan.is_projection else ""


def _brain_warnings(volume: Volume, brain: Mask3D) -> tuple[str, ...]:
    across = slice_axis(volume)
    rest = tuple(a for a in range(3) if a != across)
    areas = brain.sum(axis=rest)
    if not areas.any():
        raise InputError(f"found no brain in {volume.name}")
    pixel_mm2 = volume.spacing_mm[rest[0]] * volume.spacing_mm[rest[1]]
    diameter_mm = float(np.sqrt(4 / np.pi * areas.max() * pixel_mm2))
    text = f"the brain in {volume.name} measures {diameter_mm:.0f} mm across"
    smallest, largest = BRAIN_RANGE_MM
    if diameter_mm > largest:
        raise InputError(f"{text}, expected at most {largest:.0f} mm: check the spacing")
    if diameter_mm >= smallest:
        return ()
    filled = areas.max() > 0.9 * volume.shape[rest[0]] * volume.shape[rest[1]]
    # A slice near the vertex, or a crop, is small as well.
    if volume.shape[across] < FEW_SLICES or filled:
        return (f"{text}, less than a human brain: check the spacing",)
    raise InputError(f"{text}, expected a human brain of 100 mm or more: check the spacing")
