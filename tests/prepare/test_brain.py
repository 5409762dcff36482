import numpy as np
import pytest
from scipy import ndimage

from mmocnet.prepare.brain import brain_mask, brain_method, is_stripped
from mmocnet.volume import Volume


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.mark.parametrize(
    ("spacing_mm", "bottom_mm", "top_mm"),
    [
        ((1.5, 1.5, 2.0), -110.0, 85.0),
        ((2.0, 2.0, 2.0), -110.0, 85.0),
        ((1.0, 1.0, 5.0), -110.0, 85.0),
        ((1.0, 1.0, 3.0), -10.0, 40.0),
        ((0.8, 0.8, 3.0), 8.0, 11.0),
        ((0.8, 0.8, 3.0), -40.0, -37.0),
    ],
    ids=["thin", "isotropic", "thick", "slab", "slice", "low slice"],
)
def test_the_brain_of_a_whole_head_is_found(rng, head_phantom, spacing_mm, bottom_mm, top_mm):
    head, brain = head_phantom(rng, spacing_mm, bottom_mm, top_mm)
    assert brain_method(head) == "classical"
    # The CSF around this brain, a tenth of its volume, may count as brain or not.
    assert dice(brain_mask(head, "classical"), brain) > 0.93


@pytest.mark.parametrize("change", [{"bias": 0.7}, {"noise": 0.1}, {"neck": False}])
def test_strong_coils_noise_and_a_missing_neck_do_not_matter(rng, head_phantom, change):
    head, brain = head_phantom(rng, (2.0, 2.0, 3.0), **change)
    assert dice(brain_mask(head, "classical"), brain) > 0.93


@pytest.mark.parametrize(
    ("skull_mm", "scalp_mm", "gap_mm"), [(5, 6, 10), (3, 5, 0)], ids=["broken scalp", "thin skull"]
)
def test_lobes_that_part_belong_to_the_brain_of_a_low_slab(rng, skull_mm, scalp_mm, gap_mm):
    x_mm, y_mm = np.meshgrid(np.arange(-80.0, 80, 2), np.arange(-80.0, 80, 2), indexing="ij")
    # As at the base of the skull: the cerebellum, and beside it the ends of the temporal lobes.
    cerebellum = np.hypot(x_mm / 60, (y_mm + 30) / 34) <= 1
    lobes = np.hypot((np.abs(x_mm) - 35) / 16, (y_mm - 22) / 16) <= 1
    stalk = (np.abs(np.abs(x_mm) - 35) < 8) & (np.abs(y_mm) < 12)
    brain = cerebellum | lobes | stalk
    away_mm = ndimage.distance_transform_edt(~brain, sampling=2.0)
    scalp = (away_mm <= skull_mm + scalp_mm) & (np.abs(y_mm % 40 - 20) >= gap_mm / 2)
    plane = np.select([brain, away_mm <= skull_mm, scalp], [300.0, 15.0, 700.0], 8.0)
    noise = rng.normal(scale=6, size=(*plane.shape, 10))
    slab = Volume((plane[:, :, None] + noise).astype(np.float32), np.diag([2.0, 2.0, 3.0, 1.0]))
    found = brain_mask(slab, "classical")
    assert found[lobes].mean() > 0.97
    assert dice(found, np.repeat(brain[:, :, None], 10, axis=2)) > 0.93


def test_axes_in_another_order_give_the_same_brain(rng, head_phantom):
    head, _ = head_phantom(rng, (2.0, 2.0, 3.0))
    expected = brain_mask(head, "classical")
    turned = head.array.transpose(2, 0, 1)[::-1]
    swap = np.zeros((4, 4))
    swap[2, 0], swap[0, 1], swap[1, 2], swap[3, 3] = -1, 1, 1, 1
    swap[2, 3] = head.shape[2] - 1
    found = brain_mask(Volume(turned, head.affine @ swap), "classical")
    assert dice(found[::-1].transpose(1, 2, 0), expected) > 0.99


def test_a_coronal_head_keeps_the_back_of_its_brain(rng, head_phantom):
    head, brain = head_phantom(rng, (1.5, 4.0, 1.5))
    found = brain_mask(head, "classical")
    assert dice(found, brain) > 0.92


def test_both_hemispheres_of_a_high_slice_are_found(rng, head_phantom):
    head, brain = head_phantom(rng, (1.0, 1.0, 3.0), 45.0, 48.0)
    x_mm = np.arange(head.shape[0]) + head.affine[0, 3]
    falx = brain & (np.abs(x_mm) < 4)[:, None, None]
    found = brain_mask(head.like(np.where(falx, 0.1, 1) * head.array), "classical")
    for side in (x_mm < -6, x_mm > 6):
        assert dice(found[side], brain[side]) > 0.85


def test_a_brain_set_free_by_others_is_stripped(rng, head_phantom):
    head, brain = head_phantom(rng, (1.5, 1.5, 3.0))
    stripped = head.like(np.where(brain, head.array, 0).astype(np.float32))
    assert is_stripped(stripped)
    assert dice(brain_mask(stripped), brain) > 0.98


def test_a_background_that_is_not_zero_counts_as_stripped(rng, head_phantom):
    head, brain = head_phantom(rng, (1.5, 1.5, 3.0))
    assert is_stripped(head.like(np.where(brain, head.array, -5).astype(np.float32)))


def test_a_head_is_not_stripped(rng, head_phantom):
    assert not is_stripped(head_phantom(rng, (2.0, 2.0, 3.0))[0])


@pytest.mark.parametrize(("bottom_mm", "top_mm"), [(-110.0, 85.0), (8.0, 11.0)])
def test_a_head_in_blanked_air_is_not_stripped(rng, head_phantom, bottom_mm, top_mm):
    head, brain = head_phantom(rng, (2.0, 2.0, 3.0), bottom_mm, top_mm)
    blanked = head.like(np.where(head.array < 80, 0, head.array))
    assert not is_stripped(blanked)
    assert dice(brain_mask(blanked, "classical"), brain) > 0.93


def test_black_lesions_belong_to_a_stripped_brain(rng, head_phantom):
    head, brain = head_phantom(rng, (1.0, 1.0, 2.0), 0.0, 30.0)
    array = np.where(brain, head.array, 0).astype(np.float32)
    lesions = np.zeros(brain.shape, bool)
    for i, j in ((95, 60), (95, 31), (30, 115)):
        lesions[i - 2 : i + 3, j - 2 : j + 3, 6:8] = True
    lesions &= brain
    assert lesions.sum() > 100
    array[lesions] = 0
    assert brain_mask(head.like(array), "stripped")[lesions].mean() > 0.97


def test_specks_beside_a_stripped_brain_do_not_belong_to_it(rng, head_phantom):
    head, brain = head_phantom(rng, (1.0, 1.0, 2.0), 0.0, 30.0)
    array = np.where(brain, head.array, 0).astype(np.float32)
    array[4:6, 4:6] = 300
    assert not brain_mask(head.like(array), "stripped")[:8, :8].any()


@pytest.mark.parametrize("shape", [(40, 40, 1), (40, 40, 12)])
def test_noise_gives_a_mask_and_no_error(rng, shape):
    noise = Volume(rng.random(shape, dtype=np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
    assert brain_mask(noise, "classical").shape == shape
