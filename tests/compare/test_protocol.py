import numpy as np
import pytest

from mmocnet.compare.comparison import compare_visits, method_warnings, registration_warnings
from mmocnet.compare.protocol import protocol_warnings
from mmocnet.compare.visit import CompareSettings, Visit
from mmocnet.errors import InputError
from mmocnet.locate.rigid import RigidAlignment
from mmocnet.volume import Volume

TECHNIQUE = {
    "MagneticFieldStrength": 3,
    "EchoTime": 0.02,
    "RepetitionTime": 0.03,
    "FlipAngle": 15,
}


def _visit(technique, spacing=(0.6, 0.6, 2.0), shape=(8, 8, 8), **more):
    image = Volume(np.ones(shape, np.float32), np.diag([*spacing, 1.0]), "scan.nii.gz")
    labels = image.like(np.zeros(shape, np.int32))
    return Visit(image, labels, (), np.ones(shape, bool), acquisition=technique, **more)


def test_the_same_protocol_gives_no_warning():
    other = TECHNIQUE | {"EchoTime": 0.0205}
    assert protocol_warnings(_visit(TECHNIQUE), _visit(other, (0.6, 0.6, 2.1))) == []


@pytest.mark.parametrize(
    ("change", "spacing", "told"),
    [
        ({"MagneticFieldStrength": 1.5}, (0.6, 0.6, 2.0), "field strength 3 and 1.5 T"),
        ({"EchoTime": 0.04}, (0.6, 0.6, 2.0), "echo time 20 and 40 ms"),
        ({}, (0.6, 0.6, 5.0), "voxels 0.6 x 0.6 x 2 and 0.6 x 0.6 x 5 mm"),
    ],
)
def test_a_changed_protocol_is_told(change, spacing, told):
    (warning,) = protocol_warnings(_visit(TECHNIQUE), _visit(TECHNIQUE | change, spacing))
    assert warning.startswith("the protocol changed (")
    assert told in warning


def test_what_is_not_stated_is_told_as_unknown():
    (warning,) = protocol_warnings(_visit({}), _visit(TECHNIQUE))
    assert "not known" in warning
    assert "field strength, echo time" in warning


def test_sequence_and_manufacturer_count_where_both_are_stated():
    first = _visit(TECHNIQUE | {"Manufacturer": "A", "ScanningSequence": "GR"})
    second = _visit(TECHNIQUE | {"Manufacturer": "B"})
    (warning,) = protocol_warnings(first, second)
    assert "manufacturer A and B" in warning
    assert "sequence" not in warning


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"Manufacturer": "GE MEDICAL SYSTEMS"}, {"Manufacturer": "GE"}),
        ({"ScanningSequence": "GR\\IR"}, {"ScanningSequence": "GR_IR"}),
        ({"ImageKind": "SWI"}, {"ImageKind": "SWI"}),
    ],
)
def test_the_same_in_other_words_gives_no_warning(first, second):
    assert protocol_warnings(_visit(TECHNIQUE | first), _visit(TECHNIQUE | second)) == []


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("SWI", "magnitude", "the protocol changed (image SWI and magnitude)"),
        ("SWI", None, "the first scan alone is known to be SWI"),
        (None, "SWI", "the second scan alone is known to be SWI"),
        ("magnitude", None, None),
        (None, None, None),
    ],
)
def test_an_swi_at_one_visit_alone_is_told(first, second, told):
    kinds = [{} if kind is None else {"ImageKind": kind} for kind in (first, second)]
    warnings = protocol_warnings(*(_visit(TECHNIQUE | kind) for kind in kinds))
    assert [one.startswith(told) for one in warnings] == ([True] if told else [])


def _aligned(correlation=0.9, detail=0.9, exchanged=""):
    return RigidAlignment(
        np.eye(4), correlation, 1.0, 0.0, 0.0, True, "registered", detail, exchanged
    )


@pytest.mark.parametrize(
    ("alignment", "told"),
    [
        (_aligned(), []),
        (_aligned(detail=0.2), ["of one person"]),
        (_aligned(correlation=0.5), ["matched wrongly"]),
        (_aligned(0.5, 0.2), ["of one person", "matched wrongly"]),
        (_aligned(detail=0.2, exchanged="left and right"), ["exchange left and right"]),
    ],
)
def test_scans_that_are_not_much_alike_are_told(alignment, told):
    warnings = registration_warnings(_visit(TECHNIQUE), _visit(TECHNIQUE), alignment)
    assert len(warnings) == len(told)
    assert all(part in one for part, one in zip(told, warnings, strict=True))


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("20240102", "20250102", False),
        ("20250102", "20240102", True),
        ("20240102", "20240102", False),
        ("20250102", "", False),
    ],
)
def test_visits_in_the_wrong_order_are_told_without_their_dates(first, second, told):
    visits = [_visit(TECHNIQUE, date=date) for date in (first, second)]
    warnings = registration_warnings(*visits, _aligned())
    assert ["swapped?" in one and "2024" not in one for one in warnings] == [True] * told
    assert "2025" not in repr(visits)


def test_the_same_images_twice_are_told():
    visit = _visit(TECHNIQUE, provenance={"Input": {"SHA256": "ab"}})
    other = _visit(TECHNIQUE, provenance={"Input": {"SHA256": "cd"}})
    assert registration_warnings(visit, other, _aligned()) == []
    assert registration_warnings(visit, visit, _aligned()) == ["both visits are the same images"]


def _segmented(*parts):
    return {"Segmentation": {"Input": {part: {} for part in parts}}}


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({}, {}, None),
        (_segmented("Phase"), _segmented("Phase"), None),
        (_segmented("Phase"), _segmented(), "phase was read at the first visit alone"),
        (_segmented(), _segmented("Phase"), "phase was read at the second visit alone"),
        ({}, _segmented("Phase"), "lesions of the first visit were given"),
        (_segmented(), {}, "lesions of the second visit were given"),
    ],
)
def test_lesions_found_in_two_ways_are_told(first, second, told):
    warnings = method_warnings(*(_visit(TECHNIQUE, provenance=one) for one in (first, second)))
    assert [told in warning for warning in warnings] == ([True] if told else [])


def test_phase_that_was_given_and_not_read_counts_as_none():
    given = _segmented("Phase")
    given["Segmentation"]["PhaseRead"] = False
    first, second = (_visit(TECHNIQUE, provenance=one) for one in (given, _segmented()))
    assert method_warnings(first, second) == []


@pytest.mark.parametrize(
    ("shape", "settings", "told"),
    [
        ((8, 8, 1), CompareSettings(), "single slice"),
        ((8, 8, 8), CompareSettings(tolerance_mm=-1.0), "tolerance_mm"),
        ((8, 8, 8), CompareSettings(growth_ratio=0.5), "growth_ratio"),
        ((8, 8, 8), CompareSettings(tolerance_mm=float("nan")), "tolerance_mm"),
        ((8, 8, 8), CompareSettings(tolerance_mm=float("inf")), "tolerance_mm"),
        ((8, 8, 8), CompareSettings(growth_ratio=float("nan")), "growth_ratio"),
        ((8, 8, 8), CompareSettings(growth_mm3=float("nan")), "growth_mm3"),
    ],
)
def test_what_cannot_be_compared_is_refused(shape, settings, told):
    visit = _visit(TECHNIQUE, shape=shape)
    with pytest.raises(InputError, match=told):
        compare_visits(visit, visit, settings)
