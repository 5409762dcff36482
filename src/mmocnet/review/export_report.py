"""The report of a reading: the same pages as the machine's, with the reader's verdicts."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from mmocnet.io.atomic import replacing
from mmocnet.io.dataset import write_text
from mmocnet.io.report import ReaderPart, Report
from mmocnet.io.report_html import render_report
from mmocnet.io.report_pdf import render_pdf
from mmocnet.predict.reporting import make_report
from mmocnet.predict.segmentation import Segmentation
from mmocnet.review.export_images import reviewed_labels
from mmocnet.review.reading import Counts, Reading
from mmocnet.review.rows import Row
from mmocnet.review.study import Material


def write_report(material: Material, path: Path) -> Path:
    """Write the report as HTML or PDF, by the name's ending.

    Raises:
        InputError: If the scan cannot be read or the folder not be written to.
    """
    report = reviewed_report(material)
    if path.suffix == ".html":
        write_text(path, render_report(report))
        return path
    with replacing(path) as partial:
        partial.write_bytes(render_pdf(report))
    return path


def reviewed_report(material: Material) -> Report:
    """Return what the report of a reading says, pictures included."""
    report = make_report(as_segmentation(material))
    reading = ReaderPart(
        sentence=read_sentence(material),
        verdicts={row.lesion.index: verdict_words(row) for row in material.counted},
        others=[(row.lesion, verdict_words(row)) for row in material.rows if _listed(row)],
        preliminary=preliminary_words(material.reading, material.reader),
    )
    return replace(
        report,
        title=material.study.name,
        notes=_notes(material),
        provenance=[*_read_pairs(material), *report.provenance],
        reading=reading,
    )


def as_segmentation(material: Material) -> Segmentation:
    """Return what counts as if it had been segmented so: what reports and pictures are made of."""
    scan, machine = material.scan, material.machine
    labels = reviewed_labels(material)
    lesions = tuple(row.lesion for row in material.counted)
    return Segmentation(
        image=scan.volume,
        labels=labels,
        # Reports show none of it: a volume of zeros that takes no memory.
        probability=labels.like(np.broadcast_to(np.float32(0), labels.shape)),
        candidate_labels=labels,
        lesions=lesions,
        candidates=lesions,
        siderosis=(),
        vessels=(),
        # Those of the networks may tell of candidates that the reader has not seen yet.
        warnings=scan.warnings if material.reading.hidden else machine.warnings,
        slice_axis=machine.grid.slice_axis,
        source=scan.source,
        provenance=machine.provenance,
        dicom=scan.dicom,
    )


def _listed(row: Row) -> bool:
    """Return whether a finding that does not count is in the report.

    What the machine itself did not take for a lesion and nobody judged is in the tables alone.
    """
    return row.verdict == "reject" or (row.verdict == "not judged" and _was_lesion(row))


def _was_lesion(row: Row) -> bool:
    return row.finding.origin == "reader" or row.finding.status == "lesion"


def verdict_words(row: Row) -> str:
    """Return the verdict on a finding in words."""
    if row.verdict == "accept":
        return "accepted, outline edited" if row.finding.edited else "accepted"
    if row.verdict == "added":
        return "added"
    if row.verdict == "reject":
        return f"rejected: {row.finding.reason}" if row.finding.reason else "rejected"
    return "not judged"


def read_sentence(material: Material) -> str:
    """Return who read the scan, when, and how many findings got which verdict."""
    on = material.record["ReadOn"]
    read = f"Not read yet by {material.reader}" if on is None else f"Read by {material.reader}"
    when = "" if on is None else f" on {on[:10]}"
    return f"{read}{when}; {count_words(material.reading.counts)}."


def preliminary_words(reading: Reading, reader: str) -> str:
    """Return why a reading is not finished; empty where it is."""
    if not reading.complete:
        return "the reading is not finished"
    left = reading.counts.not_judged
    if not left:
        return ""
    return f"marked complete by {reader}; {left} finding{'' if left == 1 else 's'} not judged"


def count_words(counts: Counts) -> str:
    """Return how many findings got which verdict.

    >>> count_words(Counts(3, 1, 2, 0))
    '3 accepted, 2 rejected, 1 added, 0 not judged'
    """
    return (
        f"{counts.accepted} accepted, {counts.rejected} rejected, {counts.added} added, "
        f"{counts.not_judged} not judged"
    )


def _notes(material: Material) -> list[str]:
    reading = material.reading
    notes = []
    if reading.counts.not_judged:
        notes.append("What was not judged is not counted.")
    if not reading.complete:
        notes.append("The reader has not said that all of the scan was looked through.")
    if reading.hidden:
        notes.append("Read without the machine's findings, which have not been shown yet.")
    elif reading.blind:
        first = sum(row.finding.found_blind for row in material.counted)
        notes.append(
            f"Read without the machine's findings first; {first} of the microbleeds were marked so."
        )
    below = sum(row.verdict == "not judged" and not _was_lesion(row) for row in material.rows)
    if below:
        noun = "candidate" if below == 1 else "candidates"
        notes.append(f"{below} further {noun} of the machine below its threshold: not judged.")
    return notes


def _read_pairs(material: Material) -> list[tuple[str, str]]:
    record = material.record
    return [
        ("Read by", material.reader),
        ("Read until", str(record["ReadOn"] or "n/a")),
        ("Edits", f"{record['Events']}, the last is number {record['LastEvent']}"),
        ("SHA-256 of the log of edits", record["EventsSHA256"]),
    ]
