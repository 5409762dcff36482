import dataclasses
import math

import highdicom
import numpy as np
import pydicom
import pytest

from mmocnet.io.dicom.seg import write_seg
from mmocnet.io.dicom.sr import write_sr
from mmocnet.lesion import Certainty


def measures_of(group):
    return {one.name.value: float(one.value) for one in group.get_measurements()}


def groups_of(path):
    return highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()


def total_of(path):
    report = highdicom.sr.srread(path)
    (group,) = report.content.get_image_measurement_groups()
    return measures_of(group)["246206008"]


def comments(path):
    """Return all comments of a report, wherever they are."""
    found, waiting = [], [pydicom.dcmread(path)]
    while waiting:
        item = waiting.pop()
        if item.get("ValueType") == "TEXT":
            name = item.ConceptNameCodeSequence[0].CodeValue
            found += [item.TextValue] if name == "121106" else []
        waiting += item.get("ContentSequence", [])
    return found


@pytest.mark.parametrize("multiframe", [False, True])
def test_each_lesion_has_its_measures(written, tmp_path, multiframe):
    findings = written(multiframe=multiframe)
    groups = groups_of(write_sr(findings, tmp_path / "sr.dcm"))
    assert len(groups) == 3
    for group, lesion in zip(groups, findings.lesions, strict=True):
        measured = measures_of(group)
        assert measured == {
            "118565006": pytest.approx(lesion.volume_mm3, rel=1e-5),
            "103339001": pytest.approx(lesion.diameter_mm, rel=1e-5),
            "122157": pytest.approx(lesion.confidence, rel=1e-5),
        }
        assert group.finding_type.value == "723857007"
    units = [one.unit.value for one in groups[0].get_measurements()]
    assert units == ["mm3", "mm", "1"]


def test_a_lesion_is_the_same_thing_in_both_objects(written, tmp_path):
    findings = written()
    seg = pydicom.dcmread(write_seg(findings, tmp_path / "seg.dcm"))
    groups = groups_of(write_sr(findings, tmp_path / "sr.dcm"))
    for group, segment in zip(groups, seg.SegmentSequence, strict=True):
        assert group.tracking_uid == segment.TrackingUID
        assert group.tracking_identifier == segment.TrackingID
        reference = group.referenced_segment
        assert reference.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert reference.referenced_segment_numbers == [segment.SegmentNumber]
        assert reference.referenced_sop_class_uid == seg.SOPClassUID


def test_sites_are_coded_and_what_has_no_code_is_told_in_words(written, tmp_path):
    path = write_sr(written(), tmp_path / "sr.dcm")
    sites = [group.finding_sites[0] for group in groups_of(path)]
    assert [one.value.value for one in sites] == ["83251001", "12738006", "12738006"]
    sides = [None if one.laterality is None else one.laterality.value for one in sites]
    assert sides == ["7771000", "24028007", None]
    assert {one for one in comments(path) if "region" in one} == {
        "definite; region frontal, side left (MARS)",
        "possible; region basal ganglia, side right (MARS)",
        "definite; region n/a, side n/a (MARS)",
    }


def test_it_counts_microbleeds_and_not_macrohaemorrhages(written, tmp_path):
    findings = written()
    macro = dataclasses.replace(findings.lesions[2], certainty=Certainty.MACROHAEMORRHAGE)
    findings = dataclasses.replace(findings, lesions=[*findings.lesions[:2], macro])
    path = write_sr(findings, tmp_path / "sr.dcm")
    assert total_of(path) == 2
    assert "1 definite, 1 possible" in comments(path)
    kinds = [group.finding_type.value for group in groups_of(path)]
    assert kinds == ["723857007", "723857007", "50960005"]


def test_no_lesion_is_a_count_of_0(written, tmp_path):
    path = write_sr(written(np.zeros((30, 24, 9), dtype=np.int32)), tmp_path / "sr.dcm")
    assert total_of(path) == 0
    assert groups_of(path) == []


def test_what_is_not_known_is_left_out(written, tmp_path):
    findings = written()
    first = dataclasses.replace(findings.lesions[0], diameter_mm=math.nan)
    findings = dataclasses.replace(findings, lesions=[first, *findings.lesions[1:]])
    groups = groups_of(write_sr(findings, tmp_path / "sr.dcm"))
    assert set(measures_of(groups[0])) == {"118565006", "122157"}
    assert set(measures_of(groups[1])) == {"118565006", "103339001", "122157"}


def test_it_is_preliminary_unverified_and_for_research(written, tmp_path):
    findings = written()
    path = write_sr(findings, tmp_path / "sr.dcm")
    dataset = pydicom.dcmread(path)
    assert dataset.VerificationFlag == "UNVERIFIED"
    assert dataset.CompletionFlag == "PARTIAL"
    assert dataset.PreliminaryFlag == "PRELIMINARY"
    assert dataset.PatientName == "Fake^Patient"
    assert "Research use only - not a medical device" in dataset.SeriesDescription
    assert any("Research use only - not a medical device" in one for one in comments(path))


def test_it_names_all_slices_of_the_series_as_evidence(written, tmp_path):
    findings = written()
    dataset = pydicom.dcmread(write_sr(findings, tmp_path / "sr.dcm"))
    series = dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {one.SeriesInstanceUID: one.ReferencedSOPSequence for one in series}
    assert len(named[findings.source.series_uid]) == 9
    assert len(named[findings.uid("seg series")]) == 1


def test_the_number_of_microbleeds_stands_beside_its_limits(written, tmp_path, judged):
    findings = written()
    macro = dataclasses.replace(findings.lesions[2], certainty=Certainty.MACROHAEMORRHAGE)
    lesions = [*findings.lesions[:2], macro]
    told = ("counted in the 38% of the brain that the scan covers", "the field is low \u2014 1 T")
    path = write_sr(
        dataclasses.replace(findings, lesions=lesions, limits=told), tmp_path / "sr.dcm"
    )
    (group,) = highdicom.sr.srread(path).content.get_image_measurement_groups()
    said = [
        item.TextValue
        for item in group[0].ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "121106"
    ]
    larger = "1 over 10 mm (macrohaemorrhage), not counted"
    assert said == ["1 definite, 1 possible", larger, *told]
    assert judged(path) == []
