import dataclasses

import pytest

from mmocnet.config import ClassifierSettings, SegmentSettings
from mmocnet.io.report import Report
from mmocnet.nets.card import read_card
from mmocnet.predict.pipeline import segment
from mmocnet.predict.reporting import make_report
from mmocnet.volume import Volume

QUICK = SegmentSettings(location=False)
SHAPE = (96, 120, 42)
SPHERES = [((20.0, -30.0, 6.0), 6.0), ((-31.0, 12.0, -15.0), 7.0)]
PHASE = {"Name": "p.nii", "SHA256": "0" * 64, "Sign": "auto"}
WITH_PHASE = dataclasses.asdict(ClassifierSettings())
WITHOUT_PHASE = dataclasses.asdict(ClassifierSettings(phase_offsets_mm=()))


@pytest.fixture
def result(phantom, head_affine, dark_spots):
    return segment(phantom(head_affine, SHAPE, SPHERES), QUICK, cascade=dark_spots)


@pytest.fixture
def one_slice(phantom, head_affine, dark_spots):
    scan = phantom(head_affine, SHAPE, [((20.0, -30.0, -1.5), 6.0)])
    plane = Volume(scan.array[:, :, 20:21], scan.affine)
    return segment(plane, QUICK, cascade=dark_spots)


def _changed(result, settings=(), given=(), **changes):
    record = result.provenance
    record = record | {
        "Settings": record["Settings"] | dict(settings),
        "Input": record["Input"] | dict(given),
        **changes,
    }
    return dataclasses.replace(result, provenance=record)


def _with_confidence(result, *values):
    """Return a result with two lesions and further candidates of these confidences."""
    first = result.candidates[0]
    more = [
        dataclasses.replace(first, index=index, confidence=value)
        for index, value in enumerate(values, 3)
    ]
    return dataclasses.replace(result, candidates=(*result.candidates[:2], *more))


def _value(report: Report, name: str) -> list[str]:
    return [value for key, value in (*report.technique, *report.provenance) if key == name]


@pytest.mark.parametrize(
    ("classifier", "given", "read", "said", "line"),
    [
        (WITH_PHASE, {"Phase": PHASE}, True, ["read: p.nii"], "with phase"),
        (WITH_PHASE, {"Phase": PHASE}, False, ["given, not used (see warnings)"], "without phase"),
        (WITH_PHASE, {}, False, ["none was read"], "without phase"),
        (WITH_PHASE, {}, True, ["read"], "with phase"),
        (WITHOUT_PHASE, {}, False, [], "mm"),
        (None, {"Phase": PHASE}, False, ["given, not used (the model reads none)"], "mm"),
    ],
)
def test_the_report_says_what_became_of_phase(result, classifier, given, read, said, line):
    changed = _changed(result, {"classifier": classifier}, given, PhaseRead=read)
    report = make_report(changed)
    assert _value(report, "Phase") == said
    assert report.technique_line.endswith(line)


def test_a_result_records_whether_phase_was_read(result):
    assert result.provenance["PhaseRead"] is False


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.29, 0.01), []),
        ((0.3, 0.01), ["1 further candidate of confidence 0.3 or more was not called"]),
        ((0.4, 0.31), ["2 further candidates of confidence 0.3 or more were not called"]),
        # What lies above the threshold was set aside for its shape, and a warning tells of it.
        ((0.9,), []),
    ],
)
def test_candidates_below_the_threshold_are_told_from_the_screening_one(result, values, said):
    notes = make_report(_with_confidence(result, *values)).notes
    assert [note.partition(";")[0] for note in notes] == said


def test_at_the_screening_threshold_candidates_are_told_from_the_floor(result):
    (note,) = make_report(_changed(_with_confidence(result, 0.06, 0.04), Threshold=0.3)).notes
    assert note.startswith("1 further candidate of confidence 0.05 or more")


@pytest.mark.parametrize(("classifier", "ranked"), [(WITH_PHASE, False), (None, True)])
def test_a_slice_s_confidence_is_by_the_kind_of_model(one_slice, classifier, ranked):
    changed = _changed(one_slice, {"classifier": classifier})
    assert make_report(changed).ranked == ranked


def test_a_volume_s_confidence_is_a_probability(result):
    assert not make_report(result).ranked


def test_a_slice_is_led_by_what_was_measured_on_slices(one_slice):
    card = read_card("standard")
    threshold = card["operating_points"]["single_slices"]["balanced"]["threshold"]
    model = one_slice.provenance["Model"] | {"Card": card}
    report = make_report(_changed(one_slice, Model=model, Threshold=threshold))
    assert report.notes[0].startswith("Measured at this threshold on 501 simulated slices without")
    (measured,) = _value(report, "Measured at that threshold on")
    assert measured.startswith("501 simulated slices without phase: 45 %")


def test_the_report_knows_what_the_model_has_seen(result):
    assert not make_report(result).simulated
    model = result.provenance["Model"] | {"Card": read_card("standard")}
    report = make_report(_changed(result, Model=model))
    assert report.simulated
    assert _value(report, "Trained on") == ["simulated scans"]


def test_the_report_has_the_run_s_report_threshold_and_voxels(result, phantom, dark_spots):
    report = make_report(result)
    assert report.definite_from == result.provenance["Thresholds"]["report"]
    assert not report.isotropic
    even = dataclasses.replace(
        result, image=Volume(result.image.array, result.image.affine * [[1], [1], [0.5], [1]])
    )
    assert make_report(even).isotropic
