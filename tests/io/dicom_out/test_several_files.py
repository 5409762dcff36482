"""A series of Enhanced MR that comes in several files, of a frame each or of more."""

from copy import deepcopy

import highdicom
import numpy as np
import pydicom
import pytest

from mmocnet.io.dicom.find import choose_swi, find_series
from mmocnet.io.dicom.pdf import write_pdf
from mmocnet.io.dicom.seg import write_seg
from mmocnet.io.dicom.sr import write_sr
from mmocnet.io.dicom.volume import read_series

ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"
SPLITS = ([1] * 9, [3] * 3, [1, 5, 3])


@pytest.fixture(params=SPLITS, ids=lambda split: f"{len(split)} files")
def findings(request, tmp_path, written, findings_in):
    """Findings in a series as it is read from files of so many frames each."""
    whole = written(multiframe=True)
    (path,) = whole.source.files
    dataset = pydicom.dcmread(path)
    groups, pixels = list(dataset.PerFrameFunctionalGroupsSequence), dataset.pixel_array
    path.unlink()
    at = 0
    for number, count in enumerate(request.param, 1):
        one = deepcopy(dataset)
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        one.InstanceNumber, one.NumberOfFrames = number, count
        one.PerFrameFunctionalGroupsSequence = groups[at : at + count]
        one.PixelData = pixels[at : at + count].tobytes()
        # Names do not tell the order.
        one.save_as(path.with_name(f"{-number % 10}.dcm"))
        at += count
    volume, source, _ = read_series(choose_swi(find_series(path.parent)))
    assert source.unfit == ""
    return findings_in(source, volume.like(whole.labels.array))


def headers_of(findings):
    found = map(pydicom.dcmread, set(findings.source.files))
    return {str(one.SOPInstanceUID): one for one in found}


def test_each_frame_refers_to_the_file_and_frame_that_it_lies_on(findings, tmp_path, labels_from):
    path = write_seg(findings, tmp_path / "seg.dcm")
    assert np.array_equal(labels_from(path, findings.labels), findings.labels.array)
    headers = headers_of(findings)
    for group in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        (origin,) = group.DerivationImageSequence[0].SourceImageSequence
        assert origin.ReferencedSOPClassUID == ENHANCED
        header = headers[origin.ReferencedSOPInstanceUID]
        # Of the only frame the standard has no number.
        assert ("ReferencedFrameNumber" in origin) == (header.NumberOfFrames > 1)
        place = header.PerFrameFunctionalGroupsSequence[origin.get("ReferencedFrameNumber", 1) - 1]
        expected = place.PlanePositionSequence[0].ImagePositionPatient
        assert group.PlanePositionSequence[0].ImagePositionPatient == expected


def test_each_object_names_each_file_once(findings, tmp_path):
    seg = pydicom.dcmread(write_seg(findings, tmp_path / "seg.dcm"))
    sr = pydicom.dcmread(write_sr(findings, tmp_path / "sr.dcm"))
    pdf = pydicom.dcmread(write_pdf(findings, b"%PDF-1.4 x", tmp_path / "report.dcm"))
    series = findings.source.series_uid
    (referenced,) = seg.ReferencedSeriesSequence
    (study,) = sr.CurrentRequestedProcedureEvidenceSequence
    (evidence,) = (one for one in study.ReferencedSeriesSequence if one.SeriesInstanceUID == series)
    wanted = sorted((ENHANCED, uid) for uid in headers_of(findings))
    for items in (
        referenced.ReferencedInstanceSequence,
        seg.SourceImageSequence,
        evidence.ReferencedSOPSequence,
        pdf.SourceInstanceSequence,
    ):
        told = [(one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in items]
        assert sorted(told) == wanted


def test_a_strict_judge_and_another_reader_find_no_error(findings, tmp_path, judged, caplog):
    paths = [
        write_seg(findings, tmp_path / "seg.dcm"),
        write_sr(findings, tmp_path / "sr.dcm"),
        write_pdf(findings, b"%PDF-1.4 x", tmp_path / "report.dcm"),
    ]
    assert [line for path in paths for line in judged(path)] == []
    read = highdicom.seg.segread(paths[0]).get_volume(combine_segments=True)
    assert np.count_nonzero(read.array) == np.count_nonzero(findings.labels.array)
    assert len(highdicom.sr.srread(paths[1]).content.get_volumetric_roi_measurement_groups()) == 3
    assert caplog.text == ""
