"""The report of one scan: one HTML file that holds its own style and pictures."""

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

from mmocnet.lesion import Certainty, Lesion

NOTICE = "Research use only - not a medical device."
LIMITS = (
    "Found by a network; not read by a radiologist. Veins, calcium, iron and flow voids can "
    "look like microbleeds, and small or faint microbleeds can be missed. SWI shows more "
    "microbleeds than T2*-weighted GRE, on which published cut-offs were set."
)


@dataclass(frozen=True)
class LesionPictures:
    """Three PNG pictures of one lesion.

    Attributes:
        plain: Its slice, zoomed.
        outlined: The same with outlines.
        locator: The whole slice with the zoomed part marked.
        slice_index: Index of the slice.
        width_mm: What the zoomed pictures span.
    """

    plain: bytes
    outlined: bytes
    locator: bytes
    slice_index: int
    width_mm: float


@dataclass(frozen=True)
class Report:
    """What a report says, in plain values.

    Attributes:
        title: The scan's name.
        lesions: Rows of the table.
        pictures: Of lesions by their number; some may have none.
        overview: PNG of the whole scan.
        is_slice: Whether the scan is one slice.
        display: How pictures are shown.
        axes: Which way the coordinates run.
        warnings: Sentences.
        technique: What the scan is: (name, value).
        provenance: How the result came about: (name, value).
        notes: Further sentences under the summary.
    """

    title: str
    lesions: Sequence[Lesion]
    pictures: dict[int, LesionPictures]
    overview: bytes
    is_slice: bool
    display: str
    axes: str = "world coordinates, to the patient's right, front and head"
    warnings: Sequence[str] = ()
    technique: Sequence[tuple[str, str]] = ()
    provenance: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def render_report(report: Report) -> str:
    """Return the report as a complete HTML page that loads nothing from elsewhere."""
    style = files("mmocnet.io").joinpath("report.css").read_text(encoding="utf-8")
    parts = [
        _header(report),
        _summary(report),
        _warnings(report.warnings),
        _overview(report),
        _table(report),
        _gallery(report),
        _pairs("Scan", report.technique),
        _pairs("How this was made", report.provenance),
        f"<footer><strong>{NOTICE}</strong> {escape(LIMITS)}</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Microbleeds in {escape(report.title)}</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _header(report: Report) -> str:
    return (
        f'<header><p class="notice">{NOTICE}</p>\n'
        f'<h1>Cerebral microbleeds</h1>\n<p class="scan">{escape(report.title)}</p></header>'
    )


def counted(lesions: Iterable[Lesion]) -> dict[Certainty, int]:
    """Return how many lesions there are of each certainty."""
    kinds = [one.certainty for one in lesions]
    return {kind: kinds.count(kind) for kind in Certainty}


def count_sentence(lesions: Sequence[Lesion]) -> str:
    """Return the count in words.

    >>> count_sentence(())
    'No microbleed found.'
    """
    number = counted(lesions)
    total = number[Certainty.DEFINITE] + number[Certainty.POSSIBLE]
    larger = number[Certainty.MACROHAEMORRHAGE]
    text = f"{total} microbleed{'' if total == 1 else 's'}: " + (
        f"{number[Certainty.DEFINITE]} definite, {number[Certainty.POSSIBLE]} possible."
    )
    if total == 0:
        text = "No microbleed found."
    if larger:
        noun = "haemorrhage" if larger == 1 else "haemorrhages"
        text += f" {larger} {noun} over 10 mm, not counted."
    return text


def _summary(report: Report) -> str:
    number = counted(report.lesions)
    small = [one for one in report.lesions if one.certainty is not Certainty.MACROHAEMORRHAGE]
    sizes = sorted(one.diameter_mm for one in small if math.isfinite(one.diameter_mm))
    span = f"{sizes[0]:.1f}\u2013{sizes[-1]:.1f} mm" if sizes else "n/a"
    volume_mm3 = math.fsum(one.volume_mm3 for one in small)
    cards = [
        ("total", str(len(small)), "microbleeds"),
        ("definite", str(number[Certainty.DEFINITE]), "definite"),
        ("possible", str(number[Certainty.POSSIBLE]), "possible"),
        ("size", span, "largest diameter"),
        ("size", f"{number_text(volume_mm3, 0)} mm³", "total volume"),
    ]
    if number[Certainty.MACROHAEMORRHAGE]:
        text = str(number[Certainty.MACROHAEMORRHAGE])
        cards.insert(3, ("macrohaemorrhage", text, "over 10 mm, not counted"))
    body = "".join(
        f'<div class="card {kind}"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for kind, value, name in cards
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in report.notes)
    lead = escape(count_sentence(report.lesions))
    return f'<section><p class="lead">{lead}</p><div class="cards">{body}</div>{notes}</section>'


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return f'<section class="warnings"><h2>Warnings</h2><ul>{items}</ul></section>'


def _overview(report: Report) -> str:
    if report.is_slice:
        caption = "The slice, lesions outlined and numbered as in the table."
    else:
        caption = (
            "Slices through the scan, each with its number; a lesion is ringed, and numbered as "
            "in the table, on the slice shown that is nearest to it."
        )
    return (
        f'<section><h2>Overview</h2><figure class="overview">{_image(report.overview, caption)}'
        f"<figcaption>{caption} {escape(report.display)} {_legend()}</figcaption>"
        "</figure></section>"
    )


def _legend() -> str:
    return " ".join(f'<span class="key {kind}">{kind}</span>' for kind in Certainty)


HEADINGS = (
    ("#", ""),
    ("Certainty", ""),
    ("Confidence", ""),
    ("Diameter", "mm"),
    ("Equivalent", "mm"),
    ("Volume", "mm³"),
    ("Centre x, y, z", "mm"),
    ("Voxel", "i, j, k"),
    ("Region", ""),
)


def _table(report: Report) -> str:
    if not report.lesions:
        return ""
    head = "".join(
        f"<th>{name}{f' <small>{unit}</small>' if unit else ''}</th>" for name, unit in HEADINGS
    )
    body = "".join(_row(one, one.index in report.pictures) for one in report.lesions)
    return (
        '<section><h2>Lesions</h2><div class="scroll"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="small">Confidence: {_confidence_text(report)}. Diameter: largest Feret '
        "diameter. Equivalent: diameter of the "
        f"{'disc' if report.is_slice else 'sphere'} of the same size. "
        f"Centre: {escape(report.axes)}. Region: n/a, not located.</p></section>"
    )


def _confidence_text(report: Report) -> str:
    """Return what the confidence of this kind of scan is."""
    if report.is_slice:
        return "of the networks; on a slice it ranks the findings and is no probability"
    return (
        "the probability of being a microbleed as the model gives it, learnt on the scans that "
        "made the model; on other scanners it can be off"
    )


def number_text(value: float, digits: int = 1) -> str:
    """Return a number, n/a where it is undefined.

    >>> number_text(2.04), number_text(float("nan"))
    ('2.0', 'n/a')
    """
    return f"{value:.{digits}f}" if math.isfinite(value) else "n/a"


def _row(lesion: Lesion, linked: bool) -> str:
    number = f'<a href="#lesion-{lesion.index}">{lesion.index}</a>' if linked else lesion.index
    cells = (
        f'<span class="key {lesion.certainty}">{lesion.certainty}</span>',
        number_text(lesion.confidence, 2),
        number_text(lesion.diameter_mm),
        number_text(lesion.diameter_eq_mm),
        number_text(lesion.volume_mm3),
        ", ".join(number_text(value) for value in lesion.centre_mm),
        ", ".join(map(str, lesion.centre_voxel)),
        escape(lesion.region),
    )
    return f"<tr><td>{number}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


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
    where = "" if report.is_slice else f"slice {pictures.slice_index}, "
    text = (
        f"{number_text(lesion.diameter_mm)} mm, confidence {number_text(lesion.confidence, 2)}, "
        f"{where}zoom {pictures.width_mm:.0f} mm wide"
    )
    name = escape(lesion.name)
    images = "".join(
        _image(data, f"{name}, {what}")
        for data, what in (
            (pictures.plain, "zoomed"),
            (pictures.outlined, "zoomed and outlined"),
            (pictures.locator, "place in the slice"),
        )
    )
    return (
        f'<figure class="lesion {lesion.certainty}" id="lesion-{lesion.index}">'
        f'<div class="views">{images}</div><figcaption><b>{name}</b> '
        f'<span class="key {lesion.certainty}">{lesion.certainty}</span> {text}</figcaption>'
        "</figure>"
    )


def _image(data: bytes, text: str) -> str:
    coded = base64.b64encode(data).decode("ascii")
    return f'<img alt="{text}" src="data:image/png;base64,{coded}">'


def _pairs(heading: str, pairs: Sequence[tuple[str, str]]) -> str:
    if not pairs:
        return ""
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<section><h2>{heading}</h2><dl>{body}</dl></section>"
