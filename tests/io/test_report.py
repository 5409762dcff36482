import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mmocnet.io.burden import region_counts
from mmocnet.io.report import LesionPictures, ReaderPart, Report, count_sentence
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


def _possible(count, first=1):
    return tuple(_lesion(first + step, Certainty.POSSIBLE) for step in range(count))


def test_classes_say_what_they_are_by_definite_microbleeds_alone():
    page = _report((*(_lesion(n) for n in range(1, 4)), *_possible(4, 4)))
    assert "5-9 microbleeds; by definite ones alone 1-4 microbleeds<" in page
    assert "over 4; by definite ones alone 1-4 (classes 0, 1-4, over 4)" in page
    assert "by definite ones alone none<" in _report(_possible(1))
    assert "by definite ones" not in _report((_lesion(1), *_possible(1, 2)))


def test_the_class_says_what_was_not_assessed():
    said = "microhaemorrhages alone; superficial siderosis and oedema (ARIA-E) are not assessed"
    warnings = ["possible cortical superficial siderosis: (candidates 3)"]
    assert f"{said}<" in _report((_lesion(1),))
    page = _report((_lesion(1),), warnings=warnings)
    assert f"{said}; for what may be siderosis see the warnings<" in page


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("strictly lobar", "either way), in the 17% of the brain that the scan covers<"),
        ("none", "outside the cerebellum, in the 17% of the brain that the scan covers<"),
        ("mixed", "mixed: lobar, and deep or brainstem<"),
    ],
)
def test_a_pattern_says_how_much_of_the_brain_it_is_of(pattern, said):
    assert said in _report((_lesion(1),), pattern=pattern, coverage=0.17)


def test_what_is_not_1_is_not_printed_as_1():
    sure, certain = (replace(_lesion(1), confidence=value) for value in (0.9962, 1.0))
    page = _report((sure,))
    assert "<td>&gt;0.99</td>" in page
    assert "confidence &gt;0.99" in page
    assert "<td>1.00</td>" in _report((certain,))


def test_the_note_says_what_definite_and_possible_are():
    said = "Definite: confidence 0.7993 or more and 2 mm or more; possible: below that."
    assert said in _report((_lesion(1),), definite_from=0.7993)
    assert "Definite: confidence" not in _report((_lesion(1),))
    read = ReaderPart("Read by a.", {1: "accepted"})
    page = _report((_lesion(1),), definite_from=0.7993, reading=read)
    assert "Definite and possible: the reader&#x27;s words" in page
    assert "program&#x27;s words" not in page


@pytest.mark.parametrize("ranked", [True, False])
def test_a_slice_s_confidence_only_ranks_where_the_model_has_no_other(ranked):
    page = _report((_lesion(1),), is_slice=True, ranked=ranked)
    assert ("it ranks the findings and is no probability" in page) == ranked
    assert ("the probability of being a microbleed" in page) == (not ranked)


def test_the_note_says_why_a_diameter_can_be_the_smaller():
    said = "without the thickness of slices: it can be smaller than Equivalent"
    assert said in _report((_lesion(1),), isotropic=False)
    assert said not in _report((_lesion(1),))


@pytest.mark.parametrize(("reading", "after"), [(None, "; not read"), ("x", ", then accepted")])
def test_limits_begin_with_what_the_model_has_seen(reading, after):
    said = f"Found by a network that was trained and measured on simulated scans only{after}"
    reading = None if reading is None else ReaderPart(reading, {})
    assert said in _report(simulated=True, reading=reading)
    assert f"Found by a network{after}" in _report(reading=reading)


def test_the_head_has_the_uid_of_the_series():
    head = _report(series_uid="1.2.3").partition("</header>")[0]
    assert '<p class="scan">Series Instance UID 1.2.3</p>' in head
    assert "UID" not in _report()


def test_a_caption_says_side_region_and_size():
    lesion = replace(_lesion(1), side="left", region="insula")
    page = _report((lesion,))
    assert "left insula, slice 8 of 60, 4.0 mm, confidence 0.90</figcaption>" in page


def test_the_table_of_regions_has_sums():
    lesions = [
        replace(_lesion(1), side="left", region="frontal"),
        replace(_lesion(2), side="right", region="insula"),
    ]
    rows = region_counts(lesions, [("frontal", "lobar"), ("insula", "lobar"), ("pons", "deep")])
    page = _report(tuple(lesions), regions=rows)
    for name, counts in (("all lobar", "11----2"), ("all deep", "-------"), ("all", "11----2")):
        cells = "".join(f"<td>{count}</td>" for count in counts)
        assert f"<tr class=sum><td>{name}</td><td></td>{cells}</tr>" in page


def test_a_printed_page_is_light_and_cuts_no_column_off():
    page = _report((_lesion(1),))
    printed = page[page.index("@media print") :]
    assert ".scroll { overflow: visible; max-height: none; }" in printed
    assert "white-space: normal" in printed
    assert "@media (prefers-color-scheme: dark)" not in page
