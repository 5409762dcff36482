"""Rows of the table of what was put in: how large a body is, and how magnetic."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from mmocnet.simulate.field import Sphere, spheres_patch
from mmocnet.simulate.lesions import Source
from mmocnet.simulate.record import SimulatedLesion
from mmocnet.types import Triple

VOXELS_A_RADIUS, VOXELS_A_REACH = 6, 64
"""Bodies are measured in voxels of this share of their smallest sphere, or, so that long ones take
no time, of their reach."""


def lesion_row(
    source: Source, index: int, mni_mm: Triple, anatomy: str, apparent_mm3: float
) -> SimulatedLesion:
    """Return a body's row.

    Args:
        source: The body.
        index: Its value in the label images, 0 for a mimic.
        mni_mm: Its centre in MNI152.
        anatomy: Class at its centre.
        apparent_mm3: Volume of its apparent label; NaN for a mimic.
    """
    volume = volume_mm3(source)
    x, y, z = (float(v) for v in source.centre_mm)
    return SimulatedLesion(
        index=index,
        kind=source.kind,
        centre_mm=(x, y, z),
        mni_mm=mni_mm,
        anatomy=anatomy,
        chi_ppm=_integral_mm3(source, source.spheres) / volume,
        radius_mm=float(np.cbrt(3 * volume / (4 * math.pi))),
        source_mm3=volume,
        apparent_mm3=apparent_mm3,
        apparent_diameter_mm=float(np.cbrt(6 * apparent_mm3 / math.pi)),
    )


def volume_mm3(source: Source) -> float:
    """Return the volume of a body's spheres, what they share counted once."""
    return _integral_mm3(source, [(offset, radius, 1.0) for offset, radius, _ in source.spheres])


def _integral_mm3(source: Source, spheres: Sequence[Sphere]) -> float:
    """Return the third figure of a body's spheres over its volume; where they overlap one counts.

    The sum over the spheres would be several times as much where they overlap by far.
    """
    if len(spheres) == 1:
        ((_, radius, value),) = spheres
        return 4 / 3 * math.pi * radius**3 * value
    smallest = min(radius for _, radius, _ in spheres)
    step = max(smallest / VOXELS_A_RADIUS, source.reach_mm / VOXELS_A_REACH)
    count = 2 * math.ceil(source.reach_mm / step) + 2
    patch = spheres_patch(spheres, (step,) * 3, (count,) * 3)
    return float(patch.sum(dtype=torch.float64)) * step**3
