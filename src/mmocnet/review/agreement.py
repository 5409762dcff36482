"""How well two readers of one scan agree, or a reader and the machine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from mmocnet.evaluate.matching import CENTROID_MM, Matching, Objects, Pairing, match
from mmocnet.io.tables import SET_ASIDE
from mmocnet.review.finding import Finding, Grid, measured
from mmocnet.review.merge import shares_range
from mmocnet.review.reading import Reading
from mmocnet.types import FloatArray, Triple

Says = Literal["accept", "reject", "not judged", "not marked"]


@dataclass(frozen=True, eq=False)
class Side:
    """What one of the two says of a scan.

    Attributes:
        findings: With verdicts; no two share a voxel.
        complete: Whether all of the scan was looked through, so that a place without a mark is
            no microbleed.
    """

    findings: tuple[Finding, ...]
    complete: bool

    @property
    def accepted(self) -> tuple[Finding, ...]:
        """The findings that count."""
        return tuple(one for one in self.findings if one.accepted and one.voxels.size)


@dataclass(frozen=True)
class Disagreement:
    """A place that one side accepts and the other does not.

    Attributes:
        id: Of the finding that is accepted.
        side: Whose finding it is.
        other_id: Of the other side's finding there; None where it has none.
        first: What the first side says.
        second: What the second side says.
        centre_mm: World RAS+ mm.
    """

    id: str
    side: Literal["first", "second"]
    other_id: str | None
    first: Says
    second: Says
    centre_mm: Triple


@dataclass(frozen=True)
class Agreement:
    """How well two sides agree; NaN where undefined.

    Attributes:
        n_first: Findings that the first accepts.
        n_second: Findings that the second accepts.
        matched: Pairs of ids that are the same place, one to one.
        kappa: Cohen's, over the places that both judged.
        places: How many those are.
        voxel_dice: Of all accepted voxels.
        matched_dice: Mean Dice of the matched pairs.
        disagreements: What only one side accepts, the first side's first.
    """

    n_first: int
    n_second: int
    matched: tuple[tuple[str, str], ...]
    kappa: float
    places: int
    voxel_dice: float
    matched_dice: float
    disagreements: tuple[Disagreement, ...]


def reader_side(reading: Reading) -> Side:
    """Return what a reader says, of what the reader has seen."""
    return Side(reading.visible_findings(), reading.complete)


def machine_side(candidates: Sequence[Finding], threshold: float) -> Side:
    """Return what the machine says: a candidate at or above a threshold is accepted.

    Args:
        candidates: Without verdicts; what was set aside is not accepted.
        threshold: Confidence, 0 to 1.
    """
    return Side(
        tuple(
            replace(
                one,
                verdict=(
                    "accept"
                    if one.confidence >= threshold and one.status not in SET_ASIDE
                    else "reject"
                ),
            )
            for one in candidates
        ),
        complete=True,
    )


def agreement(first: Side, second: Side, grid: Grid) -> Agreement:
    """Compare what two sides accept.

    Two findings may be the same place where they share a voxel or their centres are at most 3 mm
    apart; as many pairs as possible are made, and of those ways the one that fits best.

    Kappa is over the places that both judged: what both accept, what one accepts and the other
    rejects, or did not mark though it looked through the whole scan, and the candidates that both
    reject.

    Args:
        first: One side.
        second: The other, of the same result.
        grid: Of the scan.
    """
    one, other = first.accepted, second.accepted
    pairs = _pairing(one, other, grid)
    found = match(pairs)
    dice = pairs.dice()
    alone = [
        *(_alone(one[at], "first", second, grid) for at in found.missed.tolist()),
        *(_alone(other[at], "second", first, grid) for at in found.false.tolist()),
    ]
    table = _table(len(found.pairs), alone, first, second)
    return Agreement(
        n_first=len(one),
        n_second=len(other),
        matched=_ids(found, one, other),
        kappa=cohen_kappa(table),
        places=int(table.sum()),
        voxel_dice=_ratio(2 * int(pairs.overlap.sum()), _voxels(one) + _voxels(other)),
        matched_dice=float(np.mean([dice[i, j] for i, j in found.pairs]))
        if len(found.pairs)
        else math.nan,
        disagreements=tuple(alone),
    )


def _ids(
    found: Matching, one: Sequence[Finding], other: Sequence[Finding]
) -> tuple[tuple[str, str], ...]:
    return tuple((one[i].id, other[j].id) for i, j in found.pairs.tolist())


def _voxels(findings: Sequence[Finding]) -> int:
    return sum(one.voxels.size for one in findings)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _pairing(first: Sequence[Finding], second: Sequence[Finding], grid: Grid) -> Pairing:
    one, other = _objects(first, grid), _objects(second, grid)
    overlap = _overlap(first, second)
    distance = cdist(one.centroids_mm, other.centroids_mm)
    # The slack keeps "at most 3 mm" true for centres that float arithmetic puts at 3 + 1e-15.
    eligible = (overlap > 0) | (distance <= CENTROID_MM + 1e-9)
    total = one.sizes[:, None] + other.sizes[None, :]
    nearness = np.maximum(1.0 - distance / CENTROID_MM, 0.0)
    return Pairing(one, other, overlap, eligible, (2.0 * overlap / total + nearness) / 2)


def _objects(findings: Sequence[Finding], grid: Grid) -> Objects:
    centres = [measured(one, grid).centre_mm for one in findings]
    return Objects(
        ids=np.arange(len(findings)),
        sizes=np.array([one.voxels.size for one in findings], np.int64),
        centroids_mm=np.array(centres, np.float64).reshape(-1, 3),
    )


def _overlap(first: Sequence[Finding], second: Sequence[Finding]) -> NDArray[np.int64]:
    """Return the voxels that each two findings share, shape (N, M)."""
    table = np.zeros((len(first), len(second)), np.int64)
    if not first or not second:
        return table
    numbers = np.repeat(np.arange(len(second)), [one.voxels.size for one in second])
    voxels = np.concatenate([one.voxels for one in second])
    order = np.argsort(voxels)
    voxels, numbers = voxels[order], numbers[order]
    for row, one in enumerate(first):
        at = np.minimum(np.searchsorted(voxels, one.voxels), len(voxels) - 1)
        np.add.at(table[row], numbers[at[voxels[at] == one.voxels]], 1)
    return table


def _alone(one: Finding, side: Literal["first", "second"], other: Side, grid: Grid) -> Disagreement:
    """Return what the other side says of a finding that it has no match for."""
    there = _there(one, other, grid)
    says: Says = "not marked"
    if there is not None:
        says = there.verdict if there.verdict is not None else "not judged"
    return Disagreement(
        id=one.id,
        side=side,
        other_id=None if there is None else there.id,
        first="accept" if side == "first" else says,
        second="accept" if side == "second" else says,
        centre_mm=measured(one, grid).centre_mm,
    )


def _there(one: Finding, other: Side, grid: Grid) -> Finding | None:
    """Return the other side's finding at a place: the same candidate, else one that fits."""
    rest = [found for found in other.findings if not found.accepted]
    same = [found for found in rest if found.id == one.id and found.origin == "machine"]
    if same:
        return same[0]
    fits = [(_fit(one, found, grid), found) for found in rest]
    best = max(fits, key=lambda pair: pair[0], default=(0.0, None))
    return best[1] if best[0] > 0 else None


def _fit(one: Finding, other: Finding, grid: Grid) -> float:
    """Return how well two findings are the same place, 0 where they cannot be."""
    if not shares_range(one, other):
        shared = 0
    else:
        shared = len(np.intersect1d(one.voxels, other.voxels, assume_unique=True))
    places = [np.array(measured(each, grid).centre_mm) for each in (one, other)]
    nearness = 1.0 - float(np.linalg.norm(places[0] - places[1])) / CENTROID_MM
    if not shared and nearness < -1e-9:
        return 0.0
    return shared / (one.voxels.size + other.voxels.size) + max(nearness, 0.0) / 2 + 1e-9


def _table(
    matched: int, alone: Sequence[Disagreement], first: Side, second: Side
) -> NDArray[np.int64]:
    """Return how many places get which verdicts: accept and reject of the first by the second."""
    table = np.zeros((2, 2), np.int64)
    table[0, 0] = matched
    for one in alone:
        says, side = (one.second, second) if one.side == "first" else (one.first, first)
        if says == "reject" or (says == "not marked" and side.complete):
            table[(0, 1) if one.side == "first" else (1, 0)] += 1
    rejected = [
        {one.id for one in side.findings if one.verdict == "reject" and one.origin == "machine"}
        for side in (first, second)
    ]
    table[1, 1] = len(rejected[0] & rejected[1])
    return table


def cohen_kappa(table: NDArray[np.integer[Any]] | FloatArray) -> float:
    """Return Cohen's kappa of a square table of counts; NaN where it is undefined.

    >>> cohen_kappa(np.array([[20, 5], [10, 15]]))
    0.4

    Reference:
        Cohen 1960, doi:10.1177/001316446002000104.
    """
    total = float(table.sum())
    if not total:
        return math.nan
    share = table / total
    expected = float(share.sum(axis=1) @ share.sum(axis=0))
    if math.isclose(expected, 1.0):
        return math.nan
    return round((float(np.trace(share)) - expected) / (1.0 - expected), 12)


def agreement_json(result: Agreement) -> dict[str, Any]:
    """Return an agreement as plain JSON values; null where undefined."""
    numbers = {key: getattr(result, key) for key in ("kappa", "voxel_dice", "matched_dice")}
    return {
        "n_first": result.n_first,
        "n_second": result.n_second,
        "matched": len(result.matched),
        "pairs": [list(pair) for pair in result.matched],
        "places": result.places,
        **{key: value if math.isfinite(value) else None for key, value in numbers.items()},
        "disagreements": [
            {
                "id": one.id,
                "side": one.side,
                "other_id": one.other_id,
                "first": one.first,
                "second": one.second,
                "centre_mm": list(one.centre_mm),
            }
            for one in result.disagreements
        ],
    }
