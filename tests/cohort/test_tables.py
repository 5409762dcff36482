"""What tables and report say of results, which are given here."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from mmocnet.cohort.digest import (
    cards,
    class_counts,
    lead,
    protocol_counts,
    to_look_at,
)
from mmocnet.cohort.page import render_page
from mmocnet.cohort.rows import ScanResult, mixed_settings
from mmocnet.cohort.scans import CohortScan
from mmocnet.cohort.tables import SCAN_COLUMNS, CohortFiles, scan_row, write_tables
from mmocnet.io.dataset import read_tsv
from mmocnet.lesion import Certainty, Lesion

OUT = Path("/results")


def _lesion(index, region="frontal", group="lobar", certainty=Certainty.DEFINITE, **more):
    values = {
        "centre_mm": (1.0, 2.0, 3.0), "centre_voxel": (4, 5, 6), "volume_mm3": 10.0,
        "diameter_mm": 3.0, "diameter_eq_mm": 2.7, "confidence": 0.9,
    } | more  # fmt: skip
    return Lesion(
        index=index, name=f"CMB {index}", certainty=certainty, region=region, side="left",
        group=group, **values,
    )  # fmt: skip


def _done(name, *lesions, located=True, brain_ml=1200.0, warnings=(), **more):
    acquired = {"MagneticFieldStrength": 3.0, "EchoTime": 0.02, "Manufacturer": "Maker"}
    return ScanResult(
        CohortScan(f"{name}.nii.gz", Path(f"/data/{name}.nii.gz"), OUT, participant=name),
        "done",
        lesions=lesions,
        summary={"Warnings": list(warnings), "PossibleSiderosis": [7]},
        provenance={
            "Version": "1",
            "Model": {"Name": "standard", "SHA256": {"a": "b"}, "Card": {}},
            "Threshold": 0.36,
            "OperatingPoint": "balanced",
            "Input": {"Acquisition": acquired},
            "Location": {"Ok": located, "Coverage": 0.9},
            "BrainMl": brain_ml,
            "PhaseRead": False,
        }
        | more,
        voxel_mm=(0.5, 0.5, 2.0),
    )


def _failed(name, reason):
    path = Path(f"/data/{name}.nii.gz")
    return ScanResult(CohortScan(path.name, path, OUT, participant=name), "failed", reason)


POSSIBLE, LARGE = Certainty.POSSIBLE, Certainty.MACROHAEMORRHAGE


def test_a_row_counts_microbleeds_by_certainty_and_place():
    row = scan_row(
        _done(
            "a",
            _lesion(1),
            _lesion(2, "thalamus", "deep", POSSIBLE, diameter_mm=5.5),
            _lesion(3, "n/a", "n/a"),
            _lesion(4, certainty=LARGE, diameter_mm=14.0, volume_mm3=900.0),
            warnings=("one\tdoubt", "two"),
        ),
        OUT,
    )
    assert set(row) == set(SCAN_COLUMNS)
    counts = ("microbleeds", "definite", "possible", "macrohaemorrhages")
    assert [row[name] for name in counts] == [3, 2, 1, 1]
    places = ("lobar", "deep", "infratentorial", "not_located", "pattern")
    assert [row[name] for name in places] == [1, 1, 0, 1, "mixed"]
    assert (row["volume_mm3"], row["largest_mm"], row["siderosis_candidates"]) == (30.0, 5.5, 1)
    assert (row["voxel_mm"], row["echo_ms"], row["field_t"]) == ("0.5 x 0.5 x 2", 20.0, 3.0)
    assert row["warnings"] == "one doubt | two"
    odd = CohortScan("a  b\n.nii", Path("/data/t\tb/a  b\n.nii"), OUT / "t\tb")
    odd_row = scan_row(replace(_done("x"), scan=odd), OUT)
    assert (odd_row["scan"], odd_row["report"]) == ("a  b .nii", "t b/a  b _report.html")
    assert row["report"] == "a_report.html"


def test_what_is_not_known_is_not_0():
    lost = scan_row(_done("a", _lesion(1, "n/a", "n/a"), located=False), OUT)
    assert math.isnan(lost["lobar"])
    assert (lost["not_located"], lost["pattern"]) == (1, "unknown")
    none = scan_row(_done("b", located=False, brain_ml=None), OUT)
    assert (none["lobar"], none["not_located"], none["pattern"]) == (0, 0, "none")
    assert math.isnan(none["largest_mm"])
    assert math.isnan(none["brain_ml"])
    assert set(scan_row(_failed("c", "why"), OUT)) == {
        "participant_id", "session_id", "scan", "state", "reason",
    }  # fmt: skip


def test_tables_have_a_row_a_scan_and_a_row_a_lesion(tmp_path):
    results = [_done("a", _lesion(1), _lesion(2)), _failed("b", "why"), _done("c", _lesion(1))]
    results = [
        ScanResult(
            CohortScan(one.scan.key, one.scan.path, tmp_path, one.scan.participant),
            one.state, one.reason, one.lesions, one.summary, one.provenance, one.voxel_mm,
        )
        for one in results
    ]  # fmt: skip
    files = CohortFiles(tmp_path)
    write_tables(results, files)
    for path, names in ((files.scans, ["a", "b", "c"]), (files.lesions, ["a", "a", "c"])):
        rows = read_tsv(path)
        assert [row["participant_id"] for row in rows] == names
        meanings = json.loads(path.with_suffix(".json").read_text())
        assert set(rows[0]) < set(meanings)
        assert "Research use only - not a medical device" in meanings["Description"]


def test_classes_are_of_scans_that_show_a_brain():
    many = [_lesion(number, certainty=POSSIBLE) for number in range(1, 12)]
    results = [_done("a"), _done("b", _lesion(1)), _done("c", *many), _done("d", brain_ml=100.0)]
    counts = {one.name: one for one in class_counts(results)}
    assert [counts[name].scans for name in ("none", "1-4", "5-9", "10 or more")] == [1, 1, 0, 1]
    assert counts["none"].definite == 2
    assert counts["10 or more"].share == pytest.approx(1 / 3)
    assert math.isnan(class_counts([])[0].share)


def test_protocols_are_counted_apart():
    other = {"Input": {"Acquisition": {"EchoTime": 0.04}}, "PhaseRead": True}
    results = [_done("a", _lesion(1)), _done("b"), _done("c", _lesion(1), warnings=("x",), **other)]
    first, second = protocol_counts(results)
    assert first.name == "Maker, 3 T, echo 20 ms, 0.5 x 0.5 x 2 mm"
    assert (first.scans, first.with_microbleeds, first.per_scan, first.warned) == (2, 0.5, 0.5, 0)
    assert second.name == "echo 40 ms, 0.5 x 0.5 x 2 mm, with phase"
    assert second.warned == 1


def test_what_failed_or_is_doubtful_is_to_be_looked_at_first():
    usual = [_done(f"u{number}", brain_ml=1200.0 + 10 * number) for number in range(10)]
    many = _done("many", *(_lesion(number) for number in range(1, 13)))
    small, warned = _done("small", brain_ml=500.0), _done("warned", warnings=("doubt",))
    found = to_look_at([*usual, small, many, warned, _failed("bad", "no image")])
    assert [(one.scan.participant, why.split(",")[0]) for one, why in found] == [
        ("bad", "no image"),
        ("small", "shows 500 ml of brain"),
        ("many", "12 microbleeds"),
        ("warned", "doubt"),
    ]


def test_a_scan_is_told_with_all_its_reasons_and_a_warning_of_many_once():
    told = "pixels of {} mm in {}.nii.gz"
    many = [_lesion(number) for number in range(1, 41)]
    results = [
        _done(f"s{n}", *(many if n == 7 else ()), warnings=(told.format(1.2 + n / 100, f"s{n}"),))
        for n in range(12)
    ]
    first, second = to_look_at([*results, _done("own", warnings=("alone",))])[:2]
    assert first[0].scan.participant == "s7"
    assert first[1] == "40 microbleeds, among the most of all scans"
    assert second == (None, "12 scans of 13: pixels of # mm in the scan")
    both = _done("both", *many, warnings=("alone",))
    assert to_look_at([both]) == [(both, "40 microbleeds, among the most of all scans | alone")]


def test_results_of_several_settings_are_told():
    same = [_done("a"), _done("b")]
    assert mixed_settings([*same, _failed("c", "x")]) == []
    odd = _done("c", Version="2", Threshold=0.8, PhaseRead=True, Model={"Name": "m", "SHA256": {}})
    said = " ".join(mixed_settings([*same, odd]))
    for words in (
        "versions of mmocnet: 1, 2",
        "0.36, 0.8",
        "2 models: m, standard",
        "1 of 3 scans",
    ):
        assert words in said


def test_the_summary_counts_people_and_what_is_not_done():
    results = [
        _done("a", _lesion(1), _lesion(2, certainty=POSSIBLE)),
        _done("b"),
        _failed("c", "x"),
    ]
    said = {name: value for _, value, name in cards(results)}
    assert said == {
        "scans segmented": "2", "participants": "2", "with a microbleed": "1 (50%)",
        "definite microbleeds": "1", "possible microbleeds": "1", "failed": "1",
    }  # fmt: skip
    assert lead(results) == "2 microbleeds in 2 scans: 1.00 a scan on average, median 1, at most 2."
    assert lead([_failed("c", "x")]) == "No scan was segmented."
    halves = lead([_done("a", _lesion(1)), _done("b")])
    assert halves == "1 microbleed in 2 scans: 0.50 a scan on average, median 0.5, at most 1."


def test_the_page_links_reports_and_lets_no_name_be_code():
    name = "<script>&%20"
    page = render_page(
        [_done(name, _lesion(1)), _failed("b", "<b>why</b>")], CohortFiles(OUT), "<i>set</i>"
    )
    assert 'href="%3Cscript%3E%26%2520_report.html"' in page
    assert "&lt;script&gt;&amp;%20.nii.gz" in page
    assert "<script>" not in page
    assert "&lt;b&gt;why&lt;/b&gt;" in page
    assert "&lt;i&gt;set&lt;/i&gt;" in page
    assert "Research use only - not a medical device" in page
    for heading in ("How many", "Regions", "Acquisitions", "Look at these first", "Scans"):
        assert f"<h2>{heading}</h2>" in page


def test_a_cohort_of_which_nothing_is_done_has_a_page():
    page = render_page([_failed("b", "why")], CohortFiles(OUT), "set")
    assert "No scan was segmented." in page
    assert "<h2>How many</h2>" not in page
