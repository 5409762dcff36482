import dataclasses
import logging
import time
import warnings
from datetime import timedelta

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID

from mmocnet.errors import InputError
from mmocnet.io.dicom.pdf import write_pdf
from mmocnet.io.dicom.seg import write_seg
from mmocnet.io.dicom.sr import write_sr
from mmocnet.io.dicom.uids import derived_uid

PDF = b"%PDF-1.4 not really"


def write_all(findings, folder):
    written = [
        write_seg(findings, folder / "seg.dcm"),
        write_sr(findings, folder / "sr.dcm"),
        write_pdf(findings, PDF, folder / "report.dcm"),
    ]
    return [path for path in written if path is not None]


def uids_of(path):
    """Return every UID in a file, with where it stands."""
    found = []
    dataset = pydicom.dcmread(path)
    dataset.walk(lambda _, item: found.append((item.tag, item.value)) if item.VR == "UI" else None)
    return found


@pytest.mark.parametrize("multiframe", [False, True])
@pytest.mark.parametrize("lesions", [True, False])
def test_a_strict_judge_finds_no_error(written, tmp_path, judged, multiframe, lesions):
    labels = None if lesions else np.zeros((30, 24, 9), dtype=np.int32)
    paths = write_all(written(labels, multiframe=multiframe), tmp_path)
    assert len(paths) == (3 if lesions else 2)
    assert {path.name: judged(path) for path in paths} == {path.name: [] for path in paths}


def test_the_judge_finds_what_is_wrong(written, tmp_path, judged):
    path = write_seg(written(), tmp_path / "seg.dcm")
    dataset = pydicom.dcmread(path)
    del dataset.SegmentSequence
    dataset.save_as(path)
    assert any("SegmentSequence" in line for line in judged(path))


def test_a_repeat_gives_the_same_bytes(written, tmp_path):
    findings = written()
    first = [path.read_bytes() for path in write_all(findings, tmp_path / "first")]
    again = dataclasses.replace(findings)
    assert [path.read_bytes() for path in write_all(again, tmp_path / "again")] == first


def times_of(path):
    one = pydicom.dcmread(path)
    kinds = ("InstanceCreation", "Content", "Series")
    (told,) = {(one[f"{kind}Date"].value, one[f"{kind}Time"].value) for kind in kinds}
    contributed = one.get("ContributingEquipmentSequence", [])
    assert {item.ContributionDateTime for item in contributed} <= {"".join(told)}
    return (*told, one.get("TimezoneOffsetFromUTC"))


@pytest.mark.parametrize(
    ("offset", "told"),
    [
        ("+0900", ("20260304", "140607", "+0900")),
        ("-0530", ("20260303", "233607", "-0530")),
        ("+0000", ("20260304", "050607", "+0000")),
    ],
)
def test_times_are_of_the_zone_that_the_source_states(written, tmp_path, judged, offset, told):
    paths = write_all(written(TimezoneOffsetFromUTC=offset), tmp_path)
    assert [times_of(path) for path in paths] == [told] * 3
    assert [line for path in paths for line in judged(path)] == []


@pytest.mark.parametrize("stated", [None, "", "JST", "+2500"])
def test_without_a_zone_times_are_of_the_machine_and_no_zone_is_stated(
    written, tmp_path, monkeypatch, stated
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        findings = written(**({} if stated is None else {"TimezoneOffsetFromUTC": stated}))
    try:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        paths = write_all(findings, tmp_path)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [times_of(path) for path in paths] == [("20260304", "140607", None)] * 3


def test_a_later_repeat_has_the_same_uids(written, tmp_path):
    findings = written()
    later = dataclasses.replace(findings, made=findings.made + timedelta(days=1))
    first = write_all(findings, tmp_path / "first")
    second = write_all(later, tmp_path / "second")
    for one, other in zip(first, second, strict=True):
        assert uids_of(one) == uids_of(other)
        assert pydicom.dcmread(one).ContentDate == "20260304"
        assert pydicom.dcmread(other).ContentDate == "20260305"


def test_another_setting_gives_other_objects(written, tmp_path):
    findings = written()
    other = dataclasses.replace(findings, settings={"threshold": 0.6})
    first = write_all(findings, tmp_path / "first")
    second = write_all(other, tmp_path / "second")
    for paths in zip(first, second, strict=True):
        one, two = map(pydicom.dcmread, paths)
        assert one.SOPInstanceUID != two.SOPInstanceUID
        assert one.SeriesInstanceUID != two.SeriesInstanceUID


@pytest.mark.parametrize("multiframe", [False, True])
def test_other_instances_give_other_objects_but_the_report_is_foreseen(
    written, tmp_path, multiframe
):
    findings = written(multiframe=multiframe)
    made = {path.name: path for path in write_all(findings, tmp_path / "first")}
    # A slice that came later, or an instance that was sent anew.
    header = pydicom.dcmread(findings.source.files[0])
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    header.save_as(findings.source.files[0])
    other = dataclasses.replace(findings)
    again = {path.name: path for path in write_all(other, tmp_path / "again")}
    for name, path in made.items():
        one, two = pydicom.dcmread(path), pydicom.dcmread(again[name])
        assert (one.SOPInstanceUID == two.SOPInstanceUID) == (name == "sr.dcm")
        assert one.SeriesInstanceUID != two.SeriesInstanceUID
    first, second = (pydicom.dcmread(files["seg.dcm"]) for files in (made, again))
    for one, two in zip(first.SegmentSequence, second.SegmentSequence, strict=True):
        assert one.TrackingUID != two.TrackingUID
    assert second.SOPInstanceUID in {value for _, value in uids_of(again["sr.dcm"])}


def test_uids_are_valid_and_depend_on_all_they_are_made_from():
    given = ("1.2.3", {"a": "0", "b": "1"}, {"x": 1, "y": [1, 2]}, "seg")
    uid = derived_uid(*given)
    assert UID(uid).is_valid
    # Order and tuples make no difference: provenance may have been through JSON.
    assert derived_uid("1.2.3", {"b": "1", "a": "0"}, {"y": (1, 2), "x": 1}, "seg") == uid
    others = [
        derived_uid("1.2.4", *given[1:]),
        derived_uid("1.2.3", {"a": "0", "b": "2"}, *given[2:]),
        derived_uid("1.2.3", given[1], {"x": 1, "y": [1, 3]}, "seg"),
        derived_uid(*given[:3], "sr"),
    ]
    assert len({uid, *others}) == 5


@pytest.mark.parametrize("multiframe", [False, True])
def test_a_header_that_is_not_quite_valid_goes_through_unsaid(
    written, tmp_path, judged, caplog, capfd, multiframe
):
    bad = {
        "SpecificCharacterSet": "ISO_IR 100",
        "patient_name": "Müller Jürgen",
        "PatientSex": "W",
        "PatientID": "QQQ17",
        "PatientBirthDate": "1.2.1942",
        "StudyDescription": "too long " * 10,
        "AccessionNumber": "A" * 40,
        "ReferringPhysicianName": "too long " * 10,
        "FrameOfReferenceUID": "unknown",
        "StudyTime": "",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        findings = written(multiframe=multiframe, **bad)
    caplog.clear()
    capfd.readouterr()
    with caplog.at_level(logging.DEBUG):
        paths = write_all(findings, tmp_path)
    said = caplog.text + "".join(capfd.readouterr())
    assert "rgen" not in said
    assert "QQQ" not in said
    for path in paths:
        assert str(pydicom.dcmread(path).PatientName) == "Müller Jürgen"
        assert pydicom.dcmread(path).PatientSex == ""
        assert pydicom.dcmread(path).PatientBirthDate == ""
    assert [line for path in paths for line in judged(path)] == []


NOT_TO_BE_COPIED = {
    "too long": {"patient_id": "QQQ" + "7" * 62},
    "two identifiers": {"patient_id": "QQQ7\\QQQ8"},
    "two names": {"patient_name": "QQQ^A\\QQQ^B"},
    "too long a name": {"patient_name": "QQQ" * 30},
    "two issuers": {"IssuerOfPatientID": "QQQ\\QQR"},
    "a line break": {"patient_id": "QQQ\n7"},
}


@pytest.mark.parametrize("multiframe", [False, True])
@pytest.mark.parametrize("bad", NOT_TO_BE_COPIED.values(), ids=NOT_TO_BE_COPIED)
def test_a_patient_that_cannot_be_copied_gets_no_object(written, tmp_path, bad, multiframe):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        findings = written(multiframe=multiframe, **bad)
    _check_that_none_is_made(findings, tmp_path, "got one that cannot be copied as it is")


def _check_that_none_is_made(findings, folder, message):
    for write in (write_seg, write_sr, lambda one, path: write_pdf(one, PDF, path)):
        with pytest.raises(InputError, match=message) as caught:
            write(findings, folder / "object.dcm")
        assert "QQ" not in str(caught.value)
    assert not (folder / "object.dcm").exists()


def test_a_patient_s_name_that_cannot_be_read_gets_no_object(written, tmp_path):
    findings = written(SpecificCharacterSet="ISO_IR 192", patient_name="QQQ^Juergen")
    for path in findings.source.files:
        path.write_bytes(path.read_bytes().replace(b"Juergen", b"J\xfcrrgen"))
    _check_that_none_is_made(findings, tmp_path, "one valid value of PatientName in every")


def test_an_identifier_that_is_no_text_gets_no_object(written, tmp_path):
    findings = written(patient_id="QQQ7")
    for path in findings.source.files:
        start = path.read_bytes()
        assert start.count(b"\x10\x00\x20\x00LO\x04\x00QQQ7") == 1
        path.write_bytes(start.replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00AT"))
    _check_that_none_is_made(findings, tmp_path, "one valid value of PatientID in every")


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "IssuerOfPatientID"])
@pytest.mark.parametrize("slice_at", [0, 4])
def test_headers_that_name_the_patient_in_part_get_no_object(written, tmp_path, keyword, slice_at):
    findings = written(IssuerOfPatientID="QQQ", patient_id="QQQ7")
    header = pydicom.dcmread(findings.source.files[slice_at])
    setattr(header, keyword, "")
    header.save_as(findings.source.files[slice_at])
    _check_that_none_is_made(findings, tmp_path, "expected the same patient in every DICOM header")


def test_a_series_that_names_no_patient_gets_objects_that_name_none(written, tmp_path):
    for path in write_all(written(patient_name="", patient_id=""), tmp_path):
        assert pydicom.dcmread(path).PatientID == ""


def test_several_values_are_copied_where_there_may_be_several(written, tmp_path, judged):
    methods = ["DCM:113100", "DCM:113105"]
    findings = written(
        PatientIdentityRemoved="YES",
        DeidentificationMethod=methods,
        StudyDescription="head\\neck",
        AccessionNumber="A1\\A2",
    )
    for path in write_all(findings, tmp_path):
        dataset = pydicom.dcmread(path)
        assert dataset.AccessionNumber == ""
        assert "StudyDescription" not in dataset
        assert dataset.get("DeidentificationMethod", methods) == methods
        assert b"['" not in path.read_bytes()
    assert [line for one in tmp_path.glob("*.dcm") for line in judged(one)] == []


def test_a_series_without_a_study_is_refused(written, tmp_path):
    findings = written(StudyInstanceUID="")
    with pytest.raises(InputError, match="expected StudyInstanceUID in every DICOM header"):
        write_seg(findings, tmp_path / "seg.dcm")
    assert not (tmp_path / "seg.dcm").exists()


def test_a_series_without_a_frame_of_reference_gets_one(written, tmp_path, judged):
    paths = write_all(written(FrameOfReferenceUID=""), tmp_path)
    assert [line for path in paths for line in judged(path)] == []
    assert UID(pydicom.dcmread(paths[0]).FrameOfReferenceUID).is_valid
