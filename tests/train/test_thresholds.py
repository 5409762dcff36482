import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from mmocnet.config import (
    CascadeSettings,
    ClassifierSettings,
    DetectorSettings,
    SegmenterSettings,
    Thresholds,
)
from mmocnet.errors import InputError, ModelError
from mmocnet.evaluate.lesions import ScanLesions
from mmocnet.io.nifti import write_nifti
from mmocnet.nets.checkpoint import Cascade, load_cascade, save_cascade
from mmocnet.nets.classifier import Classifier
from mmocnet.nets.detector import Detector
from mmocnet.nets.segmenter import Segmenter
from mmocnet.predict.context import FEATURES, expanded
from mmocnet.simulate.bids import write_root
from mmocnet.train.calibrate import CrossFit, ScoredScan
from mmocnet.train.context import Collected, SliceCandidates
from mmocnet.train.model_card import operating_points
from mmocnet.train.thresholds import calibrate, is_simulated, settle, settle_context
from mmocnet.volume import Volume


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="none"):
        calibrate(tmp_path / "none", [], tmp_path)


def volume(rng: np.random.Generator, subject: str) -> Collected:
    """40 candidates, the first 10 of them the volume's lesions; their first feature is higher."""
    hit = np.where(np.arange(40) < 10, np.arange(40) + 1, 0)
    features = rng.normal(size=(40, len(FEATURES)))
    features[:, 0] += 6.0 * (hit > 0)
    part = SliceCandidates(np.array([0.9, 0.5, 0.7]), np.array([1, 2, 0]), 2)
    return Collected(subject, features, hit, 10, (part,))


def test_a_single_slice_is_no_volume_to_calibrate_on(tmp_path: Path) -> None:
    small_cascade(tmp_path / "model")
    across, along = np.mgrid[:96, :96]
    brain = (across - 48) ** 2 + (along - 48) ** 2 < 40**2
    for folder, name, array in (
        ("sub-1/anat", "swi", np.where(brain, 100 + across % 7, 0)),
        ("derivatives/reference/sub-1/anat", "desc-cmb_dseg", brain & (across > 85)),
    ):
        (tmp_path / "natural" / folder).mkdir(parents=True)
        path = tmp_path / "natural" / folder / f"sub-1_{name}.nii.gz"
        write_nifti(path, Volume(array[:, :, None], np.diag([1.0, 1, 2, 1])), np.int16)
    with pytest.raises(InputError, match=r"to calibrate on, got one slice: sub-1_swi\.nii\.gz"):
        calibrate(tmp_path / "model", [], tmp_path / "natural")


def small_cascade(folder: Path, classifier: ClassifierSettings | None = None) -> Cascade:
    small = CascadeSettings(DetectorSettings((4, 4, 8, 8, 8)), SegmenterSettings(4, 1))
    networks = Detector(small.detector), Segmenter(small.segmenter)
    save_cascade(folder, Cascade(small, *networks, {"seed": 3}))
    cascade = load_cascade(folder)
    cascade.settings = replace(cascade.settings, classifier=classifier)
    return cascade


def test_context_and_operating_points_are_written_into_the_model(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    before = small_cascade(tmp_path / "model")
    dense, whole = ([volume(rng, f"{kind}{n}") for n in range(6)] for kind in "ab")
    points = settle_context(tmp_path / "model", before, (dense, whole), "natural")
    after = load_cascade(tmp_path / "model")
    assert after.settings.thresholds == points
    assert after.sha256 == before.sha256
    assert after.settings.context is not None
    # Six lesions at 0.9 and six at 0.5: every point keeps the weaker ones.
    assert after.settings.slice_thresholds.balanced == pytest.approx(0.5)  # type: ignore[union-attr]
    card = after.card["operating_points"]
    assert (card["volumes"], card["slices"], after.card["seed"]) == (6, 6, 3)
    assert card["balanced"]["lesion_f1"] > 0.9
    assert card["single_slices"]["balanced"]["lesion_sensitivity"] == 1.0


def test_slices_of_one_subject_decide_what_nobody_measures(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    cascade = small_cascade(tmp_path / "model")
    whole = [volume(rng, f"b{n}") for n in range(6)]
    settle_context(tmp_path / "model", cascade, ([volume(rng, "a")], whole), "natural")
    after = load_cascade(tmp_path / "model")
    assert after.settings.slice_thresholds is not None
    assert after.card["operating_points"]["single_slices"] is None
    other = small_cascade(tmp_path / "other", ClassifierSettings())
    other.classifier = Classifier(ClassifierSettings())
    natural = [scored(rng, f"n{n}", 2, 8) for n in range(20)]
    planes = [scored(rng, "v", 1, 4) for _ in range(9)]
    settle(tmp_path / "other", other, planes, natural, "heads")
    points = load_cascade(tmp_path / "other").card["operating_points"]
    assert points["single_slices"] is None
    assert points["balanced"]["lesion_f1"] > 0


def test_calibration_of_the_context_is_in_its_weights(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    cascade = small_cascade(tmp_path / "model")
    dense, whole = ([volume(rng, f"{kind}{n}") for n in range(6)] for kind in "ab")
    # In the validation scans three candidates of four are lesions, in natural ones a quarter.
    crowded = [replace(v, features=v.features[:13], hit=v.hit[:13]) for v in dense]
    settle_context(tmp_path / "model", cascade, (crowded, whole), "natural")
    context = cascade.settings.context
    assert context is not None
    given = [
        1 / (1 + np.exp(-(expanded(v.features, context) @ np.array(context.weights))))
        for v in whole
    ]
    assert np.mean(given) == pytest.approx(0.25, abs=0.03)


def scored(rng: np.random.Generator, subject: str, lesions: int, others: int) -> ScoredScan:
    """Scores three times too sure of themselves."""
    hit = np.array([*range(1, lesions + 1), *[0] * others])
    return ScoredScan(subject, 3.0 * rng.normal(np.where(hit > 0, 1.5, -1.5), 1.7), hit, lesions)


def test_a_classifier_gets_its_calibration_and_a_card_with_intervals(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    cascade = small_cascade(tmp_path / "model", ClassifierSettings())
    natural = [scored(rng, f"n{n}", n % 3 * 2, 8) for n in range(60)]
    planes = [scored(rng, f"v{n % 9}", 1, 4) for n in range(45)]
    points = settle(tmp_path / "model", cascade, planes, natural, "heads")
    classifier = cascade.settings.classifier
    assert classifier is not None
    # The scores are normal, with means 2 * 1.5 apart in units of a variance of 1.7 squared.
    assert classifier.slope == pytest.approx(3.0 / 1.7**2 / 3.0, rel=0.25)
    assert classifier.intercept == pytest.approx(np.log(120 / 480), abs=0.4)
    assert classifier.slice_slope == pytest.approx(3.0 / 1.7**2 / 3.0, rel=0.3)
    assert classifier.slice_intercept == pytest.approx(np.log(45 / 180), abs=0.5)
    on_slices = cascade.settings.slice_thresholds
    assert on_slices is not None
    assert on_slices.screening < on_slices.report
    card = json.loads((tmp_path / "model" / "card.json").read_text())["operating_points"]
    assert (card["dataset"], card["simulated"]) == ("heads", True)
    assert (card["volumes"], card["lesions"], card["lesion_free_volumes"]) == (60, 120, 20)
    assert card["calibration"]["candidates"] == 600
    assert 0 < card["calibration"]["ece"] < 0.06
    assert 0 < card["calibration"]["brier"] < 0.2
    for name, threshold in asdict(points).items():
        point = card[name]
        assert point["threshold"] == threshold
        for score in ("lesion_sensitivity", "lesion_precision", "fp_per_scan"):
            low, high = point[f"{score}_interval"]
            assert low < point[score] < high
    assert card["screening"]["lesion_sensitivity"] > card["report"]["lesion_sensitivity"]
    assert card["screening"]["lesion_precision"] < card["report"]["lesion_precision"]


def test_without_planes_slices_take_the_points_of_volumes(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    cascade = small_cascade(tmp_path / "model", ClassifierSettings())
    natural = [scored(rng, f"n{n}", 2, 8) for n in range(20)]
    settle(tmp_path / "model", cascade, [], natural, "heads", simulated=False)
    assert cascade.settings.slice_thresholds is None
    classifier = cascade.settings.classifier
    assert classifier is not None
    assert (classifier.slice_slope, classifier.slice_intercept) == (
        classifier.slope,
        classifier.intercept,
    )
    assert "single_slices" not in cascade.card["operating_points"]
    assert cascade.card["operating_points"]["simulated"] is False


def test_a_cascade_without_a_classifier_has_nothing_to_calibrate(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    natural = [scored(rng, f"n{n}", 2, 8) for n in range(6)]
    with pytest.raises(ModelError, match="classifier in model"):
        settle(tmp_path / "model", small_cascade(tmp_path / "model"), [], natural, "heads")


def test_a_point_that_calls_nothing_has_no_precision() -> None:
    row = ScanLesions("a", "a", 2, 0, 0)
    names = ("screening", "balanced", "report")
    measured = CrossFit(np.zeros(0), np.zeros(0, bool), dict.fromkeys(names, (row,)))
    card = operating_points(
        measured, Thresholds(), [ScoredScan("a", np.zeros(0), np.zeros(0, int), 2)]
    )
    assert card["balanced"]["lesion_precision"] is None
    assert card["balanced"]["fp_per_lesion_free_scan"] is None
    assert card["balanced"]["lesion_sensitivity"] == 0.0
    assert card["calibration"] == {"candidates": 0, "ece": None, "brier": None}


def test_a_simulated_dataset_is_known_by_its_description(tmp_path: Path) -> None:
    assert not is_simulated(tmp_path)
    write_root(tmp_path)
    assert is_simulated(tmp_path)
    (tmp_path / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "a camera"}]}')
    assert not is_simulated(tmp_path)
    (tmp_path / "dataset_description.json").write_text("[")
    assert not is_simulated(tmp_path)
