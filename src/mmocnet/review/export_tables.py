"""A reading as a table: a row a finding, what is the machine's and what the reader's apart."""

import csv
import io
import math
from pathlib import Path

from mmocnet.io.dataset import write_text, write_tsv
from mmocnet.io.tables import lesion_row
from mmocnet.review.rows import Row
from mmocnet.review.study import Material

COLUMNS = (
    "index",
    "id",
    "name",
    "origin",
    "verdict",
    "reason",
    "reader",
    "source",
    "found_blind",
    "certainty",
    "certainty_by",
    "confidence",
    "machine_certainty",
    "machine_status",
    "x_mm",
    "y_mm",
    "z_mm",
    "i",
    "j",
    "k",
    "volume_mm3",
    "diameter_mm",
    "diameter_eq_mm",
    "region",
    "side",
    "group",
    "read_on",
    "last_event",
    "events_sha256",
    "model",
    "model_sha256",
    "threshold",
    "mmocnet",
    "scan_sha256",
)
"""Index is n/a where a finding does not count; confidence and the columns `machine_...` are the
machine's; the last columns say the same in each row: how the table came about."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would take for a formula."""


def write_table(material: Material, path: Path) -> Path:
    """Write all findings that the reader has seen as CSV or TSV, by the name's ending.

    Raises:
        InputError: If the folder cannot be written to.
    """
    rows = [_cells(material, row) for row in material.rows]
    if path.suffix == ".tsv":
        write_tsv(path, COLUMNS, rows)
        return path
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\r\n")
    table.writerow(COLUMNS)
    for row in rows:
        table.writerow([_csv_cell(row[column]) for column in COLUMNS])
    write_text(path, stream.getvalue())
    return path


def _cells(material: Material, row: Row) -> dict[str, object]:
    finding, record = row.finding, material.record
    machine = record["Machine"]
    digests = machine["Model"]["SHA256"]
    lesion = finding.machine
    return {
        **lesion_row(row.lesion),
        "index": row.lesion.index or None,
        "id": finding.id,
        "origin": finding.origin,
        "verdict": row.verdict,
        "reason": row.reason,
        "reader": material.reader.replace("\t", " ").replace("\n", " "),
        "source": row.source.value,
        "found_blind": "yes" if finding.found_blind else "no",
        "certainty_by": row.certainty_by,
        "machine_certainty": None if lesion is None else lesion.certainty.value,
        "machine_status": finding.status,
        "read_on": record["ReadOn"],
        "last_event": record["LastEvent"],
        "events_sha256": record["EventsSHA256"],
        "model": machine["Model"]["Name"],
        "model_sha256": ";".join(f"{name}:{digests[name]}" for name in sorted(digests)),
        "threshold": machine["Threshold"],
        "mmocnet": machine["Version"],
        "scan_sha256": machine["Input"]["SHA256"],
    }


def _csv_cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return f"{value:.6g}" if isinstance(value, float) else value
