import json

import pytest

from mmocnet.io.sidecar import is_projection, read_acquisition


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sub-01_swi.nii.gz", "SWI"),
        ("sub-01_acq-swi_T2starw.nii.gz", "SWI"),
        ("sub-01_T2starw.nii.gz", None),
        ("swift.nii", None),
    ],
)
def test_a_scan_is_known_to_be_swi_where_its_name_says_so(tmp_path, name, kind):
    assert read_acquisition(tmp_path / name).get("ImageKind") == kind


def test_the_name_that_a_scan_is_called_by_goes_before_its_file_s(tmp_path):
    kept = tmp_path / "scan.nii.gz"
    assert read_acquisition(kept, "sub-01_acq-swi_T2starw.nii.gz") == {"ImageKind": "SWI"}
    assert read_acquisition(tmp_path / "a_swi.nii.gz", "a.nii.gz") == {}


def test_only_the_numbers_of_an_acquisition_are_taken_from_a_sidecar(tmp_path):
    content = {"EchoTime": 0.02, "FlipAngle": "15", "PatientName": "X", "ImageKind": "Y"}
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_acquisition(tmp_path / "a.nii.gz") == {"EchoTime": 0.02}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"Manufacturer": "GE MEDICAL SYSTEMS", "ScanningSequence": "GR"},
            {"Manufacturer": "GE MEDICAL SYSTEMS", "ScanningSequence": "GR"},
        ),
        ({"Manufacturer": "none (simulated)"}, {"Manufacturer": "none (simulated)"}),
        ({"ScanningSequence": ["GR", "SP"]}, {"ScanningSequence": "GR\\SP"}),
        ({"ScanningSequence": "GR_IR"}, {"ScanningSequence": "GR_IR"}),
        ({"Manufacturer": "S" * 65, "ScanningSequence": "Smith John"}, {}),
        ({"Manufacturer": "Smith^John", "ScanningSequence": [{"a": 1}, 2]}, {}),
        ({"Manufacturer": "Siemens\nSmith", "ScanningSequence": 3}, {}),
    ],
)
def test_maker_and_sequence_are_taken_where_they_look_like_it(tmp_path, content, expected):
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_acquisition(tmp_path / "a.nii.gz") == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"ImageType": ["DERIVED", "PRIMARY", "MNIP"]}, True),
        ({"ImageType": ["derived", "primary", "minip"]}, True),
        ({"SeriesDescription": "mIP_Images(SW)"}, True),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "SWI"], "SeriesDescription": "SWI"}, False),
        ({"ImageType": "MNIP", "SeriesDescription": 3}, False),
        (["MNIP"], False),
    ],
)
def test_a_projection_is_told_by_the_sidecar(tmp_path, content, expected):
    (tmp_path / "s_12.json").write_text(json.dumps(content), encoding="utf-8")
    assert is_projection(tmp_path / "s_12.nii.gz") is expected


def test_the_sidecar_of_a_name_in_capitals_is_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"EchoTime": 0.02}), encoding="utf-8")
    assert read_acquisition(tmp_path / "a.NII.GZ") == {"EchoTime": 0.02}


@pytest.mark.parametrize("value", [10**400, -(10**400), True, "0.02", None, [0.02]])
def test_what_is_no_number_that_is_measured_is_left_out(tmp_path, value):
    (tmp_path / "a.json").write_text(json.dumps({"EchoTime": value, "FlipAngle": 15}))
    assert read_acquisition(tmp_path / "a.nii.gz") == {"FlipAngle": 15}
