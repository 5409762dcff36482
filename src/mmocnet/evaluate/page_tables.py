"""Tables of the score page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

RULE_TITLES = {
    "overlap": "any overlap",
    "centroid": "centroids within 3 mm",
    "iou": "IoU over 0.1",
}
# VALDO's numbers, and where the summary has the one-to-one score beside each.
_VALDO_ROWS = (
    ("f1", ("F1", ("lesion", "overlap", "lesion_f1"))),
    ("dice", ("Dice", ("lesion", "overlap", "matched_dice"))),
    ("count_difference", ("absolute count difference", ("counts", "mean_absolute_error"))),
    ("volume_difference_mm3", ("absolute volume difference, mm³", ())),
)


def words(name: object) -> str:
    """Return a key as a reader sees it, escaped.

    >>> words("lesion_f1")
    'lesion f1'
    """
    return escape(str(name).replace("_", " "))


def is_interval(value: object) -> bool:
    """Return whether a value is an interval's dict."""
    return isinstance(value, Mapping) and {"value", "low", "high"} <= set(value)


def cell(value: Any) -> str:
    """Return a value as HTML; NaN and None are n/a.

    >>> cell(0.25), cell(float("nan")), cell(3)
    ('0.250', 'n/a', '3')
    >>> cell({"value": 0.5, "low": 0.25, "high": 0.75})
    '0.500 <small>(0.250 to 0.750)</small>'
    """
    if is_interval(value):
        low, high = cell(value["low"]), cell(value["high"])
        return f"{cell(value['value'])} <small>({low} to {high})</small>"
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(one) for one in value)
    return escape(str(value))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already; the first of a row is its heading."""
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td>{one}</td>" for one in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def section(heading: str, *parts: str) -> str:
    """Return a section, or nothing where all its parts are empty."""
    body = "\n".join(part for part in parts if part)
    return f"<section><h2>{heading}</h2>\n{body}\n</section>" if body else ""


def values_table(values: Mapping[str, Any]) -> str:
    """Return a table of names and values, and a table of each mapping among them under its name."""
    flat = {k: v for k, v in values.items() if is_interval(v) or not isinstance(v, Mapping | list)}
    nested = {k: v for k, v in values.items() if isinstance(v, Mapping) and not is_interval(v)}
    parts = [table(["", "value"], [(words(k), cell(v)) for k, v in flat.items()])] if flat else []
    for name, inner in nested.items():
        parts += [f"<h3>{words(name)}</h3>", grid_table(inner)]
    return "\n".join(parts)


def grid_table(rows: Mapping[str, Any]) -> str:
    """Return a mapping of mappings as a table, a row each; a plain one as names and values."""
    inner = [row for row in rows.values() if isinstance(row, Mapping) and not is_interval(row)]
    if not rows or len(inner) < len(rows):
        return values_table(rows) if rows else ""
    columns = list(dict.fromkeys(name for row in inner for name in row))
    return table(
        ["", *map(words, columns)],
        [(words(k), *(cell(row.get(c)) for c in columns)) for k, row in rows.items()],
    )


def lesion_section(summary: Mapping[str, Any]) -> str:
    """Return the lesion scores, one column a matching rule."""
    lesion = summary.get("lesion")
    if not lesion:
        return ""
    names = list(next(iter(lesion.values())))
    rows = [
        (words(name), *(cell(scores.get(name)) for scores in lesion.values())) for name in names
    ]
    note = "<p>One-to-one matching; 95 % bootstrap interval over subjects.</p>"
    columns = ["score", *(RULE_TITLES.get(rule, words(rule)) for rule in lesion)]
    return section("Lesions", note, table(columns, rows))


def pixel_section(summary: Mapping[str, Any]) -> str:
    """Return the pixel scores, one row a way of taking images together."""
    pixel = summary.get("pixel")
    if not pixel:
        return ""
    columns = list(next(iter(pixel.values())))
    rows = [(words(way), *(cell(scores.get(c)) for c in columns)) for way, scores in pixel.items()]
    area = summary.get("pixel_precision_recall") or {}
    note = (
        f"<p>Average precision over all voxels: {cell(area.get('average_precision'))}; highest "
        f"recall at a probability above 0: {cell(area.get('recall_ceiling'))}.</p>"
    )
    return section("Pixels", table(["", *(escape(c.upper()) for c in columns)], rows), note)


def valdo_section(summary: Mapping[str, Any]) -> str:
    """Return VALDO's numbers beside the one-to-one ones, and how they differ."""
    valdo = summary.get("valdo")
    if not valdo:
        return ""
    rows = [
        (name, cell(valdo[key]), _inside(summary, path)) for key, (name, path) in _VALDO_ROWS
        if key in valdo
    ]  # fmt: skip
    known = {"differs", *(key for key, _ in _VALDO_ROWS)}
    rows += [(words(key), cell(valdo[key]), "") for key in valdo if key not in known]
    note = f"<p>{escape(str(valdo['differs']))}</p>" if valdo.get("differs") else ""
    columns = ["", "VALDO 2021 task 2", "one to one, any overlap"]
    return section("VALDO 2021 task 2 beside the one-to-one scores", note, table(columns, rows))


def _inside(summary: Mapping[str, Any], path: Sequence[str]) -> str:
    value: Any = summary
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return cell(value) if path and value is not None else ""


def strata_section(summary: Mapping[str, Any]) -> str:
    """Return a table a stratum."""
    strata = summary.get("strata") or {}
    parts = [f"<h3>By {words(name)}</h3>\n{grid_table(levels)}" for name, levels in strata.items()]
    return section("Strata", *parts)


def section_of(summary: Mapping[str, Any], key: str, heading: str, note: str = "") -> str:
    """Return a section of whatever values the summary has under a key."""
    values = summary.get(key)
    if not isinstance(values, Mapping) or not values:
        return ""
    return section(heading, f"<p>{note}</p>" if note else "", values_table(values))
