import csv
import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mmocnet.errors import InputError
from mmocnet.evaluate.files import pair_files
from mmocnet.evaluate.matching import Rule, pairing
from mmocnet.evaluate.score import Report, ScoreSettings, evaluate_folder, pixel_table
from mmocnet.evaluate.sections import score_markdown
from mmocnet.evaluate.summary import summarise
from mmocnet.evaluate.tables import write_report
from mmocnet.io.nifti import write_nifti
from mmocnet.volume import Volume

SHAPE = (20, 24, 6)
AFFINE = np.diag([0.8, 0.8, 3.0, 1.0])


def save(path, array, affine=AFFINE, dtype=np.int16):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, Volume(array, affine), dtype)


def cube(*corner, size=2, value=1):
    array = np.zeros(SHAPE, np.int16)
    i, j, k = corner
    array[i : i + size, j : j + size, k] = value
    return array


@pytest.fixture
def folders(tmp_path):
    """Two subjects of a dataset: one with two lesions, one without any."""
    reference, prediction = tmp_path / "reference", tmp_path / "prediction"
    first = cube(2, 2, 1) + cube(10, 10, 3, value=2)
    for subject, labels in (("01", first), ("02", np.zeros(SHAPE, np.int16))):
        save(reference / f"sub-{subject}/anat/sub-{subject}_acq-swi_desc-cmb_dseg.nii.gz", labels)
        save(
            reference / f"sub-{subject}/anat/sub-{subject}_acq-swi_desc-source_dseg.nii.gz",
            labels * 0,
        )
    called = cube(2, 2, 1) + cube(15, 15, 5, value=2)
    for subject, labels in (("01", called), ("02", cube(4, 4, 2))):
        stem = prediction / f"sub-{subject}/anat/sub-{subject}_acq-swi"
        save(stem.with_name(stem.name + "_desc-cmb_dseg.nii.gz"), labels)
        save(
            stem.with_name(stem.name + "_label-CMB_probseg.nii.gz"),
            (labels > 0) * 0.75,
            dtype=np.float32,
        )
        everything = labels + (cube(10, 10, 3, value=3) if subject == "01" else 0)
        save(stem.with_name(stem.name + "_desc-candidates_dseg.nii.gz"), everything)
        rows = ["index\tconfidence\tstatus", "1\t0.9\tlesion", "2\t0.6\tlesion", "3\t0.2\t-"]
        table = stem.with_name(stem.name + "_desc-candidates_dseg.tsv")
        table.write_text("\n".join(rows) + "\n")
    return prediction, reference


def test_a_dataset_scores_as_computed_by_hand(folders):
    summary = summarise(evaluate_folder(*folders, ScoreSettings(draws=20)))
    lesion = summary["lesion"]["overlap"]
    assert summary["scans"] == 2
    assert summary["lesion_free_scans"] == 1
    assert lesion["lesion_sensitivity"]["value"] == 0.5
    assert lesion["fp_per_scan"]["value"] == 1.0
    assert lesion["fp_per_lesion_free_scan"]["value"] == 1.0
    assert lesion["matched_dice"]["value"] == 1.0
    pixel = summary["pixel"]
    # Two slices hold a lesion: one perfect, one missed; 4 + 4 false pixels lie elsewhere.
    assert pixel["mean per slice with a lesion"]["dsc"] == 0.5
    assert pixel["pooled over slices with a lesion"]["dsc"] == pytest.approx(8 / 12)
    assert pixel["pooled over all voxels"]["dsc"] == pytest.approx(8 / 20)
    assert summary["pixel_precision_recall"]["recall_ceiling"] == 0.5


def test_froc_comes_from_the_candidates_below_the_operating_point_too(folders):
    froc = summarise(evaluate_folder(*folders, ScoreSettings(draws=20)))["froc"]
    assert froc["threshold"] == [0.2, 0.6, 0.9]
    assert froc["lesion_sensitivity"] == [1.0, 0.5, 0.5]
    assert froc["fp_per_scan"] == [1.0, 1.0, 0.5]


def test_a_candidate_set_aside_as_siderosis_is_never_called(folders):
    for table in folders[0].rglob("*candidates*.tsv"):
        table.write_text(table.read_text().replace("2\t0.6\tlesion", "2\t0.6\tsiderosis"))
    froc = summarise(evaluate_folder(*folders, ScoreSettings(draws=20)))["froc"]
    assert froc["threshold"] == [0.2, 0.9]
    assert froc["fp_per_scan"] == [0.5, 0.5]


def test_a_missing_prediction_is_named_in_the_error(folders):
    for path in (folders[0] / "sub-02").rglob("*.nii.gz"):
        path.unlink()
    with pytest.raises(InputError, match=r"1 of 2 references .*no prediction for sub-02_acq-swi"):
        evaluate_folder(*folders)


def test_a_missing_prediction_is_listed_where_that_is_allowed(folders, tmp_path):
    for path in (folders[0] / "sub-02").rglob("*.nii.gz"):
        path.unlink()
    report = evaluate_folder(*folders, ScoreSettings(allow_missing=True, draws=20))
    assert report.missing == ("no prediction for sub-02_acq-swi",)
    write_report(report, tmp_path / "out")
    assert "no prediction for sub-02_acq-swi" in (tmp_path / "out" / "scores.md").read_text()


@pytest.mark.parametrize(
    ("array", "affine", "text"),
    [
        (
            np.zeros((20, 24, 5), np.int16),
            AFFINE,
            "on the grid of sub-01_acq-swi_desc-cmb_dseg.nii.gz",
        ),
        (np.zeros(SHAPE, np.int16), np.diag([0.8, 0.8, 3.01, 1.0]), "corners .* mm apart"),
    ],
)
def test_a_prediction_off_the_grid_is_named(folders, array, affine, text):
    (path,) = (folders[0] / "sub-01").rglob("*cmb_dseg.nii.gz")
    save(path, array, affine)
    with pytest.raises(InputError, match=f"{text}.* in sub-01_acq-swi_desc-cmb"):
        evaluate_folder(*folders)


def test_a_prediction_without_a_reference_is_reported(folders):
    save(folders[0] / "sub-03_desc-cmb_dseg.nii.gz", cube(1, 1, 1))
    report = evaluate_folder(*folders, ScoreSettings(draws=20))
    assert report.unused == ("sub-03",)


def test_a_mask_named_after_the_subject_only_is_found(folders):
    for path in (folders[0] / "sub-01").rglob("*"):
        if path.is_file():
            path.unlink()
    save(folders[0] / "sub-01_mask.nii.gz", cube(2, 2, 1))
    report = evaluate_folder(*folders, ScoreSettings(draws=20))
    assert report.cases[0].lesions[Rule.OVERLAP].found == 1


def test_links_to_folders_are_followed_once(folders, tmp_path):
    prediction, reference = folders
    links = tmp_path / "links"
    links.mkdir()
    for subject in ("sub-01", "sub-02"):
        (links / subject).symlink_to(prediction / subject, target_is_directory=True)
    (links / "round").symlink_to(links, target_is_directory=True)
    linked, _ = pair_files(links, reference)
    plain, _ = pair_files(prediction, reference)
    assert [one.name for one in linked] == [one.name for one in plain]
    assert all(one.lesions is not None for one in linked)


def test_few_subjects_and_names_without_one_are_warned_of(tmp_path):
    for folder in ("p", "r"):
        for name in ("pat1_visit1", "pat1_visit2"):
            save(tmp_path / folder / f"{name}_mask.nii.gz", cube(2, 2, 1))
    report = evaluate_folder(tmp_path / "p", tmp_path / "r", ScoreSettings(draws=20))
    names, few = report.warnings
    assert names.startswith("expected names that begin with sub-, got 2 others")
    assert few == "intervals over 2 subjects are likely to be too narrow"
    write_report(report, tmp_path / "out")
    for file in ("scores.md", "scores.html", "scores.tex", "scores.json"):
        assert few in (tmp_path / "out" / file).read_text()


def test_scans_of_one_subject_are_warned_of_once_each_way(folders, tmp_path):
    one = folders[1] / "sub-01"
    report = evaluate_folder(folders[0], one, ScoreSettings(draws=20))
    assert report.warnings == ("one subject has no intervals",)
    summary = summarise(report, report)
    assert summary["warnings"] == ["one subject has no intervals"]
    assert math.isnan(summary["comparison"]["differences"]["overlap_lesion_sensitivity"]["low"])


def test_what_is_ignored_counts_for_nothing(folders, tmp_path):
    ignore = tmp_path / "ignore" / "sub-01_acq-swi_desc-ignore_mask.nii.gz"
    save(ignore, cube(10, 10, 3) + cube(15, 15, 5))
    report = evaluate_folder(*folders, ScoreSettings(draws=20), tmp_path / "ignore")
    assert report.cases[0].lesions[Rule.OVERLAP].references == 1
    assert report.cases[0].lesions[Rule.OVERLAP].false_positives == 0
    assert report.cases[0].pixels.tn == np.prod(SHAPE) - 8 - 4


def test_nothing_outside_the_window_is_scored(folders, tmp_path):
    for subject in ("01", "02"):
        window = tmp_path / "window" / f"sub-{subject}_acq-swi_desc-window_mask.nii.gz"
        save(window, cube(0, 0, 1, size=6) + cube(14, 14, 5, size=4))
    save(tmp_path / "ignore" / "sub-01_acq-swi.nii.gz", cube(14, 14, 5, size=4))
    report = evaluate_folder(
        *folders, ScoreSettings(draws=20), tmp_path / "ignore", window=tmp_path / "window"
    )
    first = report.cases[0]
    assert (first.reference_count, first.predicted_count) == (1, 1)
    assert first.pixels.tp + first.pixels.fp + first.pixels.fn + first.pixels.tn == 36
    assert len(first.confidence) == 1
    (tmp_path / "window" / "sub-02_acq-swi_desc-window_mask.nii.gz").unlink()
    with pytest.raises(InputError, match="window for each reference, got none for sub-02_acq-swi"):
        pair_files(*folders, window=tmp_path / "window")


def test_the_summary_holds_counts_calibration_and_valdo_s_numbers(folders):
    summary = summarise(evaluate_folder(*folders, ScoreSettings(draws=20)))
    # 2 and 0 lesions in the reference, 2 and 1 called.
    assert summary["counts"]["mean_difference"] == 0.5
    assert summary["counts"]["by_burden"]["0"] == {"0": 0, "1-4": 1, "5-9": 0, "10+": 0}
    # Candidates: 0.9 and 0.2 are lesions, 0.6 and 0.9 are not.
    assert summary["calibration"]["candidates"] == 4
    assert summary["calibration"]["brier"] == pytest.approx((0.01 + 0.64 + 0.36 + 0.81) / 4)
    assert summary["valdo"]["f1"] == 0.5
    assert summary["valdo"]["undefined_scans"] == 1
    assert "VALDO" in summary["valdo"]["differs"]
    assert summary["comparison"] is None


def of_candidates(folders, confidence, is_lesion):
    """One scan with such candidates, of which no label image is left to compare."""
    case = evaluate_folder(*folders, ScoreSettings(draws=20)).cases[0]
    none = np.zeros((1, len(confidence)), int)
    pair = pairing(none, none + np.arange(1, len(confidence) + 1), (1.0, 1.0))
    case = replace(case, confidence=confidence, is_lesion=is_lesion, candidates=pair)
    return summarise(Report((case,), (), (), ScoreSettings(draws=20)))


def test_faint_candidates_do_not_hide_the_errors_of_the_others(folders):
    # 0.9 and 0.05 are right half the time; 998 faint candidates are all no lesions.
    confidence = np.concatenate([[0.9, 0.9, 0.05, 0.05], np.full(998, 0.001)])
    is_lesion = np.concatenate([[True, False, True, False], np.zeros(998, bool)])
    found = of_candidates(folders, confidence, is_lesion)["calibration"]
    assert found["candidates"] == sum(found["count"]) == 4
    assert found["ece"] == pytest.approx((0.8 + 0.9) / 4)
    assert found["brier"] == pytest.approx((0.81 + 0.01 + 0.95**2 + 0.05**2) / 4)
    assert found["min_confidence"] == 0.05
    of_all = found["all_candidates"]
    assert of_all["candidates"] == 1002
    # The two of 0.05 share the lowest bin with the faint.
    assert of_all["ece"] == pytest.approx((0.8 + abs(0.1 + 0.998 - 1)) / 1002)
    assert of_all["brier"] == pytest.approx((found["brier"] * 4 + 998e-6) / 1002)


def test_small_errors_of_the_confidence_have_three_digits_and_none_is_undefined(folders):
    summary = of_candidates(folders, np.full(9, 1e-4), np.zeros(9, bool))
    assert math.isnan(summary["calibration"]["ece"])
    assert summary["calibration"]["candidates"] == 0
    text = score_markdown(summary)
    assert "|  | confidence 0.05 or more | all candidates |" in text
    assert "| expected calibration error | n/a | 0.000100 |" in text
    assert "| Brier score | n/a | 0.0000000100 |" in text
    assert "| candidates | 0 | 9 |" in text


def test_intervals_of_pixel_scores_belong_to_the_scores(folders):
    summary = summarise(evaluate_folder(*folders, ScoreSettings(draws=200)))
    for way, scores in summary["pixel"].items():
        for name, interval in summary["pixel_intervals"][way].items():
            assert interval["value"] == pytest.approx(scores[name], nan_ok=True)
    dice = summary["pixel_intervals"]["pooled over all voxels"]["dsc"]
    # The second subject alone is all false calls, the first alone has 8 of 16 right.
    assert (dice["low"], dice["high"]) == (0.0, pytest.approx(0.5))


def test_images_left_out_of_a_mean_are_counted(folders):
    summary = summarise(evaluate_folder(*folders, ScoreSettings(draws=20)))
    # The second scan has no lesion to be sensitive to; its false call makes its Dice 0.
    assert summary["pixel_undefined"]["mean per scan"]["sen"] == 1
    assert summary["pixel_undefined"]["mean per scan"]["dsc"] == 0
    # 4 of 8 called voxels are right, and the other 4 lesion voxels have probability 0.
    area = summary["pixel_precision_recall"]["mean_average_precision_per_scan"]
    assert area == pytest.approx(0.5 * 0.5 + 0.5 * 8 / 2880)


def test_calibration_and_page_are_left_out_where_they_cannot_be(folders, tmp_path, monkeypatch):
    for path in folders[0].rglob("*candidates*"):
        path.unlink()
    monkeypatch.setitem(sys.modules, "mmocnet.evaluate.page", None)
    report = evaluate_folder(*folders, ScoreSettings(draws=20))
    summary = write_report(report, tmp_path / "out")
    assert summary["calibration"] is None
    assert summary["page"].startswith("no page")
    assert r"\toprule" in (tmp_path / "out" / "scores.tex").read_text()


def test_a_probability_map_alone_is_cut_at_a_half(tmp_path):
    save(tmp_path / "r" / "a.nii.gz", cube(2, 2, 1) + cube(10, 10, 3, value=2))
    probability = cube(2, 2, 1) * 0.5 + cube(10, 10, 3) * 0.49
    save(tmp_path / "p" / "a.nii.gz", probability, dtype=np.float32)
    (case,) = evaluate_folder(tmp_path / "p", tmp_path / "r").cases
    assert case.lesions[Rule.OVERLAP].found == 1
    assert case.sample is not None


def test_pictures_need_a_spacing_and_then_score(tmp_path):
    for name, column in (("r", 3), ("p", 4)):
        pixels = np.zeros((20, 30), np.uint8)
        pixels[5:9, column : column + 4] = 255
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "one.png")
    with pytest.raises(InputError, match="--spacing-mm"):
        evaluate_folder(tmp_path / "p", tmp_path / "r")
    report = evaluate_folder(tmp_path / "p", tmp_path / "r", ScoreSettings(spacing_mm=0.5))
    assert pixel_table(report.cases)["mean per slice with a lesion"].dsc == pytest.approx(0.75)


def test_two_files_of_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        save(tmp_path / folder / "x_dseg.nii.gz", cube(1, 1, 1))
    with pytest.raises(InputError, match="expected one file of lesions for x"):
        pair_files(tmp_path, tmp_path)


def test_files_hold_nan_as_na_and_null(tmp_path):
    save(tmp_path / "r" / "a.nii.gz", np.zeros(SHAPE, np.int16))
    report = evaluate_folder(tmp_path / "r", tmp_path / "r", ScoreSettings(draws=20))
    summary = write_report(report, tmp_path / "out")
    assert math.isnan(summary["lesion"]["overlap"]["lesion_f1"]["value"])
    stored = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert stored["lesion"]["overlap"]["lesion_f1"]["value"] is None
    lines = (tmp_path / "out" / "scans.csv").read_text().splitlines()
    (row,) = csv.DictReader(lines)
    assert row["overlap_matched_dice"] == "n/a"
    assert "Research use only" in (tmp_path / "out" / "scores.md").read_text()


def test_small_reference_lesions_count_for_and_against_nobody(tmp_path):
    # Cubes of one voxel measure 1.5 mm, of two 2.5 mm in 3D.
    truth = cube(2, 2, 1) + cube(10, 10, 3, size=1, value=2) + cube(16, 16, 3, size=1, value=3)
    called = cube(2, 2, 1) + cube(9, 9, 3, size=4, value=2) + cube(4, 18, 4, size=1, value=3)
    save(tmp_path / "reference/sub-01_desc-cmb_dseg.nii.gz", truth)
    save(tmp_path / "found/sub-01_desc-cmb_dseg.nii.gz", called)
    folders = tmp_path / "found", tmp_path / "reference"

    def scores(least):
        report = evaluate_folder(*folders, ScoreSettings(min_diameter_mm=least))
        (case,) = report.cases
        return report, case.lesions[Rule.OVERLAP], case.pixels

    _, whole, _ = scores(None)
    assert (whole.references, whole.found, whole.false_positives) == (3, 2, 1)
    report, large, pixels = scores(2.0)
    # The call of sixteen voxels on a left-out lesion is no false positive, that of one voxel is.
    assert (large.references, large.found, large.false_positives) == (1, 1, 1)
    assert (pixels.tp, pixels.fn, pixels.fp) == (4, 0, 1)
    assert "Reference lesions under 2 mm are left out." in score_markdown(summarise(report))
    # At 2.5 mm exactly a lesion is not smaller.
    exact = float(np.cbrt(6 * 4 * 0.8 * 0.8 * 3 / np.pi))
    assert scores(exact)[1].references == 1
    assert scores(exact + 0.001)[1].references == 0


def test_a_call_on_a_small_and_a_large_lesion_counts(tmp_path):
    truth = cube(2, 2, 1) + cube(6, 2, 1, size=1, value=2)
    called = np.zeros(SHAPE, np.int16)
    called[2:7, 2, 1] = 1
    save(tmp_path / "reference/sub-01_desc-cmb_dseg.nii.gz", truth)
    save(tmp_path / "found/sub-01_desc-cmb_dseg.nii.gz", called)
    folders = tmp_path / "found", tmp_path / "reference"
    (case,) = evaluate_folder(*folders, ScoreSettings(min_diameter_mm=2.0)).cases
    large = case.lesions[Rule.OVERLAP]
    assert (large.references, large.found, large.false_positives) == (1, 1, 0)


@pytest.mark.parametrize("least", [0.0, -1.0, float("nan")])
def test_a_least_diameter_is_above_0(least):
    with pytest.raises(InputError, match="min_diameter_mm must be above 0"):
        ScoreSettings(min_diameter_mm=least)
