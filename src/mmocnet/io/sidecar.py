"""The BIDS sidecar beside a scan: how it was acquired, nothing of whom."""

import json
import re
from pathlib import Path
from typing import Any

from mmocnet.io.dataset import nifti_ending
from mmocnet.io.dicom.vendors import SWI, SWI_WORDS, Technique, kind_of

ACQUISITION_KEYS = ("MagneticFieldStrength", "EchoTime", "RepetitionTime", "FlipAngle")
ACQUISITION_WORDS = {
    "Manufacturer": re.compile(r"[A-Za-z][A-Za-z0-9 .,&()/-]{0,63}"),
    "ScanningSequence": re.compile(r"[A-Z]{2}([\\_ ][A-Z]{2}){0,4}"),
}
"""Texts that are taken where they look as such texts do."""
SIDECAR_BYTES = 2**20


def read_acquisition(path: Path, name: str | None = None) -> dict[str, float | str]:
    """Return how a scan was acquired, as far as the sidecar beside it and its name tell.

    Of the sidecar only the numbers of `ACQUISITION_KEYS` and `ACQUISITION_WORDS` are taken: nothing
    of a patient.
    ImageKind is "SWI" where the scan is named so, and else not there.

    Args:
        path: The scan.
        name: What it is called; None takes the file's name.
    """
    is_swi = SWI_WORDS.search(path.name if name is None else name)
    named: dict[str, float | str] = {"ImageKind": SWI} if is_swi else {}
    content = _content(path)
    return named | _numbers(content) | _words(content)


def is_projection(path: Path) -> bool:
    """Return whether the sidecar beside a scan calls it a minimum intensity projection."""
    content = _content(path)
    types, description = content.get("ImageType"), content.get("SeriesDescription")
    told = Technique(
        image_type=tuple(str(one).upper() for one in types) if isinstance(types, list) else (),
        description=description if isinstance(description, str) else "",
    )
    return kind_of(told)[0] == "minip"


def _numbers(content: dict[str, Any]) -> dict[str, float]:
    return {
        key: value
        for key, value in content.items()
        # Python's whole numbers may be larger than any that is measured.
        if key in ACQUISITION_KEYS and type(value) in (int, float) and -1e9 < value < 1e9
    }


def _words(content: dict[str, Any]) -> dict[str, str]:
    words = {}
    for key, pattern in ACQUISITION_WORDS.items():
        value = content.get(key)
        text = "\\".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(text, str) and pattern.fullmatch(text):
            words[key] = text
    return words


def _content(path: Path) -> dict[str, Any]:
    """Return what the sidecar holds, nothing where there is none that can be read."""
    sidecar = path.with_name(path.name.removesuffix(nifti_ending(path.name)) + ".json")
    try:
        if sidecar.stat().st_size > SIDECAR_BYTES:
            return {}
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        # A scan is segmented without its sidecar all the same.
        return {}
    return content if isinstance(content, dict) else {}
