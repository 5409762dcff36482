"""The report of a cohort: one HTML file with its own style, linked to the reports of its scans."""

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from mmocnet import __version__
from mmocnet.cohort.digest import (
    PATTERNS,
    cards,
    class_counts,
    has_class,
    lead,
    protocol_counts,
    to_look_at,
)
from mmocnet.cohort.rows import ScanResult, mixed_settings
from mmocnet.cohort.tables import CohortFiles
from mmocnet.io.burden import region_counts
from mmocnet.io.dataset import write_text
from mmocnet.io.report import FOUND, LIMITS, SIMULATED, number_text
from mmocnet.io.report_html import (
    heading,
    page,
    pair_list,
    region_table,
    summary,
    warning_list,
)
from mmocnet.locate.pattern import pattern
from mmocnet.locate.regions import REGIONS
from mmocnet.nets.card import point_sentence, simulated_only, training_text

TITLE = "Cerebral microbleeds, cohort"
SCAN_HEADINGS = (
    "Scan",
    "State",
    "Microbleeds",
    "Definite",
    "Lobar",
    "Deep",
    "Infratentorial",
    "Pattern",
    "Brain ml",
    "Phase",
    "Warnings",
)


def write_page(
    results: Sequence[ScanResult], files: CohortFiles, title: str, left_out: Sequence[str] = ()
) -> None:
    """Write the report of a cohort.

    Args:
        results: Of its scans.
        files: Where it goes.
        title: The dataset's name.
        left_out: What is no scan of the cohort's, in sentences.
    """
    write_text(files.report, render_page(results, files, title, left_out))


def render_page(
    results: Sequence[ScanResult], files: CohortFiles, title: str, left_out: Sequence[str] = ()
) -> str:
    """Return the page of `write_page`."""
    return page(
        f"{TITLE}: {title}",
        [
            heading(TITLE, title),
            summary(lead(results), cards(results)),
            warning_list([*mixed_settings(results), *left_out]),
            _classes(results),
            _places(results),
            _protocols(results),
            _first(results, files),
            _scans(results, files),
            pair_list("How this was made", _provenance(results)),
        ],
        _limits(results),
    )


def _limits(results: Sequence[ScanResult]) -> str:
    """Return what the page cannot know."""
    simulated = [simulated_only(one.provenance["Model"]["Card"]) for one in results if one.is_done]
    return SIMULATED + LIMITS.removeprefix(FOUND) if any(simulated) else LIMITS


def _table(kind: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; cells are HTML."""
    head = "".join(f"<th>{escape(name)}</th>" for name in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="plain {kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _note(text: str) -> str:
    return f'<p class="small">{escape(text)}</p>'


def _classes(results: Sequence[ScanResult]) -> str:
    counts = class_counts(results)
    able = sum(one.scans for one in counts)
    if not able:
        return ""
    rows = [
        (
            escape(one.name),
            str(one.scans),
            str(one.definite),
            f"<span>{one.share:.0%}</span>"
            f'<div class="bar"><i style="width:{100 * one.share:.1f}%"></i></div>',
        )
        for one in counts
    ]
    others = sum(one.is_done for one in results) - able
    note = f"{others} more show too little of a brain for a class. " if others else ""
    note += _measured(results)
    table = _table("bars", ("Microbleeds", "Scans", "By definite ones alone", "Share"), rows)
    return f"<section><h2>How many</h2>{table}{_note(note) if note else ''}</section>"


def _measured(results: Sequence[ScanResult]) -> str:
    """Return what the threshold in use was measured to mean, where all results have one."""
    said = {
        point_sentence(one.provenance["Model"]["Card"], one.provenance["Threshold"])
        for one in results
        if has_class(one)
    }
    text = said.pop() if len(said) == 1 else None
    return "" if text is None else f"Measured at this threshold on {text}."


def _places(results: Sequence[ScanResult]) -> str:
    lesions = [lesion for one in results if one.located for lesion in one.lesions]
    if not lesions:
        return ""
    rows = region_counts(lesions, [(one.name, one.group) for one in REGIONS])
    able = [one for one in results if has_class(one)]
    found = [pattern(one.lesions) for one in able]
    patterns = ", ".join(f"{name} {found.count(name)}" for name in PATTERNS if name in found)
    note = _note(f"Pattern of each scan (brainstem is deep here, cerebellum neither): {patterns}.")
    return f"<section><h2>Regions</h2>{region_table(rows)}{note if able else ''}</section>"


def _protocols(results: Sequence[ScanResult]) -> str:
    counts = protocol_counts(results)
    if not counts:
        return ""
    rows = [
        (
            escape(one.name),
            str(one.scans),
            f"{one.with_microbleeds:.0%}",
            number_text(one.per_scan, 2),
            str(one.warned),
        )
        for one in counts
    ]
    table = _table(
        "", ("Acquisition", "Scans", "With a microbleed", "Microbleeds a scan", "Warned of"), rows
    )
    note = _note(
        "How many microbleeds a scan shows depends on field, echo time, voxel and phase: compare "
        "groups of people within one acquisition, or account for it."
    )
    return f"<section><h2>Acquisitions</h2>{table}{note}</section>"


def _first(results: Sequence[ScanResult], files: CohortFiles) -> str:
    rows = [(_linked(one, files), escape(why)) for one, why in to_look_at(results)]
    if not rows:
        return ""
    return f"<section><h2>Look at these first</h2>{_table('why', ('Scan', 'Why'), rows)}</section>"


def _scans(results: Sequence[ScanResult], files: CohortFiles) -> str:
    rows = [_row(one, files) for one in results]
    return f"<section><h2>Scans</h2>{_table('', SCAN_HEADINGS, rows)}</section>"


def _row(one: ScanResult, files: CohortFiles) -> tuple[str, ...]:
    if not one.is_done:
        return (_linked(one, files), one.state, *["n/a"] * (len(SCAN_HEADINGS) - 2))
    return (
        _linked(one, files),
        one.state,
        str(len(one.microbleeds)),
        str(one.definite),
        *(number_text(one.in_group(name), 0) for name in ("lobar", "deep", "infratentorial")),
        pattern(one.lesions),
        number_text(one.brain_ml, 0),
        "read" if one.provenance.get("PhaseRead") else "none",
        str(len(one.warnings)),
    )


def _linked(one: ScanResult | None, files: CohortFiles) -> str:
    """Return a scan's key, linked to its report."""
    if one is None:
        return "many"
    name = escape(one.scan.key)
    if not one.is_done:
        return name
    place = one.scan.files.report.relative_to(files.out).as_posix()
    return f'<a href="{quote(place, errors="surrogateescape")}">{name}</a>'


def _provenance(results: Sequence[ScanResult]) -> list[tuple[str, str]]:
    done = [one.provenance for one in results if one.is_done]
    if not done:
        return [("Software", f"mmocnet {__version__}")]
    first = done[0]
    pairs = [
        ("Software", f"mmocnet {first['Version']}"),
        ("Model", str(first["Model"]["Name"])),
        ("Trained on", training_text(first["Model"]["Card"])),
        ("Called from confidence", f"{first['Threshold']:g} ({first['OperatingPoint']})"),
        ("Tables", "cohort_scans.tsv, cohort_lesions.tsv, beside this page"),
    ]
    started = sorted(str(record["Started"]) for record in done if "Started" in record)
    seconds = [record["Seconds"] for record in done if "Seconds" in record]
    if started:
        pairs.append(("Segmented", f"{started[0]} to {started[-1]}"))
        pairs.append(("Time", f"{sum(seconds) / len(seconds):.1f} s a scan on average"))
    return pairs
