import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.io.dataset import read_dataset, read_tsv
from mmocnet.io.nifti import read_nifti, write_nifti
from mmocnet.io.reviewed import Source, Verdict, find_review
from mmocnet.review.exports import export
from mmocnet.review.reading import Reading
from mmocnet.train.finetune_data import count_lesions, read_labelled

DONE = ("complete", {"complete": True})
BIDS = "sub-07_ses-2_acq-swi_T2starw.nii.gz"


@pytest.fixture
def read(kit: SimpleNamespace) -> Callable[..., Reading]:
    def make(made: Any, *more: tuple[str, dict]) -> Reading:
        return made.reading(
            kit.verdict("m1", "accept"),
            kit.verdict("m2", "reject", reason="vein"),
            kit.verdict("m3", "reject", reason="calcium"),
            kit.add(made.spot("missed")),
            *more,
        )

    return make


def unpacked(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize("kind", ["nifti", "dicom", "picture"])
def test_finetune_takes_a_training_export(
    make_study: Callable[..., Any],
    read: Callable[..., Reading],
    tmp_path: Path,
    kind: str,
) -> None:
    made = make_study(kind, "brain.png" if kind == "picture" else "brain")
    path = export("training", made.study, read(made, DONE), "Ann", tmp_path)
    data = unpacked(path, tmp_path / "data")
    labelled = read_labelled(data, tmp_path / "run")
    assert (labelled.reviewed, labelled.rejected, labelled.unfinished) == (1, 2, ())
    (scan,) = labelled.scans
    assert count_lesions(scan) == 2
    np.testing.assert_allclose(read_nifti(scan.image).array, made.scan.volume.array)
    np.testing.assert_allclose(read_nifti(scan.image).affine, made.scan.volume.affine, atol=1e-5)
    labels = read_nifti(scan.labels).array.ravel()
    expected = np.union1d(made.machine.findings[0].voxels, made.spot("missed"))
    assert np.flatnonzero(labels).tolist() == expected.tolist()
    kinds = [row["kind"] for row in read_tsv(scan.table)]
    assert kinds == ["microbleed", "microbleed", "rejected", "rejected"]


def test_the_review_comes_back_with_its_verdicts(
    make_study: Callable[..., Any], read: Callable[..., Reading], tmp_path: Path
) -> None:
    made = make_study(name=BIDS)
    data = unpacked(
        export("training", made.study, read(made, DONE), "Ann\tB", tmp_path), tmp_path / "data"
    )
    (scan,) = read_dataset(data)
    named = f"sub-07_ses-2_acq-swi{made.scan.sha256[:8]}_T2starw.nii.gz"
    assert scan.image.relative_to(data).as_posix() == f"sub-07/ses-2/anat/{named}"
    review = find_review(data, scan)
    assert review is not None
    assert review.complete
    told = [(row.id, row.verdict, row.reason, row.source, row.reader) for row in review.rows]
    assert told == [
        ("m1", Verdict.ACCEPT, "n/a", Source.MODEL, "Ann B"),
        ("r1", Verdict.ADDED, "n/a", Source.READER, "Ann B"),
        ("m2", Verdict.REJECT, "vessel", Source.MODEL, "Ann B"),
        ("m3", Verdict.REJECT, "calcification", Source.MODEL, "Ann B"),
    ]
    assert [row.index for row in review.rows] == [1, 2, 3, 4]
    assert [row.certainty for row in review.rows] == ["definite", "definite", "n/a", "n/a"]
    assert [row.certainty_by for row in review.rows] == ["model", "size", "n/a", "n/a"]


def test_training_sets_of_several_scans_unpack_into_one_folder(
    make_study: Callable[..., Any], read: Callable[..., Reading], tmp_path: Path
) -> None:
    for number, name in enumerate(("scan.nii.gz", "scan.nii", BIDS)):
        made = make_study(name=name)
        path = export("training", made.study, read(made, DONE), "Ann", tmp_path / str(number))
        unpacked(path, tmp_path / "data")
    assert len(read_labelled(tmp_path / "data", tmp_path / "run").scans) == 3


@pytest.mark.parametrize(
    "names",
    [
        ("sub-01_T2starw.nii.gz", "sub-01_T2starw.nii.gz"),
        ("sub-01_swi.nii.gz", "sub-01_T2starw.nii.gz"),
        ("sub-01_desc-denoised_T2starw.nii.gz", "sub-01_acq-swi_T2starw.nii"),
    ],
)
def test_two_scans_of_a_subject_keep_both_training_sets_and_their_subject(
    make_study: Callable[..., Any],
    read: Callable[..., Reading],
    tmp_path: Path,
    names: tuple[str, str],
) -> None:
    arrays = []
    for number, name in enumerate(names):
        made = make_study(name=name, place=str(number))
        path = export("training", made.study, read(made, DONE), "Ann", tmp_path / str(number))
        unpacked(path, tmp_path / "data")
        arrays.append(made.scan.volume.array)
    labelled = read_labelled(tmp_path / "data", tmp_path / "run")
    assert labelled.reviewed == 2
    # Splits are by subject: one's scans must not lie on both sides.
    assert {scan.subject for scan in labelled.scans} == {"01"}
    assert len({scan.labels for scan in labelled.scans}) == 2
    found = [read_nifti(scan.image).array for scan in labelled.scans]
    for array in arrays:
        assert any(np.allclose(array, one) for one in found)


def test_a_training_set_holds_the_phase_that_was_given(
    make_study: Callable[..., Any], read: Callable[..., Reading], tmp_path: Path
) -> None:
    made = make_study(name=BIDS)
    phase = tmp_path / "phase.nii.gz"
    write_nifti(phase, made.scan.volume.like(made.scan.volume.array / 500), np.float32)
    study = type(made.study)(made.study.scan, made.study.result, BIDS, phase=phase)
    data = unpacked(export("training", study, read(made, DONE), "A", tmp_path), tmp_path / "data")
    (scan,) = read_dataset(data)
    assert scan.phase is not None
    assert scan.phase.name == scan.image.name.replace("_T2starw", "_part-phase_T2starw")
    np.testing.assert_allclose(read_nifti(scan.phase).array, read_nifti(phase).array)


def test_a_training_set_holds_the_phase_beside_a_dicom_scan(
    make_study: Callable[..., Any], read: Callable[..., Reading], tmp_path: Path
) -> None:
    made = make_study("dicom", "series", phase=True)
    path = export("training", made.study, read(made, DONE), "A", tmp_path)
    (scan,) = read_dataset(unpacked(path, tmp_path / "data"))
    assert scan.phase is not None
    phase = read_nifti(scan.phase)
    assert phase.shape == made.grid.shape
    # In the scanner's unit, which is found where phase is read.
    turn = np.sin(made.scan.volume.array) / np.pi * 4096
    np.testing.assert_allclose(phase.array, turn, atol=3.0)


def test_an_unfinished_reading_is_no_training_set(
    made: Any, read: Callable[..., Reading], kit: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="complete reading"):
        export("training", made.study, read(made), "Ann", tmp_path)
    undecided = read(made, DONE, kit.verdict("m2", None))
    with pytest.raises(InputError, match="1 finding is open"):
        export("training", made.study, undecided, "Ann", tmp_path)
    path = export("bids", made.study, undecided, "Ann", tmp_path)
    sidecar = next(unpacked(path, tmp_path / "out").rglob("*_dseg.json"))
    assert json.loads(sidecar.read_text())["Complete"] is False


def test_an_erased_finding_that_was_drawn_anew_teaches_no_mimic(
    made: Any, kit: SimpleNamespace, tmp_path: Path
) -> None:
    first, second = (one.voxels for one in made.machine.findings[:2])
    reading = made.reading(
        kit.add(first),
        kit.paint("m2", second, erase=True),
        DONE,
    )
    assert [one.verdict for one in reading.findings[:2]] == ["reject", "reject"]
    data = unpacked(export("training", made.study, reading, "A", tmp_path), tmp_path / "data")
    review = find_review(data, read_dataset(data)[0])
    assert review is not None
    assert [(row.id, row.index) for row in review.rows] == [("r1", 1), ("m2", 0)]


def test_a_reading_without_a_microbleed_is_a_scan_free_of_them(
    made: Any, kit: SimpleNamespace, tmp_path: Path
) -> None:
    steps = [kit.verdict(f"m{n}", "reject", reason="iron") for n in (1, 2)]
    path = export("training", made.study, made.reading(*steps, DONE), "A", tmp_path)
    labelled = read_labelled(unpacked(path, tmp_path / "data"), tmp_path / "run")
    assert count_lesions(labelled.scans[0]) == 0
    assert labelled.rejected == 2


@pytest.mark.parametrize(("kind", "name"), [("nifti", BIDS), ("nifti", "my brain.nii")])
def test_the_derivative_is_valid_bids(
    make_study: Callable[..., Any],
    read: Callable[..., Reading],
    bids_errors: Callable[[Path], list[Any]],
    tmp_path: Path,
    kind: str,
    name: str,
) -> None:
    made = make_study(kind, name)
    reading = read(made, DONE)
    folders = [unpacked(export("bids", made.study, reading, "Ann", tmp_path), tmp_path / "d")]
    data = unpacked(export("training", made.study, reading, "Ann", tmp_path), tmp_path / "t")
    for folder in (*folders, data, data / "derivatives" / "reviewed"):
        assert bids_errors(folder) == []


def test_the_derivative_carries_log_and_provenance(
    made: Any, read: Callable[..., Reading], tmp_path: Path
) -> None:
    folder = unpacked(export("bids", made.study, read(made), "Ann", tmp_path), tmp_path / "out")
    (log,) = folder.rglob("*_audit.jsonl")
    assert len(log.read_text().splitlines()) == 5
    (sidecar,) = folder.rglob("*_dseg.json")
    said = json.loads(sidecar.read_text())
    assert said["Provenance"]["LastEvent"] == 4
    assert "not a medical device" in said["Description"]
    assert "not a medical device" in (folder / "README.md").read_text()
