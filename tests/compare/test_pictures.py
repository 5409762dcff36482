import io
from dataclasses import replace

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from mmocnet.compare.comparison import Comparison
from mmocnet.compare.match import list_changes
from mmocnet.compare.pages import render_html, render_pdf
from mmocnet.compare.pictures import change_pictures
from mmocnet.compare.report import make_report
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
    # Letters stand at the sides.
    return [
        np.asarray(Image.open(io.BytesIO(one)).convert("L"), float)[20:-20, 20:-20]
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


def test_a_caption_tells_the_slice_of_each_scan_and_the_centre(lesion, rng):
    # The follow-up lies one slice higher in its own scan.
    moved = replace(STAY, matrix=np.array(np.diag([1.0] * 4)))
    moved.matrix[2, 3] = -3.0
    visits = [_visit([lesion(1, (20, 20, 9.0))], rng), _visit([], rng)]
    visits[0] = replace(
        visits[0], lesions=(replace(visits[0].lesions[0], centre_voxel=(20, 20, 3)),)
    )
    changes = list_changes(*visits, moved, CompareSettings())
    comparison = Comparison(
        *visits, moved, changes, (), CompareSettings(), made="2026-01-02T03:04:05+00:00"
    )
    report = make_report(comparison)
    assert "mm³, slice 4 of 6; follow-up not seen, slice 5 of 6" in report.captions[1]
    assert "centre 20.0, 20.0, 9.0 mm" in report.captions[1]
    for page in (render_html(report), _printed(render_pdf(report))):
        assert "slice 4 of 6" in page
        assert "2026-01-02T03:04:05+00:00" in page


def _printed(data):
    with pypdfium2.PdfDocument(data) as document:
        words = " ".join(page.get_textpage().get_text_bounded() for page in document)
    return " ".join(words.split())


def test_pictures_carry_the_letters_of_the_baselines_sides(lesion, rng, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "mmocnet.compare.pictures.draw_letters", lambda image, letters: drawn.append(letters)
    )
    _pictures(lesion, rng, 9.0)
    assert drawn == [("R", "L", "A", "P")] * 4


def test_a_scan_with_another_scale_is_shown_as_grey_as_the_other(lesion, rng):
    first, second, _ = _pictures(lesion, rng, 9.0, scales=(1.0, 37.0))
    assert first.mean() == pytest.approx(second.mean(), abs=3)
    assert first[100, 100] < 100 < first.mean()
