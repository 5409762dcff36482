from pathlib import Path

import numpy as np
import pytest

from mmocnet.config import CascadeSettings, DetectorSettings, SegmenterSettings
from mmocnet.errors import InputError, ModelError
from mmocnet.evaluate.lesions import ScanLesions
from mmocnet.nets.checkpoint import Cascade, load_cascade, save_cascade
from mmocnet.nets.detector import Detector
from mmocnet.nets.segmenter import Segmenter
from mmocnet.predict.context import FEATURES
from mmocnet.train.context import Collected, SliceCandidates
from mmocnet.train.thresholds import LEVELS, best_points, calibrate, settle


def scan(references: int, found: int, false: int) -> ScanLesions:
    return ScanLesions("s", "s", references, found, false)


def test_each_point_is_best_by_its_own_score() -> None:
    # Up to 0.3: 10 of 10 at 8 false; up to 0.6: 9 of 10 at 1 false; above: 6 of 10 at none.
    tables = [
        [scan(10, 10, 8) if level <= 0.3 else scan(10, 9, 1) if level <= 0.6 else scan(10, 6, 0)]
        for level in LEVELS
    ]
    points = best_points(tables)
    # F2: .862, .900, .652; F1: .714, .900, .750; F0.5: .610, .900, .882.
    middle = np.median(LEVELS[(LEVELS > 0.3) & (LEVELS <= 0.6)])
    assert points.screening == points.balanced == points.report == pytest.approx(middle, abs=1e-3)


def test_points_ascend_from_screening_to_report() -> None:
    tables = [
        [scan(10, 10, 4) if level <= 0.3 else scan(10, 8, 1) if level <= 0.6 else scan(10, 7, 0)]
        for level in LEVELS
    ]
    points = best_points(tables)
    # F2: .926, .816, .745; F0.5: .758, .870, .921.
    assert points.screening < 0.3
    assert points.report > 0.6
    assert points.screening <= points.balanced <= points.report


def test_scans_without_any_lesion_are_refused() -> None:
    with pytest.raises(InputError, match="at least one lesion"):
        best_points([[scan(0, 0, 3)] for _ in LEVELS])


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


def test_context_and_operating_points_are_written_into_the_model(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    small = CascadeSettings(DetectorSettings((4, 4, 8, 8, 8)), SegmenterSettings(4, 1))
    networks = Detector(small.detector), Segmenter(small.segmenter)
    save_cascade(tmp_path / "model", Cascade(small, *networks, {"seed": 3}))
    before = load_cascade(tmp_path / "model")
    dense, whole = ([volume(rng, f"{kind}{n}") for n in range(6)] for kind in "ab")
    points = settle(tmp_path / "model", before, (dense, whole), Path("natural"))
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
