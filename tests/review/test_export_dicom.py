import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest

from mmocnet.errors import InputError
from mmocnet.predict.dicom_files import write_dicom
from mmocnet.review.export_dicom import write_dicom_zip
from mmocnet.review.exports import export
from mmocnet.review.reading import Reading
from mmocnet.review.study import Material


@pytest.fixture
def made(make_study: Callable[..., Any]) -> Any:
    return make_study("dicom", "series")


@pytest.fixture
def read(kit: SimpleNamespace) -> Callable[..., Reading]:
    def make(made: Any, *more: tuple[str, dict]) -> Reading:
        second = made.machine.findings[1].voxels
        return made.reading(
            kit.verdict("m1", "accept"),
            kit.verdict("m2", "accept", certainty="definite"),
            kit.paint("m2", second[:1], erase=True),
            kit.verdict("m3", "reject", reason="vein"),
            kit.add(made.spot("missed")),
            *more,
        )

    return make


def unpacked(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def texts(dataset: Any) -> list[str]:
    """Return all that a report says in words and numbers, in order."""
    said = []
    for item in dataset.get("ContentSequence", []):
        if "TextValue" in item:
            said.append(str(item.TextValue))
        if "PersonName" in item:
            said.append(str(item.PersonName))
        if "MeasuredValueSequence" in item:
            said.append(str(item.MeasuredValueSequence[0].NumericValue))
        said += texts(item)
    return said


def test_both_objects_are_valid_and_say_who_read_them(
    made: Any, read: Callable[..., Reading], judged: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    folder = unpacked(export("dicom", made.study, read(made), "Ann^A", tmp_path), tmp_path / "o")
    assert sorted(path.name for path in folder.iterdir()) == [
        "audit.jsonl", "provenance.json", "seg.dcm", "sr.dcm",
    ]  # fmt: skip
    assert judged(folder / "seg.dcm") == []
    assert judged(folder / "sr.dcm") == []
    report = pydicom.dcmread(folder / "sr.dcm")
    assert report.VerificationFlag == "UNVERIFIED"
    said = texts(report)
    assert "Ann A^" in said
    assert any("judged by the person named as observer; not verified" in one for one in said)
    assert any("2 accepted, 1 rejected, 1 added, 0 not judged" in one for one in said)
    assert sum("added by the reader" in one for one in said) == 1
    assert sum("outline edited by the reader" in one for one in said) == 1


def test_a_reading_keeps_the_limits_of_the_machine_s_count(
    made: Any, read: Callable[..., Reading], tmp_path: Path
) -> None:
    place = {"Location": {"Ok": True, "Coverage": 0.38}}
    doubtful = replace(
        made.machine,
        provenance=made.machine.provenance | place,
        warnings=("the field strength is not stated",),
    )
    material = Material(made.study, doubtful, read(made), "Ann")
    path = write_dicom_zip(material, tmp_path / "o.zip")
    said = texts(pydicom.dcmread(unpacked(path, tmp_path / "o") / "sr.dcm"))
    assert "the field strength is not stated" in said
    assert "counted in the 38% of the brain that the scan covers" in said


def test_who_drew_an_outline_is_in_the_segmentation(
    made: Any, read: Callable[..., Reading], tmp_path: Path
) -> None:
    folder = unpacked(export("dicom", made.study, read(made), "Ann", tmp_path), tmp_path / "o")
    dataset = pydicom.dcmread(folder / "seg.dcm")
    kinds = [one.SegmentAlgorithmType for one in dataset.SegmentSequence]
    assert kinds == ["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]
    assert [one.SegmentLabel for one in dataset.SegmentSequence] == ["CMB 1", "CMB 2", "Added 1"]
    frames = dataset.pixel_array
    expected = sum(one.voxels.size for one in made.machine.findings[:2]) - 1
    assert int(frames.sum()) == expected + made.spot("missed").size


def test_identifiers_follow_from_the_reading_and_are_not_the_machines(
    made: Any, read: Callable[..., Reading], tmp_path: Path
) -> None:
    write_dicom(made.result, made.scan.dicom, b"%PDF-1.4 ", tmp_path / "machine")
    found = {"machine": pydicom.dcmread(tmp_path / "machine" / "sr.dcm")}
    steps: tuple[tuple[str, dict], ...] = (("undo", {"of": 5}), ("redo", {"of": 5}))
    readings = {
        "first": (read(made), "Ann"),
        "same": (read(made), "Ann"),
        "later": (read(made, *steps), "Ann"),
        "other": (read(made), "Bob"),
    }
    for name, (reading, reader) in readings.items():
        path = export("dicom", made.study, reading, reader, tmp_path / name)
        found[name] = pydicom.dcmread(unpacked(path, tmp_path / name / "o") / "sr.dcm")
    uids = {name: one.SOPInstanceUID for name, one in found.items()}
    assert uids["first"] == uids["same"]
    assert len({uids[name] for name in ("machine", "first", "later", "other")}) == 4
    assert found["first"].SeriesInstanceUID != found["machine"].SeriesInstanceUID
    assert found["first"].StudyInstanceUID == found["machine"].StudyInstanceUID
    assert found["first"].SeriesNumber != found["machine"].SeriesNumber
    bytes_of = [(tmp_path / name / "o" / "sr.dcm").read_bytes() for name in ("first", "same")]
    assert bytes_of[0] == bytes_of[1]


def test_no_microbleed_is_a_report_that_counts_none(
    made: Any, kit: SimpleNamespace, judged: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    reading = made.reading(kit.verdict("m1", "reject", reason="iron"))
    folder = unpacked(export("dicom", made.study, reading, "Ann", tmp_path), tmp_path / "o")
    assert not (folder / "seg.dcm").exists()
    said = texts(pydicom.dcmread(folder / "sr.dcm"))
    assert said.count("0.0") == 1
    assert any("0 accepted, 1 rejected, 0 added, 1 not judged" in one for one in said)
    assert judged(folder / "sr.dcm") == []


def test_a_study_that_is_no_dicom_is_refused(
    make_study: Callable[..., Any], tmp_path: Path
) -> None:
    made = make_study()
    with pytest.raises(InputError, match="came as DICOM"):
        export("dicom", made.study, made.reading(), "Ann", tmp_path)
    assert not list(tmp_path.glob("*.zip"))


def test_labels_of_dicom_lie_on_the_grid_of_the_slices(
    made: Any, read: Callable[..., Reading], tmp_path: Path
) -> None:
    import nibabel as nib

    image = nib.load(export("nifti", made.study, read(made), "Ann", tmp_path))
    np.testing.assert_allclose(image.affine, made.scan.volume.affine, atol=1e-6)
    assert image.shape == made.scan.volume.shape


def test_a_series_that_identifies_nothing_is_refused_in_a_sentence(
    made: Any, tmp_path: Path
) -> None:
    source = replace(made.scan.dicom, unfit="its identifiers are not valid")
    material = Material(made.study, made.machine, made.reading(), "Ann")
    # Kept as if it had been read so.
    material.__dict__["scan"] = replace(made.scan, dicom=source)
    with pytest.raises(InputError, match="identifiers are not valid"):
        write_dicom_zip(material, tmp_path / "out.zip")
    assert not list(tmp_path.glob("out*"))
