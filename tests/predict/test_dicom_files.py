import dataclasses
import errno
import json
import logging
import tempfile
import warnings

import nibabel
import numpy as np
import pydicom
import pytest

from mmocnet.config import SegmentSettings
from mmocnet.errors import InputError
from mmocnet.io.dicom.uids import derived_uid
from mmocnet.io.read import read_scan
from mmocnet.lesion import Certainty, Lesion
from mmocnet.predict import outputs
from mmocnet.predict.identity import result_settings
from mmocnet.predict.outputs import output_files, write_outputs
from mmocnet.predict.pipeline import segment_file
from mmocnet.predict.provenance import provenance
from mmocnet.predict.segmentation import Segmentation
from mmocnet.volume import Volume

QUICK = SegmentSettings(location=False)
"""Without the search for a phantom's place in a template of brains."""
SHAPE = (96, 120, 42)
SPHERES = [((20.0, -30.0, 6.0), 6.0), ((-31.0, 12.0, -15.0), 7.0)]


@pytest.fixture
def series(tmp_path, phantom, head_affine, write_dicom_series):
    def write(spheres=SPHERES, name="study.1", **options):
        write_dicom_series(tmp_path / name, phantom(head_affine, SHAPE, spheres), **options)
        return tmp_path / name

    return write


def segments(path):
    """Return a SEG's voxels by segment in world mm, LPS."""
    dataset = pydicom.dcmread(path)
    found = {}
    shared = dataset.SharedFunctionalGroupsSequence[0]
    turned = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient).reshape(2, 3)
    row_mm, column_mm = shared.PixelMeasuresSequence[0].PixelSpacing
    for pixels, group in zip(
        dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True
    ):
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        row, column = np.nonzero(pixels)
        lps = corner + np.outer(column * column_mm, turned[0]) + np.outer(row * row_mm, turned[1])
        found.setdefault(number, []).extend(map(tuple, np.round(lps, 2)))
    return {number: sorted(places) for number, places in found.items()}


@pytest.mark.parametrize("multiframe", [False, True])
def test_the_segmentation_is_the_mask_voxel_for_voxel(series, dark_spots, tmp_path, multiframe):
    done = segment_file(series(multiframe=multiframe), tmp_path / "out", QUICK, cascade=dark_spots)
    mask = nibabel.load(done.files.labels)
    voxels = {
        number: np.argwhere(mask.get_fdata() == number) @ mask.affine[:3, :3].T + mask.affine[:3, 3]
        for number in (1, 2)
    }
    expected = {
        number: sorted(map(tuple, np.round(places * [-1, -1, 1], 2)))
        for number, places in voxels.items()
    }
    found = segments(done.files.dicom / "seg.dcm")
    assert set(found) == set(expected)
    for number, places in expected.items():
        assert np.allclose(found[number], places, atol=0.02)


@pytest.fixture
def result(tmp_path, rng, head_affine, write_dicom_series, dark_spots):
    """What might have been found in a small series in the folder `study.1`."""
    volume = Volume(rng.uniform(50, 900, (32, 28, 6)), head_affine, "scan")
    write_dicom_series(tmp_path / "study.1", volume, patient_name="Doe^Jane", patient_id="J0042")
    scan = read_scan(tmp_path / "study.1")
    labels = np.zeros(scan.volume.shape, dtype=np.int32)
    labels[10:13, 10:13, 2:4] = 1
    centre = tuple(scan.volume.world(np.array([11.0, 11.0, 2.5])))
    lesion = Lesion(
        1, "CMB 1", centre, (11, 11, 2), 121.5, 5.4, 4.1, 0.8, Certainty.DEFINITE, "frontal"
    )
    record = provenance(scan, SegmentSettings(), dark_spots, 0.5)
    record["Input"]["Acquisition"] = {}
    record |= {"Started": "2026-03-04T05:06:07+00:00", "Seconds": 1.5}
    return Segmentation(
        image=scan.volume,
        labels=scan.volume.like(labels),
        probability=scan.volume.like((labels > 0).astype(np.float32)),
        candidate_labels=scan.volume.like(labels),
        lesions=(lesion,),
        candidates=(lesion,),
        siderosis=(),
        vessels=(),
        warnings=(),
        slice_axis=2,
        source="dicom",
        provenance=record,
        dicom=scan.dicom,
    )


def without_lesions(result):
    nothing = result.image.like(np.zeros_like(result.labels.array))
    return dataclasses.replace(
        result, labels=nothing, candidate_labels=nothing, lesions=(), candidates=()
    )


@pytest.fixture
def place(tmp_path):
    return output_files(tmp_path / "study.1", tmp_path / "out")


def test_a_dicom_scan_leaves_three_objects_in_a_folder_of_its_own(result, place, tmp_path):
    write_outputs(result, place)
    assert place.dicom == tmp_path / "out" / "study.1_dicom"
    names = sorted(one.name for one in place.dicom.iterdir())
    assert names == ["report.dcm", "seg.dcm", "sr.dcm"]
    assert (tmp_path / "out" / "study.1_desc-cmb_dseg.nii.gz").is_file()
    assert [one.name for one in (tmp_path / "out").iterdir() if one.name.startswith(".")] == []
    report = pydicom.dcmread(place.dicom / "report.dcm")
    assert report.ContentDate == "20260304"
    pdf = report.EncapsulatedDocument[: report.EncapsulatedDocumentLength]
    assert pdf == place.pdf.read_bytes()


@pytest.mark.parametrize("phase", [False, True])
def test_both_objects_say_how_the_result_was_made(result, place, phase):
    record = result.provenance
    record |= {"OperatingPoint": "screening", "Threshold": 0.0512}
    if phase:
        record["Input"]["Phase"] = {"Name": "p.nii", "SHA256": "0" * 64, "Sign": "auto"}
    write_outputs(result, place)
    (segment,) = pydicom.dcmread(place.dicom / "seg.dcm").SegmentSequence
    said = segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    report = pydicom.dcmread(place.dicom / "sr.dcm").to_json()
    used = "used" if phase else "not used"
    for name, value in (
        ("Operating point", "screening"),
        ("Confidence threshold", "0.0512"),
        ("Engine", "exact"),
        ("Phase", used),
        ("Brain mask", "made by this software"),
        ("SHA-256 of the input", record["Input"]["SHA256"]),
    ):
        assert f"{name}={value}" in said
        assert f"{name}: {value}" in report


def test_phase_that_was_given_and_not_read_is_not_said_to_be_used(result, place):
    record = result.provenance
    record["Input"]["Phase"] = {"Name": "p.nii", "SHA256": "0" * 64, "Sign": "auto"}
    record["PhaseRead"] = False
    write_outputs(result, place)
    assert "Phase: not used" in pydicom.dcmread(place.dicom / "sr.dcm").to_json()


def test_the_report_is_headed_by_the_study_and_the_series(result, place, words_of):
    write_outputs(result, place)
    for path in (place.report, place.pdf):
        text = words_of(path)
        assert "study.1, series 3" in text
        assert f"Series Instance UID {result.dicom.series_uid}" in text


def test_the_report_carries_the_limits_of_the_result(result, place, judged):
    record = result.provenance
    record["Location"] = {"Ok": True, "Coverage": 0.38, "Why": "", "Quality": 0.9}
    record["Model"]["Card"] = {
        "dataset": "training; simulated", "operating_points": {"simulated": True}
    }  # fmt: skip
    doubts = ("the field strength is not stated", "regions are unknown: no brain")
    write_outputs(dataclasses.replace(result, warnings=doubts), place)
    report = pydicom.dcmread(place.dicom / "sr.dcm").to_json()
    for text in (
        "counted in the 38% of the brain that the scan covers",
        *doubts,
        "Found by a network that was trained and measured on simulated scans only",
    ):
        assert f'["{text}"]' in report
    assert judged(place.dicom / "sr.dcm") == []


def test_no_lesion_leaves_a_report_and_no_segmentation(result, place):
    write_outputs(result, place)
    assert (place.dicom / "seg.dcm").is_file()
    # Written again without a lesion: the segmentation of before must not stay.
    write_outputs(without_lesions(result), place)
    assert sorted(one.name for one in place.dicom.iterdir()) == ["report.dcm", "sr.dcm"]


def test_the_report_s_uid_is_known_from_the_settings_before_the_scan_is_read(
    result, place, dark_spots
):
    write_outputs(result, place)
    settings = result_settings(json.loads(place.summary.read_text())["Provenance"])
    uids = {}
    for role in ("seg", "sr"):
        known = derived_uid(result.dicom.series_uid, dark_spots.sha256, settings, role)
        uids[role] = (known, pydicom.dcmread(place.dicom / f"{role}.dcm").SOPInstanceUID)
    assert uids["sr"][0] == uids["sr"][1]
    # The archive keeps the first object of a UID: one of other slices needs another.
    assert uids["seg"][0] != uids["seg"][1]


@pytest.mark.parametrize("given", ["Mask", "Phase"])
def test_another_mask_or_phase_gives_other_uids(result, tmp_path, given):
    record = result.provenance
    uids = []
    for digest in ("0" * 64, "1" * 64):
        source = record["Input"] | {given: {"Name": "x", "SHA256": digest}}
        other = dataclasses.replace(result, provenance=record | {"Input": source})
        place = output_files(tmp_path / "study.1", tmp_path / digest[0])
        write_outputs(other, place)
        uids.append(pydicom.dcmread(place.dicom / "sr.dcm").SOPInstanceUID)
    assert uids[0] != uids[1]


def test_a_failure_in_the_last_object_leaves_nothing(result, place, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("mmocnet.predict.dicom_files.write_pdf", refused)
    with pytest.raises(InputError, match="no space"):
        write_outputs(result, place)
    assert not place.root.exists()


def test_headers_that_allow_no_object_cost_a_warning_only(result, place, words_of):
    write_outputs(result, place)
    for path in result.dicom.files[:3]:
        dataset = pydicom.dcmread(path)
        dataset.FrameOfReferenceUID = "1.2.3"
        dataset.save_as(path)
    told = "no DICOM objects are made from series 3: expected headers from which a DICOM SEG can"
    done = write_outputs(result, place)
    assert done.warnings[0].startswith(told)
    assert done.dicom.unfit
    # Those of before are gone too; nothing else is.
    assert list(place.dicom.iterdir()) == []
    assert place.labels.is_file()
    assert json.loads(place.summary.read_text())["Summary"]["Warnings"] == list(done.warnings)
    assert told in " ".join(words_of(place.pdf).split())


@pytest.mark.parametrize("patient_id", ["7" * 65, "J0042\\J0043"], ids=["too long", "two"])
def test_a_patient_that_cannot_be_copied_costs_a_warning_only(result, place, patient_id):
    for path in result.dicom.files:
        dataset = pydicom.dcmread(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.PatientID = patient_id
            dataset.save_as(path)
    done = write_outputs(result, place)
    assert done.warnings[0] == (
        "no DICOM objects are made from series 3: expected one valid value of PatientID in every "
        "DICOM header of series 3, got one that cannot be copied as it is"
    )
    assert done.dicom.unfit
    assert not place.dicom.exists()
    assert place.labels.is_file()


def test_a_full_disk_is_no_fault_of_the_headers(result, place, monkeypatch):
    make = tempfile.mkstemp

    def full_for_objects(**options):
        if options["suffix"].endswith("seg.dcm"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return make(**options)

    monkeypatch.setattr(tempfile, "mkstemp", full_for_objects)
    with pytest.raises(InputError, match="No space left on device") as caught:
        write_outputs(result, place)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert not place.summary.exists()


def test_nothing_of_the_patient_is_outside_the_objects(result, place, words_of, caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        write_outputs(result, place)
    said = caplog.text + "".join(capfd.readouterr())
    found = [one for one in place.root.rglob("*") if one.is_file()]
    texts = [words_of(one) for one in found if one.suffix in (".json", ".tsv", ".html")]
    texts.append(words_of(place.pdf))
    assert len(texts) > 4
    assert "Research use only" in texts[-1]
    for secret in ("Jane", "J0042", "19420203", "Fake study", "ACC987", "Fake Hospital"):
        assert secret not in said
        assert not any(secret in one.name for one in found)
        assert not any(secret in text for text in texts)
    assert pydicom.dcmread(place.dicom / "sr.dcm").PatientID == "J0042"


def test_the_summary_is_moved_last(result, place, monkeypatch):
    # A scan with a summary is a scan whose objects are there.
    moved = []
    replace = outputs.Path.replace

    def watched(self, target):
        moved.append(target.name)
        return replace(self, target)

    monkeypatch.setattr(outputs.Path, "replace", watched)
    write_outputs(result, place)
    assert moved[-1] == place.summary.name
    assert {"seg.dcm", "sr.dcm", "report.dcm"} < set(moved)
