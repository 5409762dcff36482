import dataclasses

import highdicom
import numpy as np
import pydicom
import pytest

from mmocnet.errors import InputError
from mmocnet.io.dicom.seg import write_seg
from mmocnet.volume import Volume


@pytest.mark.parametrize("multiframe", [False, True])
def test_frames_by_position_are_the_label_volume_of_an_oblique_scan(
    written, tmp_path, labels_from, multiframe
):
    findings = written(multiframe=multiframe)
    path = write_seg(findings, tmp_path / "seg.dcm")
    assert np.array_equal(labels_from(path, findings.labels), findings.labels.array)


@pytest.mark.parametrize("multiframe", [False, True])
def test_slices_of_a_tilted_scan_are_as_far_apart_as_along_their_normal(
    written, tmp_path, oblique, labels_from, multiframe
):
    # Each is moved by 0.5 mm along its columns against the one before.
    oblique[:3, 2] += 0.5 * oblique[:3, 1] / 0.7
    findings = written(multiframe=multiframe)
    path = write_seg(findings, tmp_path / "seg.dcm")
    assert np.array_equal(labels_from(path, findings.labels), findings.labels.array)
    (measures,) = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SpacingBetweenSlices == pytest.approx(2.0, abs=1e-6)


def test_frames_by_source_instance_are_the_label_volume(written, tmp_path):
    findings = written()
    seg = highdicom.seg.segread(write_seg(findings, tmp_path / "seg.dcm"))
    uids = [pydicom.dcmread(one).SOPInstanceUID for one in findings.source.files]
    read = seg.get_pixels_by_source_instance(
        uids,
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    assert np.array_equal(read.transpose(2, 1, 0), findings.labels.array)


def test_frames_by_source_frame_are_the_label_volume(written, tmp_path):
    findings = written(multiframe=True)
    seg = highdicom.seg.segread(write_seg(findings, tmp_path / "seg.dcm"))
    uid = pydicom.dcmread(findings.source.files[0]).SOPInstanceUID
    read = seg.get_pixels_by_source_frame(
        uid,
        list(findings.source.frames),
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    assert np.array_equal(read.transpose(2, 1, 0), findings.labels.array)


def test_source_frames_in_another_order_and_number_are_told_apart(written, tmp_path, labels_from):
    findings = written(multiframe=True)
    # Frames 8 to 3 of the file's nine: the volume runs the other way.
    affine = findings.labels.affine.copy()
    affine[:3, 3] += 7 * affine[:3, 2]
    affine[:3, 2] *= -1
    labels = Volume(findings.labels.array[:, :, 7:1:-1], affine, "labels")
    source = dataclasses.replace(findings.source, frames=(8, 7, 6, 5, 4, 3))
    turned = dataclasses.replace(
        findings, source=source, labels=labels, lesions=findings.lesions[:2]
    )
    path = write_seg(turned, tmp_path / "seg.dcm")
    assert np.array_equal(labels_from(path, labels), labels.array)
    dataset = pydicom.dcmread(path)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        origin = group.DerivationImageSequence[0].SourceImageSequence[0]
        header = pydicom.dcmread(findings.source.files[0])
        place = header.PerFrameFunctionalGroupsSequence[int(origin.ReferencedFrameNumber) - 1]
        expected = place.PlanePositionSequence[0].ImagePositionPatient
        assert group.PlanePositionSequence[0].ImagePositionPatient == expected


def test_geometry_of_each_frame_is_read_as_that_of_all_frames_is(written, tmp_path, labels_from):
    findings = written(multiframe=True)
    file = findings.source.files[0]
    dataset = pydicom.dcmread(file)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.PlaneOrientationSequence = shared.PlaneOrientationSequence
        group.PixelMeasuresSequence = shared.PixelMeasuresSequence
    del shared.PlaneOrientationSequence, shared.PixelMeasuresSequence
    dataset.save_as(file)
    path = write_seg(findings, tmp_path / "seg.dcm")
    assert np.array_equal(labels_from(path, findings.labels), findings.labels.array)


def test_a_lesion_on_one_slice_is_one_frame(written, tmp_path, labels_from):
    labels = np.zeros((30, 24, 9), dtype=np.int32)
    labels[10:12, 10:13, 4] = 1
    findings = written(labels)
    path = write_seg(findings, tmp_path / "seg.dcm")
    assert pydicom.dcmread(path).NumberOfFrames == 1
    assert np.array_equal(labels_from(path, findings.labels), labels)


@pytest.mark.parametrize("multiframe", [False, True])
def test_a_scan_of_one_slice_goes_through(written, tmp_path, labels_from, multiframe):
    labels = np.zeros((30, 24, 1), dtype=np.int32)
    labels[10:12, 10:13, 0] = 1
    findings = written(labels, multiframe=multiframe)
    path = write_seg(findings, tmp_path / "seg.dcm")
    assert np.array_equal(labels_from(path, findings.labels), labels)


def test_more_lesions_than_a_byte_counts_keep_their_numbers(written, tmp_path, labels_from):
    labels = np.zeros((30, 24, 9), dtype=np.int32)
    labels[:15, :18, 3] = np.arange(1, 15 * 18 + 1).reshape(15, 18)
    findings = written(labels)
    path = write_seg(findings, tmp_path / "seg.dcm")
    assert np.array_equal(labels_from(path, findings.labels), labels)


def test_each_lesion_is_a_segment_with_name_codes_colour_and_maker(written, tmp_path):
    findings = written()
    dataset = pydicom.dcmread(write_seg(findings, tmp_path / "seg.dcm"))
    segments = dataset.SegmentSequence
    assert [one.SegmentLabel for one in segments] == ["CMB 1", "CMB 2", "CMB 3"]
    assert [one.TrackingID for one in segments] == ["CMB 1", "CMB 2", "CMB 3"]
    assert len({one.TrackingUID for one in segments}) == 3
    assert len({tuple(one.RecommendedDisplayCIELabValue) for one in segments}) == 3
    for one in segments:
        assert one.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        assert one.SegmentedPropertyTypeCodeSequence[0].CodeValue == "50960005"
        assert one.SegmentAlgorithmType == "AUTOMATIC"
        made = one.SegmentationAlgorithmIdentificationSequence[0]
        assert made.AlgorithmName == "mmocnet"
        assert made.AlgorithmVersion == findings.version
        assert "standard" in made.AlgorithmParameters
        assert "cd" * 32 in made.AlgorithmParameters
    region = segments[0].AnatomicRegionSequence[0]
    assert region.CodeValue == "83251001"
    assert region.AnatomicRegionModifierSequence[0].CodeValue == "7771000"
    # The basal ganglia have no code of their own, and the third lesion's place is not known.
    assert "AnatomicRegionSequence" not in segments[1]
    assert "AnatomicRegionSequence" not in segments[2]


def test_it_says_whose_it_is_and_that_it_is_for_research(written, tmp_path):
    findings = written()
    dataset = pydicom.dcmread(write_seg(findings, tmp_path / "seg.dcm"))
    source = pydicom.dcmread(findings.source.files[0])
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[keyword].value == source[keyword].value
    assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    assert dataset.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert "Research use only - not a medical device" in dataset.SeriesDescription
    assert "Research use only - not a medical device" in dataset.ContentDescription
    assert dataset.SegmentationType == "BINARY"


def test_no_lesion_gives_no_segmentation(written, tmp_path):
    findings = written(np.zeros((30, 24, 9), dtype=np.int32))
    assert write_seg(findings, tmp_path / "seg.dcm") is None
    assert not (tmp_path / "seg.dcm").exists()


def test_a_slice_off_even_spacing_keeps_the_place_that_its_header_gives(written, tmp_path):
    findings = written()
    file = findings.source.files[3]
    dataset = pydicom.dcmread(file)
    # Of 2 mm between slices a twentieth.
    x, y, z = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [x, y, round(float(z) + 0.1, 6)]
    dataset.save_as(file)
    seg = pydicom.dcmread(write_seg(findings, tmp_path / "seg.dcm"))
    at = 0
    for pixels, group in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        position = group.PlanePositionSequence[0].ImagePositionPatient
        if position == dataset.ImagePositionPatient:
            number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            assert np.array_equal(pixels.T, findings.labels.array[:, :, 3] == number)
            at += 1
    assert at == 2


def test_a_volume_that_lies_elsewhere_than_its_series_is_refused(written, tmp_path):
    findings = written()
    moved = findings.labels.affine.copy()
    moved[2, 3] += 0.5
    labels = Volume(findings.labels.array, moved, "scan")
    with pytest.raises(InputError, match="where its DICOM header has it"):
        write_seg(dataclasses.replace(findings, labels=labels), tmp_path / "seg.dcm")


def test_slices_in_the_wrong_order_are_refused(written, tmp_path):
    findings = written()
    files = findings.source.files
    source = dataclasses.replace(findings.source, files=(files[1], files[0], *files[2:]))
    with pytest.raises(InputError, match="where its DICOM header has it"):
        write_seg(dataclasses.replace(findings, source=source), tmp_path / "seg.dcm")


def test_labels_without_their_lesion_are_refused(written):
    findings = written()
    with pytest.raises(InputError, match="expected a label of each of 2 lesions"):
        dataclasses.replace(findings, lesions=findings.lesions[:2])
