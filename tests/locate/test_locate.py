import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mmocnet.lesion import Certainty, Lesion
from mmocnet.locate.locate import located, place, register_scan
from mmocnet.locate.regions import REGIONS
from mmocnet.volume import Volume

# Points that a textbook of MNI coordinates puts beyond doubt, right side.
KNOWN = {
    "frontal": [(35, 45, 20), (8, 55, 5), (40, 5, 45)],
    "parietal": [(40, -50, 50), (8, -60, 45)],
    "temporal": [(58, -20, -12), (38, 8, -35), (25, -15, -22)],
    "occipital": [(12, -92, 2), (30, -88, 5)],
    "insula": [(38, 4, 2)],
    "basal ganglia": [(27, 4, 0), (12, 14, 8), (20, -3, 0)],
    "thalamus": [(11, -18, 8)],
    "internal capsule": [(19, 5, 8), (22, -14, 8)],
    "corpus callosum": [(2, 27, 6), (2, -37, 10), (2, -5, 26)],
    "deep and periventricular white matter": [(25, -20, 33), (25, 20, 25)],
    "brainstem": [(5, -28, -30), (4, -30, -14), (3, -40, -52)],
    "cerebellum": [(25, -65, -40), (4, -58, -18)],
}


def lesion(index: int, centre_mm: tuple[float, ...]) -> Lesion:
    x, y, z = centre_mm
    return Lesion(
        index, f"CMB {index}", (x, y, z), (0, 0, 0), 30.0, 4.0, 3.5, 0.9, Certainty.DEFINITE
    )


@pytest.mark.parametrize(("region", "points"), KNOWN.items())
def test_known_points_lie_in_their_regions(region, points):
    group = {one.name: one.group for one in REGIONS}[region]
    for x, y, z in points:
        for sign, side in ((1, "right"), (-1, "left")):
            found = place(np.array([sign * x, y, z], float))
            assert (found.region, found.side, found.group) == (region, side, group), (x, y, z)


def test_far_from_the_brain_there_is_no_region():
    assert place(np.array([0.0, 0.0, 120.0])).region == "n/a"
    assert place(np.array([np.nan, 0.0, 0.0])).side == "n/a"
    # In the middle of a lateral ventricle's body the nearest wall is within reach.
    assert place(np.array([12.0, -20.0, 22.0])).group == "deep"


def test_lesions_of_a_toy_head_get_their_places(toy_head, world_to_mni, registered):
    names = [(name, point) for name, points in KNOWN.items() for point in points]
    back = np.linalg.inv(world_to_mni)
    lesions = [
        lesion(index, tuple(back[:3, :3] @ point + back[:3, 3]))
        for index, (_, point) in enumerate(names, 1)
    ]
    placed, record = located(lesions, toy_head, toy_head.array > 0)
    assert record.ok
    # The same scan gives the same bits, each time that it is registered.
    assert record.registration.matrix.tobytes() == registered.matrix.tobytes()
    right = [one.region == name for one, (name, _) in zip(placed, names, strict=True)]
    assert np.mean(right) >= 0.9
    assert {one.side for one in placed if abs(one.centre_mm[0]) > 5} <= {"left", "right"}
    content = json.loads(json.dumps(record.as_json(), allow_nan=False))
    assert content["Ok"] is True
    assert len(content["WorldToMni"]) == 4


def test_a_slice_keeps_n_a_and_says_why():
    one = lesion(1, (0.0, 0.0, 0.0))
    slice_ = Volume(np.ones((80, 90, 1), np.float32), np.eye(4))
    placed, record = located([one], slice_, slice_.array > 0)
    assert placed == (one,)
    assert record.as_json()["WorldToMni"] is None
    assert "slice" in record.why
    assert record.warnings == ()


def test_an_unplaced_volume_is_a_warning():
    one = lesion(1, (0.0, 0.0, 0.0))
    crop = Volume(np.ones((50, 50, 40), np.float32), np.eye(4))
    placed, record = located([one], crop, crop.array > 0)
    assert placed == (one,)
    (warning,) = record.warnings
    assert "regions are unknown" in warning


def test_nothing_is_registered_for_no_lesion_or_unasked(toy_head):
    assert located([], toy_head, toy_head.array > 0)[1].warnings == ()
    one = lesion(1, (0.0, 0.0, 0.0))
    placed, record = located([one], toy_head, toy_head.array > 0, wanted=False)
    assert placed == (one,)
    assert record.why == "not asked for"


def test_a_scan_is_registered_beside_other_work_as_by_itself(toy_head, registered):
    with ThreadPoolExecutor(2) as aside:
        both = [aside.submit(register_scan, toy_head, toy_head.array > 0) for _ in range(2)]
    for one in both:
        assert one.result().registration.matrix.tobytes() == registered.matrix.tobytes()
