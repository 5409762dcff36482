"""A simulated study goes file -> archive -> `mmocnet pacs` -> SEG, SR and PDF in the archive."""

import io
import json
import os
import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from mmocnet.cli import main
from mmocnet.io.dataset import read_dataset
from mmocnet.io.nifti import read_nifti
from mmocnet.simulate.dataset import write_subjects
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.testset import plan_subjects

NAME = "Fake^Patient"


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "dataset"
    study = StudySettings("clinical", 0.0, (8, 8), slab_mm=18.0, images="phase")
    assert [r.state for r in write_subjects(out, plan_subjects(1, 99, study))] == ["written"]
    return read_dataset(out)[0]


@pytest.fixture(scope="module")
def swi(scan):
    return read_nifti(scan.image)


@pytest.fixture
def pacs(orthanc, login, tmp_path):
    words = ["pacs", "--url", orthanc.url, "--state", str(tmp_path / "state"), "--no-location"]
    return [*words, "--since", "2024-01-01", "--settle", "0", "--model", "compact", "--once"]


def test_a_simulated_study_comes_back_as_segment_has_it(
    pacs, orthanc, swi, write_dicom_series, tmp_path, capsys
):
    files = write_dicom_series(tmp_path / "study", swi, patient_name=NAME)
    orthanc.upload(files)
    assert main([*pacs, "--pdf"]) == 0
    said = capsys.readouterr()
    assert "Fake" not in said.out + said.err
    kinds = ("SEG", "SR", "DOC", "MR")
    stored = {kind: orthanc.stored(kind) for kind in kinds}
    assert [len(stored[kind]) for kind in kinds] == [1, 1, 1, len(files)]

    out = tmp_path / "out"
    words = ["segment", str(tmp_path / "study"), "-o", str(out), "--model", "compact"]
    assert main([*words, "--no-location"]) == 0
    labels = read_nifti(next(out.rglob("*_desc-cmb_dseg.nii.gz")))
    segmentation, report, paper = (_read(stored[kind][0]) for kind in ("SEG", "SR", "DOC"))
    assert labels.array.any()
    assert np.array_equal(_labels(segmentation, labels), labels.array)

    source = pydicom.dcmread(files[0])
    for one in (segmentation, report, paper):
        assert one.StudyInstanceUID == source.StudyInstanceUID
        assert one.PatientName == NAME
    lesions = {one.TrackingUID for one in segmentation.SegmentSequence}
    assert len(lesions) == labels.array.max()
    assert lesions <= _tracking_uids(report)

    assert main([*pacs, "--pdf"]) == 0
    (tmp_path / "state" / "state.sqlite").unlink()
    assert main([*pacs, "--pdf"]) == 0
    assert {kind: orthanc.stored(kind) for kind in kinds} == stored

    _check_conformance(tmp_path, stored["SEG"] + stored["SR"] + stored["DOC"])


def test_a_report_refers_to_the_segmentation_of_the_slices_that_it_is_about(
    pacs, orthanc, swi, write_dicom_series, tmp_path
):
    files = sorted(write_dicom_series(tmp_path / "study", swi))
    # A first try, before all slices had come, stored its Segmentation and no report.
    orthanc.upload(files[:-1])
    assert main(pacs) == 0
    query = {"Level": "Instance", "Query": {"Modality": "SR"}}
    (report,) = json.loads(orthanc.ask("/tools/find", json.dumps(query).encode()))
    orthanc.ask(f"/instances/{report}", method="DELETE")
    (tmp_path / "state" / "state.sqlite").unlink()
    orthanc.upload(files[-1:])
    assert main(pacs) == 0

    (report,) = map(_read, orthanc.stored("SR"))
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    named = {
        instance.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    found = {one.SOPInstanceUID: one for one in map(_read, orthanc.stored("SEG"))}
    (segmentation,) = (found[uid] for uid in named & found.keys())
    (series,) = segmentation.ReferencedSeriesSequence
    sources = {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence}
    assert sources == {pydicom.dcmread(one).SOPInstanceUID for one in files}
    assert {one.TrackingUID for one in segmentation.SegmentSequence} <= _tracking_uids(report)


@pytest.fixture(params=["another series", "the same series"])
def phase_in(request, scan, write_dicom_series, tmp_path):
    """Files of a study with phase, and the UID of the series that the phase is in."""
    files = write_dicom_series(tmp_path / "study", read_nifti(scan.image))
    tags = {}
    if request.param == "the same series":
        uid = str(pydicom.dcmread(files[0]).SeriesInstanceUID)
        tags = {"SeriesInstanceUID": uid, "SeriesDescription": "SWI"}
    phase = read_nifti(scan.phase)
    files += write_dicom_series(tmp_path / "study", phase, kind="phase", **tags)
    return files, str(pydicom.dcmread(files[-1]).SeriesInstanceUID)


def test_the_phase_of_the_study_is_read(pacs, orthanc, phase_in, tmp_path, capsys):
    files, uid = phase_in
    orthanc.upload(files)
    words = [*pacs, "--model", "standard"]
    assert main(words) == 0
    stored = orthanc.stored("SEG"), orthanc.stored("SR")
    assert [len(one) for one in stored] == [1, 1]

    out = tmp_path / "out"
    assert main(["segment", str(tmp_path / "study"), "-o", str(out), "--no-location"]) == 0
    (record,) = out.rglob("*_desc-cmb_dseg.json")
    found = json.loads(record.read_text())["Provenance"]["Input"]
    assert found["Phase"]["SeriesInstanceUID"] == uid
    labels = read_nifti(next(out.rglob("*_desc-cmb_dseg.nii.gz")))
    assert labels.array.any()
    assert np.array_equal(_labels(_read(stored[0][0]), labels), labels.array)

    # Its UIDs tell that the result is there, whatever the watch remembers.
    (tmp_path / "state" / "state.sqlite").unlink()
    capsys.readouterr()
    assert main(words) == 0
    assert "there already" in capsys.readouterr().err
    assert (orthanc.stored("SEG"), orthanc.stored("SR")) == stored


def _read(content):
    return pydicom.dcmread(io.BytesIO(content))


def _labels(segmentation, grid):
    """Each frame's segment number on the voxels that its position and orientation name."""
    labels = np.zeros(grid.shape, dtype=np.int32)
    to_voxel = np.linalg.inv(grid.affine)
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    for pixels, item in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        lps = np.array(item.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        i, j, k = (to_voxel @ [-lps[0], -lps[1], lps[2], 1])[:3]
        assert np.allclose([i, j, k], [0, 0, round(k)], atol=1e-3)
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        labels[:, :, round(k)][pixels.T > 0] = number
    return labels


def _tracking_uids(report):
    """Every value of Tracking Unique Identifier (112040, DCM) in the tree."""
    found, todo = set(), list(report.ContentSequence)
    while todo:
        item = todo.pop()
        todo += item.get("ContentSequence", [])
        if "UID" in item and item.ConceptNameCodeSequence[0].CodeValue == "112040":
            found.add(item.UID)
    return found


def _check_conformance(folder, objects):
    checker = shutil.which("dciodvfy")
    if checker is None:
        assert os.environ.get("CI") != "true", "Debian's dicom3tools are not installed"
        pytest.skip("Debian's dicom3tools are not installed: scripts/apt.sh")
    for number, content in enumerate(objects):
        path = folder / f"{number}.dcm"
        path.write_bytes(content)
        done = subprocess.run([checker, str(path)], capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert "Error" not in said, said
