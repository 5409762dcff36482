"""Which lesion of one visit is which of the other, and what became of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.optimize import linear_sum_assignment

from mmocnet.compare.visit import CompareSettings, Visit
from mmocnet.lesion import Certainty, Lesion
from mmocnet.locate.rigid import RigidAlignment
from mmocnet.types import FloatArray, Triple

UNLIKE_RATIO = 10.0
"""Lesions whose volumes differ by more are one only where their centres lie near each other."""
_GAIN = 1e-9
"""Of a pair that lies as far apart as it may: as well one lesion as two."""


class State(StrEnum):
    """What became of a lesion between two visits."""

    NEW = "new"
    GROWN = "grown"
    STABLE = "stable"
    NOT_SEEN = "not seen"
    NOT_COVERED = "not covered"


@dataclass(frozen=True)
class Change:
    """One lesion over both visits.

    Attributes:
        index: Its number in the table, from 1.
        state: What became of it.
        baseline: As found at the first visit, or None.
        follow_up: As found at the second, or None.
        centre_mm: World mm of the first visit; of a lesion seen at the second alone, brought
            there.
        distance_mm: Between both centres after registration, NaN where there is but one.
        below_threshold: Highest confidence of a candidate below threshold, but worth telling, at
            its place in the visit that does not show it; NaN where there is none, or it was seen
            at both.
    """

    index: int
    state: State
    baseline: Lesion | None
    follow_up: Lesion | None
    centre_mm: Triple
    distance_mm: float
    below_threshold: float

    @property
    def lesion(self) -> Lesion:
        """The lesion as last seen."""
        found = self.follow_up or self.baseline
        assert found is not None
        return found

    @property
    def certainty(self) -> Certainty:
        """As last seen, but a macrohaemorrhage where it was one at either visit."""
        macro = Certainty.MACROHAEMORRHAGE
        if self.baseline is not None and self.baseline.certainty is macro:
            return macro
        return self.lesion.certainty

    @property
    def outgrew(self) -> bool:
        """Whether it was a microbleed and is a macrohaemorrhage now."""
        macro = Certainty.MACROHAEMORRHAGE
        if self.baseline is None or self.follow_up is None:
            return False
        crossed = self.baseline.certainty is not macro and self.follow_up.certainty is macro
        # Slices that lie otherwise can make longer what has not grown.
        return crossed and self.follow_up.volume_mm3 > self.baseline.volume_mm3

    @property
    def volume_ratio(self) -> float:
        """Volume at the second visit over that at the first, NaN where it has but one."""
        if self.baseline is None or self.follow_up is None or self.baseline.volume_mm3 <= 0:
            return float("nan")
        return self.follow_up.volume_mm3 / self.baseline.volume_mm3


def match_lesions(
    first: Sequence[Lesion],
    second: Sequence[Lesion],
    second_centres_mm: FloatArray,
    tolerance_mm: float,
) -> list[tuple[int, int]]:
    """Return pairs (position in `first`, in `second`), one to one.

    Lesions may be paired where the centre of the smaller lies in the sphere of the larger one's
    volume, or beside it by at most the tolerance; of more than ten times the volume only within
    twice the tolerance of the larger one's centre. Of all ways to pair them the one is taken
    whose squared distances, each over the square of what is allowed, add up to least; two that
    could be a pair and are not cost 1. So a lesion at its place is not given up for the sake of
    more pairs, and a cluster that a registration error moves as a whole stays in its order.

    Args:
        first: Lesions of the first visit.
        second: Lesions of the second.
        second_centres_mm: Their centres in the world of the first, shape (N, 3).
        tolerance_mm: Largest distance of a centre from the other's sphere.
    """
    if not first or not second:
        return []
    centres = np.array([one.centre_mm for one in first])
    distance = np.linalg.norm(centres[:, None] - second_centres_mm[None], axis=-1)
    reach = _reach_mm(first, second, tolerance_mm)
    allowed = distance - reach <= tolerance_mm
    share = distance / np.maximum(reach + tolerance_mm, 1e-6)
    rows, columns = linear_sum_assignment(np.where(allowed, share**2 - 1 - _GAIN, 0.0))
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if allowed[row, column]]


def _reach_mm(first: Sequence[Lesion], second: Sequence[Lesion], tolerance_mm: float) -> FloatArray:
    """Return how far from the larger one's centre each pair counts as overlapping, (N, M)."""
    one, two = (np.array([each.diameter_eq_mm / 2 for each in group]) for group in (first, second))
    larger, smaller = np.maximum(one[:, None], two[None]), np.minimum(one[:, None], two[None])
    unlike = larger**3 > UNLIKE_RATIO * smaller**3
    return np.asarray(np.where(unlike, np.minimum(larger, tolerance_mm), larger))


def list_changes(
    baseline: Visit, follow_up: Visit, alignment: RigidAlignment, settings: CompareSettings
) -> tuple[Change, ...]:
    """Return every lesion of both visits with what became of it: new ones first.

    Args:
        baseline: The first visit.
        follow_up: The second.
        alignment: Of the second to the first.
        settings: Tolerance and what counts as growth.
    """
    moved = _centres(follow_up.lesions, alignment)
    pairs = match_lesions(baseline.lesions, follow_up.lesions, moved, settings.tolerance_mm)
    changes = [
        _seen_twice(baseline.lesions[i], follow_up.lesions[j], moved[j], settings) for i, j in pairs
    ]
    left = {i for i, _ in pairs}, {j for _, j in pairs}
    other = _Other(baseline, _centres(baseline.told_candidates, None))
    for j, lesion in enumerate(follow_up.lesions):
        if j not in left[1]:
            state = State.NEW if other.covers(moved[j]) else State.NOT_COVERED
            below = other.below(lesion, moved[j], settings.tolerance_mm)
            changes.append(_seen_once(state, None, lesion, moved[j], below))
    back = np.linalg.inv(alignment.matrix)
    other = _Other(follow_up, _centres(follow_up.told_candidates, alignment), back)
    for i, lesion in enumerate(baseline.lesions):
        if i not in left[0]:
            at = np.asarray(lesion.centre_mm)
            state = State.NOT_SEEN if other.covers(at) else State.NOT_COVERED
            below = other.below(lesion, at, settings.tolerance_mm)
            changes.append(_seen_once(state, lesion, None, at, below))
    return _numbered(changes)


@dataclass(frozen=True)
class _Other:
    """The visit that does not show a lesion; places are in the world of the first visit."""

    visit: Visit
    centres_mm: FloatArray
    to_own: FloatArray | None = None

    def covers(self, at_mm: FloatArray) -> bool:
        """Return whether its scan shows that place."""
        if self.to_own is not None:
            at_mm = self.to_own[:3, :3] @ at_mm + self.to_own[:3, 3]
        return self.visit.coverage.covers(at_mm)

    def below(self, lesion: Lesion, at_mm: FloatArray, tolerance_mm: float) -> float:
        """Return the highest confidence of a candidate there, NaN where there is none."""
        candidates = self.visit.told_candidates
        if not candidates:
            return float("nan")
        radii = np.array([one.diameter_eq_mm / 2 for one in candidates])
        gap = np.linalg.norm(self.centres_mm - at_mm, axis=1)
        gap -= np.maximum(radii, lesion.diameter_eq_mm / 2)
        near = [
            one.confidence
            for one, apart in zip(candidates, gap.tolist(), strict=True)
            if apart <= tolerance_mm
        ]
        return max(near, default=float("nan"))


def _centres(lesions: Sequence[Lesion], alignment: RigidAlignment | None) -> FloatArray:
    """Return centres in the world of the first visit, shape (N, 3)."""
    centres = np.array([one.centre_mm for one in lesions], float).reshape(-1, 3)
    return centres if alignment is None else alignment.to_first(centres)


def has_grown(first: Lesion, second: Lesion, settings: CompareSettings) -> bool:
    """Return whether a lesion's volume has become larger by more than outlines differ by."""
    more = second.volume_mm3 - first.volume_mm3
    grown = second.volume_mm3 >= settings.growth_ratio * first.volume_mm3
    return grown and more >= settings.growth_mm3


def _seen_twice(
    first: Lesion, second: Lesion, moved_mm: FloatArray, settings: CompareSettings
) -> Change:
    state = State.GROWN if has_grown(first, second, settings) else State.STABLE
    distance = float(np.linalg.norm(moved_mm - np.asarray(first.centre_mm)))
    return Change(0, state, first, second, first.centre_mm, distance, float("nan"))


def _seen_once(
    state: State, first: Lesion | None, second: Lesion | None, at_mm: FloatArray, below: float
) -> Change:
    x, y, z = at_mm.tolist()
    return Change(0, state, first, second, (x, y, z), float("nan"), below)


def _numbered(changes: list[Change]) -> tuple[Change, ...]:
    order = list(State)
    changes = sorted(changes, key=lambda one: (order.index(one.state), -one.lesion.confidence))
    return tuple(
        Change(
            number,
            one.state,
            one.baseline,
            one.follow_up,
            one.centre_mm,
            one.distance_mm,
            one.below_threshold,
        )
        for number, one in enumerate(changes, 1)
    )


def count_new(changes: Sequence[Change]) -> dict[Certainty, int]:
    """Return how many new lesions there are of each certainty."""
    kinds = [one.lesion.certainty for one in changes if one.state is State.NEW]
    return {kind: kinds.count(kind) for kind in Certainty}
