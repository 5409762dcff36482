import dataclasses
import math

import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.evaluate.cases import Case
from mmocnet.evaluate.compare import compare_reports, shared_scans
from mmocnet.evaluate.lesions import lesion_scores
from mmocnet.evaluate.matching import Rule, components
from mmocnet.evaluate.pixels import pooled_scores
from mmocnet.evaluate.score import Report, ScoreSettings, score_case
from mmocnet.evaluate.sections import score_latex, score_markdown
from mmocnet.evaluate.summary import summarise

SETTINGS = ScoreSettings(draws=200)


def case(name, reference, predicted):
    return score_case(
        Case(name, name, (1.0, 1.0, 1.0), 2, reference, predicted, None, None, valid=None)
    )


def scan(rng, hit_rate):
    """Eight lesions of one voxel each, some of them found, and one false call."""
    reference = np.zeros((16, 16, 1), dtype=int)
    reference[1::4, 1::8, 0] = 1
    reference = components(reference)
    found = rng.random(int(reference.max()) + 1) < hit_rate
    found[0] = False
    predicted = np.where(found[reference], reference, 0)
    predicted[15, 15, 0] = 99
    return reference, predicted


@pytest.fixture
def reports(rng):
    first, second = [], []
    for index in range(12):
        reference, predicted = scan(rng, 0.4)
        first.append(case(f"s{index:02}", reference, predicted))
        better = predicted.copy()
        better[reference == 1] = 1
        better[reference == 2] = 2
        second.append(case(f"s{index:02}", reference, better))
    return (
        Report(tuple(first), (), (), SETTINGS),
        Report(tuple(second), (), (), SETTINGS),
    )


def test_a_method_against_itself_differs_by_nothing(reports):
    for name, interval in compare_reports(reports[0], reports[0]).items():
        if not math.isnan(interval.value):
            assert (interval.value, interval.low, interval.high) == (0, 0, 0), name


def test_differences_are_second_less_first(reports):
    differences = compare_reports(*reports)
    one, two = (
        lesion_scores([c.lesions[Rule.OVERLAP] for c in report.cases], draws=10)
        for report in reports
    )
    for name in ("lesion_sensitivity", "lesion_f1", "fp_per_scan"):
        expected = two[name].value - one[name].value
        assert differences[f"overlap_{name}"].value == pytest.approx(expected)
    dice = [pooled_scores(c.pixels for c in report.cases).dsc for report in reports]
    assert differences["pooled_voxels_dsc"].value == pytest.approx(dice[1] - dice[0])
    assert differences["overlap_lesion_sensitivity"].low > 0


def test_the_interval_is_that_of_a_bootstrap_with_both_methods_drawn_together(reports):
    interval = compare_reports(*reports)["overlap_lesion_sensitivity"]
    found = np.array(
        [[c.lesions[Rule.OVERLAP].found for c in report.cases] for report in reports], dtype=float
    )
    rng = np.random.default_rng(SETTINGS.seed)
    drawn = rng.multinomial(12, np.full(12, 1 / 12), size=SETTINGS.draws)
    difference = drawn @ (found[1] - found[0]) / (12 * 8)
    low, high = np.quantile(difference, (0.025, 0.975))
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))


def test_methods_that_call_lesions_in_other_subjects_have_intervals(reports):
    without = [[], []]
    for number, one in enumerate(reports[0].cases):
        reference = np.zeros((16, 16, 1), dtype=int)
        reference[1, 1, 0] = 1
        called = reference.copy()
        called[15, 15, 0] = 2
        for side, cases in enumerate(without):
            cases.append(case(one.name, reference, called * (number % 2 == side)))
    pair = (Report(tuple(cases), (), (), SETTINGS) for cases in without)
    interval = compare_reports(*pair)["overlap_lesion_precision"]
    assert (interval.value, interval.low, interval.high) == (0, 0, 0)


def test_scans_of_one_report_alone_are_named(reports):
    shorter = dataclasses.replace(reports[1], cases=reports[1].cases[1:])
    assert shared_scans(reports[0], shorter).only_in_one == ("s00",)
    summary = summarise(reports[0], shorter)
    assert summary["comparison"]["scans"] == 11
    assert "Scored by one method alone, left out here: s00." in score_markdown(summary)
    with pytest.raises(InputError, match="expected scans that both"):
        compare_reports(reports[0], dataclasses.replace(reports[1], cases=()))


def test_other_references_are_refused(reports):
    reference, predicted = scan(np.random.default_rng(1), 0.5)
    other = np.where(reference == 1, 0, reference)
    changed = (case("s00", other, predicted), *reports[1].cases[1:])
    with pytest.raises(InputError, match=r"the same reference in both reports, .* s00"):
        compare_reports(reports[0], dataclasses.replace(reports[1], cases=changed))


def test_latex_has_a_balanced_table_of_every_section(reports):
    text = score_latex(summarise(*reports))
    assert text.startswith("Research use only - not a medical device.")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") >= 8
    assert r"95 \% bootstrap interval" in text
    for line in text.splitlines():
        assert not line.endswith(r"\\") or "_" not in line.replace(r"\_", "")
