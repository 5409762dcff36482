from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from mmocnet.config import PatchShares
from mmocnet.errors import InputError
from mmocnet.train.patches import (
    PatchCut,
    PatchSampler,
    TrainingScan,
    cut,
    lesion_places,
    mimic_places,
)

ONLY_LESIONS = PatchShares(lesion=1.0, mimic=0.0, brain=0.0)


def blank(shape: tuple[int, int, int] = (3, 20, 24)) -> tuple[np.ndarray, np.ndarray]:
    return np.full(shape, 128, np.uint8), np.zeros(shape, np.int16)


@pytest.mark.parametrize("centre", [(0, 0), (5, 7), (9, 11), (-3, 30)])
@pytest.mark.parametrize("shape", [(4, 4), (6, 10), (40, 50)])
def test_a_cut_is_numpy_s_reflection(
    rng: np.random.Generator, centre: tuple[int, int], shape: tuple[int, int]
) -> None:
    plane = rng.integers(0, 255, (10, 12))
    padded = np.pad(plane, 60, mode="reflect")
    row, col = centre[0] - shape[0] // 2 + 60, centre[1] - shape[1] // 2 + 60
    expected = padded[row : row + shape[0], col : col + shape[1]]
    np.testing.assert_array_equal(cut(plane, centre, shape), expected)


def test_a_cut_of_a_single_pixel_repeats_it() -> None:
    assert cut(np.array([[7]]), (0, 0), (5, 4)).tolist() == [[7] * 4] * 5


def test_lesion_places_are_the_centroids_on_each_slice(
    make_toy_scan: Callable[..., TrainingScan], rng: np.random.Generator
) -> None:
    scan = make_toy_scan(rng, "01")
    places = lesion_places([scan, scan])
    labels = np.unique(scan.labels)[1:]
    assert len(places) == 2 * len(labels)
    for number, rows in zip(labels, places, strict=False):
        for _, s, row, col in rows:
            expected = ndimage.center_of_mass(scan.labels[int(s)] == number)
            assert (row, col) == pytest.approx(expected, abs=1e-4)
        assert len(rows) == len(np.unique(np.nonzero(scan.labels == number)[0]))
    assert {int(rows[0, 0]) for rows in places} == {0, 1}


def test_mimics_off_the_grid_are_left_out() -> None:
    image, labels = blank()
    points = np.array([[1, 5, 5], [1, -1, 5], [3, 5, 5], [0, 19, 23]])
    scan = TrainingScan("01", image, labels, points, (1, 1, 1))
    assert [p[0].tolist() for p in mimic_places([scan])] == [[0, 1, 5, 5], [0, 0, 19, 23]]


def test_image_and_labels_of_different_shapes_are_refused() -> None:
    image, labels = blank()
    with pytest.raises(InputError, match="one shape"):
        TrainingScan("01", image, labels[:2], np.zeros((0, 3)), (1, 1, 1))


def lesion_sampler(scan: TrainingScan, shares: PatchShares, **changes: object) -> PatchSampler:
    how = replace(PatchCut((8, 8), (3.0, 3.0)), **changes)
    places = {"lesion": lesion_places([scan]), "mimic": mimic_places([scan])}
    return PatchSampler([scan], places, shares, how)


def test_a_patch_on_a_lesion_holds_it_within_the_jitter(rng: np.random.Generator) -> None:
    image, labels = blank()
    labels[1, 10, 12] = 1
    scan = TrainingScan("01", image, labels, np.zeros((0, 3)), (1, 1, 1))
    _, masks = lesion_sampler(scan, ONLY_LESIONS).draw(rng, 200)
    assert masks.shape == (200, 1, 8, 8)
    assert (masks.sum(axis=(1, 2, 3)) == 1).all()
    shifts = np.argwhere(masks)[:, 2:] - 4
    assert abs(shifts).max() == 3


def test_large_lesions_are_not_drawn_more_often(rng: np.random.Generator) -> None:
    image, labels = blank((9, 20, 24))
    labels[:, 10, 4], labels[4, 10, 20] = 1, 2
    scan = TrainingScan("01", image, labels, np.zeros((0, 3)), (1, 1, 1))
    sampler = lesion_sampler(scan, ONLY_LESIONS, shape=(4, 4), jitter_px=(0.0, 0.0))
    columns = [sampler._centre(rng)[3] for _ in range(400)]
    assert 0.4 < np.mean(np.array(columns) == 20) < 0.6


def test_kinds_that_do_not_occur_are_left_out(rng: np.random.Generator) -> None:
    image, labels = blank()
    scan = TrainingScan("01", image, labels, np.zeros((0, 3)), (1, 1, 1))
    sampler = lesion_sampler(scan, PatchShares())
    assert sampler.kinds == ["brain"]
    assert sampler.draw(rng, 3)[1].sum() == 0


def test_nothing_to_train_on_is_refused() -> None:
    image, labels = blank()
    scan = TrainingScan("01", image * 0, labels, np.zeros((0, 3)), (1, 1, 1))
    with pytest.raises(InputError, match="lesions or brain"):
        lesion_sampler(scan, PatchShares())


def test_the_same_generator_draws_the_same_patches(
    make_toy_scan: Callable[..., TrainingScan], rng: np.random.Generator
) -> None:
    sampler = lesion_sampler(make_toy_scan(rng, "01"), PatchShares(dark=0.3))
    one, other = (sampler.draw(np.random.default_rng(7), 20, 1.25) for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def test_crops_stay_inside_slices_that_hold_them(rng: np.random.Generator) -> None:
    image, labels = blank()
    labels[1, 0, 23] = 1
    scan = TrainingScan("01", image, labels, np.zeros((0, 3)), (1, 1, 1))
    sampler = lesion_sampler(scan, ONLY_LESIONS, inside=True)
    _, masks = sampler.draw(rng, 50)
    # Reflection would show the corner pixel in the middle; inside, it stays in the corner.
    assert set(map(tuple, np.argwhere(masks)[:, 2:])) == {(0, 7)}


def test_a_slice_smaller_than_the_crop_is_centred(rng: np.random.Generator) -> None:
    image, labels = blank()
    labels[1, 10, 12] = 1
    scan = TrainingScan("01", image, labels, np.zeros((0, 3)), (1, 1, 1))
    sampler = lesion_sampler(scan, ONLY_LESIONS, inside=True, shape=(32, 32))
    _, masks = sampler.draw(rng, 10)
    assert masks[:, 0, 16, 16].all()


def test_dark_places_are_darker_than_the_brain(
    make_toy_scan: Callable[..., TrainingScan], rng: np.random.Generator
) -> None:
    scan = make_toy_scan(rng, "01")
    sampler = lesion_sampler(
        scan, PatchShares(lesion=0, mimic=0, brain=0, dark=1), jitter_px=(0, 0)
    )
    images, _ = sampler.draw(rng, 60)
    brain = scan.image[scan.image > 0] / 255
    assert np.median(images[:, 0, 4, 4]) < np.quantile(brain, 0.1)
    assert images[:, 0, 4, 4].min() > 0
