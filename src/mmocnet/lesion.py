"""What the two stages find: a candidate, its region of interest, a lesion."""

from dataclasses import dataclass
from enum import StrEnum

from mmocnet.types import IntTriple, Triple


class Certainty(StrEnum):
    """How sure a lesion is: definite at or above the report threshold, else possible.

    A lesion of more than 10 mm is a macrohaemorrhage and is not counted (STRIVE).
    """

    DEFINITE = "definite"
    POSSIBLE = "possible"
    MACROHAEMORRHAGE = "macrohaemorrhage"


@dataclass(frozen=True)
class Candidate:
    """A place that stage 1 marked on one slice of the working grid.

    Attributes:
        slice_index: Slice of the working grid.
        row: Centre along the first in-plane axis, pixels.
        col: Centre along the second in-plane axis, pixels.
        probability: Highest stage-1 probability in the component.
        area_px: Pixels of the component.
    """

    slice_index: int
    row: float
    col: float
    probability: float
    area_px: int


@dataclass(frozen=True)
class Roi:
    """A square patch of one slice of the working grid, centred on a candidate.

    The patch may leave the slice: what lies outside is reflected when it is cut and
    dropped when it is pasted.

    Attributes:
        slice_index: Slice of the working grid.
        row: First row, may be negative.
        col: First column, may be negative.
        size: Side in pixels.
    """

    slice_index: int
    row: int
    col: int
    size: int


@dataclass(frozen=True)
class Lesion:
    """A row of the lesion table.

    Attributes:
        index: Value in the label image, from 1.
        name: For people and DICOM, as "CMB 1".
        centre_mm: Centroid, world RAS+ mm.
        centre_voxel: Voxel nearest the centroid on the input's grid.
        volume_mm3: Volume of the outline.
        diameter_mm: Largest Feret diameter.
        diameter_eq_mm: Diameter of the sphere (slice: disc) of the same size.
        confidence: 0 to 1.
        certainty: Definite, possible or macrohaemorrhage.
        region: MARS region, "n/a" until known.
        side: "left", "right", or "n/a" until known.
        group: "lobar", "deep", "infratentorial", or "n/a" until known.
    """

    index: int
    name: str
    centre_mm: Triple
    centre_voxel: IntTriple
    volume_mm3: float
    diameter_mm: float
    diameter_eq_mm: float
    confidence: float
    certainty: Certainty
    region: str = "n/a"
    side: str = "n/a"
    group: str = "n/a"
