import os
from pathlib import Path

import numpy as np
import pytest

from mmocnet.cohort.scans import find_scans
from mmocnet.errors import InputError
from mmocnet.volume import Volume

OUT = Path("/results")


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _keys(cohort):
    return [scan.key for scan in cohort.scans]


def test_a_bids_dataset_gives_its_swi_with_participant_session_and_phase(tmp_path):
    _touch(
        tmp_path,
        "sub-01/ses-a/anat/sub-01_ses-a_swi.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_part-phase_swi.nii.gz",
        "sub-02/anat/sub-02_T2starw.nii.gz",
        "derivatives/reference/sub-01/ses-a/anat/sub-01_ses-a_desc-cmb_dseg.nii.gz",
    )
    first, second = find_scans(tmp_path, OUT).scans
    assert (first.participant, first.session) == ("sub-01", "ses-a")
    assert first.key == "sub-01/ses-a/anat/sub-01_ses-a_swi.nii.gz"
    assert first.options.phase == first.path.with_name("sub-01_ses-a_part-phase_swi.nii.gz")
    assert not first.options.phase_must_fit
    assert (second.participant, second.session, second.options.phase) == ("sub-02", "n/a", None)
    assert find_scans(tmp_path, OUT, phase=False).scans[0].options.phase is None
    assert first.files.table == OUT / "sub-01/ses-a/anat/sub-01_ses-a_desc-cmb_dseg.tsv"


def test_of_several_echoes_the_usual_one_is_taken(tmp_path, write_head):
    for echo, seconds in ((1, 0.007), (2, 0.021), (3, 0.035)):
        name = f"sub-01_echo-{echo}_T2starw.nii.gz"
        write_head(tmp_path / "sub-01" / "anat" / name, EchoTime=seconds)
    found = find_scans(tmp_path, OUT)
    assert _keys(found) == ["sub-01/anat/sub-01_echo-2_T2starw.nii.gz"]
    assert found.left_out == ("left out 2 images of other echoes",)


def test_echoes_of_unknown_time_are_all_taken(tmp_path):
    _touch(tmp_path / "sub-01/anat", *(f"sub-01_echo-{n}_T2starw.nii.gz" for n in (1, 2)))
    found = find_scans(tmp_path, OUT)
    assert len(found.scans) == 2
    assert found.left_out == (
        "all echoes of 1 acquisition are taken, as their times are not stated",
    )


def test_visits_without_a_scan_are_named(tmp_path):
    _touch(
        tmp_path,
        "sub-01/ses-a/anat/sub-01_ses-a_swi.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz",
        "sub-02/swi/sub-02_swi.nii.gz",
        "sub-03/anat/sub-03_SWI.nii.gz",
        "sub-04.txt",
    )
    found = find_scans(tmp_path, OUT)
    assert len(found.scans) == 1
    assert found.left_out == (
        "left out 3 visits without SWI or T2*-weighted images: sub-01/ses-b, sub-02, sub-03",
    )


def test_subjects_without_anat_folders_are_any_folder(tmp_path):
    _touch(tmp_path, "sub-01/swi.nii.gz", "sub-02/swi.nii.gz")
    assert _keys(find_scans(tmp_path, OUT)) == ["sub-01/swi.nii.gz", "sub-02/swi.nii.gz"]


def test_runs_are_scans_of_their_own(tmp_path):
    _touch(tmp_path / "sub-01/anat", *(f"sub-01_run-{n}_swi.nii.gz" for n in (1, 2)))
    assert len(find_scans(tmp_path, OUT).scans) == 2


def test_any_folder_gives_its_volumes_at_any_depth(tmp_path):
    _touch(
        tmp_path,
        "site1/a/swi.nii.gz",
        "site1/a/T1.nii.gz",
        "site1/a/swi_phase.nii.gz",
        "site1/b/swi.nii",
        "scan.nii.gz",
        "brain_mask.nii.gz",
        ".hidden/swi.nii.gz",
        "derivatives/x/swi.nii.gz",
        "notes.txt",
        "found/site1/a/swi_desc-cmb_dseg.nii.gz",
    )
    os.mkfifo(tmp_path / "site1" / "pipe")
    found = find_scans(tmp_path, tmp_path / "found")
    assert _keys(found) == ["scan.nii.gz", "site1/a/swi.nii.gz", "site1/b/swi.nii"]
    assert found.left_out == ("left out 3 images: by name no SWI, or beside one, or beside DICOM",)
    tables = [scan.files.table.relative_to(tmp_path / "found").as_posix() for scan in found.scans]
    assert tables[1:] == [f"site1/{name}/swi_desc-cmb_dseg.tsv" for name in "ab"]


def test_links_are_followed_and_a_link_to_nothing_is_a_scan_that_will_fail(tmp_path):
    _touch(tmp_path, "elsewhere/p3/swi.nii.gz", "set/p1/swi.nii.gz")
    (tmp_path / "set" / "p3").symlink_to(tmp_path / "elsewhere" / "p3")
    (tmp_path / "set" / "round").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "p4").mkdir()
    (tmp_path / "set" / "p4" / "swi.nii.gz").symlink_to("annexed")
    assert _keys(find_scans(tmp_path / "set", OUT)) == [f"p{n}/swi.nii.gz" for n in (1, 3, 4)]


def test_bids_names_in_any_folder_make_one_derivative_of_each_dataset(tmp_path):
    _touch(tmp_path, *(f"site-{x}/sub-01/anat/sub-01_swi.nii.gz" for x in "ab"))
    tables = [scan.files.table for scan in find_scans(tmp_path, OUT).scans]
    assert tables == [OUT / f"site-{x}/sub-01/anat/sub-01_desc-cmb_dseg.tsv" for x in "ab"]


def test_results_in_a_dataset_are_no_scans_of_it(tmp_path):
    _touch(tmp_path, "p1/swi.nii.gz", "found/cohort_scans.tsv", "found/p1/x_dicom/seg.nii.gz")
    _touch(tmp_path, "found/p1/swi.nii.gz")
    assert _keys(find_scans(tmp_path, tmp_path / "found-again")) == ["p1/swi.nii.gz"]


@pytest.fixture
def write_study(tmp_path, write_dicom_series, rng):
    def write(place: str, patient: str) -> None:
        array = rng.integers(1, 500, (24, 20, 4)).astype(np.float32)
        volume = Volume(array, np.diag([2.0, 2.0, 3.0, 1.0]))
        write_dicom_series(tmp_path / place / "swi", volume, patient_id=patient)
        write_dicom_series(tmp_path / place / "t1", volume, kind="other", patient_id=patient)

    return write


def test_every_dicom_study_is_a_scan(tmp_path, write_study):
    write_study("site/p1", "A")
    write_study("site/p2/visit", "B")
    found = find_scans(tmp_path, OUT)
    assert _keys(found) == ["site/p1", "site/p2/visit"]
    assert found.scans[1].files.table == OUT / "site" / "p2" / "visit_desc-cmb_dseg.tsv"


def test_a_volume_beside_dicom_is_no_scan(tmp_path, write_study):
    write_study("p1", "A")
    _touch(tmp_path / "p1" / "t1", "t1_mprage.nii.gz")
    found = find_scans(tmp_path, OUT)
    assert _keys(found) == ["p1"]
    assert found.left_out == ("left out 1 image: by name no SWI, or beside one, or beside DICOM",)


def test_studies_in_one_folder_are_refused(tmp_path, write_study):
    write_study("all/p1", "A")
    write_study("all/p1/inner", "B")
    with pytest.raises(InputError, match="'inner' within the folder of another"):
        find_scans(tmp_path, OUT)


def test_a_table_says_where_scans_are_and_of_whom(tmp_path):
    (tmp_path / "scans.csv").write_text(
        "scan;participant_id;session_id;phase;age\na/scan.nii.gz;P 1;;;71\n".replace("P 1", "P1")
        + 'a/b/scan.nii.gz;P2;base;"a/b/ph.nii.gz";80\n'
    )
    found = find_scans(tmp_path / "scans.csv", OUT)
    first, second = found.scans
    assert (first.path, first.participant) == (tmp_path / "a/scan.nii.gz", "P1")
    assert second.options.phase == tmp_path / "a/b/ph.nii.gz"
    assert second.options.phase_must_fit
    assert [one.out for one in found.scans] == [OUT / "P1", OUT / "P2" / "base"]
    assert found.left_out == ("columns of scans.csv that are not used: age",)


def test_scans_of_one_name_are_told_apart_by_participant(tmp_path):
    rows = [f"site-{x}/sub-01/anat/sub-01_swi.nii.gz\t{x.upper()}01\n" for x in "ab"]
    (tmp_path / "scans.tsv").write_text("scan\tparticipant_id\n" + "".join(rows))
    assert [one.out for one in find_scans(tmp_path / "scans.tsv", OUT).scans] == [
        OUT / "A01",
        OUT / "B01",
    ]


def test_empty_rows_of_a_spreadsheet_are_none(tmp_path):
    (tmp_path / "scans.csv").write_text("\ufeffscan;mask\r\nx.nii;\r\n;\r\n;\r\n")
    assert _keys(find_scans(tmp_path / "scans.csv", OUT)) == ["x.nii"]


def test_a_table_without_participants_keeps_the_folders(tmp_path):
    (tmp_path / "scans.tsv").write_text("scan\tspacing_mm\nx/1/s.png\t0.5\nx/2/s.png\tn/a\n")
    first, second = find_scans(tmp_path / "scans.tsv", OUT).scans
    assert (first.out, second.out) == (OUT / "1", OUT / "2")
    assert (first.options.spacing_mm, second.options.spacing_mm) == (0.5, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image\nx.nii\n", "expected a column 'scan' and a row for each scan in scans.tsv"),
        ("scan\n", "expected a column 'scan' and a row for each scan"),
        ("scan\tmask\nn/a\tm.nii\n", "expected a scan in row 1 of scans.tsv, got none"),
        ("scan\tparticipant_id\nx.nii\t../p\n", "participant_id in row 1 of scans.tsv, got '../p'"),
        ("scan\tspacing_mm\nx.png\thalf\n", "a number as spacing_mm in row 1"),
        ("scan\nx.nii\nx.nii.gz\n", "would write the same files, named x"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, said):
    (tmp_path / "scans.tsv").write_text(text)
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        find_scans(tmp_path / "scans.tsv", OUT)


def test_what_holds_no_scan_is_refused(tmp_path):
    with pytest.raises(InputError, match="found no scan in"):
        find_scans(tmp_path, OUT)
    with pytest.raises(InputError, match="'nowhere', which is none"):
        find_scans(tmp_path / "nowhere", OUT)
    _touch(tmp_path, "scan.nii.gz")
    with pytest.raises(InputError, match=r"a table .tsv or .csv, got scan.nii.gz"):
        find_scans(tmp_path / "scan.nii.gz", OUT)
