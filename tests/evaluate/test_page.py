import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
import pytest

from mmocnet.evaluate.lesions import ScanLesions
from mmocnet.evaluate.matching import Rule, pairing
from mmocnet.evaluate.page import write_page
from mmocnet.evaluate.pixels import Counts, sample_pixels
from mmocnet.evaluate.score import Report, ScoreSettings
from mmocnet.evaluate.worst import Crop, Kind

NAN = float("nan")
VOID = {"meta", "img", "link", "br"}


@dataclass
class Scored:
    """What the page reads of a case's score."""

    name: str
    subject: str
    lesions: dict
    slices: tuple
    sample: object = None
    candidates: object = None
    confidence: np.ndarray = field(default_factory=lambda: np.zeros(0))
    crops: tuple = ()


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links, self.images = [], [], 0

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "href"}:
                self.links.append(value)
        self.images += tag == "img"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def interval(value, low=0.1, high=0.9):
    return {"value": value, "low": low, "high": high, "undefined": 0}


def crop(kind, severity):
    image = np.random.default_rng(0).random((30, 30)).astype(np.float32)
    lesion, none = np.zeros((30, 30), dtype=bool), np.zeros((30, 30), dtype=bool)
    lesion[10:13, 10:13] = True
    missed = kind is Kind.MISSED
    return Crop(f"<scan> {severity}", kind, severity, image, none, *(
        (lesion, none) if missed else (none, lesion)
    ))  # fmt: skip


@pytest.fixture
def report():
    cases = []
    rng = np.random.default_rng(0)
    for number in range(6):
        truth, called = np.zeros((20, 20, 1), int), np.zeros((20, 20, 1), int)
        truth[2:5, 2:5] = 1
        called[2 + number % 3 : 5, 2:5], called[10:12, 10:12] = 1, 2
        scan = ScanLesions("a", "a", references=1 + number, found=1, false_positives=number % 2)
        probability = rng.random(truth.shape) * (called > 0)
        cases.append(
            Scored(
                name=f"scan{number}",
                subject=f"s{number // 2}",
                lesions=dict.fromkeys(Rule, scan),
                slices=(Counts(5, 1, number, 90), Counts(3, 3, 3, 90)),
                sample=sample_pixels(truth > 0, probability),
                candidates=pairing(truth, called, (1.0, 1.0, 1.0)),
                confidence=np.array([0.9, 0.1 * number]),
                crops=(crop(Kind.MISSED, float(number)), crop(Kind.FALSE, number / 10)),
            )
        )
    return Report(tuple(cases), (), (), ScoreSettings())


@pytest.fixture
def summary():
    return {
        "scans": 6,
        "subjects": 3,
        "lesion_free_scans": 0,
        "reference_lesions": 21,
        "missing": ["no prediction for <b>x</b>"],
        "predictions_without_reference": [],
        "lesion": {
            rule.value: {"lesion_f1": interval(0.75), "matched_dice": interval(NAN, NAN, NAN)}
            for rule in Rule
        },
        "pixel": {"pooled over all voxels": {"sen": 0.5, "dsc": NAN}},
        "pixel_precision_recall": {"average_precision": 0.625, "recall_ceiling": 0.875},
        "counts": {
            "mean_difference": -0.5,
            "limits_low": -2.0,
            "limits_high": 1.0,
            "mean_absolute_error": 1.125,
            "kappa": NAN,
            "by_burden": {"0": {"scans": 2, "mean_difference": 0.5}, "1-4": {"scans": 4}},
        },
        "calibration": {
            "mean_confidence": [0.1, NAN, 0.9],
            "share_true": [0.2, NAN, 0.8],
            "count": [5, 0, 5],
            "ece": 0.0625,
            "brier": 0.25,
            "candidates": 10,
        },
        "valdo": {"f1": 0.3125, "dice": 0.4375, "differs": "It is greedy.", "scans": 6},
        "strata": {"size": {"2 to 5 mm": {"lesion_sensitivity": interval(0.6875)}}},
        "comparison": {"lesion_f1": interval(0.0625)},
        "settings": {"seed": 0, "draws": 1000},
    }


def page(report, summary, tmp_path):
    path = write_page(report, summary, tmp_path / "out")
    assert path.name == "scores.html"
    text = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return text, tags


def test_the_page_holds_every_score_and_loads_nothing(report, summary, tmp_path):
    text, tags = page(report, summary, tmp_path)
    assert text.count("Research use only - not a medical device.") == 2
    for value in ("0.750", "0.625", "0.875", "1.125", "0.062", "0.312", "0.438", "0.688"):
        assert value in text
    assert "It is greedy." in text
    assert tags.images == 5 + 12
    assert all(link.startswith("data:image/png;base64,") for link in tags.links)
    assert not re.search(r"https?:|@import|url\(|<script|<link", text)
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "<scan>" not in text
    worst = re.findall(r"<figcaption>&lt;scan&gt; ([\d.]+)", text)
    assert list(map(float, worst)) == [5, 4, 3, 2, 1, 0, 0.5, 0.4, 0.3, 0.2, 0.1, 0]


def test_undefined_is_said_so_and_never_nan(summary, tmp_path):
    text, _ = page(Report((), (), (), ScoreSettings()), summary, tmp_path)
    assert "n/a <small>(n/a to n/a)</small>" in text
    assert not re.search(r">\s*nan\b", text, re.IGNORECASE)


@pytest.mark.parametrize("key", ["counts", "calibration", "valdo", "strata", "comparison"])
def test_a_missing_part_is_left_out(summary, tmp_path, key):
    bare = Report((), (), (), ScoreSettings())
    for part in (summary | {key: None}, {k: v for k, v in summary.items() if k != key}):
        text, _ = page(bare, part, tmp_path)
        assert ("It is greedy." in text) == (key != "valdo")
        assert "0.750" in text


def test_an_empty_summary_gives_a_page(tmp_path):
    text, tags = page(Report((), (), (), ScoreSettings()), {}, tmp_path)
    assert "Microbleed scores" in text
    assert tags.images == 0


def test_without_matplotlib_the_scores_stay_and_the_extra_is_named(
    report, summary, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text, tags = page(report, summary, tmp_path)
    assert "mmocnet[plots]" in text
    assert "0.750" in text
    assert tags.images == 0
