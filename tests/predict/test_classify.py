from dataclasses import replace

import numpy as np
import pytest

from mmocnet.config import (
    BurdenSettings,
    ClassifierSettings,
    LocalConfidence,
    PreparationSettings,
)
from mmocnet.nets.classifier import PLACE_CHANNELS, Classifier
from mmocnet.predict.classify import (
    THICKNESS_SCALE_MM,
    Surroundings,
    candidate_centres,
    candidate_patches,
    confidence_of,
    surroundings,
    with_classifier,
)
from mmocnet.predict.fuse import outline_candidates
from mmocnet.predict.place import places
from mmocnet.predict.second_stage import StageMaps
from mmocnet.prepare.slices import prepare_slices
from mmocnet.volume import Volume

SETTINGS = ClassifierSettings(offsets_mm=(-3.0, 0.0, 3.0), phase_offsets_mm=(0.0,), size=8)


def around(count: int, thickness_mm: float, with_phase: bool = False) -> Surroundings:
    levels = np.arange(count, dtype=np.float32)[:, None, None] / 10
    image = np.broadcast_to(levels, (count, 20, 24)).copy()
    phase = np.full(image.shape, np.pi / 2, np.float32) if with_phase else None
    return Surroundings(image, image / 2, image / 4, phase, thickness_mm)


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
    plane = Surroundings(*[np.ones((1, 20, 24))] * 3, None, 3.0)
    patches = candidate_patches(plane, np.array([[0, 10, 12]]), SETTINGS)
    assert patches[0, [1, 4]].min() == 1
    assert np.delete(patches[0], [1, 4], axis=0).max() == 0


def test_phase_is_half_at_a_quarter_turn() -> None:
    patches = candidate_patches(around(9, 1.0, with_phase=True), np.array([[4, 10, 12]]), SETTINGS)
    assert patches[0, 6] == pytest.approx(0.5)


def test_the_place_comes_last_and_only_where_it_is_asked_for_and_known() -> None:
    told, centres = replace(SETTINGS, place=True), np.array([[4, 5, 6], [4, 14, 18]])
    brain = np.zeros((9, 20, 24), bool)
    brain[:, 2:18, 2:22] = True
    scan = replace(around(9, 2.0, with_phase=True), brain=brain, pixel_mm=(0.5, 0.5))
    patches = candidate_patches(scan, centres, told, margin=2)
    assert np.array_equal(patches[:, :8], candidate_patches(scan, centres, SETTINGS, margin=2))
    expected = places(brain, centres, (0.5, 0.5))
    assert patches.shape == (2, 8 + PLACE_CHANNELS, 12, 12)
    assert patches[:, 8:].min(axis=(2, 3)) == pytest.approx(expected)
    assert patches[:, 8:].max(axis=(2, 3)) == pytest.approx(expected)
    unknown = candidate_patches(replace(scan, brain=None), centres, told, margin=2)
    assert np.array_equal(unknown[:, :8], patches[:, :8])
    assert not unknown[:, 8:].any()


def test_marks_come_last_on_planes_of_their_own() -> None:
    marked = replace(SETTINGS, place=True, mark_offsets_mm=(-2.0, 0.0))
    assert Classifier(marked).channels == 3 + 3 + 1 + 1 + PLACE_CHANNELS + 2
    scan, centres = around(9, 2.0), np.array([[4, 10, 12]])
    patches = candidate_patches(scan, centres, marked)
    before = candidate_patches(scan, centres, replace(SETTINGS, place=True))
    assert np.array_equal(patches[:, :-2], before)
    assert patches[0, -2:].mean(axis=(1, 2)) == pytest.approx([0.3 / 4, 0.4 / 4])


@pytest.mark.parametrize(("axis", "known"), [(2, True), (1, False), (0, False)])
def test_only_axial_slices_have_places(axis: int, known: bool) -> None:
    side = np.array([1.0, 1.0, 1.0, 1.0])
    side[axis] = 3.0
    volume = Volume(np.full((40, 40, 40), 100.0, np.float32), np.diag(side), "scan")
    slices = prepare_slices(volume, PreparationSettings(), np.ones(volume.shape, bool))
    found = surroundings(slices, StageMaps(slices.array, slices.array), None)
    assert (found.brain is not None) == known
    assert found.thickness_mm == 3.0
    assert found.pixel_mm == (0.5, 0.5)


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


def volume(
    shape: tuple[int, int, int], spacing: tuple[float, float, float] = (0.5, 0.5, 2.0)
) -> Volume:
    return Volume(np.zeros(shape, np.float32), np.diag([*spacing, 1.0]))


def test_confidence_is_the_calibrated_probability() -> None:
    probability = np.zeros((3, 20, 24), np.float32)
    probability[1, 4:7, 4:7] = 0.9
    probability[1, 14:17, 14:17] = 0.8
    outlines = outline_candidates(probability)
    scan = Surroundings(probability, probability, probability, None, 2.0)
    engine = _Fixed([1.0, -1.0])
    settings = ClassifierSettings(slope=2.0, intercept=-1.0)
    found = with_classifier(outlines, scan, engine, settings, volume((20, 24, 3)))
    assert found.confidence == pytest.approx(1 / (1 + np.exp([-1.0, 3.0])))
    assert np.array_equal(found.labels, outlines.labels)


LINES = ClassifierSettings(
    slope=2.0,
    intercept=-1.0,
    slice_slope=0.5,
    slice_intercept=0.25,
    local=(
        LocalConfidence(((0.5, 0.5, 2.0), (0.5, 0.8, 4.0)), 3.0, 1.0),
        LocalConfidence(((0.5, 0.5, 2.0),), 4.0, 4.0),
        LocalConfidence(((0.9, 0.9, 3.0),), 5.0, 5.0),
    ),
)


@pytest.mark.parametrize(
    ("shape", "spacing", "line"),
    [
        ((64, 64, 20), (0.6, 0.6, 2.0), (2.0, -1.0)),
        ((64, 64, 1), (0.5, 0.5, 2.0), (0.5, 0.25)),
        ((64, 64, 20), (0.5, 0.5, 2.0), (3.0, 1.0)),
        ((64, 64, 20), (0.51, 0.49, 2.05), (3.0, 1.0)),
        ((64, 64, 20), (0.51, 0.49, 2.15), (2.0, -1.0)),
        # Sides in the slice, whichever way it lies.
        ((20, 64, 64), (4.0, 0.8, 0.5), (3.0, 1.0)),
        ((64, 64, 20), (0.9, 0.9, 3.0), (5.0, 5.0)),
    ],
)
def test_slices_and_protocols_that_were_learned_have_a_calibration_of_their_own(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    line: tuple[float, float],
) -> None:
    logits = np.array([-2.0, 0.0, 1.5])
    slope, intercept = line
    given = confidence_of(logits, volume(shape, spacing), LINES)
    assert given == pytest.approx(1 / (1 + np.exp(-(slope * logits + intercept))))


def test_volumes_and_not_slices_know_of_their_other_candidates() -> None:
    burdened = replace(LINES, burden=BurdenSettings(weight=0.5))
    logits = np.array([2.0, 2.0, 0.5])
    for spacing in ((0.6, 0.6, 2.0), (0.5, 0.5, 2.0)):
        scan = volume((64, 64, 20), spacing)
        before, given = confidence_of(logits, scan, LINES), confidence_of(logits, scan, burdened)
        assert (given > before).all()
    one = volume((64, 64, 1))
    assert np.array_equal(confidence_of(logits, one, LINES), confidence_of(logits, one, burdened))
