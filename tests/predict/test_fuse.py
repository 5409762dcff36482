import numpy as np
import pytest
from scipy import ndimage

from mmocnet.lesion import Roi
from mmocnet.predict.fuse import by_confidence, outline_candidates, paste_rois, place_on_input
from mmocnet.prepare.geometry import working_grid
from mmocnet.volume import Volume


def test_fusion_is_the_maximum_of_patches_and_0_elsewhere(rng):
    shape, size = (2, 30, 40), 16
    rois = [
        Roi(int(rng.integers(2)), int(rng.integers(-12, 28)), int(rng.integers(-12, 38)), size)
        for _ in range(25)
    ]
    patches = rng.random((25, size, size)).astype(np.float32)
    expected = np.zeros(shape, dtype=np.float32)
    for roi, patch in zip(rois, patches, strict=True):
        for i in range(size):
            for j in range(size):
                at = (roi.slice_index, roi.row + i, roi.col + j)
                if 0 <= at[1] < 30 and 0 <= at[2] < 40:
                    expected[at] = max(expected[at], patch[i, j])
    assert np.array_equal(paste_rois(shape, rois, patches), expected)


def _bump(shape, centre, height, width):
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    distance = np.linalg.norm(grid - centre, axis=-1)
    return (height * np.exp(-((distance / width) ** 2))).astype(np.float32)


def test_strong_candidates_are_the_components_at_one_half(rng):
    probability = ndimage.gaussian_filter(rng.random((6, 40, 40)), 1.5).astype(np.float32)
    probability = (probability - probability.min()) / np.ptp(probability)
    found = outline_candidates(probability)
    expected, count = ndimage.label(probability >= 0.5, np.ones((3, 3, 3)))
    assert (found.confidence >= 0.5).sum() == count
    assert np.array_equal((found.labels > 0) & (probability >= 0.5), expected > 0)


def test_a_faint_candidate_is_outlined_at_half_of_its_peak():
    probability = _bump((1, 41, 41), (0, 20, 20), 0.3, 6.0)
    found = outline_candidates(probability)
    assert found.confidence == pytest.approx([0.3])
    assert found.level == pytest.approx([0.15])
    assert np.array_equal(found.labels > 0, probability >= probability.max() / 2)


def test_a_faint_halo_of_a_strong_candidate_is_no_candidate():
    probability = _bump((1, 41, 41), (0, 20, 20), 0.9, 8.0)
    assert len(outline_candidates(probability).confidence) == 1


def test_a_side_hill_of_a_faint_candidate_is_no_candidate():
    probability = np.maximum(
        _bump((1, 41, 61), (0, 20, 20), 0.4, 5.0), _bump((1, 41, 61), (0, 20, 34), 0.25, 5.0)
    )
    found = outline_candidates(probability)
    assert found.confidence == pytest.approx([0.4])
    assert found.labels[0, 20, 34] == 0


def test_nothing_above_the_floor_gives_no_candidate():
    found = outline_candidates(np.full((2, 9, 9), 0.049, dtype=np.float32))
    assert len(found.confidence) == 0
    assert found.labels.max() == 0


def test_candidates_are_numbered_by_falling_confidence():
    probability = _bump((3, 30, 60), (1, 15, 10), 0.6, 2) + _bump((3, 30, 60), (1, 15, 40), 0.9, 2)
    found = outline_candidates(probability)
    assert found.labels[1, 15, 40] == 1
    assert found.labels[1, 15, 10] == 2
    assert found.peak.tolist() == [[1, 15, 40], [1, 15, 10]]


def _on_grid(spacing_mm, shape):
    volume = Volume(np.zeros(shape, dtype=np.float32), np.diag([*spacing_mm, 1.0]))
    return working_grid(volume, 0.5)


def test_on_its_own_grid_a_candidate_keeps_its_voxels():
    grid = _on_grid((0.5, 0.5, 2.0), (64, 96, 5))
    probability = _bump(grid.shape, (2, 40, 50), 0.95, 4.0)
    outlines = outline_candidates(probability)
    labels, placed = place_on_input(outlines, probability, grid)
    back = grid.to_input(outlines.labels.astype(np.float32), order=0)
    assert np.array_equal(labels, back)
    assert placed.max() == probability.max()


def test_a_lesion_smaller_than_a_coarse_voxel_keeps_its_peak_voxel():
    grid = _on_grid((4.0, 4.0, 4.0), (24, 24, 4))
    probability = np.zeros(grid.shape, dtype=np.float32)
    # Off the centres of the coarse voxels, so that resampling misses it.
    probability[1, 40, 44] = 0.97
    labels, placed = place_on_input(outline_candidates(probability), probability, grid)
    assert (labels == 1).sum() == 1
    voxel = np.argwhere(labels == 1)[0]
    assert np.abs(voxel - grid.to_voxel(np.array([1.0, 40, 44]))).max() <= 0.5
    assert placed[tuple(voxel)] == pytest.approx(0.97)


def test_no_candidate_is_lost_on_a_coarse_grid(rng):
    grid = _on_grid((3.0, 3.0, 3.0), (40, 40, 6))
    probability = np.zeros(grid.shape, dtype=np.float32)
    places = rng.integers(0, grid.shape, size=(60, 3))
    probability[tuple(places.T)] = rng.uniform(0.1, 1.0, 60)
    outlines = outline_candidates(probability)
    labels, _ = place_on_input(outlines, probability, grid)
    assert set(np.unique(labels)) == set(range(len(outlines.confidence) + 1))


def test_the_highest_probability_of_each_candidate_is_its_confidence(rng):
    probability = np.zeros((12, 12, 4), np.float32)
    probability[2:5, 2:5, 1], probability[3, 3, 1] = 0.6, 0.9
    # Beside its outline, and far from any.
    probability[5, 2:5, 1], probability[0, 0, 0] = 0.2, 0.04
    probability[8:10, 8:10, 2] = 0.8
    labels = np.zeros(probability.shape, np.int32)
    labels[2:5, 2:5, 1] = 2
    labels[8:10, 8:10, 2] = 1
    # What resampling has parted from every candidate.
    probability[0, 11, 0] = 0.07
    # One that had to be given a voxel, and its confidence as probability.
    labels[11, 0, 3], probability[11, 0, 3] = 3, 0.2
    confidence = np.array([0.4, 0.003, 0.2])
    found = by_confidence(probability, labels, confidence)
    assert found.dtype == np.float32
    for number, highest in enumerate(confidence, 1):
        assert found[labels == number].max() == pytest.approx(highest)
    assert found[2, 2, 1] == pytest.approx(0.003 * 0.6 / 0.9)
    assert found[5, 3, 1] == pytest.approx(0.003 * 0.2 / 0.9)
    assert found[0, 0, 0] == found[0, 11, 0] == 0.0
    assert found.max() == pytest.approx(0.4)
