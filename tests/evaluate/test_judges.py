"""Whole scans judged by programs that share no code with ours.

`test_matching.py` and `test_pixels.py` judge each step alone; here a scan goes in and the scores
come out. panoptica holds NumPy under 2.3, so it is an extra of its own (`judges`) and its tests
are skipped without it: brute force and scikit-image judge the same scores everywhere.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage import measure
from sklearn import metrics

from mmocnet.evaluate.cases import Case
from mmocnet.evaluate.lesions import lesion_scores
from mmocnet.evaluate.matching import Rule, match, pairing
from mmocnet.evaluate.pixels import (
    count_pixels,
    mean_scores,
    pixel_scores,
    pooled_scores,
    precision_recall,
    sample_pixels,
)
from mmocnet.evaluate.score import score_case

SPACING = (0.8, 1.1, 2.5)
SEEDS = range(6)
LABELS = arrays(np.int16, (3, 5, 4), elements=st.sampled_from([0, 0, 0, 1, 2, 3, 4]))
IMAGES = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        arrays(bool, n),
        # Few distinct values and many zeros: ties and unmarked pixels are what goes wrong.
        arrays(np.float64, n, elements=st.sampled_from([0.0, 0.0, 1e-12, 0.25, 0.5, 0.5, 1.0])),
    )
)


def blobs(rng, count, shape=(40, 44, 14)):
    """Return a mask of so many ellipsoids; some touch, some leave the volume."""
    grid = np.meshgrid(
        *(np.arange(n) * mm for n, mm in zip(shape, SPACING, strict=True)), indexing="ij"
    )
    mask = np.zeros(shape, bool)
    for _ in range(count):
        centre = [rng.uniform(0, n * mm) for n, mm in zip(shape, SPACING, strict=True)]
        radii = rng.uniform(1.0, 3.5, 3)
        mask |= sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1
    return mask


def scan(seed):
    """Return a scan with lesions found, moved, missed and made up."""
    rng = np.random.default_rng(seed)
    reference = blobs(rng, 9)
    moved = np.roll(reference, rng.integers(-1, 2, 3), axis=(0, 1, 2))
    kept = measure.label(moved, connectivity=3)
    kept = np.isin(kept, rng.permutation(kept.max() + 1)[:6]) & (kept > 0)
    predicted = kept | blobs(rng, 3)
    probability = ndimage.gaussian_filter(predicted.astype(float), 0.7) * predicted
    return Case(
        name=f"scan-{seed}",
        subject=f"{seed:02d}",
        spacing_mm=SPACING,
        slice_axis=2,
        reference=measure.label(reference, connectivity=3),
        predicted=measure.label(predicted, connectivity=3),
        candidates=None,
        probability=np.round(probability, 2),
        valid=None,
    )


def fit(one, two, rule):
    """Return how well two masks fit under a rule, or None where it keeps them apart."""
    iou = np.sum(one & two) / np.sum(one | two)
    if rule is Rule.CENTROID:
        centres = [np.mean(np.argwhere(mask) * SPACING, axis=0) for mask in (one, two)]
        distance = float(np.linalg.norm(centres[0] - centres[1]))
        return 1 - distance / 3 if distance <= 3 + 1e-9 else None
    return iou if iou > (0.1 if rule is Rule.IOU else 0) else None


def best_assignment(reference, predicted, rule):
    """Return (pairs, their quality) of the best of all one-to-one assignments, all tried."""
    rows = [reference == i for i in np.unique(reference[reference > 0])]
    columns = [predicted == i for i in np.unique(predicted[predicted > 0])]
    table = [[fit(one, two, rule) for two in columns] for one in rows]
    if len(rows) > len(columns):
        table = [list(line) for line in zip(*table, strict=True)]
    best = (0, 0.0)
    for order in itertools.permutations(range(max(len(rows), len(columns))), len(table)):
        chosen = [table[i][j] for i, j in enumerate(order) if table[i][j] is not None]
        best = max(best, (len(chosen), sum(chosen)))
    return best


@settings(max_examples=40)
@given(LABELS, LABELS, st.sampled_from(list(Rule)))
def test_matching_in_3d_is_the_best_of_all_permutations(reference, predicted, rule):
    pair = pairing(reference, predicted, SPACING, rule)
    result = match(pair)
    pairs, quality = best_assignment(reference, predicted, rule)
    matched = [
        fit(reference == pair.reference.ids[r], predicted == pair.predicted.ids[p], rule)
        for r, p in result.pairs
    ]
    assert len(matched) == pairs
    assert sum(matched) == pytest.approx(quality, abs=1e-9)


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize("seed", SEEDS)
def test_lesion_counts_of_a_scan_are_those_of_brute_force(seed, rule):
    case = scan(seed)
    outcome = score_case(case).lesions[rule]
    # Lesions that nothing fits cannot be matched, and without them the permutations are few.
    keep = [
        {
            i
            for i in range(1, mine.max() + 1)
            if any(fit(mine == i, other == j, rule) is not None for j in range(1, other.max() + 1))
        }
        for mine, other in (
            (case.reference, case.predicted),
            (case.predicted, case.reference),
        )
    ]
    found, _ = best_assignment(
        np.where(np.isin(case.reference, list(keep[0])), case.reference, 0),
        np.where(np.isin(case.predicted, list(keep[1])), case.predicted, 0),
        rule,
    )
    assert outcome.references == case.reference.max()
    assert outcome.found == found
    assert outcome.false_positives == case.predicted.max() - found


@pytest.mark.parametrize("seed", SEEDS)
def test_detection_scores_are_those_of_scikit_learn(seed):
    outcome = score_case(scan(seed)).lesions[Rule.OVERLAP]
    missed, false = outcome.references - outcome.found, outcome.false_positives
    # One entry a lesion: found, missed, false.
    truth = [1] * outcome.found + [1] * missed + [0] * false
    called = [1] * outcome.found + [0] * missed + [1] * false
    scores = lesion_scores([outcome], draws=1)
    assert scores["lesion_sensitivity"].value == pytest.approx(metrics.recall_score(truth, called))
    assert scores["lesion_precision"].value == pytest.approx(metrics.precision_score(truth, called))
    for name, beta in (("lesion_f1", 1), ("lesion_f2", 2)):
        expected = metrics.fbeta_score(truth, called, beta=beta)
        assert scores[name].value == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_matched_dice_is_that_of_scikit_image_where_each_lesion_meets_one(seed):
    case = scan(seed)
    meets = [
        np.unique(case.predicted[tuple(region.coords.T)])
        for region in measure.regionprops(case.reference)
    ]
    met_by = [
        np.unique(case.reference[tuple(region.coords.T)])
        for region in measure.regionprops(case.predicted)
    ]
    # Where two compete for one, a pair is a choice; these scans leave none.
    assert all(np.sum(met > 0) <= 1 for met in meets + met_by)
    expected = []
    for label, met in enumerate(meets, 1):
        if (met > 0).any():
            one, two = case.reference == label, case.predicted == met.max()
            expected.append(metrics.f1_score(one.ravel(), two.ravel()))
    dice = score_case(case).lesions[Rule.OVERLAP].matched_dice
    assert sorted(dice) == pytest.approx(sorted(expected))


@given(IMAGES)
def test_pixel_scores_of_a_cut_map_are_those_of_scikit_learn(image):
    reference, probability = image
    called = probability >= 0.5
    scores = pixel_scores(count_pixels(reference, called))
    both = len(np.unique(reference)) == len(np.unique(called)) == 2
    judged = metrics.matthews_corrcoef(reference, called) if both else np.nan
    assert scores.mcc == pytest.approx(judged, nan_ok=True)
    some = reference.any() or called.any()
    for name, beta in (("dsc", 1), ("f2", 2)):
        judged = metrics.fbeta_score(reference, called, beta=beta) if some else np.nan
        assert getattr(scores, name) == pytest.approx(judged, nan_ok=True)


@given(st.lists(IMAGES, min_size=1, max_size=4))
def test_precision_recall_of_several_images_is_that_of_scikit_learn_on_all_pixels(images):
    reference = np.concatenate([one for one, _ in images])
    probability = np.concatenate([two for _, two in images])
    curve = precision_recall([sample_pixels(*image) for image in images])
    if not reference.any():
        assert np.isnan(curve.average_precision)
        assert np.isnan(curve.recall_ceiling)
        return
    judged = metrics.average_precision_score(reference, probability)
    assert curve.average_precision == pytest.approx(judged)
    precision, recall, threshold = metrics.precision_recall_curve(reference, probability)
    assert np.array_equal(curve.threshold[::-1], threshold)
    assert np.allclose(curve.precision[::-1], precision[:-1])
    assert np.allclose(curve.recall[::-1], recall[:-1])
    ceiling = metrics.recall_score(reference, probability > 0)
    assert curve.recall_ceiling == pytest.approx(ceiling)


def test_pixel_scores_of_whole_scans_are_those_of_scikit_learn_pooled_and_on_average():
    cases = [scan(seed) for seed in SEEDS]
    counts = [score_case(case).pixels for case in cases]
    truth = [(case.reference > 0).ravel() for case in cases]
    called = [(case.predicted > 0).ravel() for case in cases]
    all_truth, all_called = np.concatenate(truth), np.concatenate(called)
    pooled, mean = pooled_scores(counts), mean_scores(counts)
    for name, score in (("dsc", metrics.f1_score), ("mcc", metrics.matthews_corrcoef)):
        assert getattr(pooled, name) == pytest.approx(score(all_truth, all_called))
        each = [score(one, two) for one, two in zip(truth, called, strict=True)]
        assert getattr(mean, name) == pytest.approx(np.mean(each))
    sample = [score_case(case).sample for case in cases]
    judged = metrics.average_precision_score(
        all_truth, np.concatenate([case.probability.ravel() for case in cases])
    )
    assert precision_recall(sample).average_precision == pytest.approx(judged)


@pytest.mark.parametrize("seed", SEEDS)
def test_instance_scores_are_those_of_panoptica(seed):
    panoptica = pytest.importorskip("panoptica", reason="needs the judges extra")
    case = scan(seed)
    judge = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.UNMATCHED_INSTANCE,
        instance_matcher=panoptica.NaiveThresholdMatching(
            matching_threshold=0.1, strict_threshold=True
        ),
        instance_metrics=[panoptica.Metric.IOU, panoptica.Metric.DSC],
        global_metrics=[],
    )
    judged = judge.evaluate(
        case.predicted.astype(np.uint16), case.reference.astype(np.uint16), voxelspacing=SPACING
    )["ungrouped"]
    outcome = score_case(case).lesions[Rule.IOU]
    missed = outcome.references - outcome.found
    assert (judged.tp, judged.fn, judged.fp) == (outcome.found, missed, outcome.false_positives)
    scores = lesion_scores([outcome], draws=1)
    assert scores["lesion_f1"].value == pytest.approx(judged.rq)
    assert scores["matched_dice"].value == pytest.approx(judged.sq_dsc)
    # A Dice of d is an intersection over union of d / (2 - d).
    iou = [dice / (2 - dice) for dice in outcome.matched_dice]
    assert np.mean(iou) == pytest.approx(judged.sq)
    assert scores["lesion_f1"].value * np.mean(iou) == pytest.approx(judged.pq)
