"""Deep grey nuclei, drawn as ellipsoids at MNI coordinates.

Centres and half-axes were read off the MNI152 template by eye; susceptibilities are adult values
of the quantitative susceptibility mapping literature and rise with age through `iron`.
"""

import math
from dataclasses import dataclass

import torch

from mmocnet.types import Triple


@dataclass(frozen=True)
class Nucleus:
    """A pair of mirrored bodies.

    Attributes:
        name: Anatomical name.
        centre_mm: MNI mm of the right body; the left is mirrored.
        radii_mm: Half-axes.
        yaw: Rotation about the vertical axis in radians, counter-clockwise on the right side.
        chi_ppm: Susceptibility.
        group: Location class of a lesion inside.
    """

    name: str
    centre_mm: Triple
    radii_mm: Triple
    yaw: float
    chi_ppm: float
    group: str


NUCLEI = (
    Nucleus("caudate", (12.5, 14.0, 7.0), (4.6, 9.0, 9.5), 0.1, 0.044, "basal ganglia"),
    Nucleus("caudate", (15.5, -1.0, 18.0), (3.2, 14.0, 5.0), 0.15, 0.044, "basal ganglia"),
    Nucleus("putamen", (26.5, 3.0, 1.0), (4.8, 15.0, 9.5), 0.18, 0.038, "basal ganglia"),
    Nucleus("pallidum", (19.5, -3.0, 0.0), (3.6, 8.5, 5.5), 0.35, 0.130, "basal ganglia"),
    Nucleus("thalamus", (11.5, -18.0, 8.0), (7.5, 13.0, 8.0), 0.25, 0.020, "thalamus"),
    Nucleus("red nucleus", (5.2, -20.0, -9.0), (2.8, 3.2, 3.8), 0.0, 0.100, "brainstem"),
    Nucleus("substantia nigra", (9.5, -17.0, -11.5), (2.2, 6.5, 3.6), 0.5, 0.111, "brainstem"),
    Nucleus("dentate", (14.5, -57.0, -34.0), (4.0, 7.5, 3.5), 0.3, 0.120, "cerebellum"),
)


def signed_distance_mm(nucleus: Nucleus, mni_mm: torch.Tensor) -> torch.Tensor:
    """Return about how far points lie outside a nucleus in mm (negative inside).

    Args:
        nucleus: The body; both sides are meant.
        mni_mm: MNI coordinates, shape (3, ...).
    """
    x, y, z = mni_mm.unbind(0)
    dx = x.abs() - nucleus.centre_mm[0]
    dy, dz = y - nucleus.centre_mm[1], z - nucleus.centre_mm[2]
    cos, sin = math.cos(nucleus.yaw), math.sin(nucleus.yaw)
    # Frontal ends lie nearer the midline than occipital ones.
    u, v = cos * dx + sin * dy, -sin * dx + cos * dy
    a, b, c = nucleus.radii_mm
    k0 = torch.sqrt((u / a) ** 2 + (v / b) ** 2 + (dz / c) ** 2)
    k1 = torch.sqrt((u / a**2) ** 2 + (v / b**2) ** 2 + (dz / c**2) ** 2)
    # First-order distance to the ellipsoid's surface.
    return k0 * (k0 - 1.0) / k1.clamp_min(1e-6)
