"""The scores as one HTML page that holds its own style and pictures."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmocnet.errors import InputError
from mmocnet.evaluate.page_plots import Picture, score_pictures, worst_pictures
from mmocnet.evaluate.page_tables import html_block, html_section
from mmocnet.evaluate.panels import LEGEND
from mmocnet.evaluate.score import Report
from mmocnet.evaluate.sections import score_sections
from mmocnet.evaluate.text_tables import NOTICE, Section, counted
from mmocnet.evaluate.worst import Kind
from mmocnet.io.dataset import write_text

FILE_NAME = "scores.html"
_SIDES = (
    "Front or head is up, the patient's right on the left; in sagittal slices the front is on the "
    "left. A picture keeps its own sides."
)


def write_page(report: Report, summary: Mapping[str, Any], out: Path) -> Path:
    """Write scores.html, which loads nothing from elsewhere, and return its path.

    Plots whose scores there are not are left out; without matplotlib the page says so in their
    place.

    Args:
        report: From `evaluate_folder`.
        summary: Its scores.
        out: Folder, made where there is none.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / FILE_NAME
    write_text(path, render_page(report, summary))
    return path


def render_page(report: Report, summary: Mapping[str, Any]) -> str:
    """Return the page of `write_page`."""
    style = files("mmocnet.evaluate").joinpath("page.css").read_text(encoding="utf-8")
    first, *others = [html_section(one) for one in score_sections(summary)]
    parts = [
        _header(summary),
        _missing(summary),
        first,
        _plots(report, summary),
        *others,
        _worst(report),
        _settings(summary),
        f"<footer><strong>{NOTICE}</strong> n/a: undefined.</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Microbleed scores</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _header(summary: Mapping[str, Any]) -> str:
    known = [
        ("scans", "scan", ""),
        ("subjects", "subject", ""),
        ("lesion_free_scans", "scan", " without a lesion"),
        ("reference_lesions", "reference lesion", ""),
        ("slices_with_a_lesion", "slice", " with a lesion"),
    ]
    cards = "".join(
        _card(counted(summary[key], noun), more)
        for key, noun, more in known
        if summary.get(key) is not None
    )
    return (
        f'<header><p class="notice">{NOTICE}</p>\n<h1>Microbleed scores</h1>\n'
        '<p class="lead">Predictions against a reference, scan by scan.</p></header>\n'
        f'<section><div class="cards">{cards}</div></section>'
    )


def _card(count: str, more: str) -> str:
    number, noun = count.split(" ", 1)
    return f'<div class="card"><b>{number}</b><span>{noun}{more}</span></div>'


def _missing(summary: Mapping[str, Any]) -> str:
    lists = (
        ("Warnings", summary.get("warnings") or ()),
        ("Not scored", summary.get("missing") or ()),
        ("Predictions without a reference", summary.get("predictions_without_reference") or ()),
    )
    return "\n".join(
        f'<section class="warnings"><h2>{name} ({len(items)})</h2><ul>'
        + "".join(f"<li>{escape(str(item))}</li>" for item in items)
        + "</ul></section>"
        for name, items in lists
        if items
    )


def _plots(report: Report, summary: Mapping[str, Any]) -> str:
    try:
        pictures = score_pictures(report, summary)
    except InputError as error:
        return html_block("Plots", f"<p>{escape(str(error))}</p>")
    return html_block("Plots", _gallery("plots", pictures))


def _settings(summary: Mapping[str, Any]) -> str:
    rows = tuple((name.replace("_", " "), value) for name, value in summary["settings"].items())
    return html_section(Section("How this was scored", "", ("", "value"), rows))


def _worst(report: Report) -> str:
    parts = []
    for kind, heading in ((Kind.MISSED, "Largest misses"), (Kind.FALSE, "Surest false calls")):
        try:
            pictures = worst_pictures(report, kind)
        except InputError:  # the plots' section has said that matplotlib is missing
            return ""
        if pictures:
            parts += [f"<h3>{heading}</h3>", _gallery("crops", pictures)]
    note = f'<p class="small">{escape(LEGEND.capitalize())}. {_SIDES}</p>'
    return html_block("Worst misses and false calls", note, *parts) if parts else ""


def _gallery(name: str, pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ""
    return f'<div class="{name}">' + "\n".join(map(_figure, pictures)) + "</div>"


def _figure(picture: Picture) -> str:
    coded = base64.b64encode(picture.png).decode("ascii")
    title = f"<b>{escape(picture.title)}.</b> " if picture.title else ""
    text = escape(picture.title or picture.caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{coded}">'
        f"<figcaption>{title}{escape(picture.caption)}</figcaption></figure>"
    )
