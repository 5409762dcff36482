import math
from copy import deepcopy

import numpy as np
import pytest
from pydicom import dcmread

from mmocnet.errors import InputError
from mmocnet.io.dicom import find
from mmocnet.io.dicom.find import choose_swi, find_series
from mmocnet.io.dicom.match import matching_phase
from mmocnet.io.dicom.vendors import Technique, kind_of, vendor_of
from mmocnet.io.dicom.volume import read_series
from mmocnet.volume import Volume

M = ("ORIGINAL", "PRIMARY", "M")
SIEMENS = "t2_swi3d_tra *swi3d1r"

NAMED = [
    ("swi", Technique("MR", (*M, "SWI", "NORM"), "", "SWI_Images", SIEMENS, "GR", 20.0)),
    ("magnitude", Technique("MR", (*M, "NORM"), "", "Mag_Images", SIEMENS, "GR", 20.0)),
    ("phase", Technique("MR", (*M[:2], "P"), "", "Pha_Images", SIEMENS, "GR", 20.0)),
    ("minip", Technique("MR", (*M[:2], "MNIP"), "", "mIP_Images(SW)", SIEMENS, "GR", 20.0)),
    ("swi", Technique("MR", (*M[:2], "OTHER"), "", "Ax SWAN 3D", "", "GR", 23.0, 0)),
    ("phase", Technique("MR", (*M[:2], "OTHER"), "", "FILT_PHA: Ax SWAN", "", "GR", 23.0)),
    ("phase", Technique("MR", (*M[:2], "OTHER"), "", "Ax SWAN", "", "GR", 23.0, 1)),
    ("other", Technique("MR", (*M[:2], "OTHER"), "", "Ax SWAN", "", "GR", 23.0, 2)),
    ("minip", Technique("MR", ("DERIVED", "SECONDARY"), "", "minIP: Ax SWAN", "", "GR", 23.0)),
    ("swi", Technique("MR", (*M[:2], "M_FFE", "M", "FFE"), "", "SWIp", "WIP SWIp", "GR", 31.0)),
    ("phase", Technique("MR", (*M[:2], "PHASE MAP", "P", "FFE"), "", "SWIp", "SWIp", "GR", 31.0)),
    ("swi", Technique("MR", M, "", "VEN_BOLD HR", "", "GR", 29.0)),
    ("minip", Technique("MR", ("DERIVED", "SECONDARY", "PROJECTION IMAGE"), "", "Ax SWAN")),
    ("minip", Technique("MR", ("DERIVED", "SECONDARY", "REFORMATTED", "MIN IP"), "", "Ax SWAN")),
    ("other", Technique("MR", M, "", "QSM_SWI", SIEMENS, "GR", 20.0)),
    ("other", Technique("MR", ("DERIVED", "PRIMARY", "M", "R2_STAR MAP"), "", "swi", SIEMENS)),
    ("other", Technique("MR", M, "", "Ax T2* map", "", "GR", 20.0)),
    ("swi", Technique("MR", M, "", "FSBB TRA", "fsbb", "GR", 29.0)),
    ("phase", Technique("MR", (*M[:2], "VOLUME"), "PHASE", "swi", "swi", "", 20.0)),
    ("swi", Technique("MR", (*M[:2], "VOLUME"), "MAGNITUDE", "swi", "swi", "", 20.0)),
    ("magnitude", Technique("MR", M, "", "Axial T2*", "", "GR", 20.0)),
    ("magnitude", Technique("MR", M, "", "ep2d hemo", "", "EP", math.nan)),
    ("other", Technique("MR", M, "", "t1_mprage_sag", "mprage", "GR", 3.0)),
    ("other", Technique("MR", M, "", "t2_space", "", "SE", 90.0)),
    ("other", Technique("MR", M, "", "gre_field_mapping", "", "GR", 7.38)),
    ("other", Technique("MR", M, "", "B0 map", "", "GR", 20.0)),
    ("other", Technique("MR", M, "", "T1W_FFE", "", "GR", 2.3)),
    ("other", Technique("MR", M, "", "T1W_FFE", "", "GR", math.nan)),
    ("other", Technique("MR", M, "", "rsfMRI_BOLD", "", "GR", 30.0)),
    ("other", Technique("MR", M, "", "MoCoSeries", "ep2d_bold", "GR", 30.0)),
    ("other", Technique("MR", M, "", "DSC 45 dyn", "", "GR", 30.0)),
    ("other", Technique("MR", M, "", "ep2d", "", "EP GR", 30.0)),
    ("other", Technique("MR", M, "", "gre", "", "GR", 5.0)),
    ("magnitude", Technique("MR", M, "", "gre", "", "GR", math.nan)),
    ("magnitude", Technique("MR", M, "", "Mag_Images", "brain", "GR", 20.0)),
    ("other", Technique("CT", M, "", "SWI", "SWI", "", 20.0)),
    ("other", Technique("MR", M, "", "swing view", "", "SE", 20.0)),
]


@pytest.mark.parametrize(("kind", "technique"), NAMED)
def test_vendors_names_are_known(kind, technique):
    assert kind_of(technique)[0] == kind


def test_makers_are_told():
    makers = ["SIEMENS", "Siemens Healthineers", "GE MEDICAL SYSTEMS", "Philips", "TOSHIBA", ""]
    assert [vendor_of(maker) for maker in makers] == [
        "siemens",
        "siemens",
        "ge",
        "philips",
        "canon",
        "",
    ]


@pytest.fixture
def study(tmp_path, write_dicom_series, volume, phase):
    """A Siemens study in one folder: magnitude, phase, SWI, projection, T1."""
    for kind in ("magnitude", "swi", "minip", "other"):
        write_dicom_series(tmp_path / "study", volume, kind=kind)
    write_dicom_series(tmp_path / "study", phase, kind="phase")
    (tmp_path / "study" / "DICOMDIR.txt").write_text("not an image")
    return tmp_path / "study"


def test_series_of_a_study_are_told_apart(study):
    found = find_series(study)
    assert [(one.number, one.kind) for one in found] == [
        (1, "magnitude"),
        (2, "phase"),
        (3, "swi"),
        (4, "minip"),
        (9, "other"),
    ]
    assert choose_swi(found).number == 3


@pytest.mark.parametrize("wanted", ["1", "uid"])
def test_a_series_is_chosen_by_number_or_uid(study, wanted):
    found = find_series(study)
    chosen = choose_swi(found, found[0].uid if wanted == "uid" else wanted)
    assert chosen.kind == "magnitude"
    assert "not named as SWI" in read_series(chosen)[2][0]


def test_phase_of_the_same_grid_is_found(study, write_dicom_series, phase):
    found = find_series(study)
    assert matching_phase(found, choose_swi(found))[0].number == 2
    moved = phase.affine.copy()
    moved[:3, 3] += 1.0
    only_moved = [one for one in found if one.kind != "phase"]
    write_dicom_series(study / "moved", Volume(phase.array, moved), kind="phase", SeriesNumber=5)
    only_moved += find_series(study / "moved")
    assert matching_phase(only_moved, choose_swi(found)) == (None, ())


def test_several_swi_are_listed_without_patient(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path / "a", volume)
    write_dicom_series(tmp_path / "b", volume.like(volume.array + 1), SeriesNumber=7)
    with pytest.raises(InputError, match="found 2 series that could be the SWI") as error:
        choose_swi(find_series(tmp_path))
    assert "series 3: SWI, 9 slices" in str(error.value)
    assert "series 7: SWI" in str(error.value)
    assert "Fake" not in str(error.value)
    assert choose_swi(find_series(tmp_path), "7").number == 7


def test_the_same_number_twice_asks_for_the_uid(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path / "a", volume)
    write_dicom_series(tmp_path / "b", volume.like(volume.array + 1))
    found = find_series(tmp_path)
    with pytest.raises(InputError, match=r"more than once: give its UID, .* UID 2\.25\."):
        choose_swi(found, "3")
    assert choose_swi(found, found[1].uid).uid == found[1].uid


def test_what_was_resliced_comes_after_the_scanner_s_own(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path / "a", volume)
    types = ["DERIVED", "SECONDARY", "MPR", "SWI"]
    other = volume.like(volume.array + 1)
    write_dicom_series(tmp_path / "b", other, SeriesNumber=2, ImageType=types)
    assert choose_swi(find_series(tmp_path)).number == 3


def test_an_empty_folder_and_one_file_are_told_in_good_words(tmp_path):
    with pytest.raises(InputError, match="among 0 files"):
        find_series(tmp_path)
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(InputError, match="among 1 file in"):
        find_series(tmp_path)


@pytest.mark.parametrize(("modality", "told"), [("CT", "CT"), ("FAKE PATIENT", "others")])
def test_images_of_another_modality_are_refused(
    tmp_path, write_dicom_series, volume, modality, told
):
    write_dicom_series(tmp_path, volume, Modality=modality)
    with pytest.raises(InputError, match=f"expected MR images, got {told}"):
        choose_swi(find_series(tmp_path))


def test_images_without_position_are_told_as_what_they_lack(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path, volume, ImagePositionPatient=None)
    with pytest.raises(InputError, match=r"among 9 files.*: 9 damaged, or without position"):
        find_series(tmp_path)


def test_magnitude_stands_in_where_there_is_no_swi(tmp_path, write_dicom_series, volume, phase):
    write_dicom_series(tmp_path, volume, kind="magnitude")
    write_dicom_series(tmp_path, phase, kind="phase")
    assert choose_swi(find_series(tmp_path)).kind == "magnitude"


def test_a_lone_series_is_taken_whatever_its_name(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path, volume, kind="other")
    chosen = choose_swi(find_series(tmp_path))
    assert "series 9 is not named as SWI but taken as one" in read_series(chosen)[2][0]


def test_phase_alone_is_refused(tmp_path, write_dicom_series, phase):
    write_dicom_series(tmp_path, phase, kind="phase")
    with pytest.raises(InputError, match="got phase only"):
        choose_swi(find_series(tmp_path))


def test_no_swi_among_several_lists_them(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path, volume, kind="other")
    write_dicom_series(tmp_path / "b", volume, kind="minip")
    with pytest.raises(InputError, match="found no series that is named as SWI"):
        choose_swi(find_series(tmp_path))
    with pytest.raises(InputError, match="found no series 77"):
        choose_swi(find_series(tmp_path), "77")


def test_echoes_of_one_series_are_kept_apart(tmp_path, write_dicom_series, volume):
    write_dicom_series(tmp_path / "a", volume, SeriesInstanceUID="1.2.3", EchoTime=10.0)
    write_dicom_series(tmp_path / "b", volume, SeriesInstanceUID="1.2.3", EchoTime=20.0)
    assert sorted(one.echo_ms for one in find_series(tmp_path)) == [10.0, 20.0]


def test_of_several_echoes_the_usual_one_is_taken(tmp_path, write_dicom_series, volume):
    for echo_ms in (7.5, 17.5, 37.5):
        folder = tmp_path / str(echo_ms)
        write_dicom_series(folder, volume, SeriesInstanceUID="1.2.3", EchoTime=echo_ms)
    chosen = choose_swi(find_series(tmp_path), "3")
    assert chosen.echo_ms == 17.5
    assert chosen.warnings == ("series 3 has 3 echoes: that at 17.5 ms is taken",)


def test_magnitude_and_phase_in_one_multi_frame_series(tmp_path, write_dicom_series, volume, phase):
    write_dicom_series(tmp_path / "a", volume, multiframe=True, SeriesInstanceUID="1.2.3")
    write_dicom_series(
        tmp_path / "b", phase, kind="phase", multiframe=True, SeriesInstanceUID="1.2.3"
    )
    found = find_series(tmp_path)
    swi = choose_swi(found)
    assert sorted(one.kind for one in found) == ["phase", "swi"]
    assert matching_phase(found, swi)[0].kind == "phase"


@pytest.mark.parametrize("wanted", [None, "9"])
def test_of_several_echoes_of_a_map_the_usual_one_can_be_asked_for(
    tmp_path, write_dicom_series, volume, wanted
):
    tags = {"SeriesInstanceUID": "1.2.3", "SeriesDescription": "qsm_gre"}
    for echo_ms in (7.5, 20.0):
        one = volume.like(volume.array + echo_ms)
        folder = tmp_path / "qsm" / str(echo_ms)
        for path in write_dicom_series(folder, one, kind="other", **tags):
            dataset = dcmread(path)
            dataset.EchoTime = echo_ms
            dataset.save_as(path)
    if wanted is not None:
        write_dicom_series(tmp_path, volume, kind="minip")
    chosen = choose_swi(find_series(tmp_path), wanted)
    assert chosen.warnings == ("series 9 has 2 echoes: that at 20 ms is taken",)


def test_an_echo_time_that_jitters_within_a_stack_is_one_echo(tmp_path, write_dicom_series, volume):
    for path in write_dicom_series(tmp_path, volume)[6:]:
        dataset = dcmread(path)
        dataset.EchoTime = 20.01
        dataset.save_as(path)
    chosen = choose_swi(find_series(tmp_path))
    read, _, warnings = read_series(chosen)
    assert read.shape == volume.shape
    assert warnings == ()


def test_near_echoes_at_the_same_places_are_two(tmp_path, write_dicom_series, volume):
    for echo_ms in (60.0, 61.0):
        folder, tags = tmp_path / str(echo_ms), {"SeriesInstanceUID": "1.2.3", "EchoTime": echo_ms}
        write_dicom_series(folder, volume.like(volume.array + echo_ms), **tags)
    assert [one.echo_ms for one in find_series(tmp_path)] == [60.0, 61.0]


def test_dynamics_stand_in_for_swi_only_where_asked_for(tmp_path, write_dicom_series, volume):
    tags = {"SeriesInstanceUID": "1.2.3", "SeriesDescription": "axial", "ProtocolName": "axial"}
    for number in range(4):
        one = volume.like(volume.array + number)
        for path in write_dicom_series(tmp_path / str(number), one, kind="other", **tags):
            dataset = dcmread(path)
            dataset.EchoTime, dataset.AcquisitionNumber = 30.0, number + 1
            dataset.save_as(path)
    found = find_series(tmp_path)
    message = "found no series that is named as SWI.*36 slices, each place 4 times, TE 30 ms"
    with pytest.raises(InputError, match=message):
        choose_swi(found)
    read, _, _ = read_series(choose_swi(found, "9"))
    assert read.shape == volume.shape


def test_a_magnitude_that_was_copied_is_no_dynamics(tmp_path, write_dicom_series, volume):
    for name in ("a", "b"):
        write_dicom_series(tmp_path / name, volume, kind="magnitude")
    assert choose_swi(find_series(tmp_path)).kind == "magnitude"


M_FFE = ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
PHILIPS_SWI = ["DERIVED", "PRIMARY", "SWI", "M", "SWI"]


@pytest.fixture
def two_types(tmp_path, write_dicom_series, volume):
    """Write slices of two image types into one series; the second ones are brighter."""

    def write(first, second, description="SWIp", places=slice(None)):
        tags = {"SeriesInstanceUID": "1.2.3", "SeriesDescription": description}
        write_dicom_series(tmp_path / "a", volume, ImageType=first, **tags)
        brighter = volume.like(volume.array + 2000)
        paths = write_dicom_series(tmp_path / "b", brighter, ImageType=second, **tags)
        for k, path in enumerate(paths):
            dataset = dcmread(path)
            dataset.InstanceNumber = k + 10
            dataset.save_as(path)
        for path in set(paths) - set(paths[places]):
            path.unlink()
        return find_series(tmp_path)

    return write


@pytest.mark.parametrize("description", ["SWIp", "WIP SWI 3D"])
def test_of_magnitude_and_swi_at_the_same_places_swi_is_taken(two_types, volume, description):
    found = two_types(M_FFE, PHILIPS_SWI, description)
    assert [(one.kind, len(one.slices)) for one in found] == [("magnitude", 9), ("swi", 9)]
    read, _, warnings = read_series(choose_swi(found))
    assert np.array_equal(read.array, volume.array + 2000)
    told = r"left out 9 slices in series 3 of ImageType ORIGINAL\PRIMARY\M_FFE\M\FFE: "
    assert warnings == (f"{told}that of the others is SWI",)


def test_frames_of_magnitude_swi_and_phase_are_told_by_their_types(
    tmp_path, write_dicom_series, volume
):
    (path,) = write_dicom_series(tmp_path, volume, multiframe=True, SeriesDescription="SWI 3D")
    dataset = dcmread(path)
    pixels, shared = dataset.pixel_array, dataset.SharedFunctionalGroupsSequence[0]
    frames, values = [], []
    for k, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        types = (M_FFE, PHILIPS_SWI, ["ORIGINAL", "PRIMARY", "PHASE MAP", "P"])
        for number, frame_type in enumerate(types):
            frame = deepcopy(group)
            frame.MRImageFrameTypeSequence = deepcopy(shared.MRImageFrameTypeSequence)
            frame.MRImageFrameTypeSequence[0].FrameType = frame_type
            frames.append(frame)
            values.append(pixels[k] + 2000 * number)
    del shared.MRImageFrameTypeSequence
    dataset.PerFrameFunctionalGroupsSequence, dataset.NumberOfFrames = frames, len(frames)
    dataset.PixelData = np.stack(values).tobytes()
    dataset.save_as(path)
    found = find_series(tmp_path)
    swi = choose_swi(found)
    read, source, _ = read_series(swi)
    assert np.array_equal(read.array, volume.array + 2000)
    assert source.frames == tuple(range(2, 28, 3))
    assert matching_phase(found, swi)[0].kind == "phase"


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (M_FFE, [*M_FFE, "NORM"], "named as SWI"),
        (PHILIPS_SWI, [*PHILIPS_SWI, "NORM"], "ImageType SWI"),
        (M_FFE, ["DERIVED", "SECONDARY", "M_FFE", "M", "FFE"], "named as SWI"),
    ],
    ids=["none is SWI", "both are SWI", "one is resliced"],
)
def test_types_at_the_same_places_of_which_nothing_tells_the_swi_are_listed(
    two_types, first, second, told
):
    with pytest.raises(InputError) as error:
        choose_swi(two_types(first, second))
    size = "series 3: SWI, 9 slices, TE 20 ms"
    types = ["\\".join(one) for one in (first, second)]
    assert str(error.value) == (
        "expected images of one ImageType at each place of series 3, got 2, and nothing tells "
        "which is the SWI: give the files of one alone; there are "
        f"{size} ({told}, {types[0]}); {size} ({told}, {types[1]})"
    )


def test_what_is_no_word_of_a_type_is_not_said(two_types):
    with pytest.raises(InputError) as error:
        choose_swi(two_types(M_FFE, [*M_FFE, "FAKE123"]))
    assert "FAKE" not in str(error.value)
    assert r"M_FFE\M\FFE\?)" in str(error.value)


def test_image_types_that_share_no_place_are_one_series(tmp_path, write_dicom_series, volume):
    for path in write_dicom_series(tmp_path, volume, ImageType=M_FFE)[4:]:
        dataset = dcmread(path)
        dataset.ImageType = [*M_FFE, "NORM"]
        dataset.save_as(path)
    (series,) = find_series(tmp_path)
    assert np.array_equal(read_series(choose_swi([series]))[0].array, volume.array)


def test_some_slices_of_swi_leave_the_others_out_wherever_they_lie(two_types):
    found = two_types(M_FFE, PHILIPS_SWI, places=slice(5))
    read, _, warnings = read_series(choose_swi(found))
    assert read.shape[2] == 5
    assert warnings[0].startswith("left out 9 slices in series 3 of ImageType")


@pytest.mark.parametrize(
    "sop_class",
    ["1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.4.2"],
    ids=["RT structure set", "MR spectroscopy"],
)
def test_what_is_no_image_is_not_called_damaged(tmp_path, write_dicom_series, volume, sop_class):
    first = dcmread(write_dicom_series(tmp_path, volume)[0])
    for keyword in ("PixelData", "Rows", "Columns", "ImagePositionPatient"):
        delattr(first, keyword)
    first.SOPClassUID = first.file_meta.MediaStorageSOPClassUID = sop_class
    first.save_as(tmp_path / "other.dcm")
    assert choose_swi(find_series(tmp_path)).warnings == ()


@pytest.mark.parametrize("sop_class", ["", ".1", ".4"])
def test_an_mr_image_without_a_place_is_called_damaged(
    tmp_path, write_dicom_series, volume, sop_class
):
    first = dcmread(write_dicom_series(tmp_path, volume)[0])
    del first.ImagePositionPatient
    first.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4" + sop_class
    first.save_as(tmp_path / "other.dcm")
    told = f"left out 1 damaged DICOM file in {tmp_path.name}"
    assert choose_swi(find_series(tmp_path)).warnings == (told,)


def test_a_file_that_cannot_be_opened_is_not_called_damaged(
    tmp_path, write_dicom_series, volume, monkeypatch
):
    closed, *others = write_dicom_series(tmp_path, volume)
    is_dicom = find.is_dicom

    def opened(path):
        if path == closed or not others:
            raise PermissionError(13, "Permission denied")
        return is_dicom(path)

    monkeypatch.setattr(find, "is_dicom", opened)
    told = f"left out 1 file in {tmp_path.name} that cannot be opened"
    assert choose_swi(find_series(tmp_path)).warnings == (told,)
    others.clear()
    with pytest.raises(InputError, match=r"among 9 files in .*: 9 cannot be opened$"):
        find_series(tmp_path)
