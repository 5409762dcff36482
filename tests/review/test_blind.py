from types import SimpleNamespace

import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.review.reading import Event, Finding, Grid, Reading

GRID = Grid((24, 24, 12), np.diag([0.8, 0.8, 1.5, 1.0]), 2)
BLIND = ("blind", {"on": True})
REVEAL = ("reveal", {})


@pytest.fixture(scope="module")
def candidates(kit: SimpleNamespace) -> tuple[Finding, ...]:
    places = ((5, 5, 4), (18, 5, 4), (5, 18, 8))
    return kit.candidates(GRID, [kit.ball(GRID, place, 1.8) for place in places])


def read(kit: SimpleNamespace, candidates: tuple[Finding, ...], *steps: tuple) -> Reading:
    return Reading(GRID, candidates, kit.events(*steps))


def test_a_blind_reader_sees_none_of_the_machines_findings(
    kit: SimpleNamespace, candidates: tuple[Finding, ...]
) -> None:
    voxels = kit.ball(GRID, (18, 18, 4), 1.5)
    reading = read(kit, candidates, BLIND, kit.add(voxels))
    assert [one.id for one in reading.visible_findings()] == ["r1"]
    assert reading.visible_findings()[0].found_blind
    assert reading.taken().tolist() == voxels.tolist()
    assert reading.counts.not_judged == 0
    with pytest.raises(InputError, match="no finding 'm1'"):
        reading.apply(Event(9, "a1", "t", *kit.verdict("m1", "accept")))


def test_drawing_over_a_hidden_finding_leaves_it_alone(
    kit: SimpleNamespace, candidates: tuple[Finding, ...]
) -> None:
    reading = read(kit, candidates, BLIND, kit.add(candidates[0].voxels[:3]))
    hidden = next(one for one in reading.findings if one.id == "m1")
    assert hidden.voxels.tolist() == candidates[0].voxels.tolist()


def test_what_both_found_is_one_finding_once_revealed(
    kit: SimpleNamespace, candidates: tuple[Finding, ...]
) -> None:
    mine = kit.ball(GRID, (6, 5, 4), 1.8)
    other = kit.ball(GRID, (18, 18, 4), 1.5)
    reading = read(kit, candidates, BLIND, kit.add(mine), kit.add(other), REVEAL)
    assert [one.id for one in reading.visible_findings()] == ["m1", "m2", "m3", "r2"]
    first = reading.findings[0]
    assert (first.origin, first.verdict, first.found_blind, first.edited) == (
        "machine", "accept", True, True,
    )  # fmt: skip
    assert first.voxels.tolist() == mine.tolist()
    assert first.confidence == candidates[0].confidence
    assert (reading.counts.accepted, reading.counts.added) == (1, 1)


def test_after_the_reveal_no_voxel_has_two_findings(
    kit: SimpleNamespace, candidates: tuple[Finding, ...]
) -> None:
    # One of the reader's covers two of the machine's, and two of the reader's lie in one.
    wide = np.union1d(candidates[0].voxels, candidates[1].voxels[:2])
    parts = candidates[2].voxels
    steps = [BLIND, kit.add(wide), kit.add(parts[:5]), kit.add(parts[5:8]), REVEAL]
    reading = read(kit, candidates, *steps)
    held = np.concatenate([one.voxels for one in reading.findings])
    assert len(np.unique(held)) == len(held)
    found = {one.id: one for one in reading.findings}
    assert sorted(found) == ["m1", "m2", "m3", "r3"]
    assert found["m2"].verdict is None
    assert found["m2"].voxels.tolist() == candidates[1].voxels[2:].tolist()


def test_a_blind_reading_cannot_be_undone_after_the_reveal_but_edited(
    kit: SimpleNamespace, candidates: tuple[Finding, ...]
) -> None:
    reading = read(kit, candidates, BLIND, kit.add(kit.ball(GRID, (18, 18, 4), 1.5)), REVEAL)
    assert (reading.can_undo, reading.can_redo) == (0, 0)
    reading.apply(Event(4, "a1", "t", "remove", {"finding": "r1"}))
    assert reading.can_undo == 1


@pytest.mark.parametrize(
    "steps",
    [[BLIND, REVEAL, ("blind", {"on": False})], [BLIND, ("blind", {"on": False})]],
)
def test_blind_reading_is_over_once_the_marks_were_shown(
    kit: SimpleNamespace, candidates: tuple[Finding, ...], steps: list
) -> None:
    reading = read(kit, candidates, *steps)
    assert reading.revealed
    assert not reading.hidden
    with pytest.raises(InputError, match="shown already"):
        reading.apply(Event(9, "a1", "t", *BLIND))


def test_blind_reading_cannot_begin_after_an_edit(
    kit: SimpleNamespace, candidates: tuple[Finding, ...]
) -> None:
    reading = read(kit, candidates, kit.verdict("m1", "accept"))
    with pytest.raises(InputError, match="comes first"):
        reading.apply(Event(9, "a1", "t", *BLIND))


def test_the_reveal_tells_which_findings_to_show(
    kit: SimpleNamespace, candidates: tuple[Finding, ...]
) -> None:
    reading = read(kit, candidates)
    change = reading.apply(Event(1, "a1", "t", *BLIND))
    assert sorted(change.removed) == ["m1", "m2", "m3"]
    change = reading.apply(Event(2, "a1", "t", *REVEAL))
    assert sorted(one.id for one in change.changed) == ["m1", "m2", "m3"]
    assert (reading.blind, reading.revealed) == (True, True)
