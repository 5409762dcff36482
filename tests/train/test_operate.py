import numpy as np
import pytest

from mmocnet.config import Thresholds
from mmocnet.lesion import Candidate
from mmocnet.train.operate import (
    ScanFindings,
    brain_of,
    candidate_threshold,
    lesion_peaks,
    lesion_scores,
    operating_points,
    split_candidates,
    strongest,
)


def findings(confidence: list[float], hit: list[int], lesions: list[int]) -> ScanFindings:
    return ScanFindings(np.array(confidence), np.array(hit), np.array(lesions), 0, 0, 0)


def candidate(row: float, col: float, probability: float = 0.5, s: int = 0) -> Candidate:
    return Candidate(s, row, col, probability, 4)


@pytest.mark.parametrize("sensitivity", [0.5, 0.9, 0.98, 1.0])
def test_the_threshold_is_the_highest_that_finds_the_wanted_share(
    rng: np.random.Generator, sensitivity: float
) -> None:
    peaks = rng.uniform(0.02, 0.5, 83)
    threshold = candidate_threshold(peaks, sensitivity)
    assert (peaks >= threshold).mean() >= sensitivity
    assert (peaks > threshold).mean() < sensitivity


def test_the_threshold_stays_within_its_limits() -> None:
    assert candidate_threshold(np.array([0.001, 0.9]), 1.0) == 0.02
    assert candidate_threshold(np.array([0.9, 0.99]), 1.0) == 0.5
    assert candidate_threshold(np.zeros(0), 0.98) == 0.5


def test_peaks_are_the_highest_probability_in_each_lesion() -> None:
    labels = np.zeros((2, 4, 4), int)
    labels[0, :2, :2], labels[1, 3, 3] = 1, 3
    probability = np.zeros((2, 4, 4))
    probability[0, 1, 1], probability[0, 3, 3], probability[1, 3, 3] = 0.7, 0.9, 0.2
    assert lesion_peaks(probability, labels).tolist() == [0.7, 0.2]


def test_candidates_near_a_lesion_are_found_and_others_false() -> None:
    labels = np.zeros((2, 64, 64), np.int16)
    labels[0, 20, 20] = 1
    near, far, other_slice = candidate(27, 14), candidate(29, 20), candidate(20, 20, s=1)
    found, false = split_candidates([near, far, other_slice], labels, 32)
    assert (found, false) == ([near], [far, other_slice])


def test_the_strongest_of_each_slice_are_kept() -> None:
    given = [candidate(1, 1, p, s) for p, s in ((0.1, 0), (0.9, 0), (0.5, 0), (0.2, 1))]
    assert [c.probability for c in strongest(given, 2)] == [0.9, 0.5, 0.2]


def test_the_brain_has_no_holes_where_a_lesion_is_black() -> None:
    image = np.zeros((1, 9, 9), np.uint8)
    image[0, 2:7, 2:7] = 90
    image[0, 4, 4] = 0
    assert brain_of(image).sum() == 25


def test_scores_count_lesions_once_and_undefined_is_nan() -> None:
    scans = [findings([0.9, 0.8, 0.7, 0.2], [1, 1, 0, 2], [1, 2]), findings([0.6], [0], [])]
    scores = lesion_scores(scans, 0.5)
    assert (scores.sensitivity, scores.fp_per_scan) == (0.5, 1.0)
    assert scores.precision == pytest.approx(1 / 3)
    assert scores.f1 == pytest.approx(2 / (2 + 1 + 2))
    assert scores.f2 == pytest.approx(5 / (5 + 4 * 1 + 2))
    assert np.isnan(lesion_scores([findings([], [], [])], 0.5).f1)


def test_operating_points_rise_from_screening_to_report() -> None:
    rng = np.random.default_rng(0)
    true, false = rng.beta(4, 2, 60), rng.beta(2, 4, 60)
    scan = findings([*true, *false], [*range(1, 61), *[0] * 60], list(range(1, 61)))
    points = operating_points([scan])
    assert points.screening <= points.balanced <= points.report
    best = max(lesion_scores([scan], float(t)).f1 for t in np.linspace(0.05, 0.95, 19))
    assert lesion_scores([scan], points.balanced).f1 > best - 0.03


def test_without_lesions_the_default_thresholds_stay() -> None:
    assert operating_points([findings([0.7], [0], [])]) == Thresholds()
