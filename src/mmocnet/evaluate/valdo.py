"""VALDO 2021 task 2's own numbers, for comparison with what others report.

Its matching is greedy and by distance alone, and it leaves F1 undefined where a scan has no
lesion, so false calls there cost nothing but count. Trust the one-to-one scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from mmocnet.errors import InputError
from mmocnet.evaluate.matching import Labels, Rule, components, pairing
from mmocnet.types import FloatArray

DISTANCE_VOXELS = 5.0
"""Centres have to be closer than this. The challenge states 5 for images of about 1 mm."""
VALDO_DIFFERS = (
    "VALDO 2021 task 2 scores touching lesions as one, matches each found lesion to its nearest "
    "reference by centre distance in voxels (greedy, overlap not needed), averages over scans, "
    "and leaves lesion-free scans out of F1 and Dice even where they hold false calls; the "
    "scores above match one to one, pool the lesions and count those false calls."
)


@dataclass(frozen=True)
class ValdoCase:
    """VALDO's numbers of one scan; NaN where undefined.

    Attributes:
        references: Lesions in the reference.
        predicted: Lesions found.
        found: Reference lesions with a match.
        f1: 2 found / (references + predicted); NaN without a reference lesion.
        dice: Mean over matched reference lesions, 0 when none matched; NaN without a reference
            lesion.
        count_difference: Absolute.
        volume_difference_mm3: Absolute.
    """

    references: int
    predicted: int
    found: int
    f1: float
    dice: float
    count_difference: int
    volume_difference_mm3: float


def valdo_case(
    reference: Labels,
    predicted: Labels,
    spacing_mm: tuple[float, ...],
    distance_voxels: float = DISTANCE_VOXELS,
) -> ValdoCase:
    """Score one scan as the challenge did.

    Args:
        reference: Label image or mask; it is relabelled, since the challenge saw masks only.
        predicted: Label image or mask of the same shape.
        spacing_mm: Voxel size along each axis.
        distance_voxels: Centres must be closer than this.

    Raises:
        InputError: If the shapes differ or the distance is not above 0.

    Reference:
        Sudre et al. 2024, doi:10.1016/j.media.2023.103029.
    """
    if not distance_voxels > 0:
        raise InputError(f"expected a distance above 0 voxels, got {distance_voxels}")
    voxels = (1.0,) * reference.ndim
    first, second = components(reference != 0), components(predicted != 0)
    pair = pairing(first, second, voxels, Rule.OVERLAP)
    matched = _greedy(pair.reference.centroids_mm, pair.predicted.centroids_mm, distance_voxels)
    references, found = len(pair.reference.ids), len(matched)
    calls = len(pair.predicted.ids)
    f1 = dice = float("nan")
    if references:
        f1 = 2 * found / (references + calls)
        dice = float(np.mean([pair.dice()[i, j] for i, j in matched])) if matched else 0.0
    apart = abs(int(pair.reference.sizes.sum()) - int(pair.predicted.sizes.sum()))
    return ValdoCase(
        references=references,
        predicted=calls,
        found=found,
        f1=f1,
        dice=dice,
        count_difference=abs(references - calls),
        volume_difference_mm3=float(apart * np.prod(spacing_mm)),
    )


def _greedy(
    reference: FloatArray, predicted: FloatArray, distance_voxels: float
) -> list[tuple[int, int]]:
    """Send each prediction to its nearest reference, which keeps the nearest of those it got."""
    if not len(reference) or not len(predicted):
        return []
    apart = cdist(reference, predicted)
    nearest = apart.argmin(axis=0)
    pairs = []
    for i in range(len(reference)):
        own = np.flatnonzero((nearest == i) & (apart[i] < distance_voxels))
        if len(own):
            pairs.append((i, int(own[apart[i, own].argmin()])))
    return pairs


def valdo_scores(cases: Sequence[ValdoCase]) -> dict[str, float]:
    """Return the mean of each number over scans, those left out of F1 and Dice counted.

    Args:
        cases: One a scan, from `valdo_case`.

    Returns:
        f1 and dice over scans with a reference lesion, count_difference and
        volume_difference_mm3 over all; scans and undefined_scans (those without a reference
        lesion). A mean over no scan is NaN.
    """
    scores: dict[str, float] = {}
    for name in ("f1", "dice", "count_difference", "volume_difference_mm3"):
        values = np.array([getattr(case, name) for case in cases], dtype=float)
        defined = values[np.isfinite(values)]
        scores[name] = float(defined.mean()) if len(defined) else float("nan")
    scores["scans"] = len(cases)
    scores["undefined_scans"] = sum(case.references == 0 for case in cases)
    return scores
