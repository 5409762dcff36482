import numpy as np
import pytest

from mmocnet.config import ClassifierSettings
from mmocnet.predict.classify import (
    THICKNESS_SCALE_MM,
    Surroundings,
    candidate_centres,
    candidate_patches,
    with_classifier,
)
from mmocnet.predict.fuse import outline_candidates

SETTINGS = ClassifierSettings(offsets_mm=(-3.0, 0.0, 3.0), phase_offsets_mm=(0.0,), size=8)


def around(count: int, thickness_mm: float, with_phase: bool = False) -> Surroundings:
    levels = np.arange(count, dtype=np.float32)[:, None, None] / 10
    image = np.broadcast_to(levels, (count, 20, 24)).copy()
    phase = np.full(image.shape, np.pi / 2, np.float32) if with_phase else None
    return Surroundings(image, image / 2, phase, thickness_mm)


def test_planes_lie_at_their_distances_whatever_the_slice_thickness() -> None:
    for thickness_mm in (1.0, 2.0, 3.0):
        patches = candidate_patches(around(9, thickness_mm), np.array([[4, 10, 12]]), SETTINGS)
        assert patches.shape == (1, 3 + 3 + 1 + 1, 8, 8)
        expected = (4 + np.array([-3.0, 0.0, 3.0]) / thickness_mm) / 10
        assert patches[0, :3].mean(axis=(1, 2)) == pytest.approx(expected, abs=1e-6)
        assert patches[0, 3:6].mean(axis=(1, 2)) == pytest.approx(expected / 2, abs=1e-6)
        assert patches[0, 6].max() == 0
        assert patches[0, 7] == pytest.approx(thickness_mm / THICKNESS_SCALE_MM)


def test_beyond_the_scan_all_is_zero() -> None:
    patches = candidate_patches(around(9, 1.0), np.array([[8, 0, 0]]), SETTINGS)
    assert patches[0, 2].max() == 0
    assert patches[0, 1, :4].max() == 0
    assert patches[0, 1, :, :4].max() == 0
    assert patches[0, 1, 4:, 4:].min() == pytest.approx(0.8)


def test_a_single_slice_shows_one_plane_and_no_thickness() -> None:
    plane = Surroundings(np.ones((1, 20, 24)), np.ones((1, 20, 24)), None, 3.0)
    patches = candidate_patches(plane, np.array([[0, 10, 12]]), SETTINGS)
    assert patches[0, [1, 4]].min() == 1
    assert np.delete(patches[0], [1, 4], axis=0).max() == 0


def test_phase_is_half_at_a_quarter_turn() -> None:
    patches = candidate_patches(around(9, 1.0, with_phase=True), np.array([[4, 10, 12]]), SETTINGS)
    assert patches[0, 6] == pytest.approx(0.5)


def test_a_candidate_s_centre_is_that_of_its_outline_on_the_slice_of_its_peak() -> None:
    probability = np.zeros((3, 20, 24), np.float32)
    probability[1, 4:9, 6:11] = 0.7
    probability[2, 10:13, 6:11] = 0.6
    probability[1, 8, 10] = 0.9
    centres = candidate_centres(outline_candidates(probability))
    assert centres[0].tolist() == [1, 6, 8]


class _Fixed:
    """An engine whose classifier has this to say."""

    def __init__(self, logits: list[float]) -> None:
        self.logits = np.array(logits)

    def classify(self, patches: np.ndarray) -> np.ndarray:
        assert len(patches) == len(self.logits)
        return self.logits


def test_confidence_is_the_calibrated_probability() -> None:
    probability = np.zeros((3, 20, 24), np.float32)
    probability[1, 4:7, 4:7] = 0.9
    probability[1, 14:17, 14:17] = 0.8
    outlines = outline_candidates(probability)
    settings = ClassifierSettings(slope=2.0, intercept=-1.0)
    scan = Surroundings(probability, probability, None, 2.0)
    found = with_classifier(outlines, scan, _Fixed([1.0, -1.0]), settings)
    assert found.confidence == pytest.approx(1 / (1 + np.exp([-1.0, 3.0])))
    assert np.array_equal(found.labels, outlines.labels)


def test_a_single_slice_has_a_calibration_of_its_own() -> None:
    probability = np.zeros((1, 20, 24), np.float32)
    probability[0, 4:7, 4:7] = 0.9
    settings = ClassifierSettings(slope=2.0, intercept=-1.0, slice_slope=0.5, slice_intercept=0.25)
    scan = Surroundings(probability, probability, None, 2.0)
    found = with_classifier(outline_candidates(probability), scan, _Fixed([1.0]), settings)
    assert found.confidence == pytest.approx(1 / (1 + np.exp(-0.75)))
