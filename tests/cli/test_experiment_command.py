import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mmocnet.cli import main
from mmocnet.commands.experiment import make_plan, run_experiment
from mmocnet.errors import InputError
from mmocnet.train.experiment_settings import (
    ExperimentPreset,
    ExperimentSettings,
    experiment_settings,
)
from mmocnet.train.variants import EXPERIMENTS

WriteStudy = Callable[..., None]


def quick(preset: ExperimentPreset) -> ExperimentSettings:
    """The small preset in seconds: two folds, two steps, two weights, two patch sizes."""
    settings = experiment_settings(preset)
    if preset == "full":
        return settings
    short = {"steps_per_epoch": 2, "max_epochs": 1, "warmup_steps": 1, "batch_size": 2}
    training = replace(
        settings.training,
        detector=replace(settings.training.detector, **short),
        segmenter=replace(settings.training.segmenter, **short),
        crop_shape=(48, 48),
        validation_patches=(4, 8),
        mining_slices=8,
    )
    return replace(
        settings,
        training=training,
        folds=2,
        lambdas=(0.0, 1.0),
        lambda_epochs=1,
        roi_sizes=(16, 32),
    )


@pytest.fixture
def dataset(tmp_path: Path, write_study: WriteStudy) -> Path:
    for number in range(7):
        write_study(tmp_path / "set", f"{number:02d}", slices=3)
    (tmp_path / "set" / "dataset_description.json").write_text(
        '{"GeneratedBy": [{"Description": "mmocnet simulate"}]}'
    )
    return tmp_path / "set"


def test_names_and_label_reach_the_plan(dataset: Path, tmp_path: Path) -> None:
    plan = make_plan("all", dataset, tmp_path / "out", folds_to_run=[1])
    assert plan.names == EXPERIMENTS
    assert plan.folds_to_run == (1,)
    assert plan.label == {"dataset": "set", "preset": "small", "simulated": True}
    assert make_plan("lambda", dataset, tmp_path).names == ("lambda",)
    own = replace(quick("small"), folds=3)
    plan = make_plan("lambda", dataset, tmp_path, own)
    assert (plan.settings, plan.label["preset"]) == (own, "own")


def test_all_experiments_leave_their_tables_and_figures(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Shorter trainings; everything else is what a user runs.
    monkeypatch.setattr("mmocnet.train.experiment_settings.experiment_settings", quick)
    out = tmp_path / "out"
    words = ["experiment", "all", str(dataset), "-o", str(out), "--device", "cpu"]
    assert main([*words, "--folds-to-run", "0"]) == 0
    assert "ablation: folds [1] are not finished" in capsys.readouterr().out
    assert not (out / "comparison").exists()
    assert main(words) == 0
    assert "not finished" not in capsys.readouterr().out
    for name in EXPERIMENTS:
        text = (out / name / "table.md").read_text()
        assert "Simulated data: set; preset small. Research use only" in text
        assert (out / name / "table.tex").exists()
    for name in ("cross-validation", "roi-size", "ablation"):
        drawn = {path.name for path in (out / name).glob("*.png")}
        assert {"rainclouds.png", "pr-curves.png", "panels.png"} <= drawn
    assert (out / "lambda" / "lambda.png").exists()
    assert main([*words, "--preset", "full"]) == 2
    assert "was begun with" in capsys.readouterr().err


def test_the_comparison_needs_a_finished_cross_validation(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["experiment", "comparison", str(dataset), "-o", str(tmp_path / "out")]
    assert main([*words, "--device", "cpu"]) == 2
    assert "finished cross-validation" in capsys.readouterr().err


def test_the_environment_alone_is_refused_before_any_scan_is_prepared(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["experiment", "environment", str(dataset), "-o", str(tmp_path / "out")]
    assert main([*words, "--device", "cpu"]) == 2
    assert "expected results of another experiment in out, got none" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_experiment_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected an experiment of"):
        run_experiment("lamda", dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_dataset_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["experiment", "lambda", str(tmp_path / "none"), "-o", str(tmp_path / "out")]
    assert main([*words, "--device", "cpu"]) == 2
    assert "none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--threads", "0"], "--threads of at least 1, got 0"),
        (["--workers", "0"], "--workers of at least 1, got 0"),
        (["--held-out-share", "1"], "--held-out-share of at least 0 and below 1, got 1"),
        (["--held-out-share", "nan"], "--held-out-share of at least 0 and below 1, got nan"),
        (["--held-out-share", "0"], "the folds are made of all subjects"),
    ],
)
def test_numbers_that_are_none_are_refused_before_anything_is_made(
    words: list[str], told: str, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["experiment", "comparison", str(dataset), "-o", str(tmp_path / "out")]
    assert main([*start, "--device", "cpu", *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_threads_of_nothing_are_refused_as_one_call(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1 thread, got 0"):
        run_experiment("lambda", dataset, tmp_path / "out", threads=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("by_option", [True, False])
def test_folds_are_made_of_all_subjects_where_nobody_is_held_out(
    by_option: bool, dataset: Path, tmp_path: Path
) -> None:
    settings = quick("small")
    share = 0.0 if by_option else None
    if not by_option:
        settings = replace(settings, held_out_share=0.0)
    done = run_experiment(
        "cross-validation", dataset, tmp_path / "out", settings, held_out_share=share
    )
    assert done[0].missing == ()
    kept = json.loads((tmp_path / "out" / "folds.json").read_text(encoding="utf-8"))
    assert kept["held_out"] == []
    assert sorted(name for part in kept["folds"] for name in part) == [f"{n:02d}" for n in range(7)]
