from pathlib import Path

import numpy as np
import pytest

from mmocnet.errors import InputError, ModelError
from mmocnet.evaluate.lesions import ScanLesions
from mmocnet.train.thresholds import LEVELS, best_points, calibrate


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
