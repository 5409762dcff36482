import dataclasses

import numpy as np
import pytest

from mmocnet.compare.comparison import (
    Comparison,
    _doubts,
    coverage_warnings,
    summary_sentence,
)
from mmocnet.compare.match import State, list_changes, match_lesions
from mmocnet.compare.outputs import change_row, sidecar
from mmocnet.compare.report import cells
from mmocnet.compare.visit import CompareSettings, Visit
from mmocnet.lesion import Certainty
from mmocnet.volume import Volume

SETTINGS = CompareSettings()


def _visit(lesions, low_mm=-50.0, candidates=()):
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = low_mm
    image = Volume(np.ones((50, 50, 50), np.float32), affine, "scan.nii.gz")
    labels = image.like(np.zeros(image.shape, np.int32))
    brain = np.ones(image.shape, bool)
    return Visit(image, labels, tuple(lesions), brain, candidates=tuple(candidates))


def _states(changes):
    return [
        (
            one.state.value,
            one.baseline.index if one.baseline else 0,
            one.follow_up.index if one.follow_up else 0,
        )
        for one in changes
    ]


def test_nearest_lesions_are_matched_after_registration(lesion, moved):
    first = [lesion(1, (0, 0, 0)), lesion(2, (10, 0, 0))]
    second = [lesion(1, (15, 0.5, 0)), lesion(2, (5, 0.5, 0)), lesion(3, (30, 0, 0))]
    changes = list_changes(_visit(first), _visit(second), moved, SETTINGS)
    assert _states(changes) == [("new", 0, 3), ("stable", 1, 2), ("stable", 2, 1)]
    assert changes[0].centre_mm == (25.0, 0.0, 0.0)
    assert [one.distance_mm for one in changes[1:]] == [0.5, 0.5]


def test_as_many_as_possible_are_matched_even_where_one_is_nearer_to_another(lesion):
    first = [lesion(1, (0, 0, 0), 1.0), lesion(2, (3, 0, 0), 1.0)]
    centres = np.array([[1.6, 0.0, 0.0], [-2.5, 0.0, 0.0]])
    second = [lesion(1, centres[0], 1.0), lesion(2, centres[1], 1.0)]
    assert match_lesions(first, second, centres, 2.0) == [(0, 1), (1, 0)]


def _pairs(lesion, first, second, moved_mm=(0.0, 0.0, 0.0)):
    """Pairs of lesions given as (x in mm, diameter in mm), those of the second visit moved."""
    one, two = ([lesion(n, (x, 0, 0), mm) for n, (x, mm) in enumerate(v)] for v in (first, second))
    centres = np.array([each.centre_mm for each in two]) + moved_mm
    return sorted(match_lesions(one, two, centres, 2.0))


def test_a_lesion_at_its_place_is_not_given_up_for_one_pair_more(lesion):
    assert _pairs(lesion, [(20, 3), (23.2, 3)], [(16.8, 3), (20, 3)]) == [(0, 1)]


@pytest.mark.parametrize("moved_mm", [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0.6, 0, -0.8)])
@pytest.mark.parametrize("gone", [(), (0,), (4,), (0, 4)])
def test_a_cluster_that_is_moved_by_1_mm_stays_in_its_order(lesion, moved_mm, gone):
    before = [(2.8 * n, 3) for n in range(5)]
    kept = [n for n in range(5) if n not in gone]
    pairs = _pairs(lesion, before, [before[n] for n in kept], moved_mm)
    assert pairs == [(n, at) for at, n in enumerate(kept)]


@pytest.mark.parametrize("beside_mm", [9.5, 7.0, 4.1])
def test_a_bleed_at_the_rim_of_one_that_is_gone_is_another(lesion, beside_mm):
    assert _pairs(lesion, [(0, 16)], [(beside_mm, 3)]) == []
    assert _pairs(lesion, [(beside_mm, 3)], [(0, 16)]) == []


def test_what_has_grown_or_shrunk_about_its_centre_is_one_lesion(lesion):
    assert _pairs(lesion, [(0, 16)], [(3.9, 3)]) == [(0, 0)]
    assert _pairs(lesion, [(0, 16)], [(9, 8)]) == [(0, 0)]


def test_a_small_lesion_beside_a_large_one_keeps_its_own(lesion):
    assert _pairs(lesion, [(0, 16), (7, 8)], [(7, 8)]) == [(1, 0)]


def test_the_tolerance_is_from_the_larger_sphere_to_the_other_centre(lesion):
    first, near, far = lesion(1, (0, 0, 0), 4.0), (3.9, 0, 0), (4.1, 0, 0)
    for at, count in ((near, 1), (far, 0)):
        assert len(match_lesions([first], [lesion(1, at, 1.0)], np.array([at]), 2.0)) == count


def test_no_lesion_at_either_visit_is_no_change(moved):
    assert list_changes(_visit(()), _visit(()), moved, SETTINGS) == ()


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        (3.0, 3.3, State.STABLE),
        (3.0, 4.5, State.GROWN),
        (1.0, 2.0, State.STABLE),
        (4.5, 3.0, State.STABLE),
    ],
)
def test_growth_is_more_than_outlines_differ_by(lesion, moved, before, after, state):
    first, second = [lesion(1, (0, 0, 0), before)], [lesion(1, (5, 0, 0), after)]
    (change,) = list_changes(_visit(first), _visit(second), moved, SETTINGS)
    assert change.state is state
    assert change.volume_ratio == pytest.approx((after / before) ** 3)


def test_what_lies_outside_the_other_scan_is_not_covered(lesion, moved):
    # Voxels of the first reach from -51 to 49, those of the second from -46 to 54 in their own
    # world, so from -51 to 49 in that of the first.
    second = _visit([lesion(1, (0, 0, 0)), lesion(2, (53, 0, 0))], low_mm=-45.0)
    first = _visit([lesion(1, (-40, -48, 0)), lesion(2, (-40, 0, 0))], low_mm=-49.0)
    changes = list_changes(first, second, moved, SETTINGS)
    assert _states(changes) == [
        ("new", 0, 1),
        ("new", 0, 2),
        ("not seen", 2, 0),
        ("not covered", 1, 0),
    ]


def test_a_new_lesion_tells_of_a_candidate_there_before(lesion, moved):
    below = [lesion(7, (20.5, 0, 0), confidence=0.3), lesion(8, (21, 0, 0), confidence=0.2)]
    changes = list_changes(
        _visit((), candidates=below),
        _visit([lesion(1, (25, 0, 0)), lesion(2, (-20, 0, 0))]),
        moved,
        SETTINGS,
    )
    assert [one.below_threshold for one in changes] == [0.3, pytest.approx(np.nan, nan_ok=True)]


@pytest.mark.parametrize(
    ("record", "confidence", "told"),
    [
        ({}, 0.0003, False),
        ({}, 0.05, True),
        ({"Thresholds": {"screening": 0.2}, "Threshold": 0.5}, 0.19, False),
        ({"Thresholds": {"screening": 0.2}, "Threshold": 0.5}, 0.2, True),
        ({"Thresholds": {"screening": 0.2}, "Threshold": 0.2}, 0.1, True),
        ({"Thresholds": {"screening": 0.2}, "Threshold": 0.2}, 0.04, False),
    ],
)
def test_candidates_are_told_of_from_the_screening_threshold(
    lesion, moved, record, confidence, told
):
    before = dataclasses.replace(
        _visit((), candidates=[lesion(7, (20, 0, 0), confidence=confidence)]),
        provenance={"Segmentation": record} if record else {},
    )
    changes = list_changes(before, _visit([lesion(1, (25, 0, 0))]), moved, SETTINGS)
    assert np.isfinite(changes[0].below_threshold) == told
    assert len(_doubts(changes)) == told


@pytest.mark.parametrize(
    ("count", "said", "which"),
    [
        (
            1,
            "1 new lesion has a candidate below the threshold at the first visit: it may have",
            "(lesion 1; confidence in brackets)",
        ),
        (
            2,
            "2 new lesions have a candidate below the threshold at the first visit: they may have",
            "(lesions 1, 2; confidence in brackets)",
        ),
    ],
)
def test_doubtful_lesions_are_told_by_number(lesion, moved, count, said, which):
    below = [lesion(n, (20 * n, 0, 0), confidence=0.3) for n in range(count)]
    after = [lesion(n, (20 * n + 5, 0, 0)) for n in range(count)]
    changes = list_changes(_visit((), candidates=below), _visit(after), moved, SETTINGS)
    (text,) = _doubts(changes)
    assert text.startswith(said)
    assert text.endswith(which)


def _without(visit, empty, brain=None):
    """A visit whose scan holds zeros where `empty` is true of world mm (x, y, z)."""
    shape = visit.image.shape
    places = visit.image.world(np.moveaxis(np.indices(shape), 0, -1).astype(float))
    gone = empty(*np.moveaxis(places, -1, 0))
    image = visit.image.like(np.where(gone, 0, visit.image.array))
    return dataclasses.replace(visit, image=image, brain=~gone if brain is None else brain)


def test_what_the_other_scan_holds_as_zeros_alone_is_not_covered(lesion, moved):
    """The second visit lies 5 mm to the right of the first."""
    at = [(0, 0, -40), (0, 0, 20)]
    first = [lesion(n, (x, y, z)) for n, (x, y, z) in enumerate(at, 1)]
    second = [lesion(n, (x + 5, y, z)) for n, (x, y, z) in enumerate(at, 1)]
    full, none = _visit(()), np.ones((50, 50, 50), bool)
    # Its brain reaches into the zeros, as a mask that is smooth may.
    low = _without(full, lambda x, y, z: z < -20, none)
    changes = list_changes(low, _visit(second), moved, SETTINGS)
    assert _states(changes) == [("new", 0, 2), ("not covered", 0, 1)]
    changes = list_changes(_visit(first), low, moved, SETTINGS)
    assert _states(changes) == [("not seen", 2, 0), ("not covered", 1, 0)]


def test_zeros_inside_the_brain_are_covered(lesion, moved):
    dark = _without(_visit(()), lambda x, y, z: x**2 + y**2 + z**2 < 8**2)
    (change,) = list_changes(dark, _visit([lesion(1, (5, 0, 0))]), moved, SETTINGS)
    assert change.state is State.NEW


@pytest.mark.parametrize(
    ("beside_mm", "state"), [(0.5, State.NEW), (2.0, State.NEW), (6.0, State.NOT_COVERED)]
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_lesion_just_outside_a_stripped_brain_is_covered(lesion, moved, beside_mm, state, axis):
    stripped = _without(_visit(()), lambda x, y, z: x**2 + y**2 + z**2 > 30**2)
    place = np.array([5.0, 0.0, 0.0])
    place[axis] += 30 + beside_mm
    (change,) = list_changes(stripped, _visit([lesion(1, place)]), moved, SETTINGS)
    assert change.state is state


def test_a_large_part_of_a_brain_outside_the_other_scan_is_told(moved):
    full = _visit(())
    assert coverage_warnings(full, _visit((), low_mm=-45.0), moved) == []
    low = _without(full, lambda x, y, z: z < -10)
    (text,) = coverage_warnings(low, _visit((), low_mm=-45.0), moved)
    assert "brain seen at follow-up lies outside the other scan" in text
    (text,) = coverage_warnings(
        _visit((), low_mm=-55.0), _without(full, lambda x, y, z: z < -10), moved
    )
    assert "brain seen at baseline lies outside the other scan" in text


def test_a_match_keeps_regions_and_certainty_of_the_last_visit(lesion, moved):
    second = dataclasses.replace(
        lesion(1, (5, 0, 0)), certainty=Certainty.POSSIBLE, region="insula"
    )
    (change,) = list_changes(_visit([lesion(1, (0, 0, 0))]), _visit([second]), moved, SETTINGS)
    assert (change.lesion.region, change.lesion.certainty) == ("insula", Certainty.POSSIBLE)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ((6, Certainty.DEFINITE), (16, Certainty.MACROHAEMORRHAGE), (1, 0, 1)),
        ((16, Certainty.MACROHAEMORRHAGE), (17, Certainty.MACROHAEMORRHAGE), (0, 0, 0)),
        ((16, Certainty.MACROHAEMORRHAGE), (6, Certainty.DEFINITE), (0, 0, 0)),
        (None, (16, Certainty.MACROHAEMORRHAGE), (0, 1, 1)),
    ],
)
def test_what_grew_over_10_mm_is_told_apart(lesion, moved, before, after, said):
    """Numbers: grown into one over 10 mm, new over 10 mm, both for the radiologist's field."""
    first = [] if before is None else [lesion(1, (0, 0, 0), before[0], certainty=before[1])]
    visits = _visit(first), _visit([lesion(1, (5, 0, 0), after[0], certainty=after[1])])
    changes = list_changes(*visits, moved, SETTINGS)
    comparison = Comparison(*visits, moved, changes, (), SETTINGS)
    summary = sidecar(comparison)["Summary"]
    assert (
        summary["GrownIntoMacrohaemorrhages"],
        summary["NewMacrohaemorrhages"],
        summary["RadElement"]["RDES291"]["New macrohemorrhages (ARIA-H)"],
    ) == said
    assert summary["New"] == summary["Grown"] == 0
    sentence = summary_sentence(comparison)
    assert ("1 microbleed has grown over 10 mm" in sentence) == bool(said[0])
    assert ("1 new haemorrhage over 10 mm" in sentence) == bool(said[1])


def test_a_haemorrhage_that_became_smaller_is_no_microbleed(lesion, moved):
    before = lesion(1, (0, 0, 0), 14.6, certainty=Certainty.MACROHAEMORRHAGE)
    visits = _visit([before]), _visit([lesion(1, (5, 0, 0), 8)])
    changes = list_changes(*visits, moved, SETTINGS)
    assert _states(changes) == [("stable", 1, 1)]
    summary = sidecar(Comparison(*visits, moved, changes, (), SETTINGS))["Summary"]
    assert summary["Stable"] == summary["BaselineMicrobleeds"] == 0
    assert change_row(changes[0])["certainty"] == cells(changes[0])[2] == "macrohaemorrhage"


def test_what_has_shrunk_has_not_grown_over_10_mm(lesion, moved):
    after = lesion(1, (5, 0, 0), 5, certainty=Certainty.MACROHAEMORRHAGE)
    (change,) = list_changes(_visit([lesion(1, (0, 0, 0), 6)]), _visit([after]), moved, SETTINGS)
    assert not change.outgrew
