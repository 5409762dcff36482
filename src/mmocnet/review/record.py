"""What every export says of how it came about, and the log of the reader's edits."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from mmocnet import __version__
from mmocnet.io.atomic import replacing
from mmocnet.io.dataset import plain
from mmocnet.io.report import NOTICE
from mmocnet.review.candidates import MachineResult
from mmocnet.review.events import event_lines
from mmocnet.review.reading import Reading

ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""Of every entry, so that the same contents are the same file."""
PACKED = (".gz", ".zip", ".png")


def audit_record(machine: MachineResult, reading: Reading, reader: str) -> dict[str, Any]:
    """Return who read what with which machine, up to which event; plain JSON values.

    Args:
        machine: The result that was read.
        reading: What was made of it.
        reader: Pseudonym.
    """
    made, counts = machine.provenance, reading.counts
    result = {key: made[key] for key in ("Version", "OperatingPoint", "Threshold", "Thresholds")}
    result["Model"] = {key: made["Model"][key] for key in ("Name", "SHA256")}
    result["Input"] = {"SHA256": made["Input"]["SHA256"]}
    result |= {key: made[key] for key in ("Started", "Device") if key in made}
    return {
        "Notice": NOTICE,
        "Software": "mmocnet",
        "Version": __version__,
        "Reader": reader,
        "ReadOn": read_on(reading),
        "Complete": reading.complete,
        "Blind": reading.blind,
        "Revealed": reading.revealed,
        "Accepted": counts.accepted,
        "Added": counts.added,
        "Rejected": counts.rejected,
        "NotJudged": counts.not_judged,
        "Events": len(reading.events),
        "LastEvent": reading.last_event,
        "EventsSHA256": hashlib.sha256(event_lines(reading.events).encode()).hexdigest(),
        "Machine": plain(result),
    }


def read_on(reading: Reading) -> str | None:
    """Return when the last event was, UTC, ISO 8601; None before the first."""
    return reading.events[-1].time if reading.events else None


def audit_text(record: Mapping[str, Any], reading: Reading) -> str:
    """Return the audit log: how it came about in one line, then a line an event.

    The SHA-256 in the first line is of the lines after it.
    """
    first = json.dumps({"provenance": record}, ensure_ascii=False, separators=(",", ":"))
    return f"{first}\n{event_lines(reading.events)}"


def write_zip(path: Path, files: Mapping[str, Path | bytes]) -> Path:
    """Write files into a zip, whole or not at all; the same contents give the same bytes.

    Args:
        path: The zip.
        files: A file or its contents by the name in the zip.

    Raises:
        InputError: If the folder cannot be written to.
    """
    with replacing(path) as partial, ZipFile(partial, "w") as archive:
        for name in sorted(files):
            entry = ZipInfo(name, ZIP_DATE)
            entry.compress_type = ZIP_STORED if name.endswith(PACKED) else ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            # Always the same host, so that the bytes do not tell the machine's.
            entry.create_system = 3
            content = files[name]
            data = content if isinstance(content, bytes) else content.read_bytes()
            archive.writestr(entry, data)
    return path
