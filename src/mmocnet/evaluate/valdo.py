"""VALDO 2021 task 2's own numbers, for comparison with what others report.

Its matching is greedy and by distance alone, and it leaves F1 undefined where a scan has no
lesion, so false calls there cost nothing but count. Trust the one-to-one scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from mmocnet.errors import InputError
from mmocnet.evaluate.matching import BoolArray, Labels, Pairing, Rule, components, pairing
from mmocnet.types import FloatArray

DISTANCE_VOXELS = 5.0
"""Centres have to be closer than this. The challenge is reported to have used 5 mm, but its
code takes voxels without their size; the two are one where voxels are 1 mm."""
VALDO_DIFFERS = (
    "VALDO 2021 task 2 scores touching lesions as one, matches each found lesion to its nearest "
    "reference by centre distance in voxels (greedy, overlap not needed), takes medians over "
    "scans, and leaves lesion-free scans out of F1 and Dice even where they hold false calls; "
    "the one-to-one scores pool all lesions and count those false calls."
)


@dataclass(frozen=True)
class ValdoCase:
    """VALDO's numbers of one scan; NaN where undefined.

    Attributes:
        references: Lesions in the reference.
        predicted: Lesions found.
        found: Reference lesions with a match.
        f1: 2 found / (references + predicted); NaN without a reference lesion.
        dice: Mean over matched reference lesions, each against all predictions sent to it; 0
            when none matched; NaN without a reference lesion.
        count_difference: Absolute.
        volume_difference_mm3: Absolute, of the masks; the challenge summed probabilities over 0.5
            where a prediction held them.
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

    Of predictions equally near to a reference one counts as found. The challenge's code counts
    all of them, and its F1 may then pass 1.

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
    first, second = components(reference != 0), components(predicted != 0)
    pair = pairing(first, second, (1.0,) * reference.ndim, Rule.OVERLAP)
    sent = _nearest(pair.reference.centroids_mm, pair.predicted.centroids_mm, distance_voxels)
    matched = np.unique(sent[sent >= 0])
    references, calls, found = len(pair.reference.ids), len(pair.predicted.ids), len(matched)
    f1 = dice = float("nan")
    if references:
        f1 = 2 * found / (references + calls)
        dice = float(np.mean([_dice(pair, i, sent == i) for i in matched])) if found else 0.0
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


def _nearest(
    reference: FloatArray, predicted: FloatArray, distance_voxels: float
) -> NDArray[np.intp]:
    """Return the position of each prediction's nearest reference, or -1 where none is near.

    Of several predictions sent to a reference one counts as found, and the others are false calls;
    its Dice is with all of them.
    """
    if not len(reference) or not len(predicted):
        return np.full(len(predicted), -1)
    apart = cdist(reference, predicted)
    return np.where(apart.min(axis=0) < distance_voxels, apart.argmin(axis=0), -1)


def _dice(pair: Pairing, reference: int, sent: BoolArray) -> float:
    """Return the Dice of a reference with all predictions sent to it, false calls included."""
    total = pair.reference.sizes[reference] + pair.predicted.sizes[sent].sum()
    return float(2 * pair.overlap[reference, sent].sum() / total)


def valdo_scores(cases: Sequence[ValdoCase]) -> dict[str, float]:
    """Summarise over scans as the challenge did, by medians; means stand beside them.

    Args:
        cases: One a scan, from `valdo_case`.

    Returns:
        Medians f1 and dice over scans with a reference lesion, count_difference and
        volume_difference_mm3 over all; each also with _q25, _q75 and _mean; then scans and
        undefined_scans (those without a reference lesion). NaN over no scan.
    """
    scores: dict[str, float] = {}
    for name in ("f1", "dice", "count_difference", "volume_difference_mm3"):
        values = np.array([getattr(case, name) for case in cases], dtype=float)
        defined = values[np.isfinite(values)]
        cuts = np.quantile(defined, (0.5, 0.25, 0.75)) if len(defined) else np.full(3, np.nan)
        for ending, cut in zip(("", "_q25", "_q75"), cuts, strict=True):
            scores[name + ending] = float(cut)
        scores[f"{name}_mean"] = float(defined.mean()) if len(defined) else float("nan")
    scores["scans"] = len(cases)
    scores["undefined_scans"] = sum(case.references == 0 for case in cases)
    return scores
