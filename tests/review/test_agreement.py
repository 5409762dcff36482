import math
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from mmocnet.review.agreement import (
    Side,
    agreement,
    agreement_json,
    cohen_kappa,
    machine_side,
    reader_side,
)
from mmocnet.review.reading import Finding, Grid, Reading

GRID = Grid((30, 30, 10), np.diag([1.0, 1.0, 2.0, 1.0]), 2)
PLACES = ((5, 5, 3), (15, 5, 3), (25, 5, 3), (5, 15, 6), (15, 15, 6))


@pytest.fixture(scope="module")
def candidates(kit: SimpleNamespace) -> tuple[Finding, ...]:
    return kit.candidates(GRID, [kit.ball(GRID, place, 2.0) for place in PLACES])


def side(kit: SimpleNamespace, candidates: tuple[Finding, ...], *steps: tuple) -> Side:
    return reader_side(Reading(GRID, candidates, kit.events(*steps)))


def accept(kit: SimpleNamespace, *names: str) -> list[tuple]:
    return [kit.verdict(name, "accept") for name in names]


def reject(kit: SimpleNamespace, *names: str) -> list[tuple]:
    return [kit.verdict(name, "reject") for name in names]


def blob(kit: SimpleNamespace, place: tuple, radius_mm: float = 2.0) -> tuple:
    return kit.add(kit.ball(GRID, place, radius_mm))


def test_a_reader_agrees_with_the_same_reading(
    kit: SimpleNamespace, candidates: tuple[Finding, ...]
) -> None:
    one = side(kit, candidates, *accept(kit, "m1", "m2"), *reject(kit, "m3"))
    found = agreement(one, one, GRID)
    assert (found.n_first, found.n_second, found.places) == (2, 2, 3)
    assert found.matched == (("m1", "m1"), ("m2", "m2"))
    assert (found.kappa, found.voxel_dice, found.matched_dice) == (1.0, 1.0, 1.0)
    assert found.disagreements == ()


def test_kappa_is_over_the_places_that_both_judged(
    kit: SimpleNamespace, candidates: tuple[Finding, ...]
) -> None:
    first = side(kit, candidates, *accept(kit, "m1", "m2", "m4"), *reject(kit, "m3", "m5"))
    second = side(kit, candidates, *accept(kit, "m1", "m3"), *reject(kit, "m2", "m5"))
    found = agreement(first, second, GRID)
    # m4 was judged by the first alone.
    assert found.places == 4
    expected = cohen_kappa_score([1, 1, 0, 0], [1, 0, 1, 0])
    assert found.kappa == pytest.approx(expected)
    assert [(one.id, one.first, one.second) for one in found.disagreements] == [
        ("m2", "accept", "reject"),
        ("m4", "accept", "not judged"),
        ("m3", "reject", "accept"),
    ]


def test_a_missing_mark_is_a_word_only_of_who_has_looked_everywhere(
    kit: SimpleNamespace, candidates: tuple[Finding, ...]
) -> None:
    steps = [*accept(kit, "m1"), *reject(kit, "m2")]
    first = side(kit, candidates, *steps, blob(kit, (25, 25, 5)))
    for complete, places in ((False, 2), (True, 3)):
        second = side(kit, candidates, *steps, ("complete", {"complete": complete}))
        found = agreement(first, second, GRID)
        assert found.places == places
        assert found.disagreements[0].second == "not marked"
        assert found.disagreements[0].other_id is None


def test_added_findings_match_where_they_overlap_or_lie_within_three_mm(
    kit: SimpleNamespace,
) -> None:
    first = side(kit, (), blob(kit, (10, 10, 4), 1.0), blob(kit, (20, 20, 4), 1.0))
    near = side(kit, (), blob(kit, (13, 10, 4), 1.0), blob(kit, (24, 20, 4), 1.0))
    found = agreement(first, near, GRID)
    assert found.matched == (("r1", "r1"),)
    assert found.matched_dice == 0.0
    wide = side(kit, (), blob(kit, (24, 20, 4), 4.0))
    assert agreement(first, wide, GRID).matched == (("r2", "r1"),)


def test_a_readers_mark_beside_a_rejected_candidate_is_judged_by_both(
    kit: SimpleNamespace, candidates: tuple[Finding, ...]
) -> None:
    first = side(kit, (), blob(kit, (5, 6, 3)))
    second = side(kit, candidates, *reject(kit, "m1"))
    (found,) = agreement(first, second, GRID).disagreements
    assert (found.id, found.other_id, found.second) == ("r1", "m1", "reject")


@pytest.mark.parametrize("status", ["siderosis", "vessel"])
def test_the_machine_accepts_from_its_threshold_on_and_never_what_was_set_aside(
    candidates: tuple[Finding, ...], status: str
) -> None:
    from dataclasses import replace

    odd = (replace(candidates[0], status=status), *candidates[1:])
    one = machine_side(odd, candidates[2].confidence)
    assert [found.id for found in one.accepted] == ["m2", "m3"]
    assert one.complete


def test_a_reader_and_the_machine_are_compared_like_two_readers(
    kit: SimpleNamespace, candidates: tuple[Finding, ...]
) -> None:
    reader = side(kit, candidates, *accept(kit, "m1"), *reject(kit, "m2"), blob(kit, (25, 25, 5)))
    found = agreement(reader, machine_side(candidates, candidates[1].confidence), GRID)
    assert (found.n_first, found.n_second, len(found.matched)) == (2, 2, 1)
    said = [(one.id, one.first, one.second) for one in found.disagreements]
    assert said == [("r1", "accept", "not marked"), ("m2", "reject", "accept")]
    assert found.places == 3


@pytest.mark.parametrize("other", [(), ("m1",)])
def test_what_is_undefined_is_nan(
    kit: SimpleNamespace, candidates: tuple[Finding, ...], other: tuple
) -> None:
    nothing = side(kit, candidates)
    found = agreement(nothing, side(kit, candidates, *accept(kit, *other)), GRID)
    assert math.isnan(found.kappa)
    assert math.isnan(found.matched_dice)
    assert math.isnan(found.voxel_dice) == (not other)
    said = agreement_json(found)
    assert said["kappa"] is None
    assert said["matched"] == 0


def test_kappa_of_one_kind_of_verdict_alone_is_undefined(
    kit: SimpleNamespace, candidates: tuple[Finding, ...]
) -> None:
    one = side(kit, candidates, *accept(kit, "m1", "m2"))
    assert math.isnan(agreement(one, one, GRID).kappa)


@settings(max_examples=50, deadline=None)
@given(table=st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_kappa_is_that_of_scikit_learn(table: list[int]) -> None:
    counts = np.array(table).reshape(2, 2)
    first = np.repeat([0, 0, 1, 1], table)
    second = np.repeat([0, 1, 0, 1], table)
    found = cohen_kappa(counts)
    if counts.sum() == 0 or len({*first.tolist(), *second.tolist()}) == 1:
        assert math.isnan(found)
        return
    assert found == pytest.approx(cohen_kappa_score(first, second))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_matches_are_as_many_as_can_be_by_brute_force(kit: SimpleNamespace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid((14, 14, 1), np.eye(4), 2)
    sides = []
    for _ in range(2):
        free = np.ones(grid.size, bool)
        steps = []
        for place in rng.integers(1, 13, (int(rng.integers(1, 5)), 2)):
            voxels = kit.ball(grid, (*place, 0), float(rng.uniform(0.5, 2.0)))
            voxels = voxels[free[voxels]]
            free[voxels] = False
            steps += [kit.add(voxels)] if voxels.size else []
        sides.append(reader_side(Reading(grid, (), kit.events(*steps))))
    one, other = (each.accepted for each in sides)
    found = agreement(*sides, grid)
    assert len(found.matched) == most_matches(one, other, grid)
    union = [np.concatenate([each.voxels for each in group]) for group in (one, other)]
    shared = len(np.intersect1d(*union))
    assert found.voxel_dice == pytest.approx(2 * shared / (len(union[0]) + len(union[1])))
    by_id = [{each.id: set(each.voxels.tolist()) for each in group} for group in (one, other)]
    dice = [
        2 * len(by_id[0][i] & by_id[1][j]) / (len(by_id[0][i]) + len(by_id[1][j]))
        for i, j in found.matched
    ]
    assert found.matched_dice == pytest.approx(np.mean(dice) if dice else math.nan, nan_ok=True)
    assert len(found.disagreements) == len(one) + len(other) - 2 * len(found.matched)


def most_matches(one: tuple[Finding, ...], other: tuple[Finding, ...], grid: Grid) -> int:
    def fits(first: Finding, second: Finding) -> bool:
        if set(first.voxels.tolist()) & set(second.voxels.tolist()):
            return True
        centres = [grid.indices(each.voxels).mean(axis=0) for each in (first, second)]
        return bool(np.linalg.norm(centres[0] - centres[1]) <= 3.0 + 1e-9)

    few, many = sorted((one, other), key=len)
    return max(
        sum(fits(first, second) for first, second in zip(few, order, strict=False))
        for order in permutations(many)
    )
