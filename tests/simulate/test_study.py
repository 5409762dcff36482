import math
from collections.abc import Callable

import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.simulate.anatomy import Anatomy
from mmocnet.simulate.lesions import draw_mimics
from mmocnet.simulate.protocols import PROTOCOLS
from mmocnet.simulate.record import SimulatedStudy
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.study import simulate_study

Study = Callable[..., SimulatedStudy]

WHOLE = ("reference3t", "dou", "t2star")

# Quantiles of the apparent diameter in mm, four real sets pooled.
POOLED = {0.05: 1.3, 0.25: 2.2, 0.50: 2.7, 0.75: 3.4, 0.95: 5.0}


def arrays(study: SimulatedStudy) -> dict[str, np.ndarray]:
    volumes = {name: getattr(study, name) for name in ("swi", "magnitude", "phase_rad", "twin_swi")}
    return {name: volume.array for name, volume in volumes.items() if volume is not None}


def microbleeds(study: SimulatedStudy) -> list:
    return [lesion for lesion in study.lesions if lesion.index]


def rows(study: SimulatedStudy) -> list[str]:
    """Return the table as text: undefined figures are NaN, which equals nothing."""
    return [str(lesion) for lesion in study.lesions]


def test_the_same_seed_gives_the_same_study(study: Study) -> None:
    first = study()
    settings = StudySettings("reference3t", 0.0, (4, 4), slab_mm=12.0)
    again = simulate_study(settings, 1)
    for name, array in arrays(first).items():
        if name != "phase_rad":  # wraps
            np.testing.assert_allclose(arrays(again)[name], array, rtol=1e-3, atol=0.1)
    np.testing.assert_array_equal(again.apparent.array, first.apparent.array)
    assert rows(again) == rows(first)


def test_another_seed_gives_another_study(study: Study) -> None:
    first, other = study(), study(seed=2, images="swi")
    assert np.corrcoef(first.swi.array.ravel(), other.swi.array.ravel())[0, 1] < 0.95
    assert {m.centre_mm for m in microbleeds(first)}.isdisjoint(
        m.centre_mm for m in microbleeds(other)
    )


def test_leaving_out_the_twin_changes_nothing_else(study: Study) -> None:
    whole, short = study(), study(images="swi")
    np.testing.assert_array_equal(short.swi.array, whole.swi.array)
    np.testing.assert_array_equal(short.apparent.array, whole.apparent.array)
    assert rows(short) == rows(whole)
    assert short.magnitude is short.phase_rad is short.twin_swi is None


def test_the_phase_alone_is_that_of_all_images(study: Study) -> None:
    whole, short = study(), study(images="phase")
    assert whole.phase_rad is not None
    assert short.phase_rad is not None
    np.testing.assert_array_equal(short.swi.array, whole.swi.array)
    np.testing.assert_array_equal(short.phase_rad.array, whole.phase_rad.array)
    assert short.magnitude is short.twin_swi is None


def test_all_images_share_one_grid(study: Study) -> None:
    made = study()
    for volume in (made.magnitude, made.phase_rad, made.twin_swi, made.brain, made.source):
        assert volume is not None
        assert volume.shape == made.swi.shape
        np.testing.assert_array_equal(volume.affine, made.swi.affine)


@pytest.mark.parametrize("protocol", ["reference3t", "dou"])
def test_the_twin_is_the_same_scan_away_from_lesions(study: Study, protocol: str) -> None:
    """Noise included: only the scale, a quantile, may differ a little."""
    made = study(protocol)
    assert made.twin_swi is not None
    free, seen = made.twin_swi.array, made.swi.array
    spacing = np.asarray(made.swi.spacing_mm)
    near = np.zeros(seen.shape, bool)
    voxels = np.stack(np.meshgrid(*map(np.arange, seen.shape), indexing="ij"), -1)
    world = made.swi.world(voxels)
    for lesion in microbleeds(made):
        near |= np.linalg.norm(world - lesion.centre_mm, axis=-1) < 15
    assert spacing.max() < 3
    tolerance = 1.0 if made.protocol.eight_bit else 0.002 * free.max()
    bright = ~near & (free > 0.2 * free.max())
    assert bright.mean() > 0.1
    assert np.quantile(np.abs(free - seen)[bright], 0.99) <= tolerance


def test_the_twin_has_no_lesions_where_the_scan_has(study: Study) -> None:
    made = study()
    assert made.twin_swi is not None
    inside = made.apparent.array > 0
    assert inside.any()
    assert made.swi.array[inside].mean() < 0.6 * made.twin_swi.array[inside].mean()


def test_a_lesion_free_study_has_empty_references(study: Study) -> None:
    made = study(count=0)
    assert not made.apparent.array.any()
    assert not made.source.array.any()
    assert not microbleeds(made)
    assert made.twin_swi is not None
    np.testing.assert_array_equal(made.twin_swi.array, made.swi.array)


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_every_protocol_makes_a_scan_of_a_brain_with_lesions(study: Study, protocol: str) -> None:
    images = "all" if protocol in WHOLE else "swi"
    made = study(protocol, images=images)
    voxel = made.protocol.voxel_mm
    expected = made.protocol.output_mm
    for axis in range(2):
        wanted = expected or voxel[axis]
        assert made.swi.spacing_mm[axis] == pytest.approx(wanted, rel=0.02)
    brain = made.brain.array
    assert np.isfinite(made.swi.array).all()
    assert made.swi.array.min() >= 0
    assert 0.05 < brain.mean() < 0.8
    assert made.source.array.max() == len(microbleeds(made))
    assert (made.apparent.array > 0).any()


def test_eight_bit_images_are_whole_numbers_up_to_255(study: Study) -> None:
    array = study("dou").swi.array
    np.testing.assert_array_equal(array, np.round(array))
    assert array.min() == 0
    assert array.max() == 255


def test_skull_stripped_images_are_0_outside_the_brain(study: Study) -> None:
    made = study("dou")
    assert not made.swi.array[~made.brain.array].any()
    assert study().swi.array[~study().brain.array].any()


def test_the_dou_protocol_is_written_at_half_a_millimetre(study: Study) -> None:
    np.testing.assert_allclose(study("dou").swi.spacing_mm, 0.5, atol=1e-6)


def test_a_magnitude_protocol_gives_the_magnitude_and_swi_darkens_it(study: Study) -> None:
    def shares(made: SimulatedStudy) -> np.ndarray:
        assert made.magnitude is not None
        inside = made.brain.array & (made.magnitude.array > 0)
        ratio = made.swi.array[inside] / made.magnitude.array[inside]
        return np.asarray(ratio / ratio.max())

    np.testing.assert_allclose(shares(study("t2star")), 1.0, rtol=1e-4)
    weighted = shares(study())
    assert 0.3 < np.mean(weighted > 0.99) < 0.9  # phase of one sign is left alone
    assert np.quantile(weighted, 0.02) < 0.9


def test_phase_is_wrapped(study: Study) -> None:
    made = study()
    assert made.phase_rad is not None
    assert np.abs(made.phase_rad.array).max() <= math.pi + 1e-6


def test_a_row_of_the_table_points_at_its_label(study: Study) -> None:
    for protocol in ("reference3t", "dou"):
        made = study(protocol)
        for lesion in microbleeds(made):
            i, j, k = np.round(made.swi.voxel(np.array(lesion.centre_mm))).astype(int)
            assert made.source.array[i, j, k] == lesion.index
            mine = np.argwhere(made.apparent.array == lesion.index)
            assert lesion.apparent_mm3 == pytest.approx(len(mine) * made.swi.voxel_mm3)
            if len(mine):
                gap = np.linalg.norm(made.swi.world(mine) - lesion.centre_mm, axis=1).min()
                assert gap < 2.0


def test_a_row_of_the_table_gives_equivalent_diameters(study: Study) -> None:
    for lesion in microbleeds(study()):
        expected = (6 * lesion.apparent_mm3 / math.pi) ** (1 / 3)
        assert lesion.apparent_diameter_mm == pytest.approx(expected)
        assert lesion.source_mm3 == pytest.approx(4 / 3 * math.pi * lesion.radius_mm**3)


def test_mni_coordinates_are_those_of_the_subject_up_to_head_size_and_position(
    study: Study,
) -> None:
    """Rotation, size (SD 5 %) and shape move a point by up to some 20 mm of MNI."""
    for lesion in study().lesions:
        shift = np.subtract(lesion.mni_mm, lesion.centre_mm)
        assert 0.05 < np.linalg.norm(shift) < 25


def test_what_is_placed_by_anatomy_has_its_mni_coordinates(anatomy: Anatomy) -> None:
    """The choroid plexus of both atria, through the true warp."""
    mimics = draw_mimics(anatomy, np.random.default_rng(3))
    centres = np.array([m.centre_mm for m in mimics if m.kind == "choroid plexus"])
    plexus = anatomy.warp.to_mni(centres)
    assert sorted(np.sign(plexus[:, 0])) == [-1, 1]
    np.testing.assert_allclose(np.abs(plexus), [[23, 40, 9]] * 2, atol=8)


def test_no_mimic_beyond_the_image_is_in_the_table(study: Study) -> None:
    """A choroid plexus is drawn for every head, but not every slab reaches it."""
    listed = []
    for protocol in sorted(PROTOCOLS):
        made = study(protocol, images="all" if protocol in WHOLE else "swi")
        for mimic in (m for m in made.lesions if not m.index):
            voxel = made.swi.voxel(np.array([mimic.centre_mm]))[0]
            listed.append(mimic.kind)
            assert (voxel >= -0.5).all()
            assert (voxel < np.array(made.swi.shape) - 0.5).all()
    assert listed


def test_mimics_have_index_0_and_follow_the_microbleeds(study: Study) -> None:
    indices = [lesion.index for lesion in study().lesions]
    kinds = [lesion.kind for lesion in study().lesions]
    assert indices == [1, 2, 3, 4] + [0] * (len(indices) - 4)
    assert set(kinds[:4]) == {"microbleed"}
    assert "microbleed" not in kinds[4:]
    assert all(math.isnan(m.apparent_mm3) for m in study().lesions[4:])


def test_apparent_masks_cover_their_source(study: Study) -> None:
    """Blooming: a visible lesion looks larger than it is and holds most of its blood."""
    made = study("dou")
    for lesion in microbleeds(made):
        source = made.source.array == lesion.index
        seen = made.apparent.array == lesion.index
        if seen.any():
            assert seen[source].mean() > 0.5
            assert seen.sum() > source.sum()


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(InputError, match="protocol"):
        simulate_study(StudySettings("ge"), 1)  # type: ignore[arg-type]


def test_microbleeds_look_as_large_as_real_ones() -> None:
    """Equivalent diameters at 3 T, .6 x .6 x 2 mm, TE 20 ms against four sets pooled."""
    settings = StudySettings("reference3t", 0.0, (60, 80), images="swi", slab_mm=45.0)
    found = [m for seed in (1, 2, 3) for m in microbleeds(simulate_study(settings, seed))]
    diameters = np.sort([m.apparent_diameter_mm for m in found if m.apparent_mm3 > 0])
    assert len(diameters) > 150
    assert np.median(diameters) == pytest.approx(2.72, rel=0.1)
    # Kolmogorov and Smirnov's distance over what the quantiles span.
    at = (diameters > POOLED[0.05]) & (diameters < POOLED[0.95])
    real = np.interp(diameters, list(POOLED.values()), list(POOLED))
    below = np.arange(len(diameters)) / len(diameters)
    gap = np.maximum(np.abs(real - below), np.abs(real - below - 1 / len(diameters)))
    assert gap[at].max() < 0.15
