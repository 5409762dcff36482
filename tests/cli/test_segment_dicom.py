"""`mmocnet segment` on DICOM: what a scanner sends, with a fake patient."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from mmocnet import load_scan
from mmocnet import segment as call
from mmocnet.cli import main
from mmocnet.config import (
    CascadeSettings,
    ClassifierSettings,
    DetectorSettings,
    PreparationSettings,
    SegmenterSettings,
    SegmentSettings,
)
from mmocnet.nets.checkpoint import Cascade, save_cascade
from mmocnet.nets.classifier import Classifier
from mmocnet.nets.detector import Detector
from mmocnet.nets.segmenter import Segmenter
from mmocnet.predict.provenance import beside_in_memory
from mmocnet.volume import Volume

SHAPE, SPACING_MM = (72, 88, 12), np.array([2.0, 2.0, 4.0])
PATIENT = ("Fake", "FAKE123", "19420203", "ACC987", "Fake study", "Doctor", "Hospital", "12345")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Untrained networks that call nothing a microbleed and read phase."""
    settings = CascadeSettings(
        detector=DetectorSettings(widths=(4, 4, 4, 4, 4), blocks=(1, 1, 1, 1), output_bias=-20.0),
        segmenter=SegmenterSettings(width=4, blocks=1),
        preparation=PreparationSettings(pixel_mm=2.0),
        classifier=ClassifierSettings(size=8, widths=(4, 4), blocks=1),
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    networks = Detector(settings.detector), Segmenter(settings.segmenter)
    classifier = Classifier(settings.classifier)
    save_cascade(folder, Cascade(settings, *networks, {}, classifier=classifier))
    return str(folder)


@pytest.fixture
def volumes(rng):
    """A head with dark veins, and its phase in rad, in which blood is positive."""
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(SHAPE, SPACING_MM, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    veins = (np.hypot((x + 2) % 20 - 10, (y + 3) % 20 - 10) < 2.5).astype(float)
    image = (500 - 200 * veins + 10 * rng.normal(size=SHAPE)) * (np.hypot(x / 62, y / 75) < 1)
    radians = np.angle(np.exp(1j * (0.002 * (x**2 + y**2) + 0.03 * z + 0.8 * veins)))
    affine = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    affine[:2, 3] = [71, 87]
    return Volume(image.clip(0), affine), Volume(radians, affine)


@pytest.fixture
def study(tmp_path, volumes, write_dicom_series):
    folder = tmp_path / "study"
    write_dicom_series(folder, volumes[0])
    write_dicom_series(folder, volumes[1], kind="phase")
    write_dicom_series(folder, volumes[0].like(volumes[0].array + 3), kind="magnitude")
    return folder


def segment(path, out, model, *more):
    words = ["segment", str(path), "-o", str(out), "--model", model, "--no-location"]
    return main([*words, *more])


def provenance(out, stem="study"):
    return json.loads((out / f"{stem}_desc-cmb_dseg.json").read_text())["Provenance"]


def test_a_study_that_was_loaded_brings_its_phase(study, volumes, model):
    scan = load_scan(study, series=3)
    found = beside_in_memory(scan, None, None, reads_phase=True)
    # As it was stored: in the scanner's units.
    stored = found.phase.array * np.pi / np.abs(found.phase.array).max()
    np.testing.assert_allclose(stored, volumes[1].array, atol=0.01)
    assert beside_in_memory(scan, None, None, reads_phase=False).phase is None
    said = call(scan, SegmentSettings(model=model, location=False)).warnings
    assert not any("phase" in text for text in said)


def test_the_phase_of_a_loaded_study_that_cannot_be_used_is_told(
    tmp_path, volumes, model, write_dicom_series
):
    write_dicom_series(tmp_path / "study", volumes[0])
    write_dicom_series(tmp_path / "study", volumes[0], kind="phase")
    found = call(load_scan(tmp_path / "study"), SegmentSettings(model=model, location=False))
    assert "the phase beside it is not used: expected" in found.warnings[0]
    assert sum("phase" in text for text in found.warnings) == 1


def test_a_study_is_segmented_with_its_phase(study, model, tmp_path, capsys):
    out = tmp_path / "out"
    assert segment(study, out, model) == 0
    said = capsys.readouterr()
    assert "No microbleed found" in said.out
    assert "phase" not in said.err
    given = provenance(out)["Input"]
    assert given["Name"] == "series 3"
    assert given["Phase"]["Name"] == "series 2"
    assert given["Phase"]["EchoTime"] == 0.02
    assert given["Acquisition"]["EchoTime"] == 0.02
    report = (out / "study_report.html").read_text()
    assert "<dt>Phase</dt><dd>read: series 2</dd>" in report
    assert f"<dt>Series Instance UID</dt><dd>{given['SeriesInstanceUID']}</dd>" in report
    assert "<dt>Regions</dt><dd>not asked for</dd>" in report
    assert ", with phase</dd>" in report
    assert segment(study, out, model) == 0
    assert "done before" in capsys.readouterr().out


def test_phase_may_be_given_as_a_study(study, model, tmp_path, volumes, write_dicom_series):
    write_dicom_series(tmp_path / "swi", volumes[0])
    for name, more in (("swi", ("--phase", str(study))), ("study", ())):
        assert segment(tmp_path / name, tmp_path / name / "out", model, *more) == 0
    given, beside = (
        provenance(tmp_path / name / "out", name)["Input"]["Phase"] for name in ("swi", "study")
    )
    assert given == beside | {"Name": "study"}


def test_dicom_objects_that_were_deleted_are_made_again(study, model, tmp_path):
    out = tmp_path / "out"
    assert segment(study, out, model) == 0
    shutil.rmtree(out / "study_dicom")
    assert segment(study, out, model) == 0
    assert (out / "study_dicom" / "sr.dcm").is_file()


def test_nothing_of_the_patient_is_said_or_written(study, model, tmp_path, words_of, capsys):
    out = tmp_path / "out"
    assert segment(study, out, model) == 0
    assert segment(study, out, model, "--series", "77", "--overwrite") == 2
    said = capsys.readouterr()
    texts = [said.out, said.err]
    texts += [
        words_of(path) for path in out.rglob("*") if path.suffix in (".json", ".tsv", ".html")
    ]
    texts += [str(path) for path in out.rglob("*")]
    assert len(texts) > 8
    assert not [word for word in PATIENT for text in texts if word in text]


def test_the_vendor_s_sign_stands_in_where_the_scan_does_not_tell(
    model, tmp_path, volumes, write_dicom_series, capsys, rng
):
    flat = np.where(volumes[0].array > 100, 500, 0) + (20 * rng.normal(size=SHAPE)).clip(0)
    for vendor in ("SIEMENS", "Unheard of"):
        folder = tmp_path / vendor
        write_dicom_series(folder, volumes[0].like(flat), Manufacturer=vendor)
        write_dicom_series(folder, volumes[1], kind="phase", Manufacturer=vendor)
        assert segment(folder, tmp_path / "out", model) == 0
        said = capsys.readouterr().err
        assert ("usual sign of the scanner's vendor is used" in said) == (vendor == "SIEMENS")
        assert ("phase is not used" in said) == (vendor != "SIEMENS")


def test_what_is_named_phase_and_is_none_costs_a_warning_only(
    tmp_path, volumes, write_dicom_series, model, capsys
):
    folder = tmp_path / "study"
    write_dicom_series(folder, volumes[0])
    write_dicom_series(folder, volumes[0].like(volumes[0].array + 3), kind="phase")
    assert segment(folder, tmp_path / "out", model) == 0
    assert "the phase beside it is not used: expected" in capsys.readouterr().err
    assert "Phase" not in provenance(tmp_path / "out")["Input"]


def test_a_series_is_asked_for_by_number(study, model, tmp_path, capsys):
    assert segment(study, tmp_path / "out", model, "--series", "1") == 0
    assert "series 1 is not named as SWI" in capsys.readouterr().err
    assert provenance(tmp_path / "out")["Input"]["Name"] == "series 1"


def test_headers_that_identify_nothing_leave_all_but_dicom_objects(
    model, tmp_path, volumes, write_dicom_series, capsys
):
    write_dicom_series(tmp_path / "study", volumes[0], StudyInstanceUID="")
    assert segment(tmp_path / "study", tmp_path / "out", model) == 0
    said = capsys.readouterr().err
    assert "no DICOM objects are made from series 3: no valid Study Instance UID" in said
    assert (tmp_path / "out" / "study_report.pdf").exists()
    assert not (tmp_path / "out" / "study_dicom").exists()


def test_several_swi_exit_2_with_their_list(
    study, model, tmp_path, volumes, write_dicom_series, capsys
):
    more = volumes[0].like(volumes[0].array + 1)
    write_dicom_series(study / "more", more, SeriesNumber=8)
    assert segment(study, tmp_path / "out", model) == 2
    said = capsys.readouterr().err
    assert "series 3: SWI, 12 slices" in said
    assert "series 8: SWI, 12 slices" in said
    assert not (tmp_path / "out").exists()


def test_a_zip_and_one_file_are_read(study, model, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "sent.zip", "w") as archive:
        for path in study.iterdir():
            archive.write(path, f"a/{path.name}")
    assert segment(study, tmp_path / "out", model) == 0
    assert segment(tmp_path / "sent.zip", tmp_path / "out", model) == 0
    hashes = {provenance(tmp_path / "out", s)["Input"]["SHA256"] for s in ("study", "sent")}
    assert len(hashes) == 1
    assert segment(study / "swi-0006.dcm", tmp_path / "out", model) == 0
    assert provenance(tmp_path / "out", "swi-0006")["Input"]["SHA256"] not in hashes


def test_dicom_gives_what_nifti_gives(study, model, tmp_path, volumes):
    from mmocnet.io.nifti import read_nifti, write_nifti

    rounded = volumes[0].like(np.rint(volumes[0].array))
    write_nifti(tmp_path / "swi.nii.gz", rounded, np.float32)
    assert segment(study, tmp_path / "out", model) == 0
    assert segment(tmp_path / "swi.nii.gz", tmp_path / "out", model) == 0
    found = [
        read_nifti(tmp_path / "out" / f"{s}_label-CMB_probseg.nii.gz") for s in ("study", "swi")
    ]
    assert np.allclose(found[0].affine, found[1].affine, atol=1e-5)
    assert np.array_equal(found[0].array, found[1].array)


def test_a_rat_is_refused_with_a_clear_sentence(real_data, model, tmp_path, capsys):
    folder = real_data / "rat-swi" / "dicom"
    assert segment(folder, tmp_path / "out", model) == 2
    assert "measures 22 mm across, expected a human brain" in capsys.readouterr().err
