import math

import numpy as np
import pytest

from mmocnet.evaluate.lesions import (
    FAINT,
    MAX_LEVELS,
    SURE_LEVELS,
    ScanLesions,
    froc,
    froc_levels,
    lesion_scores,
    outcome,
    thinned,
)
from mmocnet.evaluate.matching import match, pairing
from mmocnet.evaluate.statistics import bootstrap

SCANS = [
    ScanLesions("a", "a", 4, 3, 1, matched_dice=(0.5, 0.7, 0.9), volume_error_mm3=(-4.0, 1.0, 0.0)),
    ScanLesions("b", "b", references=0, found=0, false_positives=2),
    ScanLesions("c", "c", references=1, found=0, false_positives=0),
]


def test_scores_are_those_computed_by_hand():
    scores = {name: interval.value for name, interval in lesion_scores(SCANS, draws=10).items()}
    assert scores["lesion_sensitivity"] == pytest.approx(3 / 5)
    assert scores["lesion_precision"] == pytest.approx(3 / 6)
    assert scores["lesion_f1"] == pytest.approx(6 / 11)
    assert scores["lesion_f2"] == pytest.approx(15 / (15 + 4 * 2 + 3))
    assert scores["fp_per_scan"] == pytest.approx(1.0)
    assert scores["fp_per_lesion_free_scan"] == pytest.approx(2.0)
    assert scores["matched_dice"] == pytest.approx(0.7)
    assert scores["matched_volume_bias_mm3"] == pytest.approx(-1.0)
    assert scores["matched_volume_error_mm3"] == pytest.approx(5 / 3)


def test_nothing_to_find_and_nothing_found_is_undefined_but_for_false_positives():
    scores = lesion_scores([ScanLesions("a", "a", 0, 0, 0)], draws=10)
    assert scores["fp_per_scan"].value == 0
    undefined = {name for name, interval in scores.items() if math.isnan(interval.value)}
    assert undefined == {
        "lesion_sensitivity",
        "lesion_precision",
        "lesion_f1",
        "lesion_f2",
        "matched_dice",
        "matched_volume_bias_mm3",
        "matched_volume_error_mm3",
    }


def test_the_same_seed_gives_the_same_interval():
    # As text: what is undefined is not equal to itself.
    assert repr(lesion_scores(SCANS, seed=3)) == repr(lesion_scores(SCANS, seed=3))


def test_one_subject_has_no_interval_however_many_scans():
    scans = [ScanLesions("a", str(i), 2, i % 3, 0) for i in range(6)]
    interval = lesion_scores(scans, draws=50)["lesion_sensitivity"]
    assert interval.value == 0.5
    assert np.isnan([interval.low, interval.high]).all()


def test_interval_of_a_mean_agrees_with_the_normal_one(rng):
    values = rng.normal(10.0, 2.0, 400)
    subjects = [str(i) for i in range(400)]
    interval = bootstrap(lambda times: float(times @ values / times.sum()), subjects, draws=2000)
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)


def test_samples_without_a_lesion_are_counted_as_undefined():
    interval = lesion_scores(SCANS, seed=0, draws=2700)["lesion_sensitivity"]
    # One in 27 samples of three subjects draws the lesion-free one three times.
    assert interval.undefined == pytest.approx(100, abs=30)


def test_outcome_counts_and_dice_of_a_small_case():
    reference = np.array([[1, 1, 0, 0, 2, 2]])
    predicted = np.array([[1, 0, 0, 2, 0, 0]])
    result = outcome(pairing(reference, predicted, (1.0, 1.0)), "s", "s")
    assert (result.references, result.found, result.false_positives) == (2, 1, 1)
    assert result.matched_dice == (pytest.approx(2 / 3),)


def test_volume_errors_of_matched_lesions_are_predicted_less_reference():
    reference = np.array([[1, 1, 0, 0, 2, 2]])
    predicted = np.array([[1, 0, 0, 0, 2, 2]])
    result = outcome(pairing(reference, predicted, (1.0, 2.0)), "s", "s", voxel_mm3=2.0)
    assert result.volume_error_mm3 == (-2.0, 0.0)


def test_froc_follows_the_confidences():
    reference = [np.array([[1, 0, 2, 0, 0]]), np.array([[0, 0, 0, 0, 0]])]
    predicted = [np.array([[1, 0, 2, 0, 3]]), np.array([[0, 1, 0, 0, 0]])]
    confidence = [np.array([0.9, 0.3, 0.5]), np.array([0.7])]
    pairs = [pairing(r, p, (1.0, 1.0)) for r, p in zip(reference, predicted, strict=True)]
    curve = froc(pairs, confidence)
    assert curve.threshold.tolist() == [0.3, 0.5, 0.7, 0.9]
    assert curve.lesion_sensitivity.tolist() == [1.0, 0.5, 0.5, 0.5]
    assert curve.fp_per_scan.tolist() == [1.0, 1.0, 0.5, 0.0]
    assert curve.lesion_f1.tolist() == pytest.approx([4 / 6, 2 / 5, 2 / 4, 2 / 3])
    # 0.3 and 0.9 tie: the one with fewer false positives is taken.
    assert curve.best_threshold == 0.9


def test_a_candidate_that_was_second_takes_over_at_a_higher_threshold():
    # Both candidates overlap the lesion; the better fitting one has the lower confidence.
    pair = pairing(np.array([[1, 1, 1, 0]]), np.array([[2, 1, 1, 0]]), (1.0, 1.0))
    curve = froc([pair], [np.array([0.4, 0.8])])
    assert curve.lesion_sensitivity.tolist() == [1.0, 1.0]
    assert curve.fp_per_scan.tolist() == [1.0, 0.0]


def test_thinning_keeps_the_ends_and_is_dense_at_the_top(rng):
    levels = rng.random(5000)
    kept = thinned(levels, 60)
    assert len(kept) <= 60
    assert kept[0] == levels.min()
    assert np.array_equal(kept[-5:], np.sort(levels)[-5:])


def test_a_froc_takes_every_confidence_but_thins_the_faint(rng):
    faint, sure = rng.random(20000) * FAINT, FAINT + rng.random(500) * (1 - FAINT)
    levels = froc_levels(np.concatenate([faint, sure, sure]))
    assert np.array_equal(levels[levels >= FAINT], np.sort(sure))
    assert levels[0] == faint.min()
    assert len(levels) <= MAX_LEVELS + len(sure)
    assert np.count_nonzero(levels > np.sort(faint)[-1000]) > len(sure) + 5


def test_a_froc_of_very_many_sure_candidates_is_bounded(rng):
    levels = froc_levels(FAINT + rng.random(50000) * (1 - FAINT))
    assert len(levels) <= SURE_LEVELS


def test_the_best_f1_is_that_of_every_threshold(rng):
    # 150 candidates a scan, most of them faint, and lesions that some of them overlap.
    pairs, confidences = [], []
    for _ in range(4):
        predicted = np.arange(1, 151)[None]
        reference = np.where(rng.random(150) < 0.2, predicted, 0)
        confidence = np.where(rng.random(150) < 0.5, rng.random(150), rng.random(150) * 0.02)
        pairs.append(pairing(reference, predicted, (1.0, 1.0)))
        confidences.append(np.where(reference[0] > 0, np.sqrt(confidence), confidence))
    curve = froc(pairs, confidences)
    both = list(zip(pairs, confidences, strict=True))
    lesions = sum(len(pair.reference.ids) for pair in pairs)
    expected = {}
    for level in np.unique(np.concatenate(confidences)):
        found = [match(pair, confidence >= level) for pair, confidence in both]
        right = sum(len(one.pairs) for one in found)
        false = sum(len(one.false) for one in found)
        expected[level] = (right / lesions, false / 4, 2 * right / (right + false + lesions))
    rows = zip(curve.lesion_sensitivity, curve.fp_per_scan, curve.lesion_f1, strict=True)
    for level, row in zip(curve.threshold, rows, strict=True):
        assert row == pytest.approx(expected[level])
    assert np.nanmax(curve.lesion_f1) == pytest.approx(max(f1 for *_, f1 in expected.values()))


def test_a_froc_without_candidates_or_lesions_is_empty():
    none = np.zeros((1, 5), int)
    curve = froc([pairing(none, none, (1.0, 1.0))], [np.zeros(0)])
    assert len(curve.threshold) == len(curve.lesion_f1) == 0
    assert math.isnan(curve.best_threshold)
