import io
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from PIL import Image

from mmocnet.config import SegmentSettings
from mmocnet.io.dicom.source import DicomSource
from mmocnet.predict.pictures import (
    COLOURS,
    lesion_pictures,
    make_display,
    overview,
    single_slice,
)
from mmocnet.predict.pipeline import segment
from mmocnet.predict.reporting import make_report
from mmocnet.volume import Volume

QUICK = SegmentSettings(location=False)
"""Without the search for a phantom's place in a template of brains."""
SHAPE = (96, 120, 42)
# On the patient's right, in front, of the middle.
SPHERE = ((30.0, 40.0, 0.0), 8.0)


def _reoriented(volume, codes):
    image = nibabel.Nifti1Image(volume.array, volume.affine)
    start = nibabel.io_orientation(volume.affine)
    end = nibabel.orientations.axcodes2ornt(codes)
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(start, end))
    return Volume(np.asarray(turned.dataobj), turned.affine, "turned")


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAI", "PSR", "IRA", "ALS"])
def test_display_is_radiological_however_the_scan_is_stored(
    phantom, head_affine, dark_spots, codes
):
    scan = _reoriented(phantom(head_affine, SHAPE, [SPHERE]), codes)
    display = make_display(segment(scan, QUICK, cascade=dark_spots))
    _, row, col = display.cuts[1]
    assert display.letters == ("R", "L", "A", "P")
    assert col < display.grey.shape[2] / 2
    assert row < display.grey.shape[1] / 2
    assert display.grey.shape[1:] == (120, 96)


def test_a_coronal_scan_shows_right_on_the_left_and_head_on_top(dark_spots, phantom):
    affine = np.diag([1.5, 3.0, 1.5, 1.0])
    affine[:3, 3] = [-71.25, -88.5, -65.25]
    scan = phantom(affine, (96, 60, 88), [((30.0, 0.0, 25.0), 8.0)])
    display = make_display(segment(scan, QUICK, cascade=dark_spots))
    _, row, col = display.cuts[1]
    assert display.letters == ("R", "L", "S", "I")
    assert col < display.grey.shape[2] / 2
    assert row < display.grey.shape[1] / 2


def _pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def _near(pixels, colour):
    return (np.abs(pixels - colour).sum(axis=-1) < 40).nonzero()


def test_the_outline_rings_the_lesion_in_the_middle_of_the_crop(phantom, head_affine, dark_spots):
    result = segment(phantom(head_affine, SHAPE, [SPHERE]), QUICK, cascade=dark_spots)
    lesion = result.lesions[0]
    display = make_display(result)
    pictures = lesion_pictures(display, lesion)
    columns = np.flatnonzero(display.labels[pictures.slice_index].any(axis=0))
    plain, outlined = _pixels(pictures.plain), _pixels(pictures.outlined)
    rows, cols = _near(outlined, COLOURS[lesion.certainty])
    px_per_mm = plain.shape[0] / pictures.width_mm
    assert np.mean([rows.min(), rows.max()]) == pytest.approx(plain.shape[0] / 2, abs=4)
    assert np.ptp(cols) / px_per_mm == pytest.approx(1.5 * len(columns), abs=0.5)
    assert len(_near(plain, COLOURS[lesion.certainty])[0]) == 0
    assert plain[plain.shape[0] // 2, plain.shape[1] // 2].max() < 100


def test_pictures_say_which_of_how_many_slices_they_show(phantom, head_affine, dark_spots):
    result = segment(phantom(head_affine, SHAPE, [SPHERE]), QUICK, cascade=dark_spots)
    lesion = result.lesions[0]
    pictures = lesion_pictures(make_display(result), lesion)
    assert pictures.slice_text.startswith(f"slice {pictures.slice_index + 1} of {SHAPE[2]}")
    assert pictures.centre_index == lesion.centre_voxel[2]


def test_a_slice_of_a_series_has_the_number_that_viewers_show(phantom, head_affine, dark_spots):
    result = segment(phantom(head_affine, SHAPE, [SPHERE]), QUICK, cascade=dark_spots)
    source = DicomSource("1.2.3", (), (), numbers=tuple(range(SHAPE[2], 0, -1)))
    lesion = result.lesions[0]
    pictures = lesion_pictures(make_display(replace(result, dicom=source)), lesion)
    index, count = pictures.slice_index, SHAPE[2]
    said = f"image {count - index} (slice {index + 1} of {count}, counted from the feet)"
    assert pictures.slice_text.startswith(said)


def test_the_overview_numbers_its_slices_from_1(phantom, head_affine, dark_spots, monkeypatch):
    written = []
    monkeypatch.setattr(
        "PIL.ImageDraw.ImageDraw.text", lambda _, at, text, **__: written.append(text)
    )
    display = make_display(segment(phantom(head_affine, SHAPE), QUICK, cascade=dark_spots))
    overview(replace(display, grey=display.grey[:, ::4, ::4] * 0 + 200), ())
    numbers = [int(text) for text in written if text.isdigit()]
    assert (numbers[0], numbers[-1]) == (1, SHAPE[2])


def test_the_overview_marks_the_lesion(phantom, head_affine, dark_spots):
    with_one = segment(phantom(head_affine, SHAPE, [SPHERE]), QUICK, cascade=dark_spots)
    without = segment(phantom(head_affine, SHAPE), QUICK, cascade=dark_spots)
    colour = COLOURS[with_one.lesions[0].certainty]
    marked = np.asarray(overview(make_display(with_one), with_one.lesions)).astype(int)
    plain = np.asarray(overview(make_display(without), ())).astype(int)
    assert len(_near(marked, colour)[0]) > 20
    assert len(_near(plain, colour)[0]) == 0


@pytest.mark.parametrize("slices", [slice(None), slice(20, 21)])
def test_numbers_of_lesions_have_a_dark_edge(phantom, head_affine, dark_spots, monkeypatch, slices):
    scan = phantom(head_affine, SHAPE, [((30.0, 40.0, -1.5), 8.0)])
    part = Volume(scan.array[:, :, slices], scan.affine)
    result = segment(part, QUICK, cascade=dark_spots)
    edges = []
    monkeypatch.setattr(
        "PIL.ImageDraw.ImageDraw.text",
        lambda *_, fill=None, **how: edges.append((fill, how.get("stroke_width"))),
    )
    overview(make_display(result), result.lesions)
    colour = COLOURS[result.lesions[0].certainty]
    assert [width for fill, width in edges if fill == colour] == [2]


def test_a_slice_has_letters_at_its_sides(phantom, head_affine, dark_spots, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "mmocnet.predict.pictures.draw_letters", lambda image, letters: drawn.append(letters)
    )
    scan = phantom(head_affine, SHAPE, [SPHERE])
    one = Volume(scan.array[:, :, 20:21], scan.affine)
    single_slice(make_display(segment(one, QUICK, cascade=dark_spots)))
    assert drawn == [("R", "L", "A", "P")]


def test_a_slice_is_enlarged_by_a_whole_number(phantom, head_affine, dark_spots):
    scan = phantom(head_affine, SHAPE, [SPHERE])
    one = Volume(scan.array[:, :, 20:21], scan.affine)
    image = single_slice(make_display(segment(one, QUICK, cascade=dark_spots)))
    assert image.size[0] % 96 == 0
    assert image.size[1] % 120 == 0


def test_a_report_pictures_the_most_confident_and_counts_the_rest(
    phantom, head_affine, dark_spots, monkeypatch
):
    monkeypatch.setattr("mmocnet.predict.reporting.PICTURED", 1)
    spheres = [SPHERE, ((-30.0, -30.0, 9.0), 6.0)]
    report = make_report(segment(phantom(head_affine, SHAPE, spheres), QUICK, cascade=dark_spots))
    assert len(report.lesions) == 2
    assert list(report.pictures) == [1]
