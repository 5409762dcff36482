import shutil
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread
from scipy.spatial.transform import Rotation

from mmocnet.errors import InputError
from mmocnet.io.dicom import stack
from mmocnet.io.dicom.find import choose_swi, find_series
from mmocnet.io.dicom.parts import parts_of
from mmocnet.io.dicom.stack import MAX_ORIENTATIONS, main_orientation
from mmocnet.io.dicom.volume import read_series
from mmocnet.volume import Volume


def _read(path):
    return read_series(choose_swi(find_series(path)))


def _edit(path, **tags):
    dataset = dcmread(path)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def _mixed(folder, *acquisitions):
    """Bring files of acquisitions into one folder, their names in turn."""
    folder.mkdir()
    for number, paths in enumerate(acquisitions):
        for k, path in enumerate(paths):
            # Every other place has them the other way round.
            shutil.copy(path, folder / f"{k:03d}-{(number + k) % len(acquisitions)}")
    return folder


@pytest.fixture
def acquisitions(tmp_path, write_dicom_series, volume):
    """Two acquisitions in one series, with the same instance numbers; the second is brighter."""
    tags = {"SeriesInstanceUID": "1.2.3"}
    brighter = volume.like(volume.array + 2000)
    return [
        write_dicom_series(tmp_path / name, one, **tags)
        for name, one in (("a", volume), ("b", brighter))
    ]


@pytest.mark.parametrize(
    "told_by", ["AcquisitionNumber", "AcquisitionTime", "TemporalPositionIdentifier"]
)
def test_of_two_acquisitions_one_is_read_whole(tmp_path, acquisitions, volume, told_by):
    for value, paths in zip(("101500", "102000"), acquisitions, strict=True):
        for path in paths:
            told = value if told_by == "AcquisitionTime" else int(value)
            _edit(path, **{"AcquisitionNumber": 1, told_by: told})
    found, _, warnings = _read(_mixed(tmp_path / "mixed", *acquisitions))
    offsets = {float(one) for one in np.unique(found.array - volume.array)}
    assert len(offsets) == 1
    assert warnings == ("left out 9 slices in series 3 at the place of another",)


def test_acquisitions_in_folders_of_their_own_are_told_apart(tmp_path, acquisitions, volume):
    for path in (*acquisitions[0], *acquisitions[1]):
        _edit(path, AcquisitionNumber=1)
    found, _, _ = _read(tmp_path)
    assert np.array_equal(found.array, volume.array)


def test_acquisitions_that_nothing_tells_apart_are_refused(tmp_path, acquisitions):
    message = (
        "expected one acquisition in series 3, got 18 slices at 9 places, and nothing tells which "
        "belong together"
    )
    with pytest.raises(InputError, match=message):
        _read(_mixed(tmp_path / "mixed", *acquisitions))


def test_instance_numbers_tell_acquisitions_apart(tmp_path, acquisitions, volume):
    for k, path in enumerate(acquisitions[1]):
        _edit(path, InstanceNumber=k + 10)
    found, _, _ = _read(_mixed(tmp_path / "mixed", *acquisitions))
    assert np.array_equal(found.array, volume.array)


def _number(acquisitions, numbers):
    """Give the slices of each acquisition instance numbers, by a function of place and turn."""
    for turn, paths in enumerate(acquisitions):
        for k, path in enumerate(paths):
            _edit(path, AcquisitionNumber=1, InstanceNumber=numbers(k, turn))


def _to_and_fro(k, turn):
    return 2 * k + 1 + (k + turn) % 2


def test_dynamics_whose_numbers_go_to_and_fro_are_told_by_their_times(
    tmp_path, acquisitions, volume
):
    _number(acquisitions, _to_and_fro)
    for turn, paths in enumerate(acquisitions):
        for path in paths:
            _edit(path, TemporalPositionIdentifier=turn + 1)
    found, _, warnings = _read(_mixed(tmp_path / "mixed", *acquisitions))
    assert np.array_equal(found.array, volume.array)
    assert warnings == ("left out 9 slices in series 3 at the place of another",)


@pytest.mark.parametrize("told_by", ["TemporalPositionIndex", "StackID"])
def test_frames_are_told_by_their_time_or_stack(tmp_path, write_dicom_series, volume, told_by):
    (path,) = write_dicom_series(tmp_path, volume, multiframe=True)
    dataset = dcmread(path)
    pixels, groups = dataset.pixel_array, list(dataset.PerFrameFunctionalGroupsSequence)
    frames, values = [], []
    for k, group in enumerate(groups):
        for turn in (k % 2, 1 - k % 2):
            frame = deepcopy(group)
            told = str(turn + 1) if told_by == "StackID" else turn + 1
            setattr(frame.FrameContentSequence[0], told_by, told)
            frames.append(frame)
            values.append(pixels[k] + 2000 * turn)
    dataset.PerFrameFunctionalGroupsSequence, dataset.NumberOfFrames = frames, len(frames)
    dataset.PixelData = np.stack(values).tobytes()
    dataset.save_as(path)
    found, source, _ = _read(tmp_path)
    assert np.array_equal(found.array, volume.array)
    assert source.frames == (1, 4, 5, 8, 9, 12, 13, 16, 17)


def test_numbers_that_go_to_and_fro_tell_no_acquisition(tmp_path, acquisitions):
    _number(acquisitions, _to_and_fro)
    with pytest.raises(InputError, match="nothing tells which belong together"):
        _read(_mixed(tmp_path / "mixed", *acquisitions))


def test_two_times_of_two_acquisitions_are_four_volumes(
    tmp_path, acquisitions, write_dicom_series, volume
):
    more = [
        write_dicom_series(
            tmp_path / str(offset), volume.like(volume.array + offset), SeriesInstanceUID="1.2.3"
        )
        for offset in (4000, 6000)
    ]
    for turn, paths in enumerate((*acquisitions, *more)):
        for path in paths:
            _edit(path, AcquisitionNumber=turn % 2, TemporalPositionIdentifier=turn // 2)
    found, _, warnings = _read(_mixed(tmp_path / "mixed", *acquisitions, *more))
    assert len(np.unique(found.array - volume.array)) == 1
    assert warnings == ("left out 27 slices in series 3 at the place of another",)


SAME_UID = "^expected one image under each SOP Instance UID, got different ones under the same in"


@pytest.mark.parametrize("name", ["a.dcm", "z.dcm"], ids=["before", "after"])
def test_a_slice_sent_again_with_other_pixels_is_refused(
    tmp_path, write_dicom_series, volume, name
):
    path = write_dicom_series(tmp_path, volume)[4]
    shutil.copy(path, tmp_path / name)
    dataset = dcmread(path)
    dataset.PixelData = dataset.pixel_array[::-1].tobytes()
    dataset.save_as(path)
    with pytest.raises(InputError, match=SAME_UID):
        _read(tmp_path)


@pytest.mark.parametrize(
    "element",
    [("RescaleSlope", "DS", 2), ("RescaleIntercept", "DS", 9), ("PixelPaddingValue", "US", 3)],
)
def test_a_slice_sent_again_with_another_meaning_is_refused(
    tmp_path, write_dicom_series, volume, element
):
    path = write_dicom_series(tmp_path, volume)[4]
    dataset = dcmread(path)
    dataset.add_new(*element)
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=SAME_UID):
        _read(tmp_path)


def test_a_file_of_frames_sent_again_in_another_order_is_refused(
    tmp_path, write_dicom_series, volume
):
    (path,) = write_dicom_series(tmp_path, volume, multiframe=True)
    shutil.copy(path, tmp_path / "a.dcm")
    dataset = dcmread(path)
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[::-1]
    dataset.PixelData = dataset.pixel_array[::-1].tobytes()
    dataset.save_as(path)
    with pytest.raises(InputError, match=SAME_UID):
        _read(tmp_path)


@pytest.mark.parametrize("multiframe", [False, True])
def test_copies_that_are_packed_otherwise_are_taken_once(
    tmp_path, write_dicom_series, volume, multiframe
):
    write_dicom_series(tmp_path / "a", volume, multiframe=multiframe)
    jpeg_ls = "1.2.840.10008.1.2.4.80"
    write_dicom_series(tmp_path / "b", volume, multiframe=multiframe, transfer_syntax=jpeg_ls)
    found, source, _ = _read(tmp_path)
    assert np.array_equal(found.array, volume.array)
    assert source.unfit == ""


def test_rows_and_columns_at_no_right_angle_are_refused(tmp_path, write_dicom_series, volume):
    turned = [1.0, 0.0, 0.0, 0.5, 0.8660254, 0.0]
    write_dicom_series(tmp_path, volume, ImageOrientationPatient=turned)
    message = (
        "^expected rows and columns at right angles by ImageOrientationPatient, "
        r"got 60\.0 degrees between them in series 3$"
    )
    with pytest.raises(InputError, match=message):
        _read(tmp_path)


def test_rounded_directions_are_at_right_angles(tmp_path, write_dicom_series, volume):
    path = write_dicom_series(tmp_path, volume)[0]
    turned = [round(float(v), 3) for v in dcmread(path).ImageOrientationPatient]
    assert np.dot(turned[:3], turned[3:]) != 0
    write_dicom_series(tmp_path, volume, ImageOrientationPatient=turned)
    assert np.allclose(_read(tmp_path)[0].affine, volume.affine, atol=0.002)


@pytest.mark.parametrize(
    "tags", [{"PatientID": "OTHER"}, {"PatientName": "Other^One"}, {"StudyInstanceUID": "1.2.9"}]
)
def test_a_series_of_two_patients_or_studies_is_refused(tmp_path, write_dicom_series, volume, tags):
    for path in write_dicom_series(tmp_path, volume)[5:]:
        _edit(path, **tags)
    message = "^expected images of one patient and one study, got several in series 3$"
    with pytest.raises(InputError, match=message):
        _read(tmp_path)


def test_images_that_name_no_patient_are_no_other_patient_s(tmp_path, write_dicom_series, volume):
    _edit(write_dicom_series(tmp_path, volume)[5], PatientID="", PatientName="")
    assert _read(tmp_path)[0].shape == volume.shape


def test_images_of_another_matrix_are_left_out(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path, volume)
    uid = find_series(tmp_path)[0].uid
    stray = Volume(volume.array[:24, :20, :1], volume.affine)
    write_dicom_series(tmp_path / "a", stray, SeriesInstanceUID=uid)
    found, _, warnings = _read(tmp_path)
    assert np.array_equal(found.array, volume.array)
    told = "left out 1 slice in series 3 of another orientation, pixel size or matrix"
    assert warnings == (told,)


def test_a_series_of_every_second_slice_is_refused(tmp_path, write_dicom_series, volume):
    for path in write_dicom_series(tmp_path, volume)[1::2]:
        path.unlink()
    message = (
        r"slices are missing in series 3: expected 2\.00 mm from slice to slice by the header, "
        r"got 4\.00 mm"
    )
    with pytest.raises(InputError, match=message):
        _read(tmp_path)


@pytest.mark.parametrize(
    "tags",
    [
        {"SpacingBetweenSlices": 0.4, "SliceThickness": 1.6},
        {"SpacingBetweenSlices": 1.0, "ImageType": ["DERIVED", "SECONDARY", "MPR", "SWI"]},
        {"SpacingBetweenSlices": 1.3},
    ],
    ids=["a gap", "of what was resliced", "no multiple"],
)
def test_a_header_that_means_something_else_is_no_missing_slice(
    tmp_path, write_dicom_series, volume, tags
):
    write_dicom_series(tmp_path, volume, **tags)
    assert np.allclose(_read(tmp_path)[0].affine, volume.affine, atol=1e-6)


@pytest.mark.parametrize(
    ("spacing", "thickness", "expected_mm"),
    [(-4.0, 3.0, 4.0), (0.0, 3.0, 3.0), (None, 3.0, 3.0), (None, None, 1.0)],
)
def test_a_single_slice_is_as_thick_as_its_header_says(
    tmp_path, write_dicom_series, volume, spacing, thickness, expected_mm
):
    tags = {"SpacingBetweenSlices": spacing, "SliceThickness": thickness}
    path = write_dicom_series(tmp_path, volume, **tags)[4]
    found, _, warnings = _read(path)
    assert found.spacing_mm[2] == pytest.approx(expected_mm)
    assert any("no slice thickness" in one for one in warnings) == (thickness is None)


def test_orientations_are_told_apart_as_pair_by_pair(tmp_path, write_dicom_series, volume, rng):
    (series,) = find_series(write_dicom_series(tmp_path, volume)[0])
    (one,) = series.slices
    for _ in range(20):
        # Turned by about as much as still counts as parallel.
        turned = [Rotation.from_rotvec(v) for v in rng.normal(scale=8e-4, size=(40, 3))]
        slices = [
            replace(
                one,
                frame=frame,
                along_row=tuple(turn.apply(one.along_row)),
                along_column=tuple(turn.apply(one.along_column)),
                spacing_mm=(0.9, 0.9 + rng.choice([0.0, 0.0005, 0.0015])),
            )
            for frame, turn in enumerate(turned)
        ]
        groups = []
        for each in slices:
            near = [group for group in groups if _is_parallel(each, group[0])]
            if near:
                near[0].append(each)
            else:
                groups.append([each])
        assert main_orientation(slices) == max(groups, key=len)


def _is_parallel(one, other):
    most_mm = 1e-3 * min(other.spacing_mm)
    return (
        np.abs(np.subtract(one.along_row, other.along_row)).max() <= 1e-3
        and np.abs(np.subtract(one.along_column, other.along_column)).max() <= 1e-3
        and np.abs(np.subtract(one.spacing_mm, other.spacing_mm)).max() <= most_mm
    )


def test_orientations_that_all_differ_are_not_compared_pair_by_pair(
    tmp_path, write_dicom_series, volume, rng, monkeypatch
):
    (one,) = find_series(write_dicom_series(tmp_path, volume)[0])[0].slices
    slices = [
        replace(one, along_row=tuple(vector / np.linalg.norm(vector)))
        for vector in rng.normal(size=(3 * MAX_ORIENTATIONS, 3))
    ]
    parallel, compared = stack._parallel, []

    def counted(looks, other):
        compared.append(len(looks))
        return parallel(looks, other)

    monkeypatch.setattr(stack, "_parallel", counted)
    assert len(main_orientation(slices)) == 1
    assert len(compared) == MAX_ORIENTATIONS


class _Place(tuple):
    """A position that counts how often it is looked up."""

    looked_up = 0

    def __hash__(self):
        _Place.looked_up += 1
        return super().__hash__()


def test_echo_times_that_all_differ_are_not_compared_pair_by_pair(
    tmp_path, write_dicom_series, volume
):
    (one,) = find_series(write_dicom_series(tmp_path, volume)[0])[0].slices
    slices = [
        replace(
            one,
            position=_Place((0.0, 0.0, float(k))),
            looks=replace(one.looks, echo_ms=10_000 + k / 100),
        )
        for k in range(500)
    ]
    assert len(list(parts_of(slices))) == 1
    assert _Place.looked_up < 20 * len(slices)
