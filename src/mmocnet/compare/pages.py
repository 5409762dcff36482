"""The report of two visits as HTML and as PDF."""

from html import escape

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Paragraph, Spacer

from mmocnet.compare.match import Change, State
from mmocnet.compare.report import (
    DISPLAY,
    HEADINGS,
    TABLE_NOTE,
    CompareReport,
    cells,
)
from mmocnet.io import pdf
from mmocnet.io.report_html import definitions as definition_list
from mmocnet.io.report_html import heading, image, page, pair_list, summary, warning_list

TITLE = "Cerebral microbleeds, two visits"
OUTLINES = "Outlines are orange, whatever became of the lesion."
INKS = {State.NEW: "definite", State.GROWN: "macrohaemorrhage", State.STABLE: "possible"}
"""Kind of finding whose ink a state borrows; others have none."""


def render_html(report: CompareReport) -> str:
    """Return the report as a complete HTML page that loads nothing from elsewhere."""
    more = f'<div class="conclusions">{definition_list(report.conclusions)}</div>'
    return page(
        f"{TITLE}: {report.title}",
        [
            heading(TITLE, report.title),
            summary(report.lead, report.cards, more),
            warning_list(report.warnings),
            _table(report),
            _gallery(report),
            pair_list("How this was made", report.provenance),
        ],
        report.limits,
    )


def _table(report: CompareReport) -> str:
    if not report.changes:
        return ""
    head = "".join(f"<th>{escape(name).replace(chr(10), '<br>')}</th>" for name in HEADINGS)
    body = "".join(_row(one) for one in report.changes)
    return (
        f'<section><h2>Lesions</h2><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><p class="small">{_legend()}<br>'
        f"{escape(TABLE_NOTE)}</p></section>"
    )


def _legend() -> str:
    return f"{' '.join(_key(state) for state in State)}. {OUTLINES}"


def _row(change: Change) -> str:
    number, _, *rest = (f"<td>{escape(cell)}</td>" for cell in cells(change))
    return f"<tr>{number}<td>{_key(change.state)}</td>{''.join(rest)}</tr>"


def _key(state: State) -> str:
    return f'<span class="key {INKS.get(state, "")}">{state}</span>'


def _gallery(report: CompareReport) -> str:
    shown = [one for one in report.changes if one.index in report.pictures]
    if not shown:
        return ""
    figures = []
    for one in shown:
        views = report.pictures[one.index]
        images = "".join(
            image(data, f"{one.index}, {what}")
            for data, what in (
                (views.baseline, "baseline"),
                (views.follow_up, "follow-up"),
                (views.baseline_outlined, "baseline, outlined"),
                (views.follow_up_outlined, "follow-up, outlined"),
            )
        )
        figures.append(
            f'<figure class="lesion"><div class="views">{images}</div><figcaption>'
            f"<b>{one.index}</b> {_key(one.state)}: {escape(report.captions[one.index])}"
            "</figcaption></figure>"
        )
    return (
        f'<section><h2>Pictures</h2><p class="small">{escape(DISPLAY)}</p>'
        f'<div class="gallery rows">{"".join(figures)}</div></section>'
    )


def render_pdf(report: CompareReport) -> bytes:
    """Return the report as PDF: summary and table, then pictures."""
    story: list[Flowable] = [
        *pdf.summary(report.lead, report.cards, report.conclusions),
        *pdf.warning_box(report.warnings),
        *_pdf_table(report),
        *_pdf_gallery(report),
        *pdf.pair_table("How this was made", report.provenance),
    ]
    return pdf.document(TITLE, report.title, story, report.limits)


def _pdf_table(report: CompareReport) -> list[Flowable]:
    if not report.changes:
        return []
    style: list[pdf.Style] = [
        ("ALIGN", (1, 0), (2, -1), "LEFT"),
        ("ALIGN", (-1, 0), (-1, -1), "LEFT"),
    ]
    style += [
        ("TEXTCOLOR", (1, row), (1, row), pdf.mark(INKS.get(one.state, "")))
        for row, one in enumerate(report.changes, 1)
    ]
    region = pdf.text_style(7)
    rows = [[*cells(one)[:-1], pdf.paragraph(cells(one)[-1], region)] for one in report.changes]
    widths = [wide * mm for wide in (7, 18, 24, 15, 17, 11, 15, 16, 22, 10, 23)]
    return [
        *pdf.title("Lesions"),
        pdf.table([list(HEADINGS), *rows], widths, style),
        Spacer(1, 1 * mm),
        Paragraph(_pdf_legend(), pdf.text_style(6.5, pdf.SOFT)),
        pdf.paragraph(TABLE_NOTE, pdf.text_style(6.5, pdf.SOFT)),
    ]


def _pdf_legend() -> str:
    return f"<b>{', '.join(_inked(state) for state in State)}</b>. {OUTLINES}"


def _inked(state: State) -> str:
    return f'<font color="{pdf.mark(INKS.get(state, "")).hexval()}">{state}</font>'


def _pdf_gallery(report: CompareReport) -> list[Flowable]:
    shown = [one for one in report.changes if one.index in report.pictures]
    if not shown:
        return []
    tiles = []
    for one in shown:
        views = report.pictures[one.index]
        text = f"<b>{one.index} {_inked(one.state)}</b>: {escape(report.captions[one.index])}"
        images = [
            views.baseline,
            views.follow_up,
            views.baseline_outlined,
            views.follow_up_outlined,
        ]
        tiles.append(pdf.image_row(images, Paragraph(text, pdf.text_style(7)), 1, 35 * mm))
    return [
        *pdf.title("Pictures", 65 * mm),
        pdf.paragraph(DISPLAY, pdf.text_style(7, pdf.SOFT)),
        Spacer(1, 2 * mm),
        *pdf.grid(tiles, 1),
    ]
