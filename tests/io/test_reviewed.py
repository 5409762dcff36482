from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.io.dataset import DatasetScan, read_tsv
from mmocnet.io.reviewed import (
    COLUMNS,
    Judged,
    Review,
    Source,
    Verdict,
    find_review,
    read_review,
    review_path,
    write_review,
)
from mmocnet.volume import Volume

AFFINE = np.diag([0.5, 0.5, 2.0, 1.0])


def review() -> Review:
    labels = np.zeros((6, 7, 4), np.int16)
    labels[1, 1, 1], labels[3, 3, 2], labels[4, 5, 3] = 1, 2, 3
    rows = (
        Judged(1, Verdict.ACCEPT, (0.5, 0.5, 2.0), "A", confidence=0.9, name="CMB 1"),
        Judged(2, Verdict.REJECT, (1.5, 1.5, 4.0), "A", reason="vessel", confidence=0.6),
        Judged(3, Verdict.ADDED, (2.0, 2.5, 6.0), "B", Source.READER),
        Judged(0, Verdict.REJECT, (0.0, 1.0, 2.0), "A", reason="calcification"),
    )
    return Review(Volume(labels, AFFINE), rows, True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return tmp_path / "set" / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_acq-swi_T2starw.nii.gz"


def test_a_review_is_read_as_it_was_written(tmp_path: Path, image: Path) -> None:
    written = review()
    path = write_review(tmp_path / "set", image, written)
    assert path.name == "sub-01_ses-2_acq-swi_desc-reviewed_dseg.nii.gz"
    found = find_review(tmp_path / "set", DatasetScan("01", "2", image))
    assert found is not None
    assert found.complete
    assert np.array_equal(found.labels.array, written.labels.array)
    assert [replace(row, confidence=0.0) for row in found.rows] == [
        replace(row, confidence=0.0) for row in written.rows
    ]
    assert np.array_equal(
        [row.confidence for row in found.rows],
        [row.confidence for row in written.rows],
        equal_nan=True,
    )
    assert list(read_tsv(path.with_name(path.name.replace(".nii.gz", ".tsv")))[0]) == list(COLUMNS)


def test_only_accepted_and_added_are_microbleeds() -> None:
    microbleeds = review().microbleeds().array
    assert set(np.unique(microbleeds)) == {0, 1, 3}
    assert [row.reason for row in review().rejected()] == ["vessel", "calcification"]


def test_a_macrohaemorrhage_is_neither_a_microbleed_nor_rejected() -> None:
    made = review()
    large = replace(made.rows[0], certainty="macrohaemorrhage")
    made = replace(made, rows=(large, *made.rows[1:]))
    assert set(np.unique(made.microbleeds().array)) == {0, 3}
    assert large not in made.rejected()


def test_a_scan_without_review_has_none(tmp_path: Path, image: Path) -> None:
    assert find_review(tmp_path / "set", DatasetScan("01", "2", image)) is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda r: replace(r, rows=r.rows[1:]), "got 1 on one side only"),
        (lambda r: replace(r, rows=(*r.rows, r.rows[0])), "each index once"),
        (
            lambda r: replace(r, rows=(*r.rows, replace(r.rows[0], index=0))),
            "an outline of each microbleed",
        ),
    ],
)
def test_rows_and_outlines_must_belong_together(
    tmp_path: Path, image: Path, change: object, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        write_review(tmp_path / "set", image, change(review()))  # type: ignore[operator]
    assert not review_path(tmp_path / "set", image).exists()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("accept", "maybe", "verdict of accept, reject, added.*line 2.*'maybe'"),
        ("\tverdict", "\tdecision", "the column verdict"),
    ],
)
def test_a_wrong_table_is_refused(
    tmp_path: Path, image: Path, old: str, new: str, complaint: str
) -> None:
    path = write_review(tmp_path / "set", image, review())
    table = path.with_name(path.name.replace(".nii.gz", ".tsv"))
    table.write_text(table.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=complaint):
        read_review(path)


def test_a_review_without_its_sidecar_is_refused(tmp_path: Path, image: Path) -> None:
    path = write_review(tmp_path / "set", image, review())
    path.with_name(path.name.replace(".nii.gz", ".json")).unlink()
    with pytest.raises(InputError, match=r"reviewed_dseg\.json beside"):
        read_review(path)


def test_a_review_in_capitals_is_read(tmp_path: Path, image: Path) -> None:
    path = write_review(tmp_path / "set", image, review())
    capitals = path.rename(path.with_name(path.name.replace(".nii.gz", ".NII.GZ")))
    assert len(read_review(capitals).rows) == 4
