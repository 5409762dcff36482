import re
from html.parser import HTMLParser

import pytest

from mmocnet.io.report import LesionPictures, Report, count_sentence
from mmocnet.io.report_html import render_report
from mmocnet.lesion import Certainty, Lesion

PNG = b"\x89PNG..."


def _lesion(index, certainty=Certainty.DEFINITE, diameter_mm=4.0):
    return Lesion(
        index, f"CMB {index}", (1.0, 2.0, 3.0), (4, 5, 6), 20.0, diameter_mm, 3.4, 0.9, certainty
    )


def _report(lesions=(), **changes):
    pictures = {one.index: LesionPictures(PNG, PNG, PNG, 7, 60, 7, 24.0) for one in lesions[:2]}
    values = {
        "title": "scan.nii.gz",
        "lesions": lesions,
        "pictures": pictures,
        "overview": PNG,
        "is_slice": False,
        "display": "Right is left.",
    }
    return render_report(Report(**(values | changes)))


class _Tags(HTMLParser):
    """Checks that tags close in order and collects where pictures come from."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.scripts = [], [], 0

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.sources += [values[key] for key in ("src", "href") if key in values]
        self.scripts += tag == "script"
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("centre", "text"), [(7, "slice 8 of 60,"), (8, "slice 8 of 60 (centre in 9),")]
)
def test_a_caption_counts_slices_from_1_and_tells_where_the_centre_is(centre, text):
    pictures = {1: LesionPictures(PNG, PNG, PNG, 7, 60, centre, 24.0)}
    page = _report((_lesion(1),), pictures=pictures)
    assert text in page
    assert "i, j, k, from 0" in page


def test_the_page_is_well_formed_and_loads_nothing_from_elsewhere():
    tags = _Tags()
    page = _report((_lesion(1), _lesion(2, Certainty.POSSIBLE)))
    tags.feed(page)
    assert tags.open == []
    assert tags.scripts == 0
    assert all(one.startswith(("data:image/png;base64,", "#")) for one in tags.sources)
    assert "url(" not in page
    assert "@import" not in page


@pytest.mark.parametrize("lesions", [(), (_lesion(1),)])
def test_every_report_says_research_use_only(lesions):
    page = _report(lesions)
    assert page.count("Research use only - not a medical device") >= 2


def test_text_of_the_scan_cannot_become_markup():
    evil = '<img src=x onerror="alert(1)">'
    page = _report(
        (_lesion(1),), title=evil, warnings=[evil], technique=[(evil, evil)], notes=[evil]
    )
    assert "<img src=x" not in page
    assert page.count("&lt;img src=x") >= 5


def test_each_lesion_has_a_row_and_those_without_picture_are_told():
    page = _report(tuple(_lesion(n) for n in range(1, 6)))
    assert len(re.findall(r"<tr><td>", page)) == 5
    assert page.count('class="lesion definite"') == 2
    assert "3 more are in the table" in page


def test_without_a_lesion_the_overview_has_no_legend():
    assert "ringed" in _report((_lesion(1),))
    assert "key macrohaemorrhage" in _report((_lesion(1),))
    page = _report()
    assert "each with its number. Right is left." in page
    assert "key macrohaemorrhage" not in page


def test_a_macrohaemorrhage_is_not_counted():
    lesions = (_lesion(1), _lesion(2, Certainty.MACROHAEMORRHAGE, 14.0))
    assert count_sentence(lesions) == (
        "1 microbleed: 1 definite, 0 possible. 1 haemorrhage over 10 mm, not counted."
    )


@pytest.mark.parametrize(
    ("count", "name"), [(0, "microbleeds"), (1, "microbleed"), (2, "microbleeds")]
)
def test_the_card_of_the_total_names_one_in_the_singular(count, name):
    page = _report(tuple(_lesion(index + 1) for index in range(count)))
    assert f"<b>{count}</b><span>{name}</span>" in page


def test_sizes_are_a_range_only_where_they_differ():
    assert "4.0 mm" in _report((_lesion(1),))
    assert "\u2013" not in _report((_lesion(1), _lesion(2, diameter_mm=4.04)))
    assert "2.5\u20134.0 mm" in _report((_lesion(1), _lesion(2, diameter_mm=2.5)))


def test_an_undefined_size_is_n_a():
    page = _report((_lesion(1, diameter_mm=float("nan")),))
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page).lower()


def test_classes_say_how_much_of_the_brain_they_are_of():
    assert "1-4 microbleeds<" in _report((_lesion(1),), coverage=0.97)
    assert "that the scan covers" not in _report((_lesion(1),))
    page = _report((_lesion(1),), coverage=0.17)
    assert "1-4 microbleeds, in the 17% of the brain that the scan covers" in page


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"brain_ml": 1200.0}, "1-4 microbleeds<"),
        ({"brain_ml": 400.0}, "1-4 microbleeds, in the 400 ml of brain that the scan shows<"),
        ({"brain_ml": 400.0, "coverage": 0.97}, "1-4 microbleeds<"),
        ({"brain_ml": 23.4}, "not known: the scan shows 23 ml of brain alone"),
    ],
)
def test_classes_say_how_much_brain_they_are_of_where_its_share_is_not_known(known, said):
    page = _report((_lesion(1),), **known)
    assert said in page
    assert ("classes 0, 1-4" in page) == (known["brain_ml"] > 150)


def test_a_single_slice_has_no_classes():
    page = _report((_lesion(1),), is_slice=True)
    assert "not known: a single slice" in page
    assert "classes 0, 1-4" not in page
