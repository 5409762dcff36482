import json
import os
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from mmocnet.cli import main
from mmocnet.predict import pipeline

SPACING_MM = np.array([2.0, 2.0, 4.0])
SHAPE = (72, 88, 32)


@pytest.fixture
def scan(tmp_path, rng):
    affine = np.diag([*SPACING_MM, 1.0])
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    radius = ((grid - (np.array(SHAPE) - 1) / 2) * SPACING_MM / [62.0, 75.0, 55.0]) ** 2
    image = (500 + 30 * rng.standard_normal(SHAPE)) * (radius.sum(axis=-1) < 1)
    path = tmp_path / "brain.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image.astype(np.int16), affine), path)
    return path


def test_a_scan_is_segmented_and_the_report_named(scan, tiny, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["segment", str(scan), "-o", str(out), "--model", tiny]) == 0
    said = capsys.readouterr()
    assert "No microbleed found" in said.out
    assert str(out / "brain_report.html") in said.out
    assert "Research use only - not a medical device" in said.out
    assert (out / "brain_report.html").is_file()


def test_one_bad_input_does_not_stop_the_others(scan, tiny, tmp_path, capsys):
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no image")
    out = tmp_path / "out"
    words = ["segment", str(bad), str(scan), "-o", str(out), "--model", tiny]
    assert main(words) == 2
    said = capsys.readouterr()
    assert "bad.nii.gz" in said.err
    assert "1 of 2 inputs" in said.err
    assert (out / "brain_desc-cmb_dseg.json").is_file()
    assert not list(out.glob("bad*"))


def test_an_unexpected_failure_does_not_stop_the_others(scan, tiny, tmp_path, capsys, monkeypatch):
    segment_file = pipeline.segment_file

    def failing(path, *given, **named):
        if path.name == "odd.nii.gz":
            raise RuntimeError("/secret/place")
        return segment_file(path, *given, **named)

    monkeypatch.setattr(pipeline, "segment_file", failing)
    out = tmp_path / "out"
    words = ["segment", "odd.nii.gz", str(scan), "-o", str(out), "--model", tiny]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "odd.nii.gz failed with RuntimeError" in said
    assert "1 of 2 inputs" in said
    assert "secret" not in said
    assert (out / "brain_desc-cmb_dseg.json").is_file()


def test_a_name_that_is_no_utf_8_is_segmented(scan, tiny, tmp_path, capsys):
    scan = scan.rename(tmp_path / os.fsdecode(b"M\xfcller.nii.gz"))
    out = tmp_path / "out"
    assert main(["segment", str(scan), "-o", str(out), "--model", tiny]) == 0
    assert r"M\udcfcller.nii.gz: No microbleed found" in capsys.readouterr().out
    assert r"M\udcfcller.nii.gz" in next(out.glob("*_report.html")).read_text()
    assert next(out.glob("*_report.pdf")).is_file()


def test_a_file_as_folder_is_refused_before_the_networks_run(tmp_path, capsys):
    (tmp_path / "out").touch()
    words = ["segment", "a.nii", "-o", str(tmp_path / "out" / "deep"), "--model", "none"]
    assert main(words) == 2
    assert "expected a folder for the results, got the file 'out'" in capsys.readouterr().err


def test_one_bad_input_alone_is_one_sentence(tiny, tmp_path, capsys):
    words = ["segment", str(tmp_path / "none.nii"), "-o", str(tmp_path / "out"), "--model", tiny]
    assert main(words) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_is_done_is_skipped_and_overwritten_on_demand(scan, tiny, tmp_path, capsys):
    words = ["segment", str(scan), "-o", str(tmp_path / "out"), "--model", tiny]
    summary = tmp_path / "out" / "brain_desc-cmb_dseg.json"
    assert main(words) == 0
    first = summary.stat().st_mtime_ns
    assert main(words) == 0
    assert "done before" in capsys.readouterr().out
    assert summary.stat().st_mtime_ns == first
    assert main([*words, "--overwrite"]) == 0
    assert summary.stat().st_mtime_ns > first


def test_another_threshold_is_not_taken_for_done(scan, tiny, tmp_path, capsys):
    words = ["segment", str(scan), "-o", str(tmp_path / "out"), "--model", tiny]
    assert main(words) == 0
    assert main([*words, "--threshold", "0.2"]) == 2
    assert "another threshold" in capsys.readouterr().err


def test_the_operating_point_chooses_the_threshold(scan, tiny, tmp_path):
    out = tmp_path / "out"
    words = ["segment", str(scan), "-o", str(out), "--model", tiny]
    assert main([*words, "--operating-point", "screening"]) == 0
    record = json.loads((out / "brain_desc-cmb_dseg.json").read_text())["Provenance"]
    assert (record["OperatingPoint"], record["Threshold"]) == ("screening", 0.3)


def test_inputs_that_would_write_the_same_files_are_refused(scan, tiny, tmp_path, capsys):
    other = tmp_path / "other" / scan.name
    other.parent.mkdir()
    other.write_bytes(scan.read_bytes())
    words = ["segment", str(scan), str(other), "-o", str(tmp_path / "out"), "--model", tiny]
    assert main(words) == 2
    assert "same files" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_inputs_that_would_write_the_same_files_are_both_named(tiny, tmp_path, capsys):
    words = ["segment", "sub-01_baseline.nii.gz", "sub-01_later.nii.gz"]
    assert main([*words, "-o", str(tmp_path / "out"), "--model", tiny]) == 2
    assert "sub-01_baseline.nii.gz and sub-01_later.nii.gz would" in capsys.readouterr().err


def test_visits_with_almost_bids_names_have_files_of_their_own(scan, tiny, tmp_path):
    visits = [tmp_path / f"sub-01_ses-{number}.nii.gz" for number in (1, 2)]
    for visit in visits:
        visit.write_bytes(scan.read_bytes())
    out = tmp_path / "out"
    assert main(["segment", *map(str, visits), "-o", str(out), "--model", tiny]) == 0
    assert len(list(out.glob("sub-01_ses-[12]_desc-cmb_dseg.nii.gz"))) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "unheard-of"], "model"),
        (["--model", "paper"], "paper"),
        (["--threshold", "3"], "threshold"),
        (["--mask", "none.nii.gz"], "none.nii.gz"),
        (["--threads", "0"], "threads"),
    ],
)
def test_an_option_out_of_range_exits_2(scan, tiny, tmp_path, capsys, words, said):
    if "--model" not in words:
        words = ["--model", tiny, *words]
    elif words[1] == "paper" and _ships("paper"):
        pytest.skip("paper ships with this build")
    assert main(["segment", str(scan), "-o", str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def _ships(name):
    from mmocnet.nets.card import shipped_folder

    return (shipped_folder() / name).is_dir()


def test_no_input_exits_2(tmp_path, capsys):
    assert main(["segment", "-o", str(tmp_path / "out")]) == 2
    assert "INPUT" in capsys.readouterr().err


def test_a_phase_image_is_ignored_aloud(scan, tiny, tmp_path, capsys):
    words = ["segment", str(scan), "-o", str(tmp_path / "out"), "--model", tiny]
    assert main([*words, "--phase", "phase.nii.gz"]) == 0
    assert "reads no phase" in capsys.readouterr().err


def test_help_imports_no_torch():
    code = (
        "import sys; from mmocnet.cli import main\n"
        "try: main(['segment', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
    assert b"Research use only" in done.stdout


def test_import_brings_in_nothing_heavy_and_names_resolve():
    code = (
        "import sys, mmocnet\n"
        "heavy = {'torch', 'nibabel', 'scipy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert all(callable(getattr(mmocnet, name)) for name in mmocnet.__all__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
