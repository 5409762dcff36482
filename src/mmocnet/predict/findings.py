"""Outlined candidates become the lesion table: measured, ordered, counted or set aside."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.config import Thresholds
from mmocnet.lesion import Certainty, Lesion
from mmocnet.predict.measure import Measurement, measure
from mmocnet.types import FloatArray, Labels3D, Mask3D, Triple
from mmocnet.volume import Volume

MINIMUM_MM = 2.0
"""A microbleed under it is possible at most (Greenberg 2009: 2 to 10 mm)."""
MAXIMUM_MM = 10.0
"""Over it a haemorrhage is no microbleed (Greenberg 2009)."""
SIDEROSIS_LENGTH_MM = 8.0
SIDEROSIS_ELONGATION = 3.0
"""Length over mean width from which a superficial component is no microbleed (our choice)."""
SURFACE_MM = 5.0
"""How near the brain's edge a component lies, by its median voxel, to be superficial."""


@dataclass(frozen=True)
class Findings:
    """What was found, on the scan's grid.

    Attributes:
        labels: Every candidate its number, the most confident 1, int32, shape (I, J, K).
            Lesions come first, what was set aside last.
        candidates: All of them, by number.
        lesions: Those at or above the operating threshold; the same numbers, from 1.
        siderosis: Numbers of candidates that look like superficial siderosis.
        vessels: Numbers of candidates over 10 mm that are long, thin and not sure, but lie deep.
    """

    labels: Labels3D
    candidates: tuple[Lesion, ...]
    lesions: tuple[Lesion, ...]
    siderosis: tuple[int, ...]
    vessels: tuple[int, ...]


def certainty_of(confidence: float, size: Measurement, thresholds: Thresholds) -> Certainty:
    """Return how sure a lesion of this confidence and size is."""
    if size.sure_diameter_mm > MAXIMUM_MM:
        return Certainty.MACROHAEMORRHAGE
    if confidence >= thresholds.report and size.diameter_mm >= MINIMUM_MM:
        return Certainty.DEFINITE
    return Certainty.POSSIBLE


def list_findings(
    placed: Volume,
    confidence: FloatArray,
    brain: Mask3D | None,
    thresholds: Thresholds,
    threshold: float,
) -> Findings:
    """Return the candidates' table and what of it is a lesion.

    Args:
        placed: Candidate labels on the scan's grid, 1 to N; those that touch are one.
        confidence: Of each, shape (N,).
        brain: Shape (I, J, K); where None, nothing is called superficial.
        thresholds: The model's; they make a lesion definite or possible.
        threshold: Confidence at or above which a candidate is a lesion.
    """
    placed = placed.like(_joined(placed.array, confidence))
    measured = measure(placed.array, placed.affine)
    long = {
        number: brain is not None
        and is_superficial(placed.array == number, brain, placed.spacing_mm)
        for number, one in measured.items()
        if confidence[number - 1] >= threshold and is_elongated(one, placed)
    }
    strange = {
        number
        for number, superficial in long.items()
        # What is sure may be a row of microbleeds.
        if superficial
        or (
            measured[number].sure_diameter_mm > MAXIMUM_MM
            and confidence[number - 1] < thresholds.report
        )
    }
    order = sorted(measured, key=lambda number: (number in strange, -confidence[number - 1]))
    lookup = np.zeros(len(confidence) + 1, dtype=np.int32)
    lookup[order] = np.arange(1, len(order) + 1)
    candidates = tuple(
        _lesion(
            index,
            measured[number],
            float(confidence[number - 1]),
            thresholds,
            aside=number in strange,
        )
        for index, number in enumerate(order, 1)
    )
    aside = sorted((int(lookup[number]), long[number]) for number in strange)
    numbers = {index for index, _ in aside}
    return Findings(
        labels=lookup[placed.array],
        candidates=candidates,
        lesions=tuple(
            one for one in candidates if one.confidence >= threshold and one.index not in numbers
        ),
        siderosis=tuple(index for index, superficial in aside if superficial),
        vessels=tuple(index for index, superficial in aside if not superficial),
    )


def _joined(labels: Labels3D, confidence: FloatArray) -> Labels3D:
    """Return candidates of which those that touch have the number of the most confident.

    Stage 2 parts them, but an outline that follows the image can reach a neighbour's last voxel.
    """
    pieces, count = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    at = np.nonzero(labels)
    piece, number = pieces[at], labels[at]
    order = np.argsort(confidence[number - 1], kind="stable")
    best = np.zeros(count + 1, dtype=labels.dtype)
    best[piece[order]] = number[order]
    joined = np.zeros_like(labels)
    joined[at] = best[piece]
    return joined


def _lesion(
    index: int, measured: Measurement, confidence: float, thresholds: Thresholds, *, aside: bool
) -> Lesion:
    certainty = certainty_of(confidence, measured, thresholds)
    macro = certainty is Certainty.MACROHAEMORRHAGE and not aside
    return Lesion(
        index=index,
        name=f"Macrohaemorrhage {index}" if macro else f"CMB {index}",
        centre_mm=measured.centre_mm,
        centre_voxel=measured.centre_voxel,
        volume_mm3=measured.volume_mm3,
        diameter_mm=measured.diameter_mm,
        diameter_eq_mm=measured.diameter_eq_mm,
        confidence=confidence,
        certainty=certainty,
    )


def is_elongated(measured: Measurement, grid: Volume) -> bool:
    """Return whether an object is long and thin, as blood along a sulcus is.

    Its mean width is that of a cylinder, on a slice of a bar, of its length and volume.
    """
    length = measured.diameter_mm
    if length < SIDEROSIS_LENGTH_MM:
        return False
    if 1 in grid.shape:
        width = math.pi * measured.diameter_eq_mm**2 / 4 / length
    else:
        width = 2 * math.sqrt(measured.volume_mm3 / (math.pi * length))
    return length >= SIDEROSIS_ELONGATION * width


def is_superficial(component: Mask3D, brain: Mask3D, spacing_mm: Triple) -> bool:
    """Return whether half of a component lies within 5 mm of the brain's edge, or outside."""
    reach = [math.ceil(SURFACE_MM / side) + 1 for side in spacing_mm]
    box = ndimage.find_objects(component.astype(np.uint8))[0]
    grown = tuple(
        slice(max(part.start - r, 0), part.stop + r) for part, r in zip(box, reach, strict=True)
    )
    depth = _depth_mm(brain[grown], spacing_mm)
    return float(np.median(depth[component[grown]])) <= SURFACE_MM


def _depth_mm(brain: NDArray[np.bool_], spacing_mm: Triple) -> FloatArray:
    """Return each voxel's distance to the nearest voxel outside the brain; infinite if none."""
    if brain.all():
        return np.full(brain.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(brain, sampling=spacing_mm))
