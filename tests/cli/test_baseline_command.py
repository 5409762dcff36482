from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmocnet.cli import main
from mmocnet.cli.baseline import Baseline
from mmocnet.evaluate.cases import read_case
from mmocnet.evaluate.files import pair_files
from mmocnet.train import baseline_net

pytest.importorskip("monai")
WriteStudy = Callable[..., None]


def test_a_trained_baseline_writes_what_evaluate_reads(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    write_study: WriteStudy,
) -> None:
    plain = baseline_net.baseline_settings
    monkeypatch.setattr(
        baseline_net,
        "baseline_settings",
        lambda name: replace(
            plain(name),
            levels=3,
            widest=8,
            validation_patches=2,
            stage=replace(plain(name).stage, steps_per_epoch=2, max_epochs=1),
        ),
    )
    data, run, found = (tmp_path / name for name in ("set", "run", "found"))
    for label in ("01", "02"):
        write_study(data, label)
    words = ["baseline", str(data), "-o", str(run), "--network", "unet3d", "--device", "cpu"]
    assert main([*words, "--width", "8", "--batch-size", "2", "--patch", "4", "80", "80"]) == 0
    assert "not a medical device" in capsys.readouterr().out

    scans = [str(path) for path in data.glob("sub-01/anat/*.nii.gz")]
    words = ["baseline", "--model", str(run / "model"), "--segment", *scans, "-o", str(found)]
    assert main([*words, "--device", "cpu", "--threshold", "0.05"]) == 0
    assert "segmented 1 at threshold 0.05" in capsys.readouterr().out
    cases, unused = pair_files(found, data / "derivatives" / "reference" / "sub-01")
    assert not unused
    for case in map(read_case, cases):
        assert case.probability is not None
        assert case.candidates is not None
        assert case.probability.shape == case.reference.shape
        assert np.isfinite(case.probability).all()
    assert main([*words, "--device", "cpu", "--threshold", "0.5"]) == 2
    assert "another" in capsys.readouterr().err

    bad = tmp_path / "a.nii.gz"
    bad.write_bytes(b"no image")
    words = ["baseline", "--model", str(run / "model"), "--segment", str(bad), *scans]
    assert main([*words, "-o", str(tmp_path / "most"), "--device", "cpu"]) == 2
    said = capsys.readouterr()
    assert "mmocnet baseline: " in said.err
    assert "1 of 2 inputs could not be processed" in said.err
    assert "segmented 1 at threshold" in said.out
    assert list((tmp_path / "most").rglob("*_desc-cmb_dseg.nii.gz"))


def test_either_a_dataset_or_a_model_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baseline", "-o", str(tmp_path)]) == 2
    assert "either a DATASET" in capsys.readouterr().err


def test_a_budget_lifts_the_limit_of_epochs() -> None:
    assert Baseline(budget_minutes=30.0).settings().stage.max_epochs == 100_000
    assert Baseline(network="unet3d", width=8).settings().width == 8


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--budget-minutes", "0"], "--budget-minutes above 0, got 0"),
        (["--seed", "-1"], "--seed of at least 0, got -1"),
        (["--width", "0"], "--width of at least 1, got 0"),
        (["--batch-size", "-3"], "--batch-size of at least 1, got -3"),
        (["--batch-size", "0"], "--batch-size of at least 1, got 0"),
        (["--workers", "0"], "--workers of at least 1, got 0"),
        (["--threads", "0"], "--threads of at least 1, got 0"),
        (["--thresholds-on", "set"], "other subjects for --thresholds-on than for the training"),
    ],
)
def test_what_cannot_be_trained_is_told_before_any_scan_is_prepared(
    words: list[str],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    write_study: WriteStudy,
) -> None:
    write_study(tmp_path / "set", "01")
    monkeypatch.chdir(tmp_path)
    assert main(["baseline", "set", "-o", "run", "--device", "cpu", *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run" / "cache").exists()


@pytest.mark.parametrize("threshold", ["7", "0", "-0.5", "nan", "inf"])
def test_a_threshold_that_is_none_is_refused(
    threshold: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["baseline", "--model", str(tmp_path), "--segment", "scan.nii.gz", "-o", "out"]
    assert main([*words, "--device", "cpu", "--threshold", threshold]) == 2
    assert "threshold must be above 0 and at most 1, got" in capsys.readouterr().err
