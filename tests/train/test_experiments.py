import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmocnet.config import (
    DetectorSettings,
    SegmenterSettings,
    StageSettings,
    TrainSettings,
    train_settings,
)
from mmocnet.errors import InputError
from mmocnet.evaluate.lesions import ScanLesions
from mmocnet.evaluate.pixels import PixelSample, precision_recall
from mmocnet.train.experiment_result import (
    HELD_OUT,
    FoldResult,
    ImageScore,
    fold_path,
    load_fold,
    save_fold,
)
from mmocnet.train.experiment_scores import own_threshold, score_scans, thinned_curve
from mmocnet.train.experiment_settings import ExperimentSettings, experiment_settings
from mmocnet.train.experiments import Plan, run_folds, score_held_out, unfinished
from mmocnet.train.patches import TrainingScan
from mmocnet.train.variants import first_stage_digest, variants

MakeScan = Callable[..., TrainingScan]


def tiny() -> ExperimentSettings:
    settings = train_settings("compact")

    def short(stage: StageSettings, batch: int) -> StageSettings:
        return replace(
            stage,
            batch_size=batch,
            steps_per_epoch=3,
            max_epochs=1,
            warmup_steps=1,
            ema_decay=0.5,
        )

    training = replace(
        settings,
        cascade=replace(
            settings.cascade,
            detector=DetectorSettings((4, 4, 8, 8, 8), (1, 1, 1, 1), output_bias=-2.0),
            segmenter=SegmenterSettings(width=4, blocks=1),
        ),
        detector=short(settings.detector, 2),
        segmenter=short(settings.segmenter, 4),
        crop_shape=(48, 48),
        validation_patches=(4, 8),
        mining_slices=8,
    )
    return ExperimentSettings(
        training, folds=2, lambdas=(0.0, 3.0), lambda_folds=1, roi_sizes=(16, 32), panels=1
    )


def plan_of(out: Path, *names: str, folds: tuple[int, ...] | None = None) -> Plan:
    return Plan(out, names, tiny(), {"dataset": "toy", "preset": "tiny"}, folds_to_run=folds)


def toy_scans(make: MakeScan, count: int = 6) -> list[TrainingScan]:
    rng = np.random.default_rng(5)
    return [make(rng, f"{i:02d}", (4, 48, 48)) for i in range(count)]


def result() -> FoldResult:
    return FoldResult(
        experiment="roi-size",
        variant="roi-16",
        fold=1,
        settings={"dataset": "toy"},
        seconds=1.5,
        images=(ImageScore("a", "a-1", 3, 1, 2, 3, 4),),
        scans=(ScanLesions("a", "a-1", 2, 1, 0, (0.5,)),),
        recall=[0.5, 1.0],
        precision=[1.0, 0.5],
        average_precision=0.75,
        recall_ceiling=0.5,
        history={"stage1": [{"epoch": 1, "loss": 0.5}], "stage2": []},
        threshold=0.5,
        environment={"torch": "2"},
    )


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    save_fold(tmp_path / "fold-1.json", result())
    assert load_fold(tmp_path / "fold-1.json") == result()


def test_nan_is_null_in_the_file_and_nan_again(tmp_path: Path) -> None:
    path = tmp_path / "fold-1.json"
    save_fold(path, replace(result(), average_precision=math.nan, recall=[math.nan]))
    assert "null" in path.read_text()
    assert "NaN" not in path.read_text()
    assert math.isnan(load_fold(path).average_precision)
    assert math.isnan(load_fold(path).recall[0])


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(InputError, match=r"result of a fold in x\.json"):
        load_fold(tmp_path / "x.json")


def test_patch_sizes_and_stage_2_variants_share_stage_1() -> None:
    settings = experiment_settings("full")
    base = first_stage_digest(settings.training)
    shared = [first_stage_digest(v.settings) for v in variants("roi-size", settings)]
    assert set(shared) == {base}
    by_name = {v.name: first_stage_digest(v.settings) for v in variants("ablation", settings)}
    assert by_name["full"] == by_name["without-frn"] == by_name["without-raspp"] == base
    assert by_name["without-sensitivity-loss"] != base


def test_the_variants_are_the_articles() -> None:
    settings = experiment_settings("full")
    assert [v.name for v in variants("roi-size", settings)] == [
        f"roi-{size}" for size in (16, 32, 64, 128)
    ]
    weights = [v.settings.segmenter.loss.sensitivity_weight for v in variants("lambda", settings)]
    assert weights == [1.0] * 5 + [0, 1, 3, 10, 30]
    ablation = {v.name: v for v in variants("ablation", settings)}
    assert ablation["without-raspp"].settings.cascade.segmenter.dilations == ()
    without = ablation["without-sensitivity-loss"].settings
    assert without.detector.loss.sensitivity_weight == 0
    assert without.segmenter.loss.sensitivity_weight == 0


def test_a_perfect_map_scores_one_on_slices_with_a_lesion(make_toy_scan: MakeScan) -> None:
    scans = toy_scans(make_toy_scan, 1)
    scores = score_scans(scans, lambda scan: (scan.labels > 0).astype(np.float32), 0.5)
    with_lesion = int((scans[0].labels > 0).any(axis=(1, 2)).sum())
    assert len(scores.images) == with_lesion
    assert all((i.fp, i.fn) == (0, 0) and i.tp > 0 for i in scores.images)
    assert scores.curve.average_precision == 1.0


def test_the_own_threshold_is_where_dice_is_best(make_toy_scan: MakeScan) -> None:
    scans = toy_scans(make_toy_scan, 1)

    def shifted(scan: TrainingScan) -> np.ndarray:
        return np.where(scan.labels > 0, 0.3, 0.22).astype(np.float32)

    assert own_threshold(scans, shifted) in (0.25, 0.3)
    assert own_threshold([], shifted) == 0.5


def test_a_curve_is_thinned_and_keeps_its_ends() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(5000)
    curve = precision_recall([PixelSample(probability, rng.random(5000) < probability, 10, 1)])
    recall, precision = thinned_curve(curve)
    assert len(recall) == len(precision) <= 200
    assert recall[-1] == 1.0
    assert recall[0] == round(float(curve.recall[0]), 5)


def test_every_experiment_runs_on_toy_scans(make_toy_scan: MakeScan, tmp_path: Path) -> None:
    scans = toy_scans(make_toy_scan)
    names = ("lambda", "cross-validation", "roi-size", "ablation")
    plan = plan_of(tmp_path, *names)
    run_folds(scans, plan)
    assert all(unfinished(plan, name) == [] for name in names)
    # Both folds: the base, and the one without sensitivity loss; fold 0: lambda 0 is the latter's.
    assert len(list((tmp_path / "stage1").iterdir())) == 2 * 2 + 1
    full = load_fold(fold_path(tmp_path, "ablation", "full", 1))
    roi = load_fold(fold_path(tmp_path, "roi-size", "roi-32", 1))
    assert full.images == roi.images
    assert full.images
    assert [len(full.history[stage]) for stage in ("stage1", "stage2")] == [1, 1]
    assert load_fold(fold_path(tmp_path, "ablation", "without-frn", 0)).history["stage2"] == []
    panels = list((tmp_path / "roi-size" / "panels").glob("*.npz"))
    with np.load(panels[0]) as arrays:
        assert set(arrays) == {"image", "reference", "predicted_roi-16", "predicted_roi-32"}

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()}
    run_folds(scans, plan)
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {p for p in before if before[p] != after[p]} <= set((tmp_path / "claims").iterdir())

    score_held_out(scans, plan)
    held = load_fold(fold_path(tmp_path, "comparison", "roi-32", HELD_OUT))
    seen = {scan.subject for fold in (0, 1) for scan in _scans(tmp_path, fold)}
    assert {scan.subject for scan in held.scans} == {s.subject for s in scans} - seen


def _scans(out: Path, fold: int) -> tuple[ScanLesions, ...]:
    return load_fold(fold_path(out, "cross-validation", "roi-32", fold)).scans


def test_the_held_out_subjects_wait_for_every_fold(make_toy_scan: MakeScan, tmp_path: Path) -> None:
    scans = toy_scans(make_toy_scan)
    plan = plan_of(tmp_path, "cross-validation", folds=(1,))
    run_folds(scans, plan)
    assert unfinished(plan, "cross-validation") == [0]
    with pytest.raises(InputError, match=r"folds \[0\] are missing"):
        score_held_out(scans, plan)


def test_other_settings_and_folds_are_refused(make_toy_scan: MakeScan, tmp_path: Path) -> None:
    scans = toy_scans(make_toy_scan)
    run_folds(scans, plan_of(tmp_path))
    other: TrainSettings = replace(tiny().training, seed=3)
    changed = replace(plan_of(tmp_path), settings=replace(tiny(), training=other))
    with pytest.raises(InputError, match=r"settings\.training\.seed \(0 before, 3 now\)"):
        run_folds(scans, changed)
    with pytest.raises(InputError, match="the dataset and folds"):
        run_folds(scans[:-1], plan_of(tmp_path))
    with pytest.raises(InputError, match="folds from 0 to 1, got"):
        run_folds(scans, plan_of(tmp_path, folds=(2,)))
