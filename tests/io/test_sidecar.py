import json

import pytest

from mmocnet.io.sidecar import read_acquisition


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


def test_only_the_numbers_of_an_acquisition_are_taken_from_a_sidecar(tmp_path):
    content = {"EchoTime": 0.02, "FlipAngle": "15", "PatientName": "X", "ImageKind": "Y"}
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_acquisition(tmp_path / "a.nii.gz") == {"EchoTime": 0.02}
