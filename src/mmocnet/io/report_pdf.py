"""The report of one scan as a PDF: a page of text and tables, then pictures."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Paragraph, Spacer

from mmocnet.io.burden import region_sums
from mmocnet.io.pdf import (
    BOLD,
    SOFT,
    WIDTH,
    Style,
    document,
    grid,
    image_row,
    mark,
    pair_table,
    paragraph,
    picture,
    summary,
    table,
    text_style,
    title,
    warning_box,
)
from mmocnet.io.report import (
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
from mmocnet.lesion import Lesion

KEY = "Orange: definite. Blue: possible. Purple: macrohaemorrhage, over 10 mm, not counted."
HEADINGS = (
    "#",
    "Certainty",
    "Conf.",
    "Region",
    "Diameter\nmm",
    "Equivalent\nmm",
    "Volume\nmm³",
    "Centre x, y, z\nmm",
    "Voxel, from 0\ni, j, k",
)

READ_HEADINGS = (
    "Label",
    "Finding",
    "Verdict",
    "Certainty",
    "Machine's\nconf.",
    *HEADINGS[3:8],
)
"""The same where a reader has read them."""
OTHER_HEADINGS = (*READ_HEADINGS[:3], "Machine's\ncertainty", *READ_HEADINGS[4:])
"""Of what a reader does not count."""


def render_pdf(report: Report) -> bytes:
    """Return the report as PDF: summary and tables, then pictures, then how it was made."""
    small = text_style(7, SOFT)
    overview = picture(report.overview, WIDTH, 200 * mm)
    story: list[Flowable] = [
        *summary(lead_sentence(report), facts(report), conclusions(report)),
        *_read(report),
        Spacer(1, 1.5 * mm),
        *(paragraph(note, text_style(8.5)) for note in report.notes),
        *warning_box(report.warnings),
        *_regions(report),
        *_lesions(report),
        *_others(report),
        *title("Overview", overview.drawHeight + 25 * mm),
        overview,
        Spacer(1, 2 * mm),
        paragraph(" ".join(filter(None, _overview_texts(report))), small),
        *_gallery(report),
        *pair_table("Scan", report.technique),
        *pair_table("How this was made", report.provenance),
    ]
    return document(
        "Cerebral microbleeds", report.title, story, limits_text(report), report.series_uid
    )


def _read(report: Report) -> list[Flowable]:
    """Return who has read it; nothing where nobody has."""
    if report.reading is None:
        return []
    return [Spacer(1, 1 * mm), paragraph(report.reading.sentence, text_style(9)), Spacer(1, 1 * mm)]


def _overview_texts(report: Report) -> tuple[str, str, str]:
    return overview_text(report), report.display, KEY if report.lesions else ""


def _regions(report: Report) -> list[Flowable]:
    """Return the table of regions; nothing where none is known."""
    rows = located_regions(report)
    if not rows:
        return []
    cells: list[list[object]] = [
        ["Region", "Group", "Definite", "", "", "Possible", "", "", "All"],
        ["", "", "left", "right", "n/a", "left", "right", "n/a", ""],
    ]
    sums = region_sums(rows)
    for row in (*rows, *sums):
        counts = (*row.definite, *row.possible, row.total)
        cells.append([row.region, row.group, *(str(count) if count else "-" for count in counts)])
    style: list[Style] = [
        ("ALIGN", (0, 0), (1, -1), "LEFT"),
        ("SPAN", (2, 0), (4, 0)),
        ("SPAN", (5, 0), (7, 0)),
        ("ALIGN", (2, 0), (7, 0), "CENTRE"),
        ("LINEBELOW", (0, 0), (-1, 0), 0, (1, 1, 1)),
        ("FONT", (0, -len(sums)), (-1, -1), BOLD, 7.5),
    ]
    style += [
        ("TEXTCOLOR", (0, i), (-1, i), SOFT) for i, row in enumerate(rows, 2) if not row.total
    ]
    widths = [58 * mm, 29 * mm, *[13 * mm] * 7]
    note = (
        "Regions of the Microbleed Anatomical Rating Scale, from a registration to a template; "
        "n/a: side not known."
    )
    return [
        *title("Regions", 92 * mm),
        table(cells, widths, style, head=2),
        paragraph(note, text_style(6.5, SOFT)),
    ]


def _lesions(report: Report) -> list[Flowable]:
    """Return the table of lesions; nothing where there is none."""
    if not report.lesions:
        return []
    read = report.reading
    rows = [
        (one, "" if read is None else read.verdicts.get(one.index, "n/a")) for one in report.lesions
    ]
    return [
        *title("Lesions"),
        _finding_table(rows, HEADINGS if read is None else READ_HEADINGS),
        Spacer(1, 1 * mm),
        paragraph(table_note(report), text_style(6.5, SOFT)),
    ]


def _others(report: Report) -> list[Flowable]:
    """Return the table of findings that do not count; nothing where nobody has read the scan."""
    if report.reading is None or not report.reading.others:
        return []
    return [*title("Not counted"), _finding_table(report.reading.others, OTHER_HEADINGS)]


def _finding_table(rows: Sequence[tuple[Lesion, str]], headings: Sequence[str]) -> Flowable:
    """Return findings as a table, with the reader's verdicts where there is a reader."""
    reviewed = headings is not HEADINGS
    widths: tuple[float, ...] = (8, 24, 11, 34, 16, 18, 13, 32, 22)
    if reviewed:
        widths = (10, 17, 20, 24, 15, 20, 15, 17, 13, 27)
    cells: list[list[object]] = [list(headings)]
    cells += [_row(one, verdict, reviewed) for one, verdict in rows]
    last = 3 if reviewed else 1
    style: list[Style] = [
        ("ALIGN", (1, 0), (last, -1), "LEFT"),
        ("ALIGN", (last + 2, 0), (last + 2, -1), "LEFT"),
    ]
    style += [
        ("TEXTCOLOR", (last, i), (last, i), mark(one.certainty))
        for i, (one, _) in enumerate(rows, 1)
    ]
    return table(cells, [wide * mm for wide in widths], style)


def _row(lesion: Lesion, verdict: str, reviewed: bool) -> list[object]:
    small = text_style(7)
    first = [paragraph(lesion.name, small), paragraph(verdict, small)] if reviewed else []
    return [
        str(lesion.index or ""),
        *first,
        lesion.certainty.value,
        confidence_text(lesion.confidence),
        paragraph(place_text(lesion), small),
        number_text(lesion.diameter_mm),
        number_text(lesion.diameter_eq_mm),
        number_text(lesion.volume_mm3),
        ", ".join(number_text(value) for value in lesion.centre_mm),
        # Beside the reader's verdict there is no room for it; the tables have it.
        *([] if reviewed else [", ".join(map(str, lesion.centre_voxel))]),
    ]


def _gallery(report: Report) -> list[Flowable]:
    """Return the pictures of the lesions, two beside each other; a row is never cut."""
    shown = [one for one in report.lesions if one.index in report.pictures]
    if not shown:
        return []
    more = len(report.lesions) - len(shown)
    note = f"The {len(shown)} most confident are pictured; {more} more are in the table."
    tiles = [_pictured(one, report.pictures[one.index], report) for one in shown]
    return [
        *title("Pictures", 60 * mm),
        *([paragraph(note, text_style(8))] if more else []),
        *grid(tiles),
    ]


def _pictured(lesion: Lesion, pictures: LesionPictures, report: Report) -> list[Flowable]:
    text = escape(caption_text(report, lesion, pictures))
    name = finding_name(report, lesion)
    head = f'<b>{name}</b> <font color="{mark(lesion.certainty).hexval()}">'
    return image_row(
        [pictures.plain, pictures.outlined, pictures.locator],
        Paragraph(f"{head}{lesion.certainty}</font> {text}", text_style(7)),
    )
