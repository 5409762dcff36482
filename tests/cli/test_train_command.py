import json
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
from mmocnet.config import Thresholds, train_settings
from mmocnet.nets.card import simulated_only, training_text
from mmocnet.nets.checkpoint import load_cascade, save_cascade

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


def test_a_cascade_too_poor_to_calibrate_is_kept_but_is_no_model(
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
    assert load_cascade(tmp_path / "run" / "model.unfinished").settings.context is None
    assert not (tmp_path / "run" / "model").exists()


def calibrated(model: Path, *_: object) -> Thresholds:
    """Do as `calibrate` does to a model folder, without looking at any scan."""
    cascade = load_cascade(model)
    cascade.card["operating_points"] = {"dataset": "natural"}
    save_cascade(model, cascade)
    return cascade.settings.thresholds


@pytest.fixture
def run(
    tmp_path: Path, write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Train on `set` into `run`, with toy datasets and a toy calibration."""
    for folder in ("set", "natural", "other"):
        for label in ("01", "02"):
            write_study(tmp_path / folder, label, 4 if folder == "set" else 5)
    write_study(tmp_path / "other", "03")
    monkeypatch.setattr("mmocnet.commands.train.calibrate", calibrated)

    def train(*words: str, **sets: str) -> int:
        for option, folder in sets.items():
            words += (f"--{option.replace('_', '-')}", str(tmp_path / folder))
        folders = [str(tmp_path / "set"), "-o", str(tmp_path / "run")]
        return main(["train", *folders, "--device", "cpu", "--epochs", "0", "0", *words])

    return train


def test_a_run_that_ends_before_its_points_are_chosen_leaves_no_model(
    tmp_path: Path, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> Thresholds:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mmocnet.commands.train.calibrate", stopped)
        assert run(thresholds_on="natural") == 130
        assert not (tmp_path / "run" / "model").exists()
    assert run(thresholds_on="natural") == 0
    assert "operating_points" in load_cascade(tmp_path / "run" / "model").card
    assert sorted(path.name for path in (tmp_path / "run").glob("model*")) == ["model"]


def test_a_repeat_leaves_the_finished_model_until_it_has_a_better_one(
    tmp_path: Path, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(thresholds_on="natural") == 0
    before = (tmp_path / "run" / "model" / "card.json").read_bytes()

    def stopped(*_: object) -> Thresholds:
        raise KeyboardInterrupt

    monkeypatch.setattr("mmocnet.commands.train.calibrate", stopped)
    assert run(thresholds_on="natural") == 130
    assert (tmp_path / "run" / "model" / "card.json").read_bytes() == before


def test_a_model_is_not_replaced_by_one_decided_on_less_or_on_others(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    # Without points nothing is lost, whatever is given next.
    assert run() == 0
    assert run(thresholds_on="natural") == 0
    before = (tmp_path / "run" / "model" / "card.json").read_bytes()
    for given, told in (({}, "none"), ({"thresholds_on": "other"}, "another")):
        assert run(**given) == 2
        said = capsys.readouterr().err
        assert (
            f"expected the --thresholds-on that the model in run was decided on, got {told}:"
            in said
        )
    assert (tmp_path / "run" / "model" / "card.json").read_bytes() == before
    # Stage 1 alone makes no model, and the same dataset may have moved.
    assert run("--stage", "1") == 0
    (tmp_path / "natural").rename(tmp_path / "moved")
    assert run(thresholds_on="moved") == 0


def test_a_classifier_is_not_dropped(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mmocnet.commands.train.add_classifier", calibrated)
    assert run("--preset", "standard", thresholds_on="natural", classifier_on="other") == 0
    assert run("--preset", "standard", thresholds_on="natural") == 2
    assert "expected the --classifier-on that the model in run was" in capsys.readouterr().err


def test_a_model_of_an_earlier_version_keeps_its_points(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(thresholds_on="natural") == 0
    card = tmp_path / "run" / "model" / "card.json"
    content = json.loads(card.read_text("utf-8"))
    del content["decided_on"]
    card.write_text(json.dumps(content), "utf-8")
    assert run() == 2
    assert "decided on, got none" in capsys.readouterr().err
    assert run(thresholds_on="other") == 0


def called(folder: Path, how: str) -> None:
    """Let all sidecars of a dataset say how their scan came about."""
    for path in folder.glob("sub-*/anat/*_T2starw.nii.gz"):
        sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
        sidecar.write_text(json.dumps({how: {}}), "utf-8")


def test_the_card_calls_a_model_simulated_only_where_all_scans_say_so(
    tmp_path: Path, run: Callable[..., int]
) -> None:
    def simulated() -> bool:
        card = load_cascade(tmp_path / "run" / "model").card
        assert (card["train_scans"], card["train_subjects"], card["train_lesions"]) == (1, 1, 1)
        shutil.rmtree(tmp_path / "run")
        assert training_text(card).startswith("set, simulated (" if card["simulated"] else "set (")
        assert simulated_only(card) == card["simulated"]
        return bool(card["simulated"])

    # Real subjects may be put into a dataset that was simulated.
    made = {"GeneratedBy": [{"Description": "mmocnet simulate, simulator version 3"}]}
    (tmp_path / "set" / "dataset_description.json").write_text(json.dumps(made), "utf-8")
    assert run() == 0
    assert not simulated()
    called(tmp_path / "set", "Implantation")
    assert run() == 0
    assert not simulated()
    called(tmp_path / "set", "Simulation")
    assert run() == 0
    assert simulated()
    assert run(thresholds_on="natural") == 0
    assert not simulated()
    called(tmp_path / "natural", "Simulation")
    assert run("--start-from", "compact", thresholds_on="natural") == 0
    assert simulated()
    start = load_cascade("compact")
    start.card["finetune"] = {}
    save_cascade(tmp_path / "tuned", start)
    assert run("--start-from", str(tmp_path / "tuned")) == 0
    assert not simulated()


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
