import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.measure import label as skimage_label

from mmocnet.errors import InputError
from mmocnet.evaluate.matching import Rule, components, match, objects, pairing, restrict

MASKS = arrays(np.int8, (6, 7), elements=st.sampled_from([0, 0, 1]))
LABELS = arrays(np.int16, (4, 6), elements=st.integers(0, 4))


def allowed(reference, predicted, spacing, rule):
    """Say by hand, voxel by voxel, which pairs a rule allows."""
    table = {}
    for r, p in itertools.product(np.unique(reference), np.unique(predicted)):
        if r == 0 or p == 0:
            continue
        one = {tuple(v) for v in np.argwhere(reference == r)}
        two = {tuple(v) for v in np.argwhere(predicted == p)}
        centres = [np.mean([np.multiply(v, spacing) for v in s], axis=0) for s in (one, two)]
        distance = float(np.linalg.norm(centres[0] - centres[1]))
        iou = len(one & two) / len(one | two)
        verdict = {
            Rule.OVERLAP: (len(one & two) > 0, iou),
            Rule.CENTROID: (distance <= 3 + 1e-9, 1 - distance / 3),
            Rule.IOU: (iou > 0.1, iou),
        }
        if verdict[rule][0]:
            table[r, p] = verdict[rule][1]
    return table


def best_by_trying_all(table):
    """Return (most pairs, their greatest quality) over all one-to-one matchings."""
    best = (0, 0.0)
    edges = list(table)
    for size in range(len(edges) + 1):
        for chosen in itertools.combinations(edges, size):
            rows, columns = {r for r, _ in chosen}, {p for _, p in chosen}
            if len(rows) == len(columns) == size:
                best = max(best, (size, sum(table[edge] for edge in chosen)))
    return best


@given(MASKS)
def test_components_in_2d_are_those_of_8_neighbours(mask):
    assert np.array_equal(components(mask), skimage_label(mask, connectivity=2))


def test_components_in_3d_join_across_a_corner():
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert components(mask).max() == 1


@given(LABELS)
def test_sizes_and_centroids_are_those_of_scipy(labels):
    found = objects(labels, (0.5, 2.0))
    ids = np.setdiff1d(labels, [0])
    assert np.array_equal(found.ids, ids)
    assert np.array_equal(found.sizes, [np.sum(labels == i) for i in ids])
    centres = ndimage.center_of_mass(np.ones(labels.shape), labels, ids)
    expected = np.array(centres).reshape(-1, 2) * [0.5, 2.0]
    assert np.allclose(found.centroids_mm, expected)


@settings(max_examples=60)
@given(LABELS, LABELS, st.sampled_from(list(Rule)))
def test_matching_is_the_best_of_all_one_to_one_matchings(reference, predicted, rule):
    spacing = (1.0, 2.0)
    table = allowed(reference, predicted, spacing, rule)
    pair = pairing(reference, predicted, spacing, rule)
    result = match(pair)
    matched = [(pair.reference.ids[r], pair.predicted.ids[p]) for r, p in result.pairs]
    assert all(edge in table for edge in matched)
    assert len({r for r, _ in matched}) == len({p for _, p in matched}) == len(matched)
    size, quality = best_by_trying_all(table)
    assert len(matched) == size
    assert sum(table[edge] for edge in matched) == pytest.approx(quality, abs=1e-9)


@given(LABELS, LABELS, st.sampled_from(list(Rule)))
def test_every_lesion_is_matched_missed_or_false(reference, predicted, rule):
    pair = pairing(reference, predicted, (1.0, 1.0), rule)
    result = match(pair)
    assert sorted([*result.pairs[:, 0], *result.missed]) == list(range(len(pair.reference.ids)))
    assert sorted([*result.pairs[:, 1], *result.false]) == list(range(len(pair.predicted.ids)))


@given(LABELS, LABELS)
def test_dice_is_twice_the_overlap_over_both_sizes(reference, predicted):
    pair = pairing(reference, predicted, (1.0, 1.0))
    dice = pair.dice()
    for i, r in enumerate(pair.reference.ids):
        for j, p in enumerate(pair.predicted.ids):
            one, two = reference == r, predicted == p
            assert dice[i, j] == pytest.approx(2 * (one & two).sum() / (one.sum() + two.sum()))


def test_centroids_exactly_3_mm_apart_match():
    reference, predicted = np.zeros((2, 20), int), np.zeros((2, 20), int)
    reference[0, 2], predicted[0, 8] = 1, 1
    pair = pairing(reference, predicted, (0.5, 0.5), Rule.CENTROID)
    assert len(match(pair).pairs) == 1


def test_an_iou_of_exactly_a_tenth_does_not_match():
    reference, predicted = np.zeros((1, 12), int), np.zeros((1, 12), int)
    reference[0, :5], predicted[0, 4:10] = 1, 1
    assert not pairing(reference, predicted, (1.0, 1.0), Rule.IOU).eligible.any()


def test_a_lesion_that_is_not_kept_is_neither_matched_nor_false():
    reference, predicted = np.array([[1, 1, 0, 0]]), np.array([[1, 1, 0, 2]])
    pair = pairing(reference, predicted, (1.0, 1.0))
    result = match(pair, np.array([False, True]))
    assert len(result.pairs) == 0
    assert result.false.tolist() == [1]
    assert result.missed.tolist() == [0]


def test_empty_images_give_no_pairs():
    result = match(pairing(np.zeros((3, 3), int), np.zeros((3, 3), int), (1.0, 1.0)))
    assert len(result.pairs) == len(result.missed) == len(result.false) == 0


def test_restricting_cuts_the_window_and_blanks_what_is_ignored():
    labels = np.arange(12).reshape(3, 4)
    ignore = labels == 6
    cut = restrict(labels, ignore, (slice(1, 3), slice(1, 4)))
    assert cut.tolist() == [[5, 0, 7], [9, 10, 11]]


def test_another_shape_is_refused():
    with pytest.raises(InputError, match="expected a prediction"):
        pairing(np.zeros((3, 3), int), np.zeros((3, 4), int), (1.0, 1.0))
