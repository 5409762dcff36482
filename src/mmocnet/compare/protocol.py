"""How the second scan was made otherwise than the first."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmocnet.compare.visit import Visit
from mmocnet.io.dicom.vendors import SWI, vendor_of

SAME_SHARE = 0.1
"""Numbers of two protocols within it are the same."""
NUMBERS = (
    ("MagneticFieldStrength", "field strength", 1.0, "T"),
    ("EchoTime", "echo time", 1000.0, "ms"),
    ("RepetitionTime", "repetition time", 1000.0, "ms"),
    ("FlipAngle", "flip angle", 1.0, "degrees"),
)


def _codes(sequence: str) -> str:
    # DICOM parts them by backslashes, dcm2niix by underscores.
    return " ".join(sorted(re.split(r"[\\_ ]+", sequence.upper())))


WORDS: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("Manufacturer", "manufacturer", vendor_of),
    ("ScanningSequence", "sequence", _codes),
    ("ImageKind", "image", str.lower),
)
"""Key, what it is, and what is the same of two ways to write the same."""


def protocol_warnings(baseline: Visit, follow_up: Visit) -> list[str]:
    """Return how the second scan was made otherwise than the first."""
    differ, unknown = _number_differences(baseline, follow_up)
    differ += _word_differences(baseline, follow_up)
    warnings = []
    if differ:
        warnings.append(
            f"the protocol changed ({'; '.join(differ)}): lesions can seem new or grown because "
            "more of them can be seen"
        )
    if {"field strength", "echo time"} & set(unknown):
        warnings.append(
            "whether the protocol changed is not known: not stated for both scans: "
            f"{', '.join(unknown)}"
        )
    kinds = [visit.acquisition.get("ImageKind") for visit in (baseline, follow_up)]
    if None in kinds and SWI in kinds:
        which = "first" if kinds[0] == SWI else "second"
        warnings.append(
            f"the {which} scan alone is known to be SWI, which shows far more microbleeds than "
            "other T2*-weighted images: lesions can seem new or not seen if the other is none"
        )
    return warnings


def _number_differences(baseline: Visit, follow_up: Visit) -> tuple[list[str], list[str]]:
    """Return which numbers differ, in words, and which are not stated for both."""
    differ, unknown = [], []
    for key, name, scale, unit in NUMBERS:
        one, two = (_number(visit.acquisition, key) for visit in (baseline, follow_up))
        if one is None or two is None:
            unknown.append(name)
        elif not _same(one, two):
            differ.append(f"{name} {one * scale:.4g} and {two * scale:.4g} {unit}")
    spacings = [sorted(visit.image.spacing_mm) for visit in (baseline, follow_up)]
    if not all(_same(one, two) for one, two in zip(*spacings, strict=True)):
        texts = [" x ".join(f"{side:.3g}" for side in sides) for sides in spacings]
        differ.append(f"voxels {texts[0]} and {texts[1]} mm")
    return differ, unknown


def _word_differences(baseline: Visit, follow_up: Visit) -> list[str]:
    """Return which words differ that are stated for both."""
    differ = []
    for key, name, plain in WORDS:
        words = [str(visit.acquisition.get(key, "")) for visit in (baseline, follow_up)]
        if all(words) and plain(words[0]) != plain(words[1]):
            differ.append(f"{name} {words[0]} and {words[1]}")
    return differ


def _number(technique: Mapping[str, Any], key: str) -> float | None:
    value = technique.get(key)
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _same(one: float, two: float) -> bool:
    return abs(one - two) <= SAME_SHARE * max(abs(one), abs(two))
