import shutil
import warnings
import zipfile
from copy import deepcopy

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from mmocnet.errors import InputError
from mmocnet.io.dicom.find import choose_swi, find_series
from mmocnet.io.dicom.guard import pixels
from mmocnet.io.dicom.volume import read_series
from mmocnet.volume import Volume

SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}


def _read(path):
    return read_series(choose_swi(find_series(path)))


def _assert_same(found: Volume, expected: Volume):
    assert found.shape == expected.shape
    assert np.allclose(found.affine, expected.affine, atol=1e-6)
    assert np.array_equal(found.array, expected.array)


@pytest.mark.parametrize("multiframe", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
def test_what_was_written_is_read(tmp_path, write_dicom_series, volume, syntax, multiframe):
    write_dicom_series(tmp_path, volume, multiframe=multiframe, transfer_syntax=syntax)
    found, _, warnings = _read(tmp_path)
    _assert_same(found, volume)
    assert found.name == "series 3"
    assert warnings == ()


@pytest.mark.parametrize("multiframe", [False, True])
def test_the_source_gives_the_pixels_of_each_slice(
    tmp_path, write_dicom_series, volume, multiframe
):
    write_dicom_series(tmp_path, volume, multiframe=multiframe)
    found, source, _ = _read(tmp_path)
    assert len(source.files) == (1 if multiframe else volume.shape[2])
    for k, frame in enumerate(source.frames):
        assert np.array_equal(pixels(source.file(k), frame), found.array[:, :, k].T)


def test_the_technique_has_bids_units(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path, volume)
    _, source, _ = _read(tmp_path)
    assert source.vendor == "siemens"
    assert source.technique == {
        "MagneticFieldStrength": 3.0,
        "EchoTime": 0.02,
        "RepetitionTime": 0.027,
        "FlipAngle": 15.0,
        "SliceThickness": 2.0,
        "ScanningSequence": "GR",
        "Manufacturer": "SIEMENS",
        "ImageKind": "SWI",
    }


def test_text_of_the_technique_is_printable_and_short(tmp_path, write_dicom_series, volume):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maker, sequence = "SIE\x1b[31mMENS" + 100 * "x", ["GR", "IR", "S\nE", *["GR"] * 40]
        write_dicom_series(tmp_path, volume, Manufacturer=maker, ScanningSequence=sequence)
    technique = _read(tmp_path)[1].technique
    assert technique["Manufacturer"] == "SIE[31mMENS" + 52 * "x"
    assert technique["ScanningSequence"].startswith("GR\\IR\\SE\\GR")
    assert len(technique["ScanningSequence"]) <= 64


def test_slices_are_sorted_in_space_whatever_their_names(tmp_path, write_dicom_series, volume):
    paths = write_dicom_series(tmp_path / "a", volume)
    for number, path in enumerate(paths):
        folder = tmp_path / "mess" / str(number % 3)
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / f"IM{(7 * number) % 9:04d}")
    _assert_same(_read(tmp_path / "mess")[0], volume)


def test_slices_stored_downwards_lie_at_the_same_world_points(tmp_path, write_dicom_series, volume):
    affine = volume.affine.copy()
    affine[:3, 3] += 8 * affine[:3, 2]
    affine[:3, 2] *= -1
    downwards = Volume(volume.array[:, :, ::-1], affine)
    write_dicom_series(tmp_path, downwards)
    _assert_same(_read(tmp_path)[0], volume)


def test_values_are_rescaled(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path, volume, RescaleSlope=0.5, RescaleIntercept=-100)
    found, _, _ = _read(tmp_path)
    assert np.array_equal(found.array, 0.5 * volume.array - 100)


@pytest.mark.parametrize("multiframe", [False, True])
def test_phase_comes_back_in_the_scanner_s_units(tmp_path, write_dicom_series, phase, multiframe):
    write_dicom_series(tmp_path, phase, kind="phase", multiframe=multiframe)
    (series,) = find_series(tmp_path)
    found, _, _ = read_series(series)
    assert series.kind == "phase"
    assert np.abs(found.array / 4096 * np.pi - phase.array).max() < 0.003


def test_a_missing_slice_is_refused(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path, volume)[4].unlink()
    message = (
        r"slices are missing in series 3: expected 2\.00 mm from slice to slice, "
        r"got 4\.00 mm between slices 4 and 5 of 8"
    )
    with pytest.raises(InputError, match=message):
        _read(tmp_path)


BAD_SCALES = [
    (keyword, value)
    for keyword in ("RescaleSlope", "RescaleIntercept")
    for value in ("0", "-0.0", "nan", "inf", "-inf", "1e300")
    if keyword == "RescaleSlope" or float(value) != 0
]


def _rescaled(dataset, keyword, value):
    """Write a value that pydicom refuses to write as what it is."""
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.add(RawDataElement(Tag(keyword), "DS", len(value), value.encode(), 0, False, True))


@pytest.mark.parametrize(("keyword", "value"), BAD_SCALES)
def test_a_slice_that_rescaling_makes_blank_or_infinite_is_damaged(
    tmp_path, write_dicom_series, volume, keyword, value
):
    paths = write_dicom_series(tmp_path, volume)
    for path in (paths[8], paths[4]):
        dataset = pydicom.dcmread(path)
        _rescaled(dataset, keyword, value)
        dataset.save_as(path)
        (series,) = find_series(tmp_path)
        told = f"left out {9 - len(series.slices)} damaged DICOM file"
        assert series.warnings[0].startswith(told)
    with pytest.raises(InputError, match="slices are missing in series 3"):
        _read(tmp_path)


def test_a_file_with_a_frame_that_rescaling_makes_blank_is_damaged(
    tmp_path, write_dicom_series, volume
):
    (path,) = write_dicom_series(tmp_path, volume, multiframe=True)
    dataset = pydicom.dcmread(path)
    scale = pydicom.Dataset()
    _rescaled(scale, "RescaleSlope", "0")
    dataset.PerFrameFunctionalGroupsSequence[4].PixelValueTransformationSequence = [scale]
    dataset.save_as(path)
    with pytest.raises(InputError, match="found no DICOM image among 1 file"):
        _read(tmp_path)


def test_slices_that_lie_off_even_spacing_are_warned_of_then_refused(
    tmp_path, write_dicom_series, volume
):
    from pydicom import dcmread

    middle = write_dicom_series(tmp_path, volume)[4]
    dataset = dcmread(middle)
    normal = np.diag([-1, -1, 1]) @ volume.affine[:3, 2] / 2.0
    place = np.array(dataset.ImagePositionPatient, dtype=float)
    for off_mm in (0.1, 0.4):
        dataset.ImagePositionPatient = [round(v, 8) for v in (place + off_mm * normal)]
        dataset.save_as(middle)
        if off_mm < 0.2:
            assert "unevenly spaced in series 3: up to 0.10 mm off" in _read(tmp_path)[2][0]
    with pytest.raises(InputError, match=r"unevenly spaced in series 3: up to 0\.40 mm off"):
        _read(tmp_path)


def test_slices_that_are_there_twice_are_taken_once(tmp_path, write_dicom_series, volume):
    first = write_dicom_series(tmp_path / "a", volume)
    for path in first[:3]:
        shutil.copy(path, tmp_path / f"copy-{path.name}")
    found, source, warnings = _read(tmp_path)
    _assert_same(found, volume)
    assert len(source.files) == 9
    assert warnings == ("left out 3 slices in series 3 at the place of another",)


def test_slices_of_another_orientation_are_left_out(tmp_path, write_dicom_series, volume):
    paths = write_dicom_series(tmp_path, volume)
    uid = find_series(tmp_path)[0].uid
    sagittal = Volume(volume.array[:, :, :2], volume.affine[:, [1, 2, 0, 3]])
    write_dicom_series(tmp_path / "s", sagittal, SeriesInstanceUID=uid)
    found, _, warnings = _read(tmp_path)
    _assert_same(found, volume)
    assert "left out 2 slices in series 3 of another orientation" in warnings[0]
    for path in paths[2:]:
        path.unlink()
    with pytest.raises(InputError, match="one orientation, pixel size and matrix, got 2 of 4"):
        _read(tmp_path)


def test_a_single_slice_has_the_thickness_of_its_header(tmp_path, write_dicom_series, volume):
    path = write_dicom_series(tmp_path, volume)[4]
    found, source, _ = _read(path)
    assert source.files == (path,)
    assert np.allclose(found.affine[:3, :3], volume.affine[:3, :3])
    assert np.array_equal(found.array[:, :, 0], volume.array[:, :, 4])


def test_the_hash_is_of_the_images_not_of_their_files(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path / "a", volume)
    write_dicom_series(tmp_path / "b", volume, transfer_syntax=SYNTAXES["JPEG-LS"])
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        for number, path in enumerate(sorted((tmp_path / "a").iterdir())):
            archive.write(path, f"DICOM/{9 - number}")
    hashes = {_read(tmp_path / name)[1].sha256 for name in ("a", "b", "c.zip")}
    assert len(hashes) == 1
    changed = volume.like(volume.array + (volume.array == volume.array.max()))
    write_dicom_series(tmp_path / "d", changed)
    assert _read(tmp_path / "d")[1].sha256 not in hashes


def test_files_of_a_zip_last_as_long_as_the_source(tmp_path, write_dicom_series, volume):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in write_dicom_series(tmp_path / "a", volume):
            archive.write(path, path.name)
    _, source, _ = _read(tmp_path / "a.zip")
    files = source.files
    assert all(path.is_file() for path in files)
    del source
    assert not files[0].parent.exists()


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({}, ""),
        ({"StudyInstanceUID": ""}, "no valid Study Instance UID in a header"),
        ({"SeriesInstanceUID": None}, "no valid Series Instance UID in a header"),
        ({"SOPInstanceUID": "1.02"}, "no valid SOP Instance UID in a header"),
        ({"SOPInstanceUID": "1.2.3"}, "several slices with the same SOP Instance UID"),
    ],
)
def test_headers_that_identify_nothing_are_read_and_told(
    tmp_path, write_dicom_series, volume, tags, told
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_dicom_series(tmp_path, volume, **tags)
    read, source, doubts = read_series(choose_swi(find_series(tmp_path)))
    assert read.shape == volume.shape
    assert source.unfit == told
    assert doubts == ((f"no DICOM objects are made from series 3: {told}",) if told else ())


def test_frames_in_several_multi_frame_files_are_one_volume(tmp_path, write_dicom_series, volume):
    (path,) = write_dicom_series(tmp_path, volume, multiframe=True)
    whole, array = pydicom.dcmread(path), pydicom.dcmread(path).pixel_array
    path.unlink()
    for k, group in enumerate(whole.PerFrameFunctionalGroupsSequence):
        one = deepcopy(whole)
        one.SOPInstanceUID, one.NumberOfFrames = f"1.2.3.{k}", 1
        one.PerFrameFunctionalGroupsSequence = [group]
        one.PixelData = array[k].tobytes()
        one.save_as(tmp_path / f"{k}.dcm")
    read, source, doubts = _read(tmp_path)
    _assert_same(read, volume)
    assert source.unfit == ""
    assert doubts == ()


def test_slices_of_several_frames_of_reference_are_read_and_told(
    tmp_path, write_dicom_series, volume
):
    path = write_dicom_series(tmp_path, volume)[4]
    dataset = pydicom.dcmread(path)
    dataset.FrameOfReferenceUID = "1.2.3"
    dataset.save_as(path)
    read, source, _ = _read(tmp_path)
    _assert_same(read, volume)
    assert source.unfit == "slices of several frames of reference"


def test_a_setting_of_two_values_is_left_out_and_drops_no_slice(
    tmp_path, write_dicom_series, volume
):
    write_dicom_series(tmp_path, volume, RepetitionTime=[27.0, 28.0])
    read, source, doubts = _read(tmp_path)
    _assert_same(read, volume)
    assert "RepetitionTime" not in source.technique
    assert doubts == ()


def test_compression_with_loss_is_told(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path, volume, LossyImageCompression="01")
    assert "series 3 was compressed with loss" in _read(tmp_path)[2][0]


@pytest.mark.parametrize(
    ("date", "told"), [("20240102", "20240102"), ("", ""), (None, ""), ("2024", "")]
)
def test_the_date_of_the_study_is_kept_and_not_shown(
    tmp_path, write_dicom_series, volume, date, told
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_dicom_series(tmp_path, volume, StudyDate=date)
    _, source, _ = read_series(choose_swi(find_series(tmp_path)))
    assert source.date == told
    assert "20240102" not in repr(source)


def _renumbered(files, numbers):
    for path, number in zip(files, numbers, strict=True):
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = number
        dataset.save_as(path)


def test_slices_keep_the_numbers_that_viewers_show(tmp_path, write_dicom_series, volume):
    files = write_dicom_series(tmp_path, volume)
    count = volume.shape[2]
    assert _read(tmp_path)[1].numbers == tuple(range(1, count + 1))
    _renumbered(files, range(count, 0, -1))
    assert _read(tmp_path)[1].numbers == tuple(range(count, 0, -1))


def test_numbers_that_occur_twice_are_none(tmp_path, write_dicom_series, volume):
    files = write_dicom_series(tmp_path, volume)
    _renumbered(files, [1] * len(files))
    assert _read(tmp_path)[1].numbers == ()


def test_frames_are_numbered_as_frames(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path, volume, multiframe=True)
    assert _read(tmp_path)[1].numbers == tuple(range(1, volume.shape[2] + 1))
