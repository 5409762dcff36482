import json
from dataclasses import asdict, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mmocnet.cli import main
from mmocnet.cli.finetune import _report
from mmocnet.nets.checkpoint import load_cascade, save_cascade
from mmocnet.simulate.study import SIMULATOR_VERSION
from mmocnet.simulate.testset import SubjectPlan
from mmocnet.train.finetune import Judged, Outcome
from mmocnet.train.finetune_data import replay_plans
from mmocnet.train.finetune_subjects import subject_digest

AFFINE = np.diag([0.5, 0.5, 2.0, 1.0])
SHAPE = (96, 112, 10)


def write_scan(dataset: Path, label: str, lesions: int = 5) -> None:
    """Write noisy tissue with dark balls, which are lesions, and dark rods, which are not."""
    rng = np.random.default_rng(int(label))
    at = np.meshgrid(*(np.arange(n, dtype=float) for n in SHAPE), indexing="ij")
    brain = ((at[0] - 48) / 42) ** 2 + ((at[1] - 56) / 50) ** 2 < 1
    image = 100 + rng.normal(0, 3, SHAPE)
    labels = np.zeros(SHAPE, np.int16)
    for number in range(1, lesions + 1):
        centre = rng.uniform(25, 65), rng.uniform(30, 80), rng.uniform(2, 8)
        away = ((at[0] - centre[0]) / 3) ** 2 + ((at[1] - centre[1]) / 3) ** 2
        away = away + ((at[2] - centre[2]) / 0.9) ** 2
        image -= 75 * np.exp(-(away**2))
        labels[away < 0.8] = number
    for _ in range(6):
        row, col, slope = rng.uniform(25, 65), rng.uniform(30, 80), rng.uniform(-1, 1)
        away = np.hypot(at[0] - row - slope * (at[2] - 5), at[1] - col)
        image -= 60 * np.exp(-((away / 1.8) ** 4))
    anat = dataset / f"sub-{label}" / "anat"
    reference = dataset / "derivatives" / "reference" / f"sub-{label}" / "anat"
    for path in (anat, reference):
        path.mkdir(parents=True)
    scan = np.where(brain, np.clip(image, 1, None), 0).astype(np.float32)
    nib.save(nib.Nifti1Image(scan, AFFINE), anat / f"sub-{label}_acq-swi_T2starw.nii.gz")
    name = reference / f"sub-{label}_acq-swi_desc-cmb_dseg"
    nib.save(nib.Nifti1Image(labels, AFFINE), f"{name}.nii.gz")


def write_replay(folder: Path, plan: SubjectPlan) -> None:
    """Write a scan as if it had been simulated in an earlier run of the command."""
    label = plan.label
    write_scan(folder, label)
    record = {
        "Protocol": {"name": "ukb", "field_t": 3.0},
        "Seed": plan.seed,
        "Settings": asdict(plan.settings),
        "SimulatorVersion": SIMULATOR_VERSION,
    }
    path = folder / f"sub-{label}" / "anat" / f"sub-{label}_acq-swi_T2starw.json"
    path.write_text(json.dumps({"Simulation": record}), encoding="utf-8")
    table = folder / "derivatives" / "reference" / f"sub-{label}" / "anat"
    table = table / f"sub-{label}_acq-swi_desc-cmb_dseg.tsv"
    columns = "index\tkind\tx_mm\ty_mm\tz_mm\tapparent_mm3\n"
    table.write_text(columns + "1\tmicrobleed\t0\t0\t0\t1\n", encoding="utf-8")


def test_scans_become_a_model_that_says_what_it_is_worth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("01", "02", "03", "04"):
        write_scan(tmp_path / "set", label)
    for plan in sum(replay_plans(2, 0), ()):
        write_replay(tmp_path / "run" / "replay", plan)
    words = ["finetune", str(tmp_path / "set"), "-o", str(tmp_path / "run"), "--from", "compact"]
    options = ["--steps", "1", "2", "0", "--replay-subjects", "2", "--device", "cpu"]
    assert main([*words, *options]) == 0
    said = capsys.readouterr().out
    assert "not a medical device" in said
    record = json.loads((tmp_path / "run" / "finetune.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in record["judged"]] == ["start", "confidence", "networks"]
    assert (record["learned_subjects"], record["held_out_subjects"]) == (3, 1)
    assert all(one["own"]["lesions"] == 5 for one in record["judged"])
    whom = sorted([*record["learned"], *record["held_out"]])
    assert whom == sorted(subject_digest(label) for label in ("01", "02", "03", "04"))
    model = load_cascade(tmp_path / "run" / "model")
    start = load_cascade("compact")
    assert model.card["finetune"]["start_sha256"] == start.sha256
    # Whatever was kept is what the record says.
    assert (model.settings.context == start.settings.context) == (record["kept"] == "start")
    assert (model.sha256 == start.sha256) == (record["kept"] != "networks")
    assert f"better on held-out scans: {record['kept']}" in said or not record["better"]


def start_of_a_round(folder: Path, record: dict[str, object]) -> None:
    start = load_cascade("compact")
    start.card["finetune"] = record
    save_cascade(folder, start)


def test_a_second_round_judges_on_subjects_that_the_first_did_not_learn_from(
    tmp_path: Path,
) -> None:
    for label in ("01", "02", "03", "04"):
        write_scan(tmp_path / "set", label)
    judges, start = [], "compact"
    # By the seed alone another subject would judge.
    for seed in (0, 1):
        run = tmp_path / f"run{seed}"
        for plan in sum(replay_plans(2, seed), ()):
            write_replay(run / "replay", plan)
        words = ["finetune", str(tmp_path / "set"), "-o", str(run), "--steps", "0", "0", "0"]
        words += ["--replay-subjects", "2", "--device", "cpu", "--force", "--seed", str(seed)]
        assert main([*words, "--from", start]) == 0
        start = str(run / "model")
        record = load_cascade(run / "model").card["finetune"]
        assert record == json.loads((run / "finetune.json").read_text("utf-8"))
        judges.append(record["held_out"])
    assert judges[0] == judges[1] == record["earlier"]["held_out"]
    assert record["learned"] == record["earlier"]["learned"]
    assert record["earlier"]["earlier"] is None


def test_a_round_in_which_nobody_could_judge_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("01", "02", "03", "04")
    for label in labels:
        write_scan(tmp_path / "set", label)
    words = ["finetune", str(tmp_path / "set"), "-o", str(tmp_path / "run"), "--device", "cpu"]
    learned = [subject_digest(label) for label in labels]
    start_of_a_round(tmp_path / "first", {"kept": "networks", "learned": learned})
    assert main([*words, "--from", str(tmp_path / "first")]) == 2
    said = capsys.readouterr().err
    assert "did not learn from before, to judge it by, got none: label or review others" in said
    assert "warning" not in said
    assert not (tmp_path / "run").exists()


def test_a_round_after_one_that_does_not_tell_its_subjects_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "set", "01")
    start_of_a_round(tmp_path / "first", {"kept": "networks", "learned_subjects": 3})
    words = ["finetune", str(tmp_path / "set"), "-o", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*words, "--from", str(tmp_path / "first")]) == 2
    assert (
        "warning: first was fine-tuned before, on subjects it does not" in capsys.readouterr().err
    )


def test_a_scan_that_cannot_be_segmented_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("01", "02", "03", "04"):
        write_scan(tmp_path / "set", label)
    (mask,) = (tmp_path / "set").glob("sub-03/anat/*_T2starw.nii.gz")
    image = nib.load(mask)
    nib.save(nib.Nifti1Image((image.get_fdata() > 0).astype(np.uint8), image.affine), mask)
    words = ["finetune", str(tmp_path / "set"), "-o", str(tmp_path / "run"), "--device", "cpu"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "different values as in a mask in sub-03" in said
    assert not (tmp_path / "run").exists()


def test_too_few_scans_are_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("01", "02"):
        write_scan(tmp_path / "set", label)
    words = ["finetune", str(tmp_path / "set"), "-o", str(tmp_path / "run"), "--device", "cpu"]
    assert main(words) == 2
    assert "at least 3 subjects with microbleeds" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--seed", "-1"], "--seed of at least 0, got -1"),
        (["--steps", "1", "-1", "0"], "--steps of at least 0, got -1"),
        (["--learning-rate", "-1"], "--learning-rate above 0, got -1"),
        (["--learning-rate", "nan"], "--learning-rate above 0, got nan"),
        (["--threads", "0"], "--threads of at least 1, got 0"),
        (["--workers", "0"], "--workers of at least 1, got 0"),
        (["--replay-subjects", "1"], "--replay-subjects of at least 2, got 1"),
        (["--held-out-share", "1"], "--held-out-share between 0 and 1, got 1"),
    ],
)
def test_numbers_that_are_none_are_refused_before_anything_is_made(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("01", "02", "03", "04"):
        write_scan(tmp_path / "set", label)
    start = ["finetune", str(tmp_path / "set"), "-o", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*start, *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_model_without_a_confidence_needs_steps_before_anything_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("01", "02", "03", "04"):
        write_scan(tmp_path / "set", label)
    start = load_cascade("compact")
    start.settings = replace(start.settings, context=None)
    save_cascade(tmp_path / "bare", start)
    words = ["finetune", str(tmp_path / "set"), "-o", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*words, "--from", str(tmp_path / "bare"), "--steps", "0", "0", "9"]) == 2
    assert "above 0, got 0 and 0: bare has no confidence to fit" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_file_as_run_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "set", "01")
    (tmp_path / "run").touch()
    assert main(["finetune", str(tmp_path / "set"), "-o", str(tmp_path / "run")]) == 2
    assert "expected a folder for the results, got the file 'run'" in capsys.readouterr().err


def test_what_could_not_be_compared_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"lesion_f1": 0.5, "lesion_sensitivity": 0.5, "fp_per_scan": 0.0}
    unknown = known | {"lesion_f1": float("nan")}
    judged = Judged("start", unknown, known), Judged("confidence", known, known)
    _report(Outcome(tmp_path, "start", False, judged, 3, 1))
    assert "nothing to compare by: kept start" in capsys.readouterr().out
