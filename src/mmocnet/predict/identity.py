"""What makes two results of one DICOM series the same objects, known before the series is read."""

from collections.abc import Mapping
from typing import Any


def series_phase(series_uid: str, sign: str) -> dict[str, Any]:
    """Return what names a phase series that a result rests on, as the UID names the scan's.

    Args:
        series_uid: Its Series Instance UID.
        sign: Setting of the phase's sign.
    """
    return {"Phase": {"SeriesInstanceUID": series_uid, "Sign": sign}}


def result_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that changes a result beside its series and the weights; plain JSON values.

    Args:
        record: Version, Settings, OperatingPoint, Threshold, Engine and LocationTried, as
            provenance has them.

    Returns:
        What UIDs derive from. The threshold of an operating point is not in it: it depends on the
        number of slices, and follows from the settings.
    """
    given = record["OperatingPoint"] == "given"
    return {
        "Version": record["Version"],
        "Settings": record["Settings"],
        "OperatingPoint": record["OperatingPoint"],
        "Threshold": record["Threshold"] if given else None,
        # The other engines give the same results as each other.
        "Engine": "8 bits" if record["Engine"] == "openvino-int8" else "exact",
        "Location": record.get("LocationTried", True),
    }
