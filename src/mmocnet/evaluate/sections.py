"""The sections of the scores, the same in Markdown and in LaTeX."""

from collections.abc import Mapping
from typing import Any

from mmocnet.evaluate.matching import Rule
from mmocnet.evaluate.pixels import SCORE_NAMES
from mmocnet.evaluate.score import FROC_RULE
from mmocnet.evaluate.text_tables import (
    NOTICE,
    Section,
    cell,
    counted,
    latex_table,
    latex_text,
    markdown_section,
    significant,
)

RULE_TITLES = {
    Rule.OVERLAP: "any overlap",
    Rule.CENTROID: "centroids within 3 mm",
    Rule.IOU: "IoU over 0.1",
}
SCAN_SCORES = ("lesion_sensitivity", "lesion_precision", "lesion_f1", "fp_per_scan")
"""What the table of scan strata shows; scores.json has all."""
_WRITTEN = {
    "f1": "F1", "f2": "F2", "fp": "FP", "dice": "Dice", "mm3": "(mm3)", "iou": "IoU",
    "sen": "SEN", "pre": "PRE", "dsc": "DSC", "jsc": "JSC",
}  # fmt: skip


def interval_text(scores: Mapping[str, Any]) -> str:
    """Return a value and its interval; the value alone where it has none.

    >>> interval_text({"value": 0.5, "low": 0.25, "high": 0.75})
    '0.500 (0.250 to 0.750)'
    >>> interval_text({"value": 0.5, "low": None, "high": None})
    '0.500'
    """
    value, low, high = (cell(scores[name]) for name in ("value", "low", "high"))
    return value if low == high == cell(None) else f"{value} ({low} to {high})"


def _title(name: str) -> str:
    """Return a score's name for people.

    >>> _title("fp_per_scan"), _title("matched_volume_bias_mm3")
    ('FP per scan', 'matched volume bias (mm3)')
    """
    return " ".join(_WRITTEN.get(word, word) for word in name.split("_"))


def _lesions(summary: Mapping[str, Any]) -> Section:
    lesion = summary["lesion"]
    names = list(next(iter(lesion.values())))
    rows = [
        (_title(name), *(interval_text(lesion[rule.value][name]) for rule in Rule))
        for name in names
    ]
    text = "One-to-one matching; 95 % bootstrap interval over subjects."
    return Section("Lesions", text, ("score", *RULE_TITLES.values()), tuple(rows))


def _counts(summary: Mapping[str, Any]) -> Section:
    counts = summary["counts"]
    low, high = cell(counts["limits_low"]), cell(counts["limits_high"])
    icc = {"value": counts["icc"], "low": counts["icc_low"], "high": counts["icc_high"]}
    rows = (
        ("mean difference", counts["mean_difference"]),
        ("limits of agreement (Bland-Altman)", low if low == high else f"{low} to {high}"),
        ("mean absolute error", counts["mean_absolute_error"]),
        ("ICC(2,1), absolute agreement", interval_text(icc)),
        ("kappa of burden classes, linear weights", counts["kappa"]),
        ("kappa of burden classes, quadratic weights", counts["kappa_quadratic"]),
    )
    text = "Lesions a scan, predicted less reference. Burden classes: 0, 1-4, 5-9, 10+."
    return Section("Counts", text, ("", "value"), rows)


def _calibration(summary: Mapping[str, Any]) -> Section:
    found = summary["calibration"]
    if found is None:
        text = "Needs candidates with confidences from 0 to 1 for every scan."
        return Section("Calibration", text, (), ())
    both = found, found["all_candidates"]
    rows = (
        ("expected calibration error", *(significant(one["ece"]) for one in both)),
        ("Brier score", *(significant(one["brier"]) for one in both)),
        ("candidates", *(one["candidates"] for one in both)),
    )
    text = "Confidence of each candidate against whether it matches a lesion by overlap."
    columns = ("", f"confidence {found['min_confidence']:g} or more", "all candidates")
    note = (
        "Most candidates are faint and no lesions, which hardly adds to an error: over all of "
        "them it is small whatever it is for the others."
    )
    return Section("Calibration", text, columns, rows, note)


# VALDO's number, and where the summary has the one-to-one score to set beside it.
_BESIDE_VALDO = {
    "f1": ("lesion", FROC_RULE.value, "lesion_f1", "value"),
    "dice": ("lesion", FROC_RULE.value, "matched_dice", "value"),
    "count_difference": ("counts", "mean_absolute_error"),
    "volume_difference_mm3": (),
}


def _valdo(summary: Mapping[str, Any]) -> Section:
    valdo = summary["valdo"]
    rows: list[tuple[object, ...]] = []
    for name, path in _BESIDE_VALDO.items():
        beside: Any = summary
        for key in path:
            beside = beside[key]
        quartiles = {"low": valdo[f"{name}_q25"], "high": valdo[f"{name}_q75"]}
        median = interval_text({"value": valdo[name], **quartiles})
        rows.append((_title(name), median, valdo[f"{name}_mean"], beside if path else ""))
    columns = ("", "VALDO: median (quartiles)", "VALDO: mean", "one to one, any overlap")
    note = (
        f"VALDO's F1 and Dice are undefined in {valdo['undefined_scans']} of {valdo['scans']} "
        "scans. Its medians and means are over scans; the F1 and Dice beside them pool all lesions."
    )
    title = "VALDO 2021 task 2's own numbers"
    return Section(title, valdo["differs"], columns, tuple(rows), note)


def _strata(summary: Mapping[str, Any]) -> list[Section]:
    counts, sections = summary["strata_counts"], []
    for stratum, levels in summary["strata"].items():
        of_lesions = all(list(scores) == ["lesion_sensitivity"] for scores in levels.values())
        names = ("lesion_sensitivity",) if of_lesions else SCAN_SCORES
        rows = [
            (level, counts[stratum][level], *(interval_text(scores[name]) for name in names))
            for level, scores in levels.items()
        ]
        columns = (stratum, "lesions" if of_lesions else "scans", *map(_title, names))
        sections.append(Section(f"By {stratum}", "", columns, tuple(rows)))
    return sections


def _undefined(summary: Mapping[str, Any]) -> str:
    """Say how many images a mean leaves out."""
    parts = [
        f"{way}: DSC of {scores['dsc']}, MCC of {scores['mcc']}"
        for way, scores in summary["pixel_undefined"].items()
    ]
    return f"Undefined and left out of the means: {'; '.join(parts)}."


def _pixels(summary: Mapping[str, Any]) -> Section:
    intervals, area = summary["pixel_intervals"], summary["pixel_precision_recall"]

    def shown(way: str, name: str, value: float) -> object:
        # The two headline scores have their interval here, all but MCC in scores.json.
        return interval_text(intervals[way][name]) if name in ("dsc", "f2") else value

    rows = [
        (way, *(shown(way, name, scores[name]) for name in SCORE_NAMES))
        for way, scores in summary["pixel"].items()
    ]
    note = (
        f"Average precision, all voxels: {cell(area['average_precision'])}; mean per scan with a "
        f"lesion: {cell(area['mean_average_precision_per_scan'])}; highest recall at a "
        f"probability above 0: {cell(area['recall_ceiling'])}. {_undefined(summary)}"
    )
    columns = ("", *(name.upper() for name in SCORE_NAMES))
    return Section("Pixels", "", columns, tuple(rows), note)


def _comparison(summary: Mapping[str, Any]) -> list[Section]:
    found = summary["comparison"]
    if found is None:
        return []
    rows = tuple((_title(name), interval_text(one)) for name, one in found["differences"].items())
    text = (
        f"Second method less the first on the same {counted(found['scans'], 'scan')} of "
        f"{counted(found['subjects'], 'subject')}; paired 95 % bootstrap interval over subjects."
    )
    note = ", ".join(found["only_in_one"])
    note = f"Scored by one method alone, left out here: {note}." if note else ""
    return [Section("Comparison", text, ("score", "difference"), rows, note)]


def score_sections(summary: Mapping[str, Any]) -> list[Section]:
    """Return the sections of a summary, lesions first and pixels last."""
    strata = [one for one in _strata(summary) if one.rows]
    return [
        _lesions(summary),
        _counts(summary),
        _calibration(summary),
        _valdo(summary),
        *strata,
        _pixels(summary),
        *_comparison(summary),
    ]


def _about(summary: Mapping[str, Any]) -> str:
    least = summary["settings"]["min_diameter_mm"]
    aside = "" if least is None else f" Reference lesions under {least:g} mm are left out."
    return (
        f"{NOTICE} {counted(summary['scans'], 'scan')} of "
        f"{counted(summary['subjects'], 'subject')}, "
        f"{summary['lesion_free_scans']} without a lesion; "
        f"{counted(summary['reference_lesions'], 'reference lesion')}.{aside}"
    )


def score_markdown(summary: Mapping[str, Any]) -> str:
    """Return the scores of `summarise` as Markdown."""
    parts = ["# Scores", _about(summary), *map(markdown_section, score_sections(summary))]
    for title, key in (("Not scored", "missing"), ("Warnings", "warnings")):
        if summary[key]:
            lines = "\n".join(f"- {text}" for text in summary[key])
            parts += [f"## {title} ({len(summary[key])})", lines]
    return "\n\n".join(parts) + "\n"


def score_latex(summary: Mapping[str, Any]) -> str:
    """Return the scores of `summarise` as LaTeX tables (package booktabs)."""
    tables = [latex_table(one) for one in score_sections(summary) if one.rows]
    notes = [f"Not scored: {reason}." for reason in summary["missing"]]
    notes += [f"Warning: {text}." for text in summary["warnings"]]
    return "\n\n".join([latex_text(_about(summary)), *tables, *map(latex_text, notes)]) + "\n"
