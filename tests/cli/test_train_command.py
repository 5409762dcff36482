import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mmocnet.cli import main
from mmocnet.cli.train import Train
from mmocnet.config import train_settings
from mmocnet.nets.checkpoint import load_cascade

WriteStudy = Callable[..., None]


def test_a_dataset_becomes_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write_study: WriteStudy
) -> None:
    for label in ("01", "02"):
        write_study(tmp_path / "set", label)
    words = ["train", str(tmp_path / "set"), "-o", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*words, "--epochs", "0", "0", "--seed", "7"]) == 0
    assert "not a medical device" in capsys.readouterr().out
    cascade = load_cascade(tmp_path / "run" / "model")
    assert (cascade.card["dataset"], cascade.card["seed"]) == ("set", 7)


def test_two_processes_write_one_model(tmp_path: Path, write_study: WriteStudy) -> None:
    for label in ("01", "02"):
        write_study(tmp_path / "set", label)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = ["--nproc-per-node", "2", "-m", "mmocnet", "train", str(tmp_path / "set")]
    rest = ["-o", str(tmp_path / "run"), "--device", "cpu", "--epochs", "0", "0"]
    done = subprocess.run(
        [*torchrun, *command, *rest], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("not a medical device") == 1
    assert load_cascade(tmp_path / "run" / "model").card["train_subjects"] == 1


def test_a_model_too_poor_to_calibrate_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write_study: WriteStudy
) -> None:
    for folder in ("set", "natural"):
        for label in ("01", "02"):
            write_study(tmp_path / folder, label)
    words = ["train", str(tmp_path / "set"), "-o", str(tmp_path / "run"), "--device", "cpu"]
    natural = ["--thresholds-on", str(tmp_path / "natural")]
    # Untrained networks find no candidate, so that there is nothing to fit on.
    assert main([*words, "--epochs", "0", "0", *natural]) == 2
    assert "among the candidates to fit on" in capsys.readouterr().err
    assert load_cascade(tmp_path / "run" / "model").settings.context is None


@pytest.mark.parametrize("option", ["--thresholds-on", "--classifier-on"])
def test_a_dataset_that_cannot_decide_is_told_before_any_scan_is_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write_study: WriteStudy, option: str
) -> None:
    for folder in ("set", "good", "one"):
        for label in ("01", "02"):
            write_study(tmp_path / folder, label)
    linked = tmp_path / "linked"
    linked.symlink_to(tmp_path / "set")
    without_lesions(tmp_path / "one", "01")
    words = ["train", str(tmp_path / "set"), "-o", str(tmp_path / "run"), "--preset", "standard"]
    if option == "--classifier-on":
        words += ["--thresholds-on", str(tmp_path / "good")]
    for folder, told in (
        ("none", "got 'none', which is none"),
        ("set", "got the same scan sub-01_acq-swi in set"),
        ("linked", "got the same scan sub-01_acq-swi in linked"),
        ("one", f"references for {option}, got 1 in one"),
    ):
        assert main([*words, "--device", "cpu", option, str(tmp_path / folder)]) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_dataset_without_a_lesion_is_not_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write_study: WriteStudy
) -> None:
    for label in ("01", "02"):
        write_study(tmp_path / "set", label)
        without_lesions(tmp_path / "set", label)
    assert main(["train", str(tmp_path / "set"), "-o", str(tmp_path / "run")]) == 2
    assert (
        "1 or more subjects with microbleeds in their references for the training, got 0"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "run").exists()


def misname(folder: Path, label: str) -> None:
    anat = folder / "derivatives" / "reference" / f"sub-{label}" / "anat"
    name = f"sub-{label}_acq-swi_desc-cmb_dseg.nii.gz"
    (anat / name).rename(anat / name.replace("swi", "gre"))


def test_a_scan_whose_reference_is_misnamed_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write_study: WriteStudy
) -> None:
    for label in ("01", "02", "03"):
        write_study(tmp_path / "set", label)
    misname(tmp_path / "set", "02")
    words = ["train", str(tmp_path / "set"), "-o", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*words, "--epochs", "0", "0"]) == 0
    # The console breaks long lines.
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: 1 of 3 scans in set have no reference and are left out: sub-02_acq-swi" in said
    assert "1 of 3 references in set belong to no scan: sub-02/anat/sub-02_acq-gre_desc-cmb" in said


def test_a_dataset_without_references_is_refused_and_what_is_misnamed_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write_study: WriteStudy
) -> None:
    write_study(tmp_path / "set", "01")
    misname(tmp_path / "set", "01")
    assert main(["train", str(tmp_path / "set"), "-o", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "expected scans with a reference, got none in set; 1 of 1 references in set" in said
    shutil.rmtree(tmp_path / "set" / "derivatives")
    assert main(["train", str(tmp_path / "set"), "-o", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.endswith("with a reference, got none in set\n")
    assert not (tmp_path / "run").exists()


def without_lesions(folder: Path, label: str) -> None:
    (path,) = (folder / "derivatives" / "reference" / f"sub-{label}").rglob("*_dseg.nii.gz")
    labels = nib.load(path)
    nib.save(nib.Nifti1Image(np.zeros(labels.shape, np.int16), labels.affine), path)


def test_a_missing_dataset_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(tmp_path / "none"), "-o", str(tmp_path / "run")]) == 2
    assert "none" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--preset", "paper", "--start-from", "compact"], "does not fit the networks that start"),
        (["--start-from", "nowhere"], "expected a model folder"),
        (["--pretrained-encoder", "notes.txt"], "expected a safetensors file, got notes.txt"),
        (["--start-from", "compact", "--pretrained-encoder", "a"], "got both"),
        (["--cache", "notes.txt"], "folder for the results, got the file 'notes.txt'"),
        (["-o", "notes.txt"], "folder for the results, got the file 'notes.txt'"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_kept(
    words: list[str],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    write_study: WriteStudy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for label in ("01", "02"):
        write_study(tmp_path / "set", label)
    (tmp_path / "notes.txt").write_text("no weights")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "set", "-o", "run", "--device", "cpu", *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_model_of_random_weights_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write_study: WriteStudy
) -> None:
    for label in ("01", "02"):
        write_study(tmp_path / "set", label)
    words = ["train", str(tmp_path / "set"), "--device", "cpu", "--epochs", "0", "0"]
    assert main([*words, "-o", str(tmp_path / "random")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: stage 1 and stage 2 not trained: weights are random" in said
    card = load_cascade(tmp_path / "random" / "model").card
    assert card["never_trained"] == ["stage 1", "stage 2"]
    assert main([*words, "-o", str(tmp_path / "started"), "--start-from", "compact"]) == 0
    assert "random" not in capsys.readouterr().err
    assert "never_trained" not in load_cascade(tmp_path / "started" / "model").card


def test_a_budget_lifts_the_limit_of_epochs() -> None:
    settings = Train(Path("a"), Path("b"), budget_minutes_stage1=5.0).settings()
    compact = train_settings("compact")
    assert settings.detector.budget_minutes == 5.0
    assert settings.detector.max_epochs > 10_000
    assert settings.segmenter == compact.segmenter


def test_options_reach_the_settings() -> None:
    command = Train(
        Path("a"),
        Path("b"),
        preset="paper",
        roi_size=64,
        crop_shape=(128, 96),
        mining_slices=400,
        epochs=(3, 4),
        seed=9,
    )
    settings = command.settings()
    assert settings.cascade.roi_size == 64
    assert (settings.crop_shape, settings.mining_slices) == ((128, 96), 400)
    assert (settings.detector.max_epochs, settings.segmenter.max_epochs) == (3, 4)
    assert settings.detector.loss.sensitivity_weight == 10.0
    assert settings.seed == 9


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--crop-shape", "100", "128"], "two multiples of 16, got 100 128"),
        (["--crop-shape", "0", "128"], "two multiples of 16, got 0 128"),
        (["--mining-slices", "0"], "at least 1, got 0"),
        (["--seed", "-1"], "--seed of at least 0, got -1"),
        (["--threads", "0"], "--threads of at least 1, got 0"),
        (["--epochs", "3", "-1"], "--epochs of at least 0, got -1"),
        (["--workers", "-3"], "--workers of at least 1, got -3"),
        (["--budget-minutes-classifier", "5"], "expected --classifier-on beside --budget-minutes"),
        (["--budget-minutes-stage1", "0"], "--budget-minutes-stage1 above 0, got 0"),
        (["--budget-minutes-stage2", "-5"], "--budget-minutes-stage2 above 0, got -5"),
        (["--preset", "standard", "--classifier-on", "a"], "expected --thresholds-on beside"),
        (["--classifier-on", "a", "--thresholds-on", "b"], "--preset standard beside"),
    ],
)
def test_amounts_that_cannot_be_end_with_2(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path / "set"), "-o", str(tmp_path / "run"), *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("before", "share"), [(None, 1.0), ("compact", 1.0), ("standard", 0.5)])
def test_a_classifier_that_was_trained_goes_on_more_gently(
    before: str | None, share: float
) -> None:
    started = Train(Path("set"), out=Path("run"), preset="standard", start_from=before)
    usual = train_settings("standard").classifier.learning_rate
    assert started.settings().classifier.learning_rate == pytest.approx(share * usual)
