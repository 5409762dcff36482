import io

import numpy as np
import pytest
from PIL import Image

from mmocnet.compare.comparison import Comparison
from mmocnet.compare.match import list_changes
from mmocnet.compare.pictures import change_pictures
from mmocnet.compare.visit import CompareSettings, Visit
from mmocnet.locate.rigid import RigidAlignment
from mmocnet.volume import Volume

SHAPE, SPACING_MM = (40, 40, 6), (1.0, 1.0, 3.0)
STAY = RigidAlignment(np.eye(4), 0.9, 1.0, 0.0, 0.0, True, "registered")


def _visit(lesions, rng, scale=1.0):
    array = (100 + rng.normal(0, 5, SHAPE)).astype(np.float32)
    array[18:23, 18:23] = 20
    image = Volume(array * np.float32(scale), np.diag([*SPACING_MM, 1.0]), "scan.nii.gz")
    labels = np.zeros(SHAPE, np.int32)
    labels[18:23, 18:23, 5] = 1
    return Visit(image, image.like(labels), tuple(lesions), np.ones(SHAPE, bool))


def _pictures(lesion, rng, height_mm, scales=(1.0, 1.0)):
    seen = [lesion(1, (20, 20, height_mm))]
    visits = [_visit(seen, rng, scale) for scale in scales]
    settings = CompareSettings()
    changes = list_changes(*visits, STAY, settings)
    found = change_pictures(Comparison(*visits, STAY, changes, (), settings), changes)[1]
    return [
        np.asarray(Image.open(io.BytesIO(one)).convert("L"), float)
        for one in (found.baseline, found.follow_up, found.baseline_outlined)
    ]


@pytest.mark.parametrize(("height_mm", "seen"), [(15.0, True), (16.4, True), (16.6, False)])
def test_the_last_slice_is_seen_to_its_end_and_what_is_outside_is_black(
    lesion, rng, height_mm, seen
):
    plain, _, outlined = _pictures(lesion, rng, height_mm)
    assert (plain.mean() > 100) == seen
    assert (plain.max() == 0) != seen
    assert (outlined != plain).any() == seen


def test_a_scan_with_another_scale_is_shown_as_grey_as_the_other(lesion, rng):
    first, second, _ = _pictures(lesion, rng, 9.0, scales=(1.0, 37.0))
    assert first.mean() == pytest.approx(second.mean(), abs=3)
    assert first[120, 120] < 100 < first.mean()
