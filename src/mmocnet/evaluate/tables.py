"""Scores as files: CSV, JSON and Markdown."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmocnet.evaluate.matching import Rule
from mmocnet.evaluate.pixels import SCORE_NAMES, pixel_scores, pooled_scores
from mmocnet.evaluate.planes import PlaneScores
from mmocnet.evaluate.realism import Range, Realism, ranges
from mmocnet.evaluate.score import CaseScore, Report, case_froc, summarise
from mmocnet.io.dataset import write_json, write_text

NOTICE = "Research use only - not a medical device."
RULE_TITLES = {
    Rule.OVERLAP: "any overlap",
    Rule.CENTROID: "centroids within 3 mm",
    Rule.IOU: "IoU over 0.1",
}


def cell(value: object, digits: int = 3) -> str:
    """Return a value as a table shows it; NaN and None are n/a.

    >>> cell(0.5), cell(float("nan")), cell(3)
    ('0.500', 'n/a', '3')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table.

    >>> print(markdown_table(["a", "b"], [[1, 0.25]]))
    | a | b |
    |---|---|
    | 1 | 0.250 |
    """
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV; NaN and None become n/a."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(row.get(column), 6) for column in columns])
    write_text(path, text.getvalue())


def case_row(case: CaseScore) -> dict[str, object]:
    """Return one scan's row: lesion counts under each rule, then pixels."""
    row: dict[str, object] = {"scan": case.name, "subject": case.subject}
    for rule, lesions in case.lesions.items():
        row["reference_lesions"] = lesions.references
        row["predicted_lesions"] = lesions.found + lesions.false_positives
        dice = lesions.matched_dice
        row[f"{rule.value}_found"] = lesions.found
        row[f"{rule.value}_false_positives"] = lesions.false_positives
        row[f"{rule.value}_matched_dice"] = sum(dice) / len(dice) if dice else float("nan")
    row["slices_with_a_lesion"] = len(case.slices)
    ways = {"scan": pixel_scores(case.pixels), "lesion_slices": pooled_scores(case.slices)}
    for way, scores in ways.items():
        row |= {f"{way}_{name}": getattr(scores, name) for name in SCORE_NAMES}
    return row


def _interval(scores: Mapping[str, Any]) -> str:
    low, high = cell(scores["low"]), cell(scores["high"])
    return f"{cell(scores['value'])} ({low} to {high})"


def score_markdown(summary: Mapping[str, Any]) -> str:
    """Return the scores of `summarise` as Markdown."""
    lesion = summary["lesion"]
    names = list(next(iter(lesion.values())))
    lesion_rows = [
        [name.replace("_", " "), *(_interval(lesion[rule.value][name]) for rule in Rule)]
        for name in names
    ]
    pixel_rows = [
        [way, *(scores[name] for name in SCORE_NAMES)] for way, scores in summary["pixel"].items()
    ]
    area = summary["pixel_precision_recall"]
    missing = [f"- {reason}" for reason in summary["missing"]]
    return "\n".join(
        [
            "# Scores",
            "",
            f"{NOTICE} {summary['scans']} scans of {summary['subjects']} subjects, "
            f"{summary['lesion_free_scans']} without a lesion; "
            f"{summary['reference_lesions']} reference lesions.",
            "",
            "## Lesions",
            "",
            "One-to-one matching; 95 % bootstrap interval over subjects.",
            "",
            markdown_table(["score", *(RULE_TITLES[rule] for rule in Rule)], lesion_rows),
            "",
            "## Pixels",
            "",
            markdown_table(["", *(name.upper() for name in SCORE_NAMES)], pixel_rows),
            "",
            f"Average precision, all voxels: {cell(area['average_precision'])}; highest recall at "
            f"a probability above 0: {cell(area['recall_ceiling'])}.",
            *(["", f"## Not scored ({len(missing)})", "", *missing] if missing else []),
            "",
        ]
    )


def write_report(report: Report, out: Path) -> dict[str, Any]:
    """Write scores.json, scores.md, scans.csv and, with candidates, froc.csv; return the summary.

    Args:
        report: From `evaluate_folder`.
        out: Folder, made where there is none.
    """
    out.mkdir(parents=True, exist_ok=True)
    summary = summarise(report)
    write_json(out / "scores.json", summary)
    write_text(out / "scores.md", score_markdown(summary))
    rows = [case_row(case) for case in report.cases]
    write_csv(out / "scans.csv", list(rows[0]), rows)
    curve = case_froc(report.cases)
    if curve is not None:
        columns = [vars(curve)[name] for name in vars(curve)]
        names = list(vars(curve))
        write_csv(
            out / "froc.csv",
            names,
            (
                dict(zip(names, map(float, values), strict=True))
                for values in zip(*columns, strict=True)
            ),
        )
    return summary


PLANE_COLUMNS = (
    "threshold",
    "lesion_sensitivity",
    "fp_per_plane",
    "mimics_rejected",
    "matched_dice",
    "pooled_dsc",
    "pooled_f2",
)


def plane_markdown(scores: Sequence[PlaneScores]) -> str:
    """Return plane scores, one row a threshold, as Markdown."""
    rows = [
        [
            f"{getattr(s, name)} of {s.mimics}" if name == "mimics_rejected" else getattr(s, name)
            for name in PLANE_COLUMNS
        ]
        for s in scores
    ]
    lesions = scores[0].lesions if scores else 0
    title = [name.replace("_", " ") for name in PLANE_COLUMNS]
    return f"{NOTICE} {lesions} reference lesions.\n\n{markdown_table(title, rows)}\n"


def write_planes(
    chosen: PlaneScores | None, curve: Sequence[PlaneScores], out: Path, about: Mapping[str, Any]
) -> None:
    """Write planes.json (the chosen threshold), planes.csv (all of them) and planes.md.

    Args:
        chosen: Scores at the operating point, or None where none was asked for.
        curve: Scores at every threshold.
        out: Folder, made where there is none.
        about: What was scored, for the JSON.
    """
    out.mkdir(parents=True, exist_ok=True)
    at = None if chosen is None else vars(chosen)
    write_json(out / "planes.json", {**about, "scores": at, "curve": [vars(s) for s in curve]})
    write_csv(out / "planes.csv", list(PlaneScores.__annotations__), (vars(s) for s in curve))
    write_text(out / "planes.md", plane_markdown([chosen] if chosen is not None else curve))


def range_markdown(ranges_by_name: Mapping[str, Mapping[str, Range]]) -> str:
    """Return the realism figures' ranges, one row an image set and figure, as Markdown."""
    rows = [
        [name, figure.replace("_", " "), span.low, span.median, span.high]
        for name, figures in ranges_by_name.items()
        for figure, span in figures.items()
    ]
    return markdown_table(["images", "figure", "lowest", "median", "highest"], rows)


def write_realism(figures: Mapping[str, Sequence[Realism]], out: Path) -> None:
    """Write realism.json (ranges) and realism.csv (a row a slice)."""
    out.mkdir(parents=True, exist_ok=True)
    spans = {name: ranges(listed) for name, listed in figures.items()}
    write_json(
        out / "realism.json",
        {name: {key: vars(span) for key, span in found.items()} for name, found in spans.items()},
    )
    rows = ({"images": name, **vars(one)} for name, listed in figures.items() for one in listed)
    write_csv(out / "realism.csv", ["images", *Realism.__annotations__], rows)
