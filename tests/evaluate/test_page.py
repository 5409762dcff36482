import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from mmocnet.evaluate.cases import Case
from mmocnet.evaluate.instances import Instances
from mmocnet.evaluate.page import write_page
from mmocnet.evaluate.score import Report, ScoreSettings, score_case
from mmocnet.evaluate.summary import summarise

VOID = {"meta", "img"}


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def scored(number):
    """One lesion found in part, one missed that grows with the number, and a false call."""
    truth, called = np.zeros((30, 30, 1), np.int32), np.zeros((30, 30, 1), np.int32)
    truth[2:5, 2:5], truth[20 : 21 + number, 20] = 1, 2
    called[2:4, 2:5], called[12:14, 12:14] = 1, 2
    confidence = np.array([0.9, 0.5 + number / 10])
    probability = np.where(called > 0, confidence[called - 1], 0).astype(np.float32)
    return score_case(
        Case(
            name=f"<scan>{number}",
            subject=f"s{number}",
            spacing_mm=(1.0, 1.0, 1.0),
            slice_axis=2,
            reference=truth,
            predicted=called,
            candidates=Instances(called, confidence),
            probability=probability,
            valid=None,
        )
    )


@pytest.fixture(scope="module")
def report():
    cases = tuple(scored(number) for number in range(3))
    return Report(cases, ("no prediction for <b>x</b>",), (), ScoreSettings(draws=20))


def page(report, summary, out):
    path = write_page(report, summary, out / "new")
    assert path.name == "scores.html"
    text = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return text, tags.links


def bare(report):
    """Without candidates, probability or pictures: what a foreign mask folder gives."""
    cases = tuple(
        replace(case, candidates=None, sample=None, slices=(), crops=()) for case in report.cases
    )
    return replace(report, cases=cases)


def test_the_page_holds_every_part_and_loads_nothing(report, tmp_path):
    text, links = page(report, summarise(report, report), tmp_path)
    headings = re.findall("<h2>(.*?)</h2>", text)
    for heading in ("Lesions", "Plots", "Counts", "Calibration", "By burden", "Comparison"):
        assert heading in headings
    assert "VALDO 2021 task 2&#x27;s own numbers" in headings
    assert text.count("Research use only - not a medical device.") == 2
    assert len(links) == 5 + 6
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert not re.search(r"https?:|@import|url\(|<script|<link", text)
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert not re.search("<scan>|<b>x", text)
    worst = re.findall(r"<figcaption>&lt;scan&gt;(\d)", text)
    assert worst == ["2", "1", "0"] * 2


def test_one_scan_may_hold_all_of_the_worst(tmp_path):
    truth, called = np.zeros((60, 60, 1), np.int32), np.zeros((60, 60, 1), np.int32)
    for number in range(15):
        truth[4 * number, : number + 1], called[4 * number, 40:43] = number + 1, number + 1
    confidence = 0.5 + np.arange(15) / 100
    case = Case(
        name="many",
        subject="a",
        spacing_mm=(1.0, 1.0, 1.0),
        slice_axis=2,
        reference=truth,
        predicted=called,
        candidates=Instances(called, confidence),
        probability=None,
        valid=None,
    )
    cases = (scored(0), score_case(case))
    report = Report(cases, (), (), ScoreSettings(draws=20))
    text, _ = page(report, summarise(report), tmp_path)
    sizes = re.findall(r"<figcaption>many: missed, (\d+) mm³", text)
    assert sizes == [str(size) for size in range(15, 3, -1)]
    sure = re.findall(r"<figcaption>many: false call, confidence (0.\d+)", text)
    assert sure == [f"{value:.2f}" for value in np.sort(confidence)[:2:-1]]


def test_the_page_says_which_side_is_which_and_what_is_doubtful(report, tmp_path):
    doubtful = replace(report, warnings=("one subject has no intervals",))
    text, _ = page(doubtful, summarise(doubtful), tmp_path)
    assert "Front or head is up, the patient's right on the left" in text
    assert "<h2>Warnings (1)</h2><ul><li>one subject has no intervals</li>" in text


def test_the_page_of_one_scan_counts_in_the_singular_and_gives_values_alone(report, tmp_path):
    one = replace(report, cases=report.cases[:1])
    text, _ = page(one, summarise(one), tmp_path)
    assert "<b>1</b><span>scan</span>" in text
    assert "<b>1</b><span>subject</span>" in text
    assert "n/a to n/a" not in text


def test_the_page_says_what_was_scored(report, tmp_path):
    inputs = {"predictions": "seg", "references": "data", "model": "standard, mmocnet 0.1.0"}
    known = replace(report, inputs=inputs)
    text, _ = page(known, summarise(known), tmp_path)
    for name, value in inputs.items():
        assert f'<th scope="row">{name}</th><td>{value}</td>' in text


def test_scores_that_masks_alone_do_not_give_are_left_out(report, tmp_path):
    masks = bare(report)
    text, links = page(masks, summarise(masks), tmp_path)
    assert len(links) == 1
    assert "Bland-Altman" in text
    assert "Worst misses" not in text
    assert not re.search(r">\s*nan\b", text, re.IGNORECASE)
    assert ">n/a" in text


def test_without_matplotlib_the_scores_stay_and_the_extra_is_named(report, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text, links = page(report, summarise(report), tmp_path)
    assert "mmocnet[plots]" in text
    assert "lesion sensitivity" in text
    assert links == []


def test_valdo_stands_beside_the_one_to_one_scores(report, tmp_path):
    summary = summarise(bare(report))
    text, _ = page(bare(report), summary, tmp_path)
    row = re.search(r'<th scope="row">F1</th>(.*?)</tr>', text).group(1)
    ours = summary["lesion"]["overlap"]["lesion_f1"]["value"]
    assert re.sub("<.*?>", " ", row).split()[-1] == f"{ours:.3f}"
    assert f"{summary['valdo']['f1']:.3f}" in row
