import csv
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from mmocnet.errors import InputError
from mmocnet.io.dataset import read_tsv
from mmocnet.io.nifti import read_nifti
from mmocnet.io.picture import read_picture
from mmocnet.review.exports import EXPORT_KINDS, ReviewedStudy, export, export_name
from mmocnet.review.reading import Reading, event_lines


@pytest.fixture
def read(kit: SimpleNamespace) -> Callable[..., Reading]:
    """Accept one with a word, reject one, leave two, add the missed one, edit the first."""

    def make(made: Any, *more: tuple[str, dict]) -> Reading:
        first = made.machine.findings[0].voxels
        return made.reading(
            kit.verdict("m1", "accept", certainty="possible"),
            kit.verdict("m2", "reject", reason="vein"),
            kit.add(made.spot("missed")),
            kit.paint("m1", first[:2], erase=True),
            *more,
        )

    return make


def test_the_labels_lie_exactly_on_the_scans_grid(
    made: Any, read: Callable[..., Reading], tmp_path: Path
) -> None:
    reading = read(made)
    path = export("nifti", made.study, reading, "Ann", tmp_path)
    assert path.name == "brain_one_desc-reviewed_dseg.nii.gz"
    image, scan = nib.load(path), nib.load(made.study.scan)
    assert np.array_equal(image.affine, scan.affine)
    assert image.shape == scan.shape
    assert image.get_data_dtype() == np.int16
    expected = np.zeros(made.grid.size, int)
    expected[made.machine.findings[0].voxels[2:]] = 1
    expected[made.spot("missed")] = 2
    assert np.array_equal(np.asarray(image.dataobj).ravel(), expected)
    said = json.loads(image.header.extensions[0].get_content())
    assert (said["Reader"], said["LastEvent"]) == ("Ann", 4)
    # The package itself reads it too.
    assert np.array_equal(read_nifti(path).array.ravel(), expected)


def test_a_picture_gives_a_picture_of_the_labels(
    make_study: Callable[..., Any], read: Callable[..., Reading], tmp_path: Path
) -> None:
    made = make_study("picture", "slice 7.png")
    path = export("nifti", made.study, read(made), "Ann", tmp_path)
    assert path.name == "slice_7_desc-reviewed_dseg.png"
    labels = read_picture(path, 0.5)
    assert labels.shape == made.grid.shape
    assert set(np.unique(labels.array)) == {0, 1, 2}
    assert np.flatnonzero(labels.array.ravel() == 2).tolist() == made.spot("missed").tolist()
    with Image.open(path) as picture:
        assert json.loads(picture.text["mmocnet"])["Reader"] == "Ann"


def table(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".tsv":
        return read_tsv(path)
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_table_keeps_machine_and_reader_apart(
    made: Any, read: Callable[..., Reading], tmp_path: Path, kind: str
) -> None:
    rows = table(export(kind, made.study, read(made), "Ann", tmp_path))
    told = ("index", "id", "origin", "verdict", "reason", "source", "certainty", "certainty_by")
    assert [tuple(row[key] for key in told) for row in rows] == [
        ("1", "m1", "machine", "accept", "n/a", "edited", "possible", "reader"),
        ("2", "r1", "reader", "added", "n/a", "reader", "definite", "size"),
        ("n/a", "m2", "machine", "reject", "vein", "model", "possible", "machine"),
        ("n/a", "m3", "machine", "not judged", "n/a", "model", "possible", "machine"),
        ("n/a", "m4", "machine", "not judged", "n/a", "model", "possible", "machine"),
    ]
    assert [row["confidence"] for row in rows] == ["0.95", "n/a", "0.6", "0.4", "0.1"]
    assert rows[0]["machine_certainty"] == "definite"
    assert rows[3]["machine_status"] == "below threshold"
    assert {row["reader"] for row in rows} == {"Ann"}
    assert {row["last_event"] for row in rows} == {"4"}
    assert rows[1]["model_sha256"] == f"detector:{'ab' * 32};segmenter:{'cd' * 32}"


def test_no_name_becomes_a_formula_of_a_spreadsheet(made: Any, tmp_path: Path) -> None:
    path = export("csv", made.study, made.reading(), "=cmd()", tmp_path)
    assert {row["reader"] for row in table(path)} == {"'=cmd()"}


def test_a_table_of_a_blind_reading_holds_nothing_that_the_reader_has_not_seen(
    made: Any, kit: SimpleNamespace, tmp_path: Path
) -> None:
    reading = made.reading(("blind", {"on": True}), kit.add(made.spot("m1")))
    rows = table(export("tsv", made.study, reading, "Ann", tmp_path))
    assert [row["id"] for row in rows] == ["r1"]
    assert rows[0]["found_blind"] == "yes"


def test_the_audit_holds_every_event_and_its_own_hash(
    made: Any, read: Callable[..., Reading], tmp_path: Path
) -> None:
    reading = read(made, ("undo", {"of": 4}))
    path = export("audit", made.study, reading, "Ann", tmp_path)
    first, *rest = path.read_text(encoding="utf-8").splitlines(keepends=True)
    assert "".join(rest) == event_lines(reading.events)
    record = json.loads(first)["provenance"]
    assert record["EventsSHA256"] == hashlib.sha256("".join(rest).encode()).hexdigest()
    assert [json.loads(line)["kind"] for line in rest] == [
        "verdict", "verdict", "add", "paint", "undo",
    ]  # fmt: skip
    assert record["Machine"]["Model"]["SHA256"] == {"detector": "ab" * 32, "segmenter": "cd" * 32}
    assert record["Machine"]["Threshold"] == 0.5


@pytest.mark.parametrize("kind", [kind for kind in EXPORT_KINDS if kind != "dicom"])
def test_the_same_reading_gives_the_same_bytes(
    made: Any, read: Callable[..., Reading], kit: SimpleNamespace, tmp_path: Path, kind: str
) -> None:
    steps = [kit.verdict("m1", "accept"), ("complete", {"complete": True})]
    first, second = (
        export(kind, made.study, read(made, *steps), "Ann", tmp_path / str(n)) for n in (1, 2)
    )
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def test_a_zip_tells_no_time_and_no_machine(
    made: Any, read: Callable[..., Reading], tmp_path: Path
) -> None:
    with zipfile.ZipFile(export("bids", made.study, read(made), "Ann", tmp_path)) as archive:
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert [one.filename for one in archive.infolist()] == sorted(archive.namelist())


@pytest.mark.parametrize("kind", ["html", "nifti", "bids"])
def test_a_scan_that_is_another_by_now_is_refused(made: Any, tmp_path: Path, kind: str) -> None:
    data = bytearray(made.study.scan.read_bytes())
    image = nib.load(made.study.scan)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), made.study.scan)
    assert bytes(data) != made.study.scan.read_bytes()
    with pytest.raises(InputError, match="no longer the one"):
        export(kind, made.study, made.reading(), "Ann", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_an_unknown_kind_and_a_missing_result_are_refused(made: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one of nifti"):
        export("docx", made.study, made.reading(), "Ann", tmp_path)
    lost = ReviewedStudy(made.study.scan, tmp_path / "nowhere", "x.nii.gz")
    with pytest.raises(InputError, match=r"expected findings\.json"):
        export("csv", lost, made.reading(), "Ann", tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../../etc/passwd", "passwd_desc-reviewed_dseg.csv"),
        ("sub-01_acq-swi_T2starw.nii.gz", "sub-01_acq-swi_desc-reviewed_dseg.csv"),
        ("sub-01_desc-x_swi.nii.gz", "sub-01_desc-reviewed_dseg.csv"),
        ("...", "scan_desc-reviewed_dseg.csv"),
        ("M\u00fcller <b>.nii", "M_ller_b_desc-reviewed_dseg.csv"),
    ],
)
def test_names_of_exports_are_plain(name: str, expected: str) -> None:
    assert export_name("csv", ReviewedStudy(Path("a.nii"), Path("r"), name)) == expected
