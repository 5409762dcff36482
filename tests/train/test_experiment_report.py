import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.evaluate.lesions import ScanLesions
from mmocnet.evaluate.pixels import SCORE_NAMES, PrecisionRecall
from mmocnet.evaluate.plots import new_figure
from mmocnet.evaluate.text_tables import Section, latex_table
from mmocnet.train.experiment_figures import (
    _weight_curves,
    lambda_of,
    mean_curve,
    window_around,
)
from mmocnet.train.experiment_report import TITLES, data_label, read_folds, write_experiment
from mmocnet.train.experiment_result import (
    HELD_OUT,
    FoldResult,
    ImageScore,
    fold_path,
    save_fold,
)
from mmocnet.train.experiment_scores import thinned_curve
from mmocnet.train.experiment_tables import (
    fold_scores,
    mean_of,
    over_folds,
    pooled,
    score_rows,
    score_tables,
)

LABEL = "Simulated data: demo; preset small. Research use only - not a medical device."
FOLD = FoldResult(
    experiment="roi-size",
    variant="roi-32",
    fold=0,
    settings={"dataset": "demo", "simulated": True, "preset": "small"},
    seconds=36.0,
    images=(
        ImageScore("sub-1", "a", 3, tp=3, fp=1, fn=1, tn=95),
        ImageScore("sub-2", "b", 4, tp=0, fp=0, fn=4, tn=96),
    ),
    scans=(
        ScanLesions("sub-1", "a", references=2, found=1, false_positives=0),
        ScanLesions("sub-2", "b", references=2, found=1, false_positives=2),
        ScanLesions("sub-3", "c", references=0, found=0, false_positives=0),
    ),
    recall=[0.25, 0.5, 1.0],
    precision=[1.0, 0.5, 0.01],
    average_precision=0.38,
    recall_ceiling=0.5,
    history={
        "stage1": [
            {"epoch": 1.0, "loss": 9.0, "val_loss": 10.0, "val_sensitivity": 0.1, "score": 0.1},
            {"epoch": 2.0, "loss": 5.0, "val_loss": 7.0, "val_sensitivity": 0.6, "score": 0.4},
        ],
        "stage2": [{"epoch": 1.0, "loss": 1.0, "val_loss": math.nan, "val_sensitivity": 0.5}],
    },
    threshold=0.5,
    environment={"cpu": "two cores", "versions": {"torch": "2"}},
)


def save(out: Path, experiment: str, variant: str, fold: int, **changes: object) -> None:
    result = replace(FOLD, experiment=experiment, variant=variant, fold=fold, **changes)  # type: ignore[arg-type]
    save_fold(fold_path(out, experiment, variant, fold), result)


def test_pixels_are_averaged_over_images_where_defined() -> None:
    scores = fold_scores(FOLD)
    assert scores["sen"] == pytest.approx((0.75 + 0.0) / 2)
    assert scores["pre"] == pytest.approx(0.75)
    assert scores["dsc"] == pytest.approx((0.75 + 0.0) / 2)


def test_pooled_pixels_and_lesions_count_all_folds_together() -> None:
    scores = pooled([FOLD, FOLD])
    assert scores["dsc"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 5))
    assert scores["lesion_sensitivity"] == 0.5
    assert scores["lesion_precision"] == 0.5
    assert scores["fp_per_scan"] == pytest.approx(2 / 3)


def test_deviation_over_folds_leaves_the_held_out_subjects_out() -> None:
    folds = [replace(FOLD, fold=k, average_precision=a) for k, a in ((0, 0.2), (1, 0.4))]
    rows = score_rows({"v": [*folds, replace(FOLD, fold=HELD_OUT, average_precision=0.9)]})
    by_name = {row["row"]: row for row in rows}
    assert by_name["mean"]["ap"] == pytest.approx(0.3)
    assert by_name["sd"]["ap"] == pytest.approx(math.sqrt(0.02))
    assert by_name["held-out"]["ap"] == 0.9


def test_one_fold_has_no_deviation() -> None:
    rows = {row["row"]: row for row in score_rows({"v": [FOLD]})}
    assert math.isnan(rows["sd"]["dsc"])  # type: ignore[arg-type]


def test_curve_is_a_step_averaged_over_folds() -> None:
    one = replace(FOLD, recall_ceiling=1.0)
    other = replace(one, recall=[0.5, 1.0], precision=[0.7, 0.03], average_precision=0.4)
    recall, precision, area = mean_curve([one, other])
    at = dict(zip(np.round(recall, 3), precision, strict=True))
    assert at[0.25] == pytest.approx((1.0 + 0.7) / 2)
    assert at[0.4] == pytest.approx((0.5 + 0.7) / 2)
    assert at[1.0] == pytest.approx(0.02)
    assert area == pytest.approx(0.39)


def test_curve_ends_at_the_lowest_ceiling_of_the_folds() -> None:
    other = replace(FOLD, recall=[0.3, 0.8, 1.0], precision=[0.9, 0.6, 0.01], recall_ceiling=0.8)
    recall, precision, _ = mean_curve([other])
    assert recall[-1] == pytest.approx(0.8)
    assert min(precision) == pytest.approx(0.6)
    recall, precision, _ = mean_curve([FOLD, other])
    assert recall[-1] == pytest.approx(0.5)
    assert min(precision) == pytest.approx((0.5 + 0.6) / 2)


def test_curve_of_a_fold_that_found_nothing_ends_the_mean() -> None:
    nothing = replace(FOLD, recall=[1.0], precision=[0.01], recall_ceiling=0.0)
    assert mean_curve([FOLD, nothing])[:2] == ([], [])


def test_a_kept_curve_has_the_last_point_above_0() -> None:
    found = np.linspace(0.0, 0.487, 1000)[1:]
    curve = PrecisionRecall(
        threshold=np.append(np.linspace(1, 0.01, 999), 0.0),
        precision=np.append(np.linspace(1, 0.3, 999), 0.001),
        recall=np.append(found, 1.0),
        average_precision=0.3,
        recall_ceiling=0.487,
    )
    recall, precision = thinned_curve(curve)
    assert len(recall) <= 200
    assert (recall[-2:], precision[-2:]) == ([0.487, 1.0], [0.3, 0.001])


def test_a_mean_says_over_how_many_folds_it_is_where_some_are_undefined() -> None:
    # No pixel is called in the last fold: its precision is undefined.
    silent = (ImageScore("sub-4", "d", 1, tp=0, fp=0, fn=4, tn=96),)
    folds = [FOLD, replace(FOLD, fold=1), replace(FOLD, fold=2, images=silent)]
    rows = score_rows({"v": folds})
    mean = next(row for row in score_tables(rows)[0].rows if "mean" in str(row[1]))
    by_name = dict(zip(SCORE_NAMES, mean[2:], strict=False))
    assert mean[1] == "mean over 3 folds (SD)"
    assert str(by_name["pre"]).endswith(" of 2")
    assert str(by_name["dsc"]).endswith(")")


def test_lambda_is_drawn_at_the_means_of_the_table() -> None:
    silent = (ImageScore("sub-4", "d", 1, tp=0, fp=0, fn=4, tn=96),)
    results = {0.0: [FOLD, replace(FOLD, fold=1, images=silent)], 10.0: [FOLD]}
    ax = new_figure(3, 3).subplots()
    _weight_curves(ax, results)
    drawn = {str(box.get_label()): box.lines[0].get_ydata() for box in ax.containers}
    for score in ("dsc", "f2", "sen", "pre"):
        table = [over_folds(results[weight], mean_of)[score] for weight in (0.0, 10.0)]
        assert np.isfinite(table).all()
        np.testing.assert_allclose(np.asarray(drawn[score.upper()], float), table)


@pytest.mark.parametrize(("folds", "bars"), [((0,), False), ((0, 1), True)])
def test_bars_are_named_where_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: tuple[int, ...], bars: bool
) -> None:
    told = []
    monkeypatch.setattr(
        "mmocnet.train.experiment_figures.save_png",
        lambda figure, path: told.append((path.name, figure.get_supxlabel())),
    )
    for fold in folds:
        save(tmp_path, "lambda", "stage1-lambda-1", fold)
    write_experiment(tmp_path, "lambda")
    assert ("bars: SD" in dict(told)["lambda.png"]) == bars


def test_curve_without_a_positive_pixel_is_empty() -> None:
    empty = replace(FOLD, recall=[math.nan], precision=[0.0], average_precision=math.nan)
    recall, precision, area = mean_curve([empty])
    assert recall == precision == []
    assert math.isnan(area)


def test_window_holds_every_mark_and_stays_inside() -> None:
    first, second = np.zeros((200, 150), bool), np.zeros((200, 150), bool)
    first[2, 3] = second[30, 140] = True
    rows, columns = window_around([first, second])
    assert first[rows, columns].any()
    assert second[rows, columns].any()
    assert 0 <= rows.start < rows.stop <= 200
    assert 0 <= columns.start < columns.stop <= 150


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("stage1-lambda-0", ("stage1", 0.0)), ("stage-2-30", ("stage2", 30.0)), ("full", None)],
)
def test_weight_is_read_from_the_variant(variant: str, expected: tuple[str, float] | None) -> None:
    assert lambda_of(variant) == expected


def test_variants_are_in_the_order_of_their_numbers_and_full_first(tmp_path: Path) -> None:
    for variant in ("roi-128", "roi-16", "full", "roi-32"):
        save(tmp_path, "roi-size", variant, 0)
    assert list(read_folds(tmp_path, "roi-size")) == ["full", "roi-16", "roi-32", "roi-128"]


def test_data_not_known_to_be_simulated_are_not_called_so() -> None:
    assert data_label([{"dataset": "x", "preset": "full"}]).startswith("Data: x; preset full.")


def test_tables_and_figures_of_an_experiment_carry_the_label(tmp_path: Path) -> None:
    for variant in ("roi-16", "roi-32"):
        for fold in (0, 1, HELD_OUT):
            save(tmp_path, "roi-size", variant, fold)
    panels = tmp_path / "roi-size" / "panels"
    panels.mkdir()
    mask = np.zeros((80, 90), bool)
    mask[40:43, 50:53] = True
    image = np.random.default_rng(0).random((80, 90))
    arrays = {"image": image, "reference": mask, "roi-16": np.zeros_like(mask)}
    np.savez(panels / "s.npz", **arrays)  # type: ignore[arg-type]
    write_experiment(tmp_path, "roi-size")
    folder = tmp_path / "roi-size"
    assert LABEL in (folder / "table.md").read_text()
    assert LABEL in (folder / "table.tex").read_text().replace(r"\_", "_")
    with (folder / "table.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert {row["data"] for row in rows} == {LABEL}
    assert {row["row"] for row in rows} >= {"0", "1", "mean", "sd", "pooled", "held-out"}
    made = {path.name for path in folder.glob("*.png")}
    curves = {"epochs-roi-16.png", "epochs-roi-32.png"}
    assert made == {"rainclouds.png", "pr-curves.png", "panels.png"} | curves


def test_lambda_is_drawn_for_each_stage(tmp_path: Path) -> None:
    for stage in (1, 2):
        for weight in (0, 10):
            save(tmp_path, "lambda", f"stage{stage}-lambda-{weight}", 0)
    write_experiment(tmp_path, "lambda")
    assert (tmp_path / "lambda" / "lambda.png").is_file()


def test_environment_lists_every_value_once(tmp_path: Path) -> None:
    for fold in (0, 1):
        save(tmp_path, "cross-validation", "roi-32", fold)
    write_experiment(tmp_path, "environment")
    text = (tmp_path / "environment" / "table.md").read_text()
    assert "| cpu | two cores |" in text
    assert "| versions torch | 2 |" in text
    assert "| time: cross-validation | 1.2 min in 2 results |" in text


def test_published_figures_never_share_a_table_with_ours(tmp_path: Path) -> None:
    save(tmp_path, "cross-validation", "roi-32", 0)
    write_experiment(tmp_path, "comparison")
    text = (tmp_path / "comparison" / "table.md").read_text()
    blocks = text.split("## ")
    assert [block for block in blocks if "87.93" in block and "roi-32" in block] == []
    assert sum(block.startswith("Published, not ours") for block in blocks) == 2
    assert sum(block.startswith("Ours") for block in blocks) == 2


@pytest.mark.parametrize("experiment", TITLES)
def test_nothing_scored_yet_is_said(tmp_path: Path, experiment: str) -> None:
    with pytest.raises(InputError, match="got none"):
        write_experiment(tmp_path / "out", experiment)


def test_unknown_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got magic"):
        write_experiment(tmp_path, "magic")


def test_latex_signs_are_escaped() -> None:
    assert r"50\% \& a\_b" in latex_table(Section("c", "", ("a",), (("50% & a_b",),)))
