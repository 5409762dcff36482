"""The report of one scan: one HTML file that holds its own style and pictures."""

import base64
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from mmocnet.io.burden import RegionCount, region_sums
from mmocnet.io.report import (
    LIMITS,
    NOTICE,
    LesionPictures,
    Report,
    caption_text,
    conclusions,
    confidence_text,
    facts,
    finding_name,
    lead_sentence,
    limits_text,
    located_regions,
    number_text,
    overview_text,
    place_text,
    table_note,
)
from mmocnet.lesion import Certainty, Lesion

HEADINGS = (
    ("#", ""),
    ("Certainty", ""),
    ("Confidence", ""),
    ("Region", ""),
    ("Diameter", "mm"),
    ("Equivalent", "mm"),
    ("Volume", "mm³"),
    ("Centre x, y, z", "mm"),
    ("Voxel", "i, j, k, from 0"),
)

READ_HEADINGS = (
    ("Label", ""),
    ("Finding", ""),
    ("Verdict", ""),
    HEADINGS[1],
    ("Machine's confidence", ""),
    *(heading for heading in HEADINGS[3:] if heading[0] != "Voxel"),
)
"""The same where a reader has read them."""
OTHER_HEADINGS = (*READ_HEADINGS[:3], ("Machine's certainty", ""), *READ_HEADINGS[4:])
"""Of what a reader does not count."""
PLACE = ' class="place"'


def render_report(report: Report) -> str:
    """Return the report as a complete HTML page that loads nothing from elsewhere."""
    return page(
        f"Microbleeds in {report.title}",
        [
            heading("Cerebral microbleeds", report.title, report.series_uid),
            _summary(report),
            warning_list(report.warnings),
            _overview(report),
            _regions(located_regions(report)),
            _table(report),
            _others(report),
            _gallery(report),
            pair_list("Scan", report.technique),
            pair_list("How this was made", report.provenance),
        ],
        limits_text(report),
    )


def page(title: str, parts: Sequence[str], limits: str = LIMITS) -> str:
    """Return a complete page of parts, with the notice and the limits at its end.

    Args:
        title: Plain text.
        parts: HTML; empty ones are left out.
        limits: What the page cannot know, plain text.
    """
    style = files("mmocnet.io").joinpath("report.css").read_text(encoding="utf-8")
    footer = f"<footer><strong>{NOTICE}</strong> {escape(limits)}</footer>"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in (*parts, footer) if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def heading(what: str, title: str, series_uid: str = "") -> str:
    """Return the page's head: the notice, what it is, of which scan, and its series' UID."""
    uid = f'\n<p class="scan">Series Instance UID {escape(series_uid)}</p>' if series_uid else ""
    return (
        f'<header><p class="notice">{NOTICE}</p>\n'
        f'<h1>{escape(what)}</h1>\n<p class="scan">{escape(title)}</p>{uid}</header>'
    )


def summary(lead: str, cards: Sequence[tuple[str, str, str]], more: str = "") -> str:
    """Return the summary: a sentence, numbers as (kind, value, what), further HTML."""
    body = "".join(
        f'<div class="card {kind}"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for kind, value, name in cards
    )
    first = f'<p class="lead">{escape(lead)}</p>'
    return f'<section>{first}<div class="cards">{body}</div>{more}</section>'


def _summary(report: Report) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in report.notes)
    read = (
        "" if report.reading is None else f'<p class="read">{escape(report.reading.sentence)}</p>'
    )
    more = f'{read}<div class="conclusions">{definitions(conclusions(report))}</div>{notes}'
    return summary(lead_sentence(report), facts(report), more)


def warning_list(warnings: Sequence[str]) -> str:
    """Return the warnings, nothing where there is none."""
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return f'<section class="warnings"><h2>Warnings</h2><ul>{items}</ul></section>'


def _overview(report: Report) -> str:
    caption = overview_text(report)
    legend = _legend() if report.lesions else ""
    return (
        f'<section><h2>Overview</h2><figure class="overview">{image(report.overview, caption)}'
        f"<figcaption>{caption} {escape(report.display)} {legend}</figcaption>"
        "</figure></section>"
    )


def _legend() -> str:
    return " ".join(f'<span class="key {kind}">{kind}</span>' for kind in Certainty)


def _regions(rows: Sequence[RegionCount]) -> str:
    """Return the table of regions; nothing where none is known."""
    if not rows:
        return ""
    return f"<section><h2>Regions</h2>{region_table(rows)}</section>"


def region_table(rows: Sequence[RegionCount]) -> str:
    """Return the microbleeds of each region as a table, with sums and a note."""
    body = "".join(_region_row(row, "" if row.total else "zero") for row in rows)
    body += "".join(_region_row(row, "sum") for row in region_sums(rows))
    sides = "<th>left</th><th>right</th><th>n/a</th>"
    return (
        '<div class="scroll"><table class="regions"><thead>'
        '<tr><th rowspan="2">Region</th><th rowspan="2">Group</th><th colspan="3">Definite</th>'
        f'<th colspan="3">Possible</th><th rowspan="2">All</th></tr><tr>{sides}{sides}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        '<p class="small">Regions of the Microbleed Anatomical Rating Scale, from a registration '
        "to a template; n/a: side not known.</p>"
    )


def _region_row(row: RegionCount, kind: str) -> str:
    counts = (*row.definite, *row.possible, row.total)
    cells = "".join(f"<td>{count or '-'}</td>" for count in counts)
    first = f"<td>{escape(row.region)}</td><td>{escape(row.group)}</td>"
    return f"<tr{f' class={kind}' if kind else ''}>{first}{cells}</tr>"


def _table(report: Report) -> str:
    if not report.lesions:
        return ""
    body = "".join(_row(one, report) for one in report.lesions)
    note = f'<p class="small">{escape(table_note(report))}</p>'
    headings = HEADINGS if report.reading is None else READ_HEADINGS
    return f"<section><h2>Lesions</h2>{_scrolled(headings, body)}{note}</section>"


def _scrolled(headings: Sequence[tuple[str, str]], body: str) -> str:
    """Return rows as a table under headings: (name, unit)."""
    head = "".join(
        f"<th{PLACE if name == 'Region' else ''}>{name}"
        f"{f' <small>{unit}</small>' if unit else ''}</th>"
        for name, unit in headings
    )
    kind = "lesions" if headings is HEADINGS else "lesions reviewed"
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _others(report: Report) -> str:
    """Return the table of findings that do not count; nothing where nobody has read the scan."""
    if report.reading is None or not report.reading.others:
        return ""
    body = "".join(
        f"<tr><td></td>{_cells(one, (one.name, why))}</tr>" for one, why in report.reading.others
    )
    return f"<section><h2>Not counted</h2>{_scrolled(OTHER_HEADINGS, body)}</section>"


def _row(lesion: Lesion, report: Report) -> str:
    linked = lesion.index in report.pictures
    number = f'<a href="#lesion-{lesion.index}">{lesion.index}</a>' if linked else lesion.index
    read = report.reading
    first = () if read is None else (lesion.name, read.verdicts.get(lesion.index, "n/a"))
    return f"<tr><td>{number}</td>{_cells(lesion, first)}</tr>"


def _cells(lesion: Lesion, first: tuple[str, ...]) -> str:
    cells = (
        *(escape(text) for text in first),
        f'<span class="key {lesion.certainty}">{lesion.certainty}</span>',
        escape(confidence_text(lesion.confidence)),
    )
    sizes = (
        number_text(lesion.diameter_mm),
        number_text(lesion.diameter_eq_mm),
        number_text(lesion.volume_mm3),
        ", ".join(number_text(value) for value in lesion.centre_mm),
        # Beside the reader's verdict there is no room for it; the tables have it.
        *([] if first else [", ".join(map(str, lesion.centre_voxel))]),
    )
    place = f"<td{PLACE}>{escape(place_text(lesion))}</td>"
    before, after = ("".join(f"<td>{cell}</td>" for cell in part) for part in (cells, sizes))
    return before + place + after


def _gallery(report: Report) -> str:
    shown = [one for one in report.lesions if one.index in report.pictures]
    if not shown:
        return ""
    more = len(report.lesions) - len(shown)
    note = (
        f"<p>The {len(shown)} most confident are pictured; {more} more are in the table.</p>"
        if more
        else ""
    )
    body = "".join(_pictured(one, report.pictures[one.index], report) for one in shown)
    return (
        f'<section><h2>Pictures</h2>{note}<div class="gallery">{body}</div>'
        f'<p class="small">{escape(report.display)}</p></section>'
    )


def _pictured(lesion: Lesion, pictures: LesionPictures, report: Report) -> str:
    text = escape(caption_text(report, lesion, pictures))
    zoomed = f"zoomed to {pictures.width_mm:.0f} mm"
    name = escape(finding_name(report, lesion))
    images = "".join(
        image(data, f"{name}, {what}")
        for data, what in (
            (pictures.plain, zoomed),
            (pictures.outlined, f"{zoomed}, outlined"),
            (pictures.locator, "place in the slice"),
        )
    )
    return (
        f'<figure class="lesion {lesion.certainty}" id="lesion-{lesion.index}">'
        f'<div class="views">{images}</div><figcaption><b>{name}</b> '
        f'<span class="key {lesion.certainty}">{lesion.certainty}</span> {text}</figcaption>'
        "</figure>"
    )


def image(data: bytes, text: str) -> str:
    """Return a PNG as part of the page; the text is HTML."""
    coded = base64.b64encode(data).decode("ascii")
    return f'<img alt="{text}" src="data:image/png;base64,{coded}">'


def definitions(pairs: Sequence[tuple[str, str]]) -> str:
    """Return (name, value) pairs as a list."""
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{body}</dl>"


def pair_list(title: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Return a section of (name, value) pairs, nothing where there is none."""
    return f"<section><h2>{title}</h2>{definitions(pairs)}</section>" if pairs else ""
