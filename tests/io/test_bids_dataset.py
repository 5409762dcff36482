import json
import math
import os
from pathlib import Path

import pytest

from mmocnet.errors import InputError
from mmocnet.io.dataset import entities, read_dataset, read_tsv, stem, write_json, write_tsv


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_entities_of_a_name_come_with_its_suffix() -> None:
    assert entities("sub-a1_ses-2_acq-swi_part-mag_T2starw.nii.gz") == {
        "sub": "a1",
        "ses": "2",
        "acq": "swi",
        "part": "mag",
        "suffix": "T2starw",
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_ses-2_swi.nii.gz", "sub-01_ses-2"),
        ("patient one.v2.nii", "patient one.v2"),
        ("slice_3.png", "slice_3"),
        ("scan.nii.gz", "scan"),
        ("sub-01_ses-2.nii.gz", "sub-01_ses-2"),
        ("sub-01_run-1.nii", "sub-01_run-1"),
        ("sub-01_2020-01-02.nii.gz", "sub-01_2020-01-02"),
        ("sub-01_2020.nii.gz", "sub-01_2020"),
        ("sub-01.nii.gz", "sub-01"),
        ("sub-01_acq-swi_T2starw.NII.GZ", "sub-01_acq-swi"),
        ("scan.Nii", "scan"),
    ],
)
def test_stem_drops_the_suffix_of_bids_names_only(name: str, expected: str) -> None:
    assert stem(name) == expected


def test_visits_and_subjects_are_read_in_order(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-02/anat/sub-02_swi.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_swi.nii",
        "sub-01/ses-a/anat/sub-01_ses-a_acq-swi_T2starw.nii.gz",
    )
    scans = read_dataset(tmp_path)
    assert [(scan.subject, scan.session) for scan in scans] == [
        ("01", "a"),
        ("01", "b"),
        ("02", None),
    ]


def test_phase_projections_twins_and_other_contrasts_are_no_scans(tmp_path: Path) -> None:
    anat = "sub-01/anat/sub-01"
    touch(
        tmp_path,
        f"{anat}_acq-swi_T2starw.nii.gz",
        f"{anat}_acq-swi_T2starw.json",
        f"{anat}_acq-swiTwin_T2starw.nii.gz",
        f"{anat}_acq-gre_part-mag_T2starw.nii.gz",
        f"{anat}_acq-gre_part-phase_T2starw.nii.gz",
        f"{anat}_acq-swi_rec-minip_T2starw.nii.gz",
        f"{anat}_minIP.nii.gz",
        f"{anat}_T1w.nii.gz",
    )
    (scan,) = read_dataset(tmp_path)
    assert scan.image.name == "sub-01_acq-swi_T2starw.nii.gz"
    assert scan.twin is not None
    assert scan.twin.name == "sub-01_acq-swiTwin_T2starw.nii.gz"


def test_a_visit_without_swi_gives_its_magnitude(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/anat/sub-01_part-mag_T2starw.nii.gz",
        "sub-01/anat/sub-01_part-phase_T2starw.nii.gz",
    )
    (scan,) = read_dataset(tmp_path)
    assert scan.image.name == "sub-01_part-mag_T2starw.nii.gz"


def test_the_reference_with_the_same_entities_is_taken(tmp_path: Path) -> None:
    anat = "derivatives/reference/sub-01/anat/sub-01"
    touch(
        tmp_path,
        "sub-01/anat/sub-01_run-1_swi.nii.gz",
        "sub-01/anat/sub-01_run-2_swi.nii.gz",
        f"{anat}_run-2_desc-cmb_dseg.nii.gz",
        f"{anat}_run-2_desc-cmb_dseg.tsv",
        f"{anat}_run-1_desc-brain_mask.nii.gz",
    )
    first, second = read_dataset(tmp_path)
    assert (first.labels, first.table) == (None, None)
    assert first.brain is not None
    assert second.labels == tmp_path / f"{anat}_run-2_desc-cmb_dseg.nii.gz"
    assert second.table == tmp_path / f"{anat}_run-2_desc-cmb_dseg.tsv"


def phases(tmp_path: Path, *names: str) -> list[str | None]:
    touch(tmp_path, *(f"sub-01/anat/sub-01_{name}.nii.gz" for name in names))
    found = [scan.phase for scan in read_dataset(tmp_path)]
    return [None if path is None else path.name for path in found]


def test_a_phase_belongs_to_the_scan_of_its_run(tmp_path: Path) -> None:
    runs = ["acq-swi_run-1_T2starw", "acq-swi_run-2_T2starw"]
    first, second = (f"acq-swi_run-{number}_part-phase_T2starw" for number in (1, 2))
    name = f"sub-01_{first}.nii.gz"
    assert phases(tmp_path, *runs, first) == [name, None]
    assert phases(tmp_path, second) == [name, f"sub-01_{second}.nii.gz"]


def test_the_only_phase_of_a_visit_belongs_to_its_only_scan(tmp_path: Path) -> None:
    phase = "acq-gre_part-phase_T2starw"
    assert phases(tmp_path / "a", "acq-swi_T2starw", phase) == [f"sub-01_{phase}.nii.gz"]
    assert phases(tmp_path / "b", "run-1_swi", "run-2_swi", phase) == [None, None]
    assert phases(tmp_path / "c", "run-2_swi", "run-1_part-phase_swi") == [None]


def test_the_only_scan_of_a_visit_takes_its_only_reference(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/anat/sub-01_acq-swi_T2starw.nii.gz",
        "derivatives/reference/sub-01/anat/sub-01_desc-cmb_dseg.nii.gz",
    )
    (scan,) = read_dataset(tmp_path)
    assert scan.labels is not None


@pytest.mark.parametrize(
    ("image", "reference", "taken"),
    [
        ("sub-01_run-1_swi", "sub-01", True),
        ("sub-01_acq-a_run-1_swi", "sub-01_acq-a", True),
        ("sub-01_run-2_swi", "sub-01_run-1", False),
        ("sub-01_swi", "sub-01_run-1", False),
        ("sub-01_swi", "sub-99", False),
        ("sub-01_echo-2_swi", "sub-01_echo-1", False),
        ("sub-01_rec-a_swi", "sub-01_rec-b", False),
        ("sub-01_acq-a_swi", "sub-01_acq-b", False),
        ("sub-01_swi", "sub-01_ses-1", False),
    ],
)
def test_a_reference_may_say_less_of_its_scan_but_nothing_else(
    tmp_path: Path, image: str, reference: str, taken: bool
) -> None:
    touch(
        tmp_path,
        f"sub-01/anat/{image}.nii.gz",
        f"derivatives/reference/sub-01/anat/{reference}_desc-cmb_dseg.nii.gz",
    )
    (scan,) = read_dataset(tmp_path)
    assert (scan.labels is not None) is taken


def test_predictions_in_other_derivatives_are_not_taken_for_references(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/anat/sub-01_swi.nii.gz",
        "derivatives/mmocnet/sub-01/anat/sub-01_desc-cmb_dseg.nii.gz",
    )
    (scan,) = read_dataset(tmp_path)
    assert scan.labels is None
    (scan,) = read_dataset(tmp_path, tmp_path / "derivatives" / "mmocnet")
    assert scan.labels is not None


def test_a_folder_without_scans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got none"):
        read_dataset(tmp_path)
    with pytest.raises(InputError, match="which is none"):
        read_dataset(tmp_path / "missing")


def test_a_table_comes_back_with_undefined_cells_as_not_available(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    rows = [{"index": 1, "name": "CMB 1", "dice": math.nan}, {"index": 2, "dice": 0.123456789}]
    write_tsv(path, ["index", "name", "dice"], rows)
    assert read_tsv(path) == [
        {"index": "1", "name": "CMB 1", "dice": "n/a"},
        {"index": "2", "name": "n/a", "dice": "0.123457"},
    ]


def test_an_empty_table_keeps_its_header(tmp_path: Path) -> None:
    write_tsv(tmp_path / "table.tsv", ["index", "name"], [])
    assert (tmp_path / "table.tsv").read_text() == "index\tname\n"
    assert read_tsv(tmp_path / "table.tsv") == []


def test_a_torn_table_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_text("a\tb\n1\t2\n3\n")
    with pytest.raises(InputError, match=r"expected 2 cells, got 1 in line 3 of table\.tsv"):
        read_tsv(tmp_path / "table.tsv")


def test_empty_lines_of_a_table_are_no_rows_and_lines_keep_their_number(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("a\tb\n\n1\t2\n\n")
    assert read_tsv(path) == [{"a": "1", "b": "2"}]
    path.write_text("a\tb\n\n1\n")
    with pytest.raises(InputError, match=r"got 1 in line 3 of table\.tsv"):
        read_tsv(path)


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    with pytest.raises(InputError, match=r"cannot read table\.tsv"):
        read_tsv(path)
    path.write_bytes("name\nMüller\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"UTF-8, got other content in table\.tsv"):
        read_tsv(path)


def test_a_scan_that_is_not_named_after_its_subject_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "sub-01/anat/swi.nii.gz")
    with pytest.raises(InputError, match=r"begins with sub-, got sub-01/anat/swi\.nii\.gz"):
        read_dataset(tmp_path)


def test_a_name_that_is_no_utf_8_is_written_with_its_bytes_escaped(tmp_path: Path) -> None:
    write_tsv(tmp_path / "table.tsv", ["name"], [{"name": os.fsdecode(b"caf\xe9")}])
    assert read_tsv(tmp_path / "table.tsv") == [{"name": r"caf\udce9"}]


def test_json_writes_not_a_number_as_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [math.nan, 1.0], "y": {"z": math.inf}})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [None, 1.0], "y": {"z": None}}


def test_endings_in_capitals_are_those_of_images(tmp_path: Path) -> None:
    anat = "sub-01/anat/sub-01"
    names = [f"{anat}_acq-swi_T2starw.NII.GZ", f"{anat}_acq-swi_part-phase_T2starw.NII"]
    beside = [
        f"derivatives/reference/{anat}_acq-swi_desc-{one}" for one in ("cmb_dseg", "brain_mask")
    ]
    touch(tmp_path, *names, *(f"{one}.NII.GZ" for one in beside))
    (scan,) = read_dataset(tmp_path)
    assert scan.image == tmp_path / names[0]
    assert scan.phase == tmp_path / names[1]
    assert (scan.labels, scan.brain) == tuple(tmp_path / f"{one}.NII.GZ" for one in beside)
