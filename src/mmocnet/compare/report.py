"""What the report of two visits says."""

from dataclasses import dataclass

import numpy as np

from mmocnet import __version__
from mmocnet.compare.comparison import Comparison, shared_brain, summary_sentence
from mmocnet.compare.match import Change, State
from mmocnet.compare.pictures import ChangePictures, change_pictures
from mmocnet.compare.visit import Visit
from mmocnet.io.burden import LEAST_BRAIN_ML, baseline_burden, class_text
from mmocnet.io.dicom.vendors import SWI
from mmocnet.io.report import (
    FOUND,
    LIMITS,
    SIMULATED,
    aria_limits,
    confidence_text,
    counted,
    number_text,
    part_text,
    place_text,
)
from mmocnet.lesion import Certainty
from mmocnet.nets.card import simulated_only
from mmocnet.prepare.geometry import slice_axis
from mmocnet.prepare.slice_numbers import slice_words

PICTURED = 60
"""Lesions with pictures, new ones first, so that a report stays under about 10 MB."""

HEADINGS = (
    "#",
    "State",
    "Certainty",
    "Baseline\nmm³",
    "Follow-up\nmm³",
    "Ratio",
    "Baseline\nmm",
    "Follow-up\nmm",
    "Confidence\nboth visits",
    "Apart\nmm",
    "Region",
)
TABLE_NOTE = (
    "Volumes and largest diameters at each visit. Ratio: volume at follow-up over baseline's. "
    "Confidence: at baseline and at follow-up; in brackets, of a candidate below the threshold. "
    "Apart: between both centres after registration. Not covered: outside the other scan, or "
    "where that holds only zeros. "
    "Not seen: no lesion at that place; this does not say that it has gone."
)
DISPLAY = (
    "From left to right: baseline, follow-up, then both with outlines; the follow-up is registered "
    "to the baseline and cut in its planes. Black and white follow each brain's median. "
    "Letters tell the patient's sides; black is outside the scan. Slices are each scan's own, "
    "from 1, images as its series numbers them; the pictures show the baseline's slice through the "
    "centre."
)


@dataclass(frozen=True)
class CompareReport:
    """What the report says, in plain values.

    Attributes:
        title: Both scans' names.
        lead: The result in a sentence.
        cards: Numbers: (kind, value, what).
        conclusions: Classes: (what, which).
        warnings: Sentences.
        changes: Rows of the table.
        pictures: Of changes by their number; some may have none.
        captions: Of those pictures.
        provenance: How the result came about: (name, value).
        limits: What it cannot know.
    """

    title: str
    lead: str
    cards: list[tuple[str, str, str]]
    conclusions: list[tuple[str, str]]
    warnings: tuple[str, ...]
    changes: tuple[Change, ...]
    pictures: dict[int, ChangePictures]
    captions: dict[int, str]
    provenance: list[tuple[str, str]]
    limits: str


def make_report(comparison: Comparison) -> CompareReport:
    """Return the contents of the report, pictures included."""
    pictured = comparison.changes[:PICTURED]
    return CompareReport(
        title=(
            f"Baseline: {comparison.baseline.image.name}. "
            f"Follow-up: {comparison.follow_up.image.name}"
        ),
        lead=summary_sentence(comparison),
        cards=[(state.name.lower(), str(comparison.count(state)), state.value) for state in State],
        conclusions=_conclusions(comparison),
        warnings=comparison.warnings,
        changes=comparison.changes,
        pictures=change_pictures(comparison, pictured),
        captions={one.index: _caption(one, comparison) for one in pictured},
        provenance=_provenance(comparison),
        limits=_limits(comparison),
    )


def _limits(comparison: Comparison) -> str:
    records = [
        visit.provenance.get("Segmentation", {})
        for visit in (comparison.baseline, comparison.follow_up)
    ]
    simulated = [simulated_only(record.get("Model", {}).get("Card", {})) for record in records]
    return SIMULATED + LIMITS.removeprefix(FOUND) if any(simulated) else LIMITS


def _conclusions(comparison: Comparison) -> list[tuple[str, str]]:
    first, second = comparison.baseline, comparison.follow_up
    both = "" if comparison.is_fragment else part_text(*shared_brain(comparison), both=True)
    alone = aria_limits(comparison.warnings)
    definite = counted(first.lesions)[Certainty.DEFINITE]
    burden = f", class {class_text(baseline_burden, first.count, definite)}"
    if first.covered[1] < LEAST_BRAIN_ML:
        burden = ""
    return [
        ("New (ARIA-H class, grade)", f"{comparison.new_text}{both}; {alone}"),
        ("Microbleeds at baseline", f"{first.count}{burden}{part_text(*first.covered)}"),
        ("Microbleeds at follow-up", f"{second.count}{part_text(*second.covered)}"),
        ("Technique, baseline", technique_line(first)),
        ("Technique, follow-up", technique_line(second)),
        *(
            (f"Series, {name}", f"Series Instance UID {visit.series_uid}")
            for name, visit in (("baseline", first), ("follow-up", second))
            if visit.series_uid
        ),
    ]


def technique_line(visit: Visit) -> str:
    """Return how a scan was made in a line, and whether phase was read."""
    kind = visit.acquisition.get("ImageKind", "")
    parts = [kind if kind == SWI else f"{kind}, taken as SWI" if kind else "taken as SWI"]
    for key, name, scale, unit in (
        ("MagneticFieldStrength", "field strength", 1.0, "T"),
        ("EchoTime", "echo time", 1000.0, "ms"),
    ):
        value = visit.acquisition.get(key)
        text = "not stated"
        if isinstance(value, int | float):
            text = f"{value * scale:.4g} {unit}"
        parts.append(f"{name} {text}")
    spacing = " x ".join(f"{side:.3g}" for side in visit.image.spacing_mm)
    parts.append(f"voxels {spacing} mm")
    if visit.phase_read is not None:
        parts.append("with phase" if visit.phase_read else "without phase")
    return ", ".join(parts)


def _provenance(comparison: Comparison) -> list[tuple[str, str]]:
    settings, alignment = comparison.settings, comparison.alignment
    return [
        (
            "Registration",
            f"rigid, mutual information: turned {alignment.turn_deg:.1f} degrees, moved "
            f"{alignment.shift_mm:.1f} mm; correlation {alignment.correlation:.2f}, "
            f"of fine structures {number_text(alignment.detail, 2)}, "
            f"{alignment.overlap:.0%} of the smaller brain in both",
        ),
        (
            "One lesion",
            f"centre at most {settings.tolerance_mm:g} mm beside the other visit's outline",
        ),
        (
            "Grown",
            f"at least {settings.growth_ratio:g} times the volume and "
            f"{settings.growth_mm3:g} mm³ more",
        ),
        *_visit_rows("baseline", comparison.baseline),
        *_visit_rows("follow-up", comparison.follow_up),
        ("Software", f"mmocnet {__version__}"),
        *([("Made", comparison.made)] if comparison.made else []),
    ]


def _visit_rows(name: str, visit: Visit) -> list[tuple[str, str]]:
    """Return scan, lesions and weights of a visit, as far as they are known."""
    record = visit.provenance
    rows = [(f"Lesions, {name}", str(record.get("Source", "not stated")))]
    if "Input" in record:
        rows.append((f"SHA-256 of the {name}", str(record["Input"]["SHA256"])))
    weights = record.get("Segmentation", {}).get("Model", {}).get("SHA256", {})
    if weights:
        text = ", ".join(f"{file} {digest[:16]}" for file, digest in weights.items())
        rows.append((f"Weights, {name}", f"SHA-256 begins: {text}"))
    return rows


def cells(change: Change) -> list[str]:
    """Return a change as the cells of its row, in the order of the headings."""
    visits = (change.baseline, change.follow_up)
    volumes, sizes, confidences = (
        [text(float("nan") if one is None else getattr(one, key)) for one in visits]
        for key, text in (
            ("volume_mm3", number_text),
            ("diameter_mm", number_text),
            ("confidence", confidence_text),
        )
    )
    if np.isfinite(change.below_threshold):
        missing = 0 if change.baseline is None else 1
        confidences[missing] = f"({confidence_text(change.below_threshold)})"
    return [
        str(change.index),
        change.state.value,
        change.certainty.value,
        *volumes,
        number_text(change.volume_ratio),
        *sizes,
        " / ".join(confidences),
        number_text(change.distance_mm),
        place_text(change.lesion),
    ]


def _caption(change: Change, comparison: Comparison) -> str:
    """Return what stands below a change's pictures, after its number and state."""
    absent = "not covered" if change.state is State.NOT_COVERED else "not seen"
    volumes = [
        absent if one is None else f"{number_text(one.volume_mm3)} mm³"
        for one in (change.baseline, change.follow_up)
    ]
    slices = _slices(change, comparison)
    centre = ", ".join(number_text(value) for value in change.centre_mm)
    return (
        f"baseline {volumes[0]}, {slices[0]}; follow-up {volumes[1]}, {slices[1]}; centre {centre} "
        f"mm in the baseline's world; {place_text(change.lesion)}"
    )


def _slices(change: Change, comparison: Comparison) -> list[str]:
    """Return where in each visit's own scan to look."""
    place = np.asarray(change.centre_mm)
    back = np.linalg.inv(comparison.alignment.matrix)
    places = (place, back[:3, :3] @ place + back[:3, 3])
    texts = []
    for visit, lesion, at in zip(
        (comparison.baseline, comparison.follow_up),
        (change.baseline, change.follow_up),
        places,
        strict=True,
    ):
        axis = slice_axis(visit.image)
        index = round(float(visit.image.voxel(at)[axis])) if lesion is None else (
            lesion.centre_voxel[axis]
        )  # fmt: skip
        there = 0 <= index < visit.image.shape[axis]
        words = slice_words(visit.image, axis, index, visit.numbers) if there else "no slice there"
        texts.append(words)
    return texts
