"""Pages of a PDF: A4, fonts in the file, the same bytes for the same contents."""

import io
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.resources import files
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import registerFont, registerFontFamily
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    Image,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
)

from mmocnet.io.report import LIMITS, NOTICE

MARGIN = 16 * mm
WIDTH = A4[0] - 2 * MARGIN
"""Between the margins, in points."""
FONT, BOLD = "Vera", "VeraBd"
INK, SOFT, LINE = (colors.HexColor(code) for code in ("#1d2226", "#5b656d", "#d3d7da"))
WARN = colors.HexColor("#fff5dd")
MARKS = {
    "definite": "#b35900",
    "possible": "#0b6aa8",
    "macrohaemorrhage": "#a33d7c",
}
"""Ink of each kind, darker than in pictures."""

Style = tuple[Any, ...]


def document(
    what: str, name: str, story: list[Flowable], limits: str = LIMITS, series_uid: str = ""
) -> bytes:
    """Return pages with a head, the notice, the limits and page numbers on each.

    Args:
        what: Kind of report, in the head.
        name: Which scan, in the head.
        story: What flows over the pages.
        limits: What it cannot know, at the foot of each page.
        series_uid: Series Instance UID of a DICOM scan, in the head.
    """
    stream = io.BytesIO()
    # Names of files can hold bytes that are no UTF-8.
    name = name.encode(errors="backslashreplace").decode()
    template = BaseDocTemplate(
        stream,
        pagesize=A4,
        title=f"{what}: {name}",
        author="mmocnet",
        subject=NOTICE,
        invariant=1,
    )
    frame = Frame(MARGIN, 23 * mm, WIDTH, A4[1] - 47 * mm, 0, 0, 0, 0)
    template.addPageTemplates(PageTemplate("page", [frame]))
    canvas = partial(_NumberedCanvas, frame=partial(_draw_frame, what, (name, series_uid), limits))
    template.build(story, canvasmaker=canvas)
    return stream.getvalue()


class _NumberedCanvas(Canvas):  # type: ignore[misc]  # reportlab has no types
    """Keeps its pages until the end, when their number is known."""

    def __init__(self, *args: Any, frame: Callable[[Canvas, int], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._frame = frame
        self._kept: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802 - reportlab's name
        """Keep the page."""
        self._kept.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Draw head and foot of every page, and write them."""
        kept = self._kept
        for state in kept:
            self.__dict__.update(state)
            self._frame(self, len(kept))
            super().showPage()
        super().save()


def _draw_frame(what: str, scan: tuple[str, str], limits: str, canvas: Canvas, pages: int) -> None:
    name, series_uid = scan
    top, right = A4[1] - 14 * mm, A4[0] - MARGIN
    canvas.setFillColor(INK)
    canvas.setFont(BOLD, 10)
    canvas.drawString(MARGIN, top, what)
    canvas.setFont(FONT, 8)
    canvas.drawRightString(right, top, NOTICE)
    canvas.setFillColor(SOFT)
    canvas.drawString(MARGIN, top - 4.5 * mm, _cut(name, 42 if series_uid else 105))
    if series_uid:
        canvas.setFont(FONT, 6.5)
        canvas.drawRightString(right, top - 4.5 * mm, f"Series Instance UID {series_uid}")
    canvas.setStrokeColor(LINE)
    canvas.line(MARGIN, top - 7 * mm, right, top - 7 * mm)
    canvas.line(MARGIN, 20 * mm, right, 20 * mm)
    foot = Paragraph(f"<b>{NOTICE}</b> {escape(limits)}", text_style(6.5, SOFT))
    _, height = foot.wrap(WIDTH - 22 * mm, 14 * mm)
    foot.drawOn(canvas, MARGIN, 18.5 * mm - height)
    canvas.setFont(FONT, 8)
    canvas.drawRightString(right, 15.5 * mm, f"{canvas.getPageNumber()} of {pages}")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


@cache
def _register_fonts() -> None:
    # Fonts that come with reportlab are put into the file: no viewer replaces them.
    folder = files("reportlab").joinpath("fonts")
    for name in (FONT, BOLD):
        registerFont(TTFont(name, str(folder.joinpath(f"{name}.ttf"))))
    registerFontFamily(FONT, normal=FONT, bold=BOLD, italic=FONT, boldItalic=BOLD)


def text_style(size: float, colour: colors.Color = INK) -> ParagraphStyle:
    """Return a style of running text; size in points."""
    _register_fonts()
    return ParagraphStyle(
        f"text-{size}", fontName=FONT, fontSize=size, leading=size * 1.35, textColor=colour
    )


def paragraph(text: str, style: ParagraphStyle) -> Paragraph:
    """Return plain text as a paragraph."""
    return Paragraph(escape(text), style)


def title(text: str, room: float = 30 * mm) -> list[Flowable]:
    """Return the heading of a section, on a new page where less than `room` points are left."""
    style = ParagraphStyle("title", parent=text_style(10.5), spaceBefore=9, spaceAfter=4)
    return [CondPageBreak(room), Paragraph(f"<b>{escape(text)}</b>", style)]


def picture(data: bytes, width: float, height: float) -> Image:
    """Return a PNG, as large as fits into a box in points."""
    image = Image(io.BytesIO(data))
    scale = min(width / image.imageWidth, height / image.imageHeight)
    image.drawWidth, image.drawHeight = image.imageWidth * scale, image.imageHeight * scale
    return image


def table(
    rows: Sequence[Sequence[object]],
    widths: Sequence[float],
    style: Sequence[Style] = (),
    head: int = 1,
) -> Table:
    """Return a table with thin lines whose head is repeated on each page.

    Args:
        rows: Cells: text or flowables.
        widths: Of the columns, points.
        style: Further commands of reportlab's tables.
        head: Rows of the head.
    """
    common: list[Style] = [
        ("FONT", (0, 0), (-1, -1), FONT, 7.5),
        ("TEXTCOLOR", (0, 0), (-1, -1), INK),
        ("FONT", (0, 0), (-1, head - 1), BOLD, 7),
        ("TEXTCOLOR", (0, 0), (-1, head - 1), SOFT),
        ("ALIGN", (0, 0), (-1, -1), "RIGHT"),
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.3, LINE),
        ("LINEBELOW", (0, head - 1), (-1, head - 1), 0.7, SOFT),
        ("TOPPADDING", (0, 0), (-1, -1), 1),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
        ("LEFTPADDING", (0, 0), (-1, -1), 2),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
    ]
    return Table(
        [list(row) for row in rows],
        colWidths=list(widths),
        repeatRows=head,
        hAlign="LEFT",
        style=[*common, *style],
    )


def summary(
    lead: str, cards: Sequence[tuple[str, str, str]], pairs: Sequence[tuple[str, str]]
) -> list[Flowable]:
    """Return the summary: a sentence, numbers as (kind, value, what), classes as (what, which)."""
    size = 13 if len(cards) < 6 else 11
    boxes = [
        [
            Paragraph(f"<b>{escape(value)}</b>", text_style(size, mark(kind))),
            paragraph(name, text_style(7, SOFT)),
        ]
        for kind, value, name in cards
    ]
    wide = WIDTH / len(boxes)
    style: list[Style] = [("BOX", (i, 0), (i, 0), 0.5, LINE) for i in range(len(boxes))] + [
        ("LEFTPADDING", (0, 0), (-1, -1), 6),
        ("TOPPADDING", (0, 0), (-1, -1), 4),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ]
    return [
        Paragraph(f"<b>{escape(lead)}</b>", text_style(12)),
        Spacer(1, 2.5 * mm),
        Table([boxes], colWidths=[wide] * len(boxes), style=style, hAlign="LEFT"),
        Spacer(1, 2 * mm),
        _pairs(pairs, 42 * mm, 8.5),
    ]


def mark(kind: str) -> colors.Color:
    """Return the ink of a kind of finding."""
    return colors.HexColor(MARKS[kind]) if kind in MARKS else INK


def _pairs(pairs: Sequence[tuple[str, str]], wide: float, size: float) -> Table:
    rows = [
        [paragraph(name, text_style(size, SOFT)), paragraph(value, text_style(size))]
        for name, value in pairs
    ]
    style: list[Style] = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 0.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 0.5),
    ]
    return Table(rows, colWidths=[wide, WIDTH - wide], style=style, hAlign="LEFT")


def pair_table(heading: str, pairs: Sequence[tuple[str, str]]) -> list[Flowable]:
    """Return a section of (name, value) pairs, nothing where there is none."""
    if not pairs:
        return []
    rows = _pairs(pairs, 48 * mm, 7.5)
    _, height = rows.wrap(WIDTH, 0)
    # A list that fits on a page leaves no row behind on the last one.
    return [*title(heading, min(height + 12 * mm, 150 * mm)), rows]


def warning_box(warnings: Sequence[str]) -> list[Flowable]:
    """Return the warnings on a coloured ground, nothing where there is none."""
    if not warnings:
        return []
    rows = [[Paragraph("<b>Warnings</b>", text_style(8.5))]]
    rows += [[paragraph(f"- {text}", text_style(8))] for text in warnings]
    style: list[Style] = [
        ("BACKGROUND", (0, 0), (-1, -1), WARN),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
    ]
    return [Spacer(1, 3 * mm), Table(rows, colWidths=[WIDTH], style=style, hAlign="LEFT")]


GAP = 3 * mm


def image_row(
    images: Sequence[bytes], caption: Paragraph, columns: int = 2, highest: float = 45 * mm
) -> list[Flowable]:
    """Return PNGs beside each other on black with a caption, one tile of a grid.

    Args:
        images: Shown equally high.
        caption: Below them.
        columns: Tiles beside each other on the page.
        highest: Height of the images at most, points.
    """
    wide = (WIDTH - (columns - 1) * GAP) / columns
    sizes = [Image(io.BytesIO(data)) for data in images]
    ratios = [image.imageWidth / image.imageHeight for image in sizes]
    height = min((wide - 2 * len(images)) / sum(ratios), highest)
    cells = [picture(data, wide, height) for data in images]
    style: list[Style] = [
        ("BACKGROUND", (0, 0), (-1, -1), colors.black),
        ("LEFTPADDING", (0, 0), (-1, -1), 1),
        ("RIGHTPADDING", (0, 0), (-1, -1), 1),
        ("TOPPADDING", (0, 0), (-1, -1), 1),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
    ]
    widths = [cell.drawWidth + 2 for cell in cells]
    return [Table([cells], colWidths=widths, style=style, hAlign="LEFT"), caption]


def grid(tiles: Sequence[list[Flowable]], columns: int = 2) -> list[Flowable]:
    """Return tiles row by row; a page never ends inside a row."""
    wide = (WIDTH + GAP) / columns
    rows = [list(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    rows[-1] += [[] for _ in range(columns - len(rows[-1]))]
    style: list[Style] = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-1, -1), GAP),
        ("TOPPADDING", (0, 0), (-1, -1), 0),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
    ]
    return [Table(rows, colWidths=[wide] * columns, style=style, hAlign="LEFT")]
