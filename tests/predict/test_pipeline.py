import itertools
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mmocnet.config import SegmentSettings, Thresholds
from mmocnet.errors import InputError, ModelError
from mmocnet.lesion import Certainty
from mmocnet.predict.pipeline import segment
from mmocnet.volume import Volume

QUICK = SegmentSettings(location=False)
"""Without the search for a phantom's place in a template of brains."""
SHAPE = (96, 120, 42)
SPHERES = [((20.0, -30.0, 6.0), 6.0), ((-31.0, 12.0, -15.0), 7.0), ((5.0, 40.0, 0.0), 8.0)]


def _centres(result):
    return np.array(sorted(one.centre_mm for one in result.lesions))


def _expected():
    return np.array(sorted(centre for centre, _ in SPHERES))


def test_balls_are_found_where_they_are(phantom, head_affine, dark_spots):
    result = segment(phantom(head_affine, SHAPE, SPHERES), cascade=dark_spots)
    assert np.abs(_centres(result) - _expected()).max() < 1.0
    assert sorted(np.unique(result.labels.array)) == [0, 1, 2, 3]


def test_masks_lie_on_the_grid_of_the_scan(phantom, head_affine, dark_spots):
    scan = phantom(head_affine, SHAPE, SPHERES)
    result = segment(scan, QUICK, cascade=dark_spots)
    for volume in (result.labels, result.probability, result.candidate_labels):
        assert volume.shape == scan.shape
        assert np.array_equal(volume.affine, scan.affine)
    assert np.array_equal(result.labels.array > 0, scan.array == 100)


def test_outlines_follow_the_image_where_the_model_says_so(phantom, head_affine, dark_spots):
    scan = phantom(head_affine, SHAPE, SPHERES)
    # Half-way from the ball to the tissue lies 300: a rim of 350 is tissue, not ball.
    rim = ndimage.binary_dilation(scan.array == 100) & (scan.array > 100)
    scan = scan.like(np.where(rim, np.float32(350), scan.array))
    # A rule that calls all below 400 of a brain at 500.
    dark_spots.segmenter.level = dark_spots.detector.level = 0.4
    wide = segment(scan, QUICK, cascade=dark_spots)
    assert np.array_equal(wide.labels.array > 0, scan.array * (scan.array < 400) > 0)
    dark_spots.settings = replace(dark_spots.settings, contrast_share=0.5)
    tight = segment(scan, QUICK, cascade=dark_spots)
    assert np.array_equal(tight.labels.array > 0, scan.array == 100)
    assert np.array_equal(tight.probability.array, wide.probability.array)
    assert [a.confidence for a in tight.lesions] == [b.confidence for b in wide.lesions]
    assert all(
        a.volume_mm3 < b.volume_mm3 for a, b in zip(tight.lesions, wide.lesions, strict=True)
    )


def test_a_lesion_that_the_brain_mask_misses_is_within_its_margin(phantom, head_affine, dark_spots):
    scan = phantom(head_affine, SHAPE, SPHERES)
    left_mm = head_affine[0, 0] * np.arange(SHAPE[0]) + head_affine[0, 3]
    # The leftmost ball reaches from -34.5 to -27.5 mm.
    brain = (phantom(head_affine, SHAPE).array > 0) & (left_mm > -27)[:, None, None]
    tight = segment(scan, QUICK, cascade=dark_spots, brain=brain)
    assert len(tight.lesions) == 2
    preparation = replace(dark_spots.settings.preparation, margin_mm=9.0)
    dark_spots.settings = replace(dark_spots.settings, preparation=preparation)
    assert len(segment(scan, QUICK, cascade=dark_spots, brain=brain).lesions) == 3


ORIENTATIONS = list(
    zip(
        itertools.permutations(range(3)),
        [(1, 1, -1), (-1, 1, 1), (1, -1, 1), (-1, -1, 1), (1, -1, -1), (-1, -1, -1)],
        strict=True,
    )
)


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_orientation_on_disk_does_not_matter(phantom, head_affine, dark_spots, order, flips):
    scan = phantom(head_affine, SHAPE, SPHERES)
    image = nibabel.Nifti1Image(scan.array, scan.affine)
    turned = image.as_reoriented(np.array(list(zip(order, flips, strict=True)), dtype=float))
    result = segment(
        Volume(turned.get_fdata(dtype=np.float32), turned.affine), QUICK, cascade=dark_spots
    )
    assert np.abs(_centres(result) - _expected()).max() < 1.0
    assert np.array_equal(result.labels.array > 0, turned.get_fdata() == 100)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.6, 3.0), (1.2, 1.2, 2.0)])
def test_oblique_scans_of_any_spacing_give_world_positions(phantom, dark_spots, spacing_mm):
    shape = tuple(int(150 / side) for side in spacing_mm)
    shape = (shape[0], int(170 / spacing_mm[1]), shape[2])
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec([0.2, -0.15, 0.3]).as_matrix() * spacing_mm
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    scan = phantom(affine, shape, SPHERES)
    # A little inside the edge: partial volume there is dark, which this rule calls microbleed.
    inner = phantom(np.vstack([affine[:3] * 1.05, [[0, 0, 0, 1]]]), shape).array > 0
    preparation = replace(dark_spots.settings.preparation, pixel_mm=1.0)
    dark_spots.settings = replace(dark_spots.settings, preparation=preparation)
    result = segment(scan, QUICK, cascade=dark_spots, brain=inner)
    assert len(result.lesions) == 3
    assert np.abs(_centres(result) - _expected()).max() < 1.2
    truth = scan.array == 100
    found = result.labels.array > 0
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.85


def test_a_scan_without_lesions_gives_none(phantom, head_affine, dark_spots):
    result = segment(phantom(head_affine, SHAPE), QUICK, cascade=dark_spots)
    assert result.lesions == ()
    assert not result.labels.array.any()
    assert result.provenance["Location"]["Why"] == "not asked for"
    asked = segment(phantom(head_affine, SHAPE), cascade=dark_spots)
    assert asked.provenance["Location"]["Why"] == "nothing was found that has a place"
    assert asked.warnings == result.warnings


def test_the_same_scan_gives_the_same_result(phantom, head_affine, dark_spots):
    scan = phantom(head_affine, SHAPE, SPHERES)
    first, second = (segment(scan, QUICK, cascade=dark_spots) for _ in range(2))
    assert first.lesions == second.lesions
    assert first.provenance == second.provenance
    assert np.array_equal(first.probability.array, second.probability.array)


def test_intensity_scale_does_not_matter(phantom, head_affine, dark_spots):
    scan = phantom(head_affine, SHAPE, SPHERES)
    scaled = scan.like(scan.array * np.float32(0.01))
    lesions = segment(scan, QUICK, cascade=dark_spots).lesions
    other = segment(scaled, QUICK, cascade=dark_spots).lesions
    assert [one.centre_voxel for one in lesions] == [one.centre_voxel for one in other]


def test_a_single_slice_has_a_candidate_threshold_of_its_own(phantom, head_affine, dark_spots):
    scan = phantom(head_affine, SHAPE, SPHERES)
    # The balls' probability is nearly 1, but no more than 1.
    for threshold, in_volume, in_slice in ((None, 3, 1), (1.0, 3, 0)):
        dark_spots.settings = replace(dark_spots.settings, slice_candidate_threshold=threshold)
        assert len(segment(scan, QUICK, cascade=dark_spots).lesions) == in_volume
        k = round((6.0 - head_affine[2, 3]) / head_affine[2, 2])
        affine = head_affine.copy()
        affine[2, 3] += k * head_affine[2, 2]
        plane = Volume(scan.array[:, :, k : k + 1], affine)
        assert len(segment(plane, QUICK, cascade=dark_spots).lesions) == in_slice


def test_a_single_slice_is_segmented_and_measured_as_a_slice(phantom, head_affine, dark_spots):
    whole = phantom(head_affine, SHAPE, [((20.0, -30.0, -1.5), 6.0)])
    affine = head_affine.copy()
    affine[:3, 3] = whole.world(np.array([0.0, 0, 20]))
    result = segment(Volume(whole.array[:, :, 20:21], affine), QUICK, cascade=dark_spots)
    assert len(result.lesions) == 1
    assert result.is_slice
    assert result.lesions[0].diameter_eq_mm == pytest.approx(6.0, abs=0.5)


def test_lesions_are_the_first_candidates_with_the_same_numbers(phantom, head_affine, dark_spots):
    scan = phantom(head_affine, SHAPE, SPHERES)
    array = scan.array.copy()
    # Paler balls: confidence 0.35 by the rule, under the operating point.
    array[np.linalg.norm(_world(scan) - [-20.0, -40.0, 15.0], axis=-1) < 4] = 265.0
    dark_spots.settings = replace(dark_spots.settings, candidate_threshold=0.2)
    result = segment(scan.like(array), QUICK, cascade=dark_spots)
    assert len(result.candidates) > len(result.lesions) == 3
    assert result.candidates[:3] == result.lesions
    both = result.candidate_labels.array[result.labels.array > 0]
    assert np.array_equal(both, result.labels.array[result.labels.array > 0])


def _world(scan):
    grid = np.stack(np.meshgrid(*map(np.arange, scan.shape), indexing="ij"), axis=-1)
    return scan.world(grid)


def test_a_ball_over_10_mm_is_a_macrohaemorrhage(phantom, head_affine, dark_spots):
    spheres = [((20.0, -30.0, 6.0), 14.0), ((-31.0, 12.0, -15.0), 6.0)]
    result = segment(phantom(head_affine, SHAPE, spheres), QUICK, cascade=dark_spots)
    kinds = {round(one.centre_mm[0]): one.certainty for one in result.lesions}
    assert kinds == {20: Certainty.MACROHAEMORRHAGE, -31: Certainty.DEFINITE}


def test_a_long_thin_superficial_streak_is_warned_about_and_not_counted(
    phantom, head_affine, dark_spots
):
    scan = phantom(head_affine, SHAPE, [((20.0, -30.0, 6.0), 6.0)])
    array = scan.array.copy()
    # At y = 71 mm, z = -1.5 mm; the brain's edge at x = 0 is y = 75 mm.
    array[40:59, 107, 20] = 100.0
    result = segment(scan.like(array), QUICK, cascade=dark_spots)
    assert len(result.lesions) == 1
    assert len(result.siderosis) == 1
    assert any("siderosis" in warning for warning in result.warnings)


def test_a_long_thin_streak_that_lies_deep_is_a_vessel_and_no_haemorrhage(
    phantom, head_affine, dark_spots
):
    scan = phantom(head_affine, SHAPE, [((20.0, -30.0, 6.0), 6.0)])
    array = scan.array.copy()
    array[36:62, 60, 20] = 215.0
    # Nothing is sure.
    limits = Thresholds(report=1.0)
    dark_spots.settings = replace(dark_spots.settings, thresholds=limits)
    result = segment(scan.like(array), QUICK, cascade=dark_spots)
    assert [one.certainty for one in result.lesions] == [Certainty.POSSIBLE]
    (number,) = result.vessels
    vessel = result.candidates[number - 1]
    assert vessel.diameter_mm > 10
    assert "aemorrhage" not in vessel.name
    assert result.siderosis == ()
    assert any("possible vessels" in warning for warning in result.warnings)


@pytest.mark.parametrize(("threshold", "count"), [(0.001, 3), (0.05, 3), (1.0, 0)])
def test_a_given_threshold_decides(phantom, head_affine, dark_spots, threshold, count):
    scan = phantom(head_affine, SHAPE, SPHERES)
    array = np.where(scan.array == 100, np.float32(230), scan.array)
    settings = SegmentSettings(location=False, threshold=threshold)
    assert len(segment(scan.like(array), settings, cascade=dark_spots).lesions) == count


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.5, float("nan")])
def test_a_threshold_out_of_range_is_refused(phantom, head_affine, dark_spots, threshold):
    with pytest.raises(InputError, match="threshold"):
        segment(
            phantom(head_affine, SHAPE),
            SegmentSettings(location=False, threshold=threshold),
            cascade=dark_spots,
        )


def test_a_model_that_is_not_there_is_refused(phantom, head_affine):
    with pytest.raises(ModelError):
        segment(phantom(head_affine, SHAPE), SegmentSettings(model="no-such-folder"))


def test_a_model_of_random_weights_says_that_it_means_nothing(phantom, head_affine, dark_spots):
    scan = phantom(head_affine, SHAPE, SPHERES)
    plain = segment(scan, QUICK, cascade=dark_spots)
    dark_spots.card |= {"never_trained": ["stage 1", "stage 2"]}
    told = "stage 1 and stage 2 were never trained: what is found means nothing"
    assert segment(scan, QUICK, cascade=dark_spots).warnings == (*plain.warnings, told)


def test_the_coarse_model_settings_of_the_article_run(phantom, head_affine, dark_spots):
    preparation = replace(
        dark_spots.settings.preparation, pixel_mm=None, input_shape=(96, 112), strip_skull=False
    )
    dark_spots.settings = replace(dark_spots.settings, preparation=preparation)
    result = segment(phantom(head_affine, SHAPE, SPHERES), QUICK, cascade=dark_spots)
    found = _centres(result)
    for centre in _expected():
        assert np.linalg.norm(found - centre, axis=1).min() < 1.5
