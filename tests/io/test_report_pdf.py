import dataclasses
import io

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from mmocnet.io.burden import region_counts
from mmocnet.io.report import LesionPictures, Report
from mmocnet.io.report_pdf import render_pdf
from mmocnet.lesion import Certainty, Lesion

NOTICE = "Research use only - not a medical device"
REGIONS = [("frontal", "lobar"), ("thalamus", "deep"), ("cerebellum", "infratentorial")]


def _png(width=60, height=60):
    stream = io.BytesIO()
    pixels = np.tile(np.arange(width, dtype=np.uint8), (height, 1))
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def _lesion(index, region="frontal", side="left"):
    return Lesion(
        index,
        f"CMB {index}",
        (1.0, 2.0, 3.0),
        (4, 5, 6),
        20.0,
        4.0,
        3.4,
        0.9,
        Certainty.DEFINITE,
        region=region,
        side=side,
    )


def _report(lesions=(), **changes):
    picture = LesionPictures(_png(), _png(), _png(50, 60), 7, 60, 7, 24.0)
    values = {
        "title": "scan.nii.gz",
        "lesions": lesions,
        "pictures": {one.index: picture for one in lesions},
        "overview": _png(300, 200),
        "is_slice": False,
        "display": "Right is left.",
        "regions": region_counts(lesions, REGIONS),
        "technique_line": "3 T",
    }
    return Report(**(values | changes))


def _pages(data):
    document = pypdfium2.PdfDocument(data)
    texts = [page.get_textpage().get_text_bounded() for page in document]
    document.close()
    return [" ".join(text.split()) for text in texts]


def test_the_same_report_gives_the_same_bytes():
    lesions = (_lesion(1), _lesion(2))
    assert render_pdf(_report(lesions)) == render_pdf(_report(lesions))


@pytest.mark.parametrize("count", [0, 1, 100])
def test_every_page_says_research_use_only_and_its_number(count):
    pages = _pages(render_pdf(_report(tuple(_lesion(n) for n in range(1, count + 1)))))
    assert all(NOTICE in page and "T2*-weighted GRE" in page for page in pages)
    assert [f"{n} of {len(pages)}" in page for n, page in enumerate(pages, 1)] == [True] * len(
        pages
    )


def test_a_scan_without_microbleed_is_one_page_that_says_so():
    pages = _pages(render_pdf(_report()))
    assert len(pages) == 1
    assert "No microbleed found." in pages[0]
    assert "Burden none" in pages[0]
    assert "Lesions" not in pages[0]


def test_a_long_table_flows_over_pages_and_loses_no_row():
    lesions = tuple(_lesion(n) for n in range(1, 121))
    text = " ".join(_pages(render_pdf(_report(lesions, pictures={}))))
    assert text.count("4, 5, 6") == 120
    assert text.count("Voxel") >= 3


def test_a_macrohaemorrhage_is_named_in_as_few_letters_as_its_column_holds():
    lesion = dataclasses.replace(_lesion(1), certainty=Certainty.MACROHAEMORRHAGE)
    text = _pages(render_pdf(_report((lesion,), pictures={})))[0]
    assert "1 macrohaemorrhage 0.90" in text


def test_regions_are_counted_by_side():
    lesions = (_lesion(1), _lesion(2, side="right"), _lesion(3, "thalamus"))
    text = _pages(render_pdf(_report(lesions, pattern="mixed")))[0]
    assert "frontal lobar 1 1 - - - - 2" in text
    assert "thalamus deep 1 - - - - - 1" in text
    assert "cerebellum infratentorial - - - - - - -" in text
    assert "mixed: lobar, and deep" in text


def test_regions_have_sums():
    lesions = (_lesion(1), _lesion(2, side="right"), _lesion(3, "thalamus"))
    text = _pages(render_pdf(_report(lesions)))[0]
    assert "all lobar 1 1 - - - - 2 all deep 1 - - - - - 1 all infratentorial - - - -" in text
    assert "all 2 1 - - - - 3" in text


def test_every_page_has_the_uid_of_the_series_and_a_name_beside_it():
    uid = "1." + "2" * 62
    lesions = tuple(_lesion(n) for n in range(1, 61))
    report = _report(lesions, pictures={}, series_uid=uid, title="study, series 3")
    pages = _pages(render_pdf(report))
    assert len(pages) > 1
    assert all(f"Series Instance UID {uid}" in page for page in pages)
    assert all("study, series 3" in page for page in pages)


def test_what_is_not_1_is_not_printed_as_1():
    lesion = dataclasses.replace(_lesion(1), confidence=0.9962)
    text = _pages(render_pdf(_report((lesion,), pictures={})))[0]
    assert "definite >0.99 left frontal 4.0" in text


def test_without_any_region_there_is_no_table_of_regions():
    page = _pages(render_pdf(_report((_lesion(1, "n/a", "n/a"),))))[0]
    assert "Regions" not in page


def test_markup_and_long_names_are_only_text():
    evil = "<b>&amp;<img src='x'/>"
    text = " ".join(_pages(render_pdf(_report((_lesion(1),), title="n" * 300, warnings=[evil]))))
    assert evil in text
    assert "nnn..." in text
    assert "n" * 300 not in text
