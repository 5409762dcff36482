import numpy as np
import pytest

from mmocnet.locate import register
from mmocnet.locate.maps import region_map
from mmocnet.locate.register import Registration, register_to_mni
from mmocnet.volume import Volume

pytest.importorskip("SimpleITK", reason="needs the extra mmocnet[location]")


def grid_of(head: Volume) -> np.ndarray:
    """World mm of some voxels of the brain, shape (N, 3)."""
    return head.world(np.argwhere(head.array > 0)[::5000].astype(float))


def error_mm(found: Registration, head: Volume, world_to_mni: np.ndarray) -> np.ndarray:
    world = grid_of(head)
    true = world @ world_to_mni[:3, :3].T + world_to_mni[:3, 3]
    return np.linalg.norm(found.to_mni(world) - true, axis=1)


def test_a_turned_and_resized_head_is_found(registered, toy_head, world_to_mni):
    found = registered
    assert found.ok, found.why
    assert found.coverage == pytest.approx(1.0, abs=0.01)
    assert found.quality > 0.95
    assert error_mm(found, toy_head, world_to_mni).max() < 3.0


@pytest.mark.parametrize(("degrees", "axis"), [(30, 1), (28, 2)])
def test_a_head_far_from_upright_is_found_from_other_starts(
    toy_head, world_to_mni, turned, degrees, axis
):
    turn = np.eye(4)
    turn[:3, :3] = turned(degrees, axis)
    head = Volume(toy_head.array, turn @ toy_head.affine, "turned head")
    found = register_to_mni(head, head.array > 0)
    assert found.ok, found.why
    assert error_mm(found, head, world_to_mni @ np.linalg.inv(turn)).max() < 3.0


def test_other_starts_that_come_apart_cost_nothing(registered, toy_head, world_to_mni, monkeypatch):
    refined = register._refined

    def coarse_ones_come_apart(pair, starts, shrink):
        if shrink == (4,):
            raise RuntimeError("All samples map outside moving image buffer")
        return refined(pair, starts, shrink)

    monkeypatch.setattr(register, "_refined", coarse_ones_come_apart)
    monkeypatch.setattr(register, "SURE_INFORMATION", np.inf)
    found = register_to_mni(toy_head, toy_head.array > 0)
    assert found.ok, found.why
    np.testing.assert_array_equal(found.matrix, registered.matrix)


def test_a_slab_of_60_mm_is_found(toy_head, world_to_mni):
    affine = toy_head.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [0, 0, 26]
    slab = Volume(toy_head.array[:, :, 26:50], affine, "slab")
    found = register_to_mni(slab, slab.array > 0)
    assert found.ok, found.why
    assert error_mm(found, slab, world_to_mni).max() < 5.0


def test_what_is_no_brain_is_not_believed():
    i, j, k = np.ogrid[:60, :60, :60]
    rod = ((i - 30) ** 2 + (j - 30) ** 2 < 7**2) & (k > 0)
    found = register_to_mni(Volume(rod.astype(np.float32), np.diag([4.0, 4, 4, 1])), rod)
    assert not found.ok
    assert found.why


def test_a_slice_and_a_small_brain_have_no_registration():
    slice_ = Volume(np.ones((80, 90, 1), np.float32), np.eye(4))
    assert "slice" in register_to_mni(slice_, slice_.array > 0).why
    crop = Volume(np.ones((50, 50, 40), np.float32), np.eye(4))
    found = register_to_mni(crop, crop.array > 0)
    assert not found.ok
    assert "100 ml" in found.why
    assert np.isnan(found.matrix).all()


def test_the_map_lies_in_mni_space():
    regions = region_map()
    assert regions.array.max() == 13
    assert regions.spacing_mm == (1.0, 1.0, 1.0)
    np.testing.assert_array_equal(regions.array[::-1], regions.array)


@pytest.mark.parametrize(
    ("signs", "ends"), [((1, -1, 1), "front and back"), ((1, 1, -1), "top and bottom")]
)
def test_a_head_whose_header_exchanges_ends_is_not_believed_and_told(toy_head, signs, ends):
    swapped = Volume(toy_head.array, np.diag([*signs, 1.0]) @ toy_head.affine)
    found = register_to_mni(swapped, swapped.array > 0)
    assert not found.ok
    assert found.why == f"the header seems to exchange {ends}, so left and right are in doubt, too"
