"""What a cohort's report says, before it becomes a page."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from mmocnet.cohort.rows import ScanResult
from mmocnet.cohort.tables import voxel_text
from mmocnet.io.burden import LEAST_BRAIN_ML, burden_class
from mmocnet.io.dicom.series import counted
from mmocnet.io.report import number_text

CLASSES = ("none", "1-4", "5-9", "10 or more")
PATTERNS = ("strictly lobar", "strictly deep", "mixed", "none", "unknown")
MOST_SHOWN = 10
"""Scans with the most microbleeds that are to be looked at first; a warning of more scans is told
once."""
FAR_OFF = 3.5
"""Robust z-score of a brain volume beyond which its mask is to be looked at: Iglewicz and Hoaglin
1993."""
MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class ClassCount:
    """Scans of a class of burden.

    Attributes:
        name: As `burden_class` has it.
        scans: By definite and possible microbleeds.
        definite: By definite ones alone.
        share: Of all that have a class, by definite and possible ones; NaN without any.
    """

    name: str
    scans: int
    definite: int
    share: float


@dataclass(frozen=True)
class ProtocolCount:
    """Scans that were acquired alike.

    Attributes:
        name: Scanner, field, echo time, voxel and whether phase was read.
        scans: How many.
        with_microbleeds: Share that has any, 0 to 1.
        per_scan: Mean number of microbleeds.
        warned: Scans with a warning.
    """

    name: str
    scans: int
    with_microbleeds: float
    per_scan: float
    warned: int


def has_class(one: ScanResult) -> bool:
    """Return whether a scan shows enough of a brain for a class; a single slice does not."""
    return one.is_done and one.brain_ml >= LEAST_BRAIN_ML


def class_counts(results: Sequence[ScanResult]) -> list[ClassCount]:
    """Return how many scans are of each class of burden."""
    able = [one for one in results if has_class(one)]
    every = Counter(burden_class(len(one.microbleeds)) for one in able)
    sure = Counter(burden_class(one.definite) for one in able)
    return [
        ClassCount(name, every[name], sure[name], every[name] / len(able) if able else math.nan)
        for name in CLASSES
    ]


def protocol_counts(results: Sequence[ScanResult]) -> list[ProtocolCount]:
    """Return the scans by how they were acquired, the most frequent first."""
    groups: dict[str, list[ScanResult]] = {}
    for one in results:
        if one.is_done:
            groups.setdefault(protocol_text(one), []).append(one)
    counts = [
        ProtocolCount(
            name,
            len(same),
            sum(bool(one.microbleeds) for one in same) / len(same),
            sum(len(one.microbleeds) for one in same) / len(same),
            sum(bool(one.warnings) for one in same),
        )
        for name, same in groups.items()
    ]
    return sorted(counts, key=lambda one: (-one.scans, one.name))


def protocol_text(one: ScanResult) -> str:
    """Return how a scan was acquired, as far as it is stated."""
    field_t, echo_s = one.acquired("MagneticFieldStrength"), one.acquired("EchoTime")
    parts = [
        one.acquired("Manufacturer"),
        one.acquired("ImageKind"),
        None if field_t is None else f"{field_t:.2g} T",
        None if echo_s is None else f"echo {1000 * echo_s:.0f} ms",
        voxel_text(one) and f"{voxel_text(one)} mm",
        "with phase" if one.provenance.get("PhaseRead") else None,
    ]
    return ", ".join(str(part) for part in parts if part) or "not stated"


def to_look_at(results: Sequence[ScanResult]) -> list[tuple[ScanResult | None, str]]:
    """Return the scans to be looked at before anything is computed of the table, and why.

    What failed comes first, then brains of an unlikely size, the most microbleeds, and warnings.

    Returns:
        A scan and its reasons; None with a warning that many share, and with how many.
    """
    middle, spread = _brain_scale(results)
    done = [one for one in results if one.is_done]
    common = _common_warnings(done)
    most = sorted(done, key=lambda one: -len(one.microbleeds))[:MOST_SHOWN]
    found: list[tuple[int, ScanResult | None, str]] = [
        (0, one, one.reason) for one in results if one.state == "failed"
    ]
    for one in done:
        reasons = {}
        if spread > 0 and abs(one.brain_ml - middle) > FAR_OFF * spread:
            reasons[1] = (
                f"shows {one.brain_ml:.0f} ml of brain, where the median is {middle:.0f}: "
                "is its mask right?"
            )
        if one in most and burden_class(len(one.microbleeds)) == CLASSES[-1]:
            reasons[2] = f"{len(one.microbleeds)} microbleeds, among the most of all scans"
        own = [text for text in one.warnings if _kind_of(text, one) not in common]
        if own:
            reasons[4] = " | ".join(own)
        if reasons:
            found.append((min(reasons), one, " | ".join(reasons.values())))
    found += [
        (3, None, f"{counted(number, 'scan')} of {len(done)}: {text}")
        for text, number in common.items()
    ]
    found.sort(key=lambda row: (row[0], -len(row[1].microbleeds) if row[1] else 0))
    return [(one, why) for _, one, why in found]


def _common_warnings(done: Sequence[ScanResult]) -> dict[str, int]:
    """Return the warnings that many scans share, without what tells them apart, and how many."""
    kinds = Counter(kind for one in done for kind in {_kind_of(text, one) for text in one.warnings})
    return {kind: number for kind, number in kinds.most_common() if number > MOST_SHOWN}


def _kind_of(warning: str, one: ScanResult) -> str:
    """Return a warning without the scan's name and numbers."""
    phase = one.scan.options.phase
    for name in (one.scan.path.name, "" if phase is None else phase.name):
        warning = warning.replace(name, "the scan") if name else warning
    return re.sub(r"[0-9][0-9.,]*(?=[^0-9a-zA-Z]|$)", "#", warning)


def _brain_scale(results: Sequence[ScanResult]) -> tuple[float, float]:
    """Return median and robust spread of the brains' volumes; no spread of a few."""
    volumes = [one.brain_ml for one in results if one.is_done and math.isfinite(one.brain_ml)]
    if len(volumes) < 8:
        return math.nan, 0.0
    middle = median(volumes)
    return middle, MAD_TO_SD * median(abs(volume - middle) for volume in volumes)


def cards(results: Sequence[ScanResult]) -> list[tuple[str, str, str]]:
    """Return the numbers of the summary: (kind, value, what it is)."""
    done = [one for one in results if one.is_done]
    people = {one.scan.participant for one in done} - {"n/a"}
    total = sum(len(one.microbleeds) for one in done)
    sure = sum(one.definite for one in done)
    having = sum(bool(one.microbleeds) for one in done)
    share = f" ({having / len(done):.0%})" if done else ""
    found = [
        ("total", f"{len(done)}", "scan segmented" if len(done) == 1 else "scans segmented"),
        ("total", f"{having}{share}", "with a microbleed"),
        ("definite", str(sure), "definite microbleeds"),
        ("possible", str(total - sure), "possible microbleeds"),
    ]
    if people:
        noun = "participant" if len(people) == 1 else "participants"
        found.insert(1, ("total", str(len(people)), noun))
    for state, name in (("failed", "failed"), ("waiting", "waiting")):
        number = sum(one.state == state for one in results)
        if number:
            found.append(("total", str(number), name))
    return found


def lead(results: Sequence[ScanResult]) -> str:
    """Return the cohort in a sentence."""
    done = [one for one in results if one.is_done]
    if not done:
        return "No scan was segmented."
    counts = [len(one.microbleeds) for one in done]
    return (
        f"{counted(sum(counts), 'microbleed')} in {counted(len(done), 'scan')}: "
        f"{number_text(sum(counts) / len(done), 2)} a scan on average, median {median(counts):g}, "
        f"at most {max(counts)}."
    )
