"""`mmocnet segment --phase` with networks that read phase."""

import json

import nibabel
import numpy as np
import pytest

from mmocnet.cli import main
from mmocnet.config import (
    CascadeSettings,
    ClassifierSettings,
    DetectorSettings,
    PreparationSettings,
    SegmenterSettings,
)
from mmocnet.io.digest import file_sha256
from mmocnet.nets.checkpoint import Cascade, save_cascade
from mmocnet.nets.classifier import Classifier
from mmocnet.nets.detector import Detector
from mmocnet.nets.segmenter import Segmenter

SHAPE, SPACING_MM = (72, 88, 12), np.array([2.0, 2.0, 4.0])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Untrained networks that call nothing a microbleed: the files are what is tested."""
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
def files(tmp_path, rng):
    """A head with dark veins, and its phase, -4096 to 4095, in which blood is negative."""
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(SHAPE, SPACING_MM, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    veins = (np.hypot((x + 2) % 20 - 10, (y + 3) % 20 - 10) < 2.5).astype(float)
    image = (500 - 200 * veins + 10 * rng.normal(size=SHAPE)) * (np.hypot(x / 62, y / 75) < 1)
    radians = 0.002 * (x**2 + y**2) + 0.03 * z - 0.8 * veins
    turned = np.angle(np.exp(1j * radians)) / np.pi * 4095
    paths = tmp_path / "swi.nii.gz", tmp_path / "ph.nii.gz"
    for path, array in zip(paths, (image, turned), strict=True):
        affine = np.diag([*SPACING_MM, 1.0])
        nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), affine), path)
    return paths


def provenance(out):
    return json.loads((out / "swi_desc-cmb_dseg.json").read_text())["Provenance"]


def test_phase_is_read_and_recorded(files, model, tmp_path, capsys):
    scan, phase = files
    out = tmp_path / "out"
    words = ["segment", str(scan), "-o", str(out), "--model", model]
    assert main([*words, "--phase", str(phase)]) == 0
    said = capsys.readouterr().err
    assert "phase" not in said
    expected = {"Name": "ph.nii.gz", "SHA256": file_sha256(phase), "Sign": "auto"}
    assert provenance(out)["Input"]["Phase"] == expected
    # Without phase, or with another sign, it is another result.
    for others in ([], ["--phase", str(phase), "--phase-sign", "-1"]):
        assert main([*words, *others]) == 2
        assert "another input" in capsys.readouterr().err


def test_phase_of_unknown_sign_is_left_out_aloud(files, model, tmp_path, capsys):
    scan, phase = files
    image = nibabel.load(scan)
    flat = np.where(image.get_fdata() > 100, 500, 0) + np.random.default_rng(1).normal(size=SHAPE)
    nibabel.save(nibabel.Nifti1Image(flat.astype(np.float32), image.affine), scan)
    words = ["segment", str(scan), "-o", str(tmp_path / "out"), "--model", model]
    assert main([*words, "--phase", str(phase)]) == 0
    assert "phase is not used" in capsys.readouterr().err
    report = (tmp_path / "out" / "swi_report.html").read_text()
    assert "<dt>Phase</dt><dd>given, not used (see warnings)</dd>" in report
    assert ", without phase</dd>" in report
    assert main([*words, "--phase", str(phase), "--phase-sign", "-1", "--overwrite"]) == 0
    assert "phase is not used" not in capsys.readouterr().err


def test_phase_that_does_not_fit_exits_2(files, model, tmp_path, capsys):
    scan, phase = files
    image = nibabel.load(phase)
    short = tmp_path / "short.nii.gz"
    nibabel.save(image.slicer[..., :-1], short)
    picture = tmp_path / "phase.png"
    picture.write_bytes(b"no image")
    words = ["segment", str(scan), "-o", str(tmp_path / "out"), "--model", model]
    for given, said in (
        (short, "(72, 88, 11)"),
        (scan, "phase"),
        (picture, "phase as .nii"),
        (tmp_path / "none.nii", "none.nii"),
    ):
        assert main([*words, "--phase", str(given)]) == 2
        assert said in capsys.readouterr().err
    assert main(["segment", str(scan), str(phase), *words[2:], "--phase", str(phase)]) == 2
    assert "--phase is for one INPUT" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_phase_beside_a_bids_scan_that_is_not_given_is_told_once(files, model, tmp_path, capsys):
    anat = tmp_path / "data" / "sub-1" / "anat"
    anat.mkdir(parents=True)
    scan, phase = anat / "sub-1_part-mag_T2starw.nii.gz", anat / "sub-1_part-phase_T2starw.nii.gz"
    for given, there in zip(files, (scan, phase), strict=True):
        given.rename(there)
    words = ["segment", str(scan), "-o", str(tmp_path / "out"), "--model", model]
    hint = f"{scan.name}: a phase image lies beside it: --phase {phase.name}\n"
    assert main(words) == 0
    assert capsys.readouterr().err.count(hint) == 1
    assert main([*words, "--phase", str(phase), "--overwrite"]) == 0
    assert "lies beside it" not in capsys.readouterr().err
