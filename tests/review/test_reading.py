import json
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmocnet.errors import InputError
from mmocnet.lesion import Certainty, Lesion
from mmocnet.predict.measure import measure
from mmocnet.review.reading import (
    EVENT_KINDS,
    Event,
    Finding,
    Grid,
    Reading,
    decode_voxels,
    encode_voxels,
    event_lines,
    finding_json,
)

GRID = Grid((9, 8, 7), np.diag([1.0, 1.2, 2.0, 1.0]), 2)


@pytest.fixture(scope="module")
def candidates(kit: SimpleNamespace) -> tuple[Finding, ...]:
    places = ((2, 2, 2), (6, 2, 3), (2, 6, 4), (7, 6, 5))
    return kit.candidates(GRID, [kit.ball(GRID, place, 1.3) for place in places])


# The strategies draw indices of findings that may not exist: a reading refuses those.
NAMES = st.sampled_from(["m1", "m2", "m3", "m4", "r1", "r2", "r3", "x"])
VOXELS = st.lists(st.integers(0, GRID.size - 1), min_size=1, max_size=40, unique=True).map(
    lambda found: encode_voxels(np.array(sorted(found), np.uint32))
)
EDITS = st.one_of(
    st.fixed_dictionaries(
        {
            "finding": NAMES,
            "verdict": st.sampled_from(["accept", "reject", None]),
            "reason": st.sampled_from(["vein", None]),
            "certainty": st.sampled_from(["definite", "possible", None]),
        }
    ).map(lambda payload: ("verdict", payload)),
    VOXELS.map(lambda text: ("add", {"voxels": text, "seed": [0, 0, 0], "how": "drawn"})),
    st.fixed_dictionaries({"finding": NAMES, "voxels": VOXELS, "erase": st.booleans()}).map(
        lambda payload: ("paint", payload)
    ),
    NAMES.map(lambda name: ("remove", {"finding": name})),
    st.just(("undo", {})),
    st.just(("redo", {})),
)
STEPS = st.lists(EDITS, max_size=25)


def play(reading: Reading, steps: list[tuple[str, dict]]) -> Reading:
    """Apply what is not refused; undo and redo are told which event they mean."""
    for kind, given_payload in steps:
        payload = given_payload
        if kind in ("undo", "redo"):
            payload = {"of": reading.next_undo if kind == "undo" else reading.next_redo}
        event = Event(reading.last_event + 1, "a", "2026-01-02T03:04:05+00:00", kind, payload)
        try:
            reading.apply(event)
        except InputError:
            continue
    return reading


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_the_same_events_give_the_same_state(
    candidates: tuple[Finding, ...], kit: SimpleNamespace, steps: list
) -> None:
    first = play(Reading(GRID, candidates), steps)
    again = Reading(GRID, candidates, json_round_trip(first.events))
    assert kit.state(first) == kit.state(again)
    assert (first.can_undo, first.can_redo) == (again.can_undo, again.can_redo)
    assert event_lines(first.events) == event_lines(again.events)


def json_round_trip(events: list[Event]) -> list[Event]:
    """Return events as a database gives them back."""
    return [replace(one, payload=json.loads(json.dumps(one.payload))) for one in events]


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_undoing_all_leads_back_and_redoing_all_leads_forward(
    candidates: tuple[Finding, ...], kit: SimpleNamespace, steps: list
) -> None:
    untouched = kit.state(Reading(GRID, candidates))
    reading = play(Reading(GRID, candidates), steps)
    there, levels = kit.state(reading), reading.can_undo
    play(reading, [("undo", {})] * levels)
    assert kit.state(reading) == untouched
    assert (reading.can_undo, reading.can_redo) >= (0, levels)
    # What had been undone at first is done again only by as many steps more.
    play(reading, [("redo", {})] * levels)
    assert kit.state(reading) == there


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_no_voxel_ever_has_two_findings_and_a_refused_event_changes_nothing(
    candidates: tuple[Finding, ...], kit: SimpleNamespace, steps: list
) -> None:
    reading = Reading(GRID, candidates)
    for step in steps:
        before, count = kit.state(reading), len(reading.events)
        play(reading, [step])
        if len(reading.events) == count:
            assert kit.state(reading) == before
        held = np.concatenate([one.voxels for one in reading.findings])
        assert len(np.unique(held)) == len(held)
        for one in reading.findings:
            assert (np.diff(one.voxels.astype(np.int64)) > 0).all()
            assert one.origin == "machine" or one.voxels.size
        assert reading._board.owners() == {
            voxel: one.id for one in reading.findings for voxel in one.voxels.tolist()
        }


def test_a_new_edit_leaves_nothing_to_redo_but_the_log_keeps_all(
    candidates: tuple[Finding, ...], kit: SimpleNamespace
) -> None:
    reading = play(
        Reading(GRID, candidates),
        [kit.verdict("m1", "accept"), ("undo", {}), kit.verdict("m2", "reject", reason="vein")],
    )
    assert (reading.can_undo, reading.can_redo) == (1, 0)
    assert [one.kind for one in reading.events] == ["verdict", "undo", "verdict"]
    assert [one.verdict for one in reading.findings[:2]] == [None, "reject"]


def test_the_number_of_an_added_finding_is_not_given_again(
    candidates: tuple[Finding, ...], kit: SimpleNamespace
) -> None:
    voxels = kit.ball(GRID, (4, 4, 3), 1.1)
    reading = play(Reading(GRID, candidates), [kit.add(voxels), ("undo", {}), kit.add(voxels)])
    assert [one.id for one in reading.findings if one.origin == "reader"] == ["r2"]


def test_painted_voxels_move_from_the_finding_that_held_them(
    candidates: tuple[Finding, ...], kit: SimpleNamespace
) -> None:
    first, second = candidates[0].voxels, candidates[1].voxels
    reading = play(Reading(GRID, candidates), [kit.paint("m1", second[:3])])
    found = {one.id: one for one in reading.findings}
    assert found["m1"].voxels.tolist() == sorted([*first.tolist(), *second[:3].tolist()])
    assert found["m2"].voxels.tolist() == second[3:].tolist()
    assert found["m1"].edited
    assert found["m2"].edited


def test_an_erased_machine_finding_counts_as_rejected_and_an_added_one_is_gone(
    candidates: tuple[Finding, ...], kit: SimpleNamespace
) -> None:
    voxels = kit.ball(GRID, (4, 4, 3), 1.1)
    steps = [
        kit.add(voxels),
        kit.paint("r1", voxels, erase=True),
        kit.paint("m1", candidates[0].voxels, erase=True),
    ]
    reading = play(Reading(GRID, candidates), steps)
    (first, *rest) = reading.findings
    assert (first.id, first.verdict, first.reason, first.voxels.size) == (
        "m1",
        "reject",
        "other",
        0,
    )
    assert all(one.origin == "machine" for one in rest)
    with pytest.raises(InputError, match="was erased"):
        reading.apply(Event(9, "a", "t", *kit.verdict("m1", "accept")))
    # What the machine measured stays its place.
    assert finding_json(first, GRID)["centre_mm"] == list(candidates[0].machine.centre_mm)
    play(reading, [kit.paint("m1", candidates[0].voxels[:2])])
    assert reading.findings[0].verdict is None


def test_an_edited_outline_is_measured_as_in_the_whole_volume(
    candidates: tuple[Finding, ...], kit: SimpleNamespace
) -> None:
    more = kit.ball(GRID, (3, 3, 3), 2.0)
    reading = play(Reading(GRID, candidates), [kit.paint("m1", more)])
    found = next(one for one in reading.findings if one.id == "m1")
    labels = np.zeros(GRID.size, int)
    labels[found.voxels] = 1
    truth = measure(labels.reshape(GRID.shape), GRID.affine)[1]
    said = finding_json(found, GRID)
    np.testing.assert_allclose(said["centre_mm"], truth.centre_mm)
    assert said["centre_voxel"] == list(truth.centre_voxel)
    for key in ("volume_mm3", "diameter_mm", "diameter_eq_mm"):
        assert said[key] == pytest.approx(getattr(truth, key))


def test_a_finding_on_a_slice_is_measured_as_a_disc(kit: SimpleNamespace) -> None:
    grid = Grid((40, 40, 1), np.diag([0.5, 0.5, 3.0, 1.0]), 2)
    disc = kit.ball(grid, (20, 20, 0), 4.0)
    reading = play(Reading(grid, ()), [kit.add(disc)])
    said = finding_json(reading.findings[0], grid)
    assert said["diameter_eq_mm"] == pytest.approx(8.0, rel=0.03)
    assert said["diameter_mm"] == pytest.approx(8.5, abs=0.6)


def test_findings_come_by_confidence_then_the_added_ones(
    candidates: tuple[Finding, ...], kit: SimpleNamespace
) -> None:
    voxels = [kit.ball(GRID, place, 0.1) for place in ((4, 4, 1), (5, 5, 1))]
    reading = play(Reading(GRID, candidates[::-1]), [kit.add(one) for one in voxels])
    assert [one.id for one in reading.findings] == ["m1", "m2", "m3", "m4", "r1", "r2"]


def test_counts_tell_machine_from_reader(
    candidates: tuple[Finding, ...], kit: SimpleNamespace
) -> None:
    steps = [
        kit.verdict("m1", "accept"),
        kit.verdict("m4", "reject", reason="vein"),
        kit.add(kit.ball(GRID, (4, 4, 1), 0.1)),
    ]
    counts = play(Reading(GRID, candidates), steps).counts
    # Of the two that are at or above the threshold, one was not judged.
    assert (counts.accepted, counts.added, counts.rejected, counts.not_judged) == (1, 1, 1, 1)


def test_a_verdict_without_a_word_on_certainty_has_none(
    candidates: tuple[Finding, ...], kit: SimpleNamespace
) -> None:
    steps = [kit.verdict("m1", "accept"), kit.verdict("m2", "accept", certainty="possible")]
    reading = play(Reading(GRID, candidates), steps)
    assert [one.certainty for one in reading.findings[:2]] == [None, "possible"]
    said = finding_json(reading.findings[0], GRID)
    assert (said["certainty"], said["machine_certainty"]) == (None, "definite")


@pytest.mark.parametrize(
    ("kind", "payload", "complaint"),
    [
        ("dance", {}, "expected one of verdict"),
        ("verdict", {"finding": "m9", "verdict": "accept"}, "no finding 'm9'"),
        ("verdict", {"finding": 3, "verdict": "accept"}, "expected text as finding"),
        ("verdict", {"finding": "m1", "verdict": "maybe"}, "accept, reject or null"),
        ("verdict", {"finding": "m1", "verdict": "reject", "reason": "dirt"}, "vein, calcium"),
        ("verdict", {"finding": "m1", "verdict": "accept", "certainty": "sure"}, "definite"),
        ("verdict", [], "expected an object"),
        ("add", {"how": "drawn"}, "base64 text"),
        ("add", {"voxels": "", "how": "drawn"}, "at least one voxel"),
        ("add", {"voxels": "AAAA", "how": "drawn"}, "4 bytes"),
        ("add", {"voxels": "*", "how": "drawn"}, "base64 text"),
        ("add", {"voxels": "/////w==", "how": "drawn"}, "inside the grid"),
        ("add", {"voxels": "AgAAAAEAAAA=", "how": "drawn"}, "ascending"),
        ("add", {"voxels": "AQAAAA==", "how": "magic"}, "probability, growing, drawn"),
        ("paint", {"finding": "m1", "voxels": "AQAAAA==", "erase": 1}, "true or false"),
        ("remove", {"finding": "m1"}, "reject it"),
        ("undo", {"of": 1}, "nothing to undo"),
        ("redo", {"of": 1}, "nothing to redo"),
        ("reveal", {}, "nothing to reveal"),
        ("blind", {"on": "yes"}, "true or false"),
        ("complete", {}, "true or false"),
    ],
)
def test_what_cannot_be_is_refused(
    candidates: tuple[Finding, ...], kind: str, payload: dict, complaint: str
) -> None:
    reading = Reading(GRID, candidates)
    with pytest.raises(InputError, match=complaint):
        reading.apply(Event(1, "a", "t", kind, payload))
    assert reading.events == []


def test_an_undo_that_means_another_event_is_refused(
    candidates: tuple[Finding, ...], kit: SimpleNamespace
) -> None:
    reading = play(Reading(GRID, candidates), [kit.verdict("m1", "accept")])
    with pytest.raises(InputError, match="expected to undo event 1, got 7"):
        reading.apply(Event(2, "a", "t", "undo", {"of": 7}))


def test_events_of_another_reader_or_out_of_order_are_refused(
    candidates: tuple[Finding, ...], kit: SimpleNamespace
) -> None:
    reading = play(Reading(GRID, candidates), [kit.verdict("m1", "accept")])
    with pytest.raises(InputError, match="events of one reader"):
        reading.apply(Event(2, "b", "t", *kit.verdict("m1", "reject")))
    with pytest.raises(InputError, match="after 1"):
        reading.apply(Event(1, "a", "t", *kit.verdict("m1", "reject")))


def test_a_change_tells_what_to_draw_anew(
    candidates: tuple[Finding, ...], kit: SimpleNamespace
) -> None:
    reading = Reading(GRID, candidates)
    change = reading.apply(Event(1, "a", "t", *kit.add(candidates[1].voxels[:2])))
    assert sorted(one.id for one in change.changed) == ["m2", "r1"]
    change = reading.apply(Event(2, "a", "t", "undo", {"of": 1}))
    assert [one.id for one in change.changed] == ["m2"]
    assert change.removed == ("r1",)


def test_what_changes_nothing_is_no_edit(
    candidates: tuple[Finding, ...], kit: SimpleNamespace
) -> None:
    steps = [kit.verdict("m1", "accept"), ("undo", {}), kit.paint("m1", candidates[0].voxels)]
    reading = play(Reading(GRID, candidates), steps)
    assert (reading.can_undo, reading.can_redo, len(reading.events)) == (0, 1, 3)


def test_voxels_survive_their_text() -> None:
    voxels = np.array([0, 5, 258, GRID.size - 1], np.uint32)
    assert decode_voxels(encode_voxels(voxels), GRID).tolist() == voxels.tolist()


def test_every_kind_of_event_has_a_step(candidates: tuple[Finding, ...]) -> None:
    for kind in EVENT_KINDS:
        with pytest.raises(InputError) as caught:
            Reading(GRID, candidates).apply(Event(1, "a", "t", kind, {"of": None}))
        assert "expected one of" not in str(caught.value)


def many_candidates(kit: SimpleNamespace, grid: Grid) -> list[Finding]:
    found = []
    for number in range(1, 401):
        at = (20 + 22 * (number % 20), 20 + 22 * (number // 20 % 20), 20 + number % 9)
        index = np.argwhere(np.ones((5, 5, 3))) + np.array(at)
        voxels = grid.flat(index)
        size = grid.measure(voxels)
        lesion = Lesion(
            number, f"CMB {number}", size.centre_mm, size.centre_voxel, size.volume_mm3,
            size.diameter_mm, size.diameter_eq_mm, 0.5, Certainty.POSSIBLE,
        )  # fmt: skip
        found.append(Finding(f"m{number}", "machine", voxels, 0.5, lesion, "lesion"))
    return found


def test_thousands_of_events_fold_in_well_under_a_second(
    kit: SimpleNamespace, rng: np.random.Generator
) -> None:
    grid = Grid((512, 512, 150), np.diag([0.5, 0.5, 1.0, 1.0]), 2)
    found = many_candidates(kit, grid)
    stroke = np.argwhere(np.ones((6, 6, 3)))
    steps = []
    for number in range(4000):
        name = f"m{1 + int(rng.integers(400))}"
        voxels = grid.flat(stroke + rng.integers(10, 140, 3))
        steps.append(
            (kit.verdict(name, "accept"), kit.paint(name, voxels), kit.add(voxels))[number % 3]
        )
    events = kit.events(*steps)
    start = time.process_time()
    reading = Reading(grid, found, events)
    assert time.process_time() - start < 2.0
    assert len(reading.events) == 4000


def test_a_reading_brings_no_network_with_it() -> None:
    code = (
        "import sys, mmocnet.review.reading, mmocnet.review.candidates, mmocnet.review.grow, "
        "mmocnet.review.agreement, mmocnet.review.exports; "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
