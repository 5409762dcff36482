"""The BIDS sidecar beside a scan: how it was acquired, nothing of whom."""

import json
import math
from pathlib import Path

from mmocnet.io.dicom.vendors import SWI, SWI_WORDS

ACQUISITION_KEYS = ("MagneticFieldStrength", "EchoTime", "RepetitionTime", "FlipAngle")
SIDECAR_BYTES = 2**20


def read_acquisition(path: Path) -> dict[str, float | str]:
    """Return how a scan was acquired, as far as the sidecar beside it and its name tell.

    Of the sidecar only the numbers of `ACQUISITION_KEYS` are taken: nothing of a patient.
    ImageKind is "SWI" where the scan is named so, and else not there.
    """
    named: dict[str, float | str] = {"ImageKind": SWI} if SWI_WORDS.search(path.name) else {}
    return named | _numbers(path)


def _numbers(path: Path) -> dict[str, float]:
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    try:
        if sidecar.stat().st_size > SIDECAR_BYTES:
            return {}
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        # A scan is segmented without its sidecar all the same.
        return {}
    values = content.items() if isinstance(content, dict) else ()
    return {
        key: value
        for key, value in values
        if key in ACQUISITION_KEYS and isinstance(value, int | float) and math.isfinite(value)
    }
