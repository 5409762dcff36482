"""Scores as files: CSV, JSON, Markdown, LaTeX and a page."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmocnet import __version__
from mmocnet.errors import InputError
from mmocnet.evaluate.pixels import SCORE_NAMES, pixel_scores, pooled_scores
from mmocnet.evaluate.planes import PlaneScores
from mmocnet.evaluate.realism import Range, Realism, ranges
from mmocnet.evaluate.score import CaseScore, Report, case_froc
from mmocnet.evaluate.sections import score_latex, score_markdown
from mmocnet.evaluate.strata import case_levels
from mmocnet.evaluate.summary import summarise
from mmocnet.evaluate.text_tables import NOTICE, markdown_table, write_csv
from mmocnet.io.dataset import write_json, write_text

OPTIONAL = ("froc.csv", "scores.html")
"""Not every evaluation has them."""


def case_row(case: CaseScore) -> dict[str, object]:
    """Return one scan's row: lesion counts under each rule, what kind of scan, then pixels."""
    nan = float("nan")
    row: dict[str, object] = {"scan": case.name, "subject": case.subject}
    for rule, lesions in case.lesions.items():
        row["reference_lesions"] = lesions.references
        row["predicted_lesions"] = lesions.found + lesions.false_positives
        dice = lesions.matched_dice
        row[f"{rule.value}_found"] = lesions.found
        row[f"{rule.value}_false_positives"] = lesions.false_positives
        row[f"{rule.value}_matched_dice"] = sum(dice) / len(dice) if dice else nan
        volume = lesions.volume_error_mm3
        row[f"{rule.value}_volume_bias_mm3"] = sum(volume) / len(volume) if volume else nan
    row |= dict(case_levels(case))
    row["slices_with_a_lesion"] = len(case.slices)
    ways = {"scan": pixel_scores(case.pixels), "lesion_slices": pooled_scores(case.slices)}
    for way, scores in ways.items():
        row |= {f"{way}_{name}": getattr(scores, name) for name in SCORE_NAMES}
    return row


def write_report(report: Report, out: Path, other: Report | None = None) -> dict[str, Any]:
    """Write scores.json, .md and .tex, scans.csv, with candidates froc.csv, and the page.

    Without matplotlib the page has no plots and says so. Where there is no page, `page` of the
    summary says why.

    Args:
        report: From `evaluate_folder`.
        out: Folder, made where there is none.
        other: A second method on the same references, to be compared with the first.

    Returns:
        The summary.
    """
    summary = summarise(report, other) | {"provenance": _provenance()}
    write_json(out / "scores.json", summary)
    for name in OPTIONAL:
        # Of an earlier evaluation it would stand beside scores that are not its own.
        (out / name).unlink(missing_ok=True)
    write_text(out / "scores.md", score_markdown(summary))
    write_text(out / "scores.tex", score_latex(summary))
    rows = [case_row(case) for case in report.cases]
    write_csv(out / "scans.csv", list(rows[0]), rows)
    _write_froc(report, out)
    return summary | {"page": _write_page(report, summary, out)}


def _write_froc(report: Report, out: Path) -> None:
    curve = case_froc(report.cases)
    if curve is None:
        return
    names = list(vars(curve))
    values = zip(*vars(curve).values(), strict=True)
    rows = (dict(zip(names, map(float, one), strict=True)) for one in values)
    write_csv(out / "froc.csv", names, rows)


def _write_page(report: Report, summary: dict[str, Any], out: Path) -> str:
    """Return the page's file name, or why there is none."""
    try:
        from mmocnet.evaluate.page import write_page

        return str(write_page(report, summary, out).name)
    except ImportError as error:
        return f"no page: {error}"
    except InputError as error:
        return f"no page: {error}"


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
    lesions = scores[0].lesions if scores else 0
    table = markdown_table(_plane_titles(), map(_plane_cells, scores))
    return f"{NOTICE} {lesions} reference lesions.\n\n{table}\n"


def plane_limits_markdown(limited: Sequence[tuple[Sequence[float], PlaneScores]]) -> str:
    """Return plane scores, one row a threshold with the limits that it keeps to, as Markdown."""
    lesions = limited[0][1].lesions if limited else 0
    rows = [
        [", ".join(f"{limit:g}" for limit in limits), *_plane_cells(scores)]
        for limits, scores in limited
    ]
    table = markdown_table(["fp per plane, at most", *_plane_titles()], rows)
    return (
        f"{NOTICE} {lesions} reference lesions. Lowest thresholds with at most so many false "
        f"positives a plane, chosen on these planes:\n\n{table}\n"
    )


def _plane_titles() -> list[str]:
    return [name.replace("_", " ") for name in PLANE_COLUMNS]


def _plane_cells(scores: PlaneScores) -> list[object]:
    return [
        f"{scores.mimics_rejected} of {scores.mimics}"
        if name == "mimics_rejected"
        else getattr(scores, name)
        for name in PLANE_COLUMNS
    ]


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
    at = None if chosen is None else vars(chosen)
    found = {"scores": at, "curve": [vars(s) for s in curve], "provenance": _provenance()}
    write_json(out / "planes.json", {**about, **found})
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
    spans = {name: ranges(listed) for name, listed in figures.items()}
    found = {name: {key: vars(one) for key, one in span.items()} for name, span in spans.items()}
    write_json(out / "realism.json", found | {"provenance": _provenance()})
    rows = ({"images": name, **vars(one)} for name, listed in figures.items() for one in listed)
    write_csv(out / "realism.csv", ["images", *Realism.__annotations__], rows)


def _provenance() -> dict[str, str]:
    return {"version": __version__, "finished": datetime.now(UTC).isoformat(timespec="seconds")}
