"""What stands beside a label image: regions, what is not counted, the scan's field strength."""

import json
import math
from pathlib import Path

from mmocnet.errors import InputError
from mmocnet.evaluate.files import split_ending
from mmocnet.io.dataset import entities, read_tsv
from mmocnet.lesion import Certainty

REGION_COLUMNS = ("region", "anatomy")
FIELD_COLUMNS = ("field_t", "MagneticFieldStrength")
FIELD_KEY = "MagneticFieldStrength"
_SCAN_SUFFIXES = ("", "_T2starw", "_swi", "_part-mag_T2starw", "_part-mag_swi", "_MEGRE")
# ROOT/derivatives/reference/sub-X/ses-Y/anat/FILE lies six folders down.
_DEPTH = 6


def table_beside(path: Path) -> Path:
    """Return where the table of a label image is, whether it is there or not."""
    parts = split_ending(path)
    return path.with_name((path.stem if parts is None else parts[0]) + ".tsv")


def read_regions(reference: Path) -> dict[int, str]:
    """Return the region of each label, from the table beside a label image; empty without one."""
    table = table_beside(reference)
    if not table.is_file():
        return {}
    rows = read_tsv(table)
    column = next((name for name in REGION_COLUMNS if rows and name in rows[0]), None)
    if column is None or "index" not in rows[0]:
        return {}
    try:
        return {int(row["index"]): row[column] for row in rows if row[column] not in ("", "n/a")}
    except ValueError as error:
        raise InputError(f"expected whole numbers as index in {table.name}") from error


def read_macrohaemorrhages(labels: Path) -> list[int]:
    """Return which labels the table beside a label image calls macrohaemorrhages; none without it.

    Raises:
        InputError: If such a row has no index.
    """
    table = table_beside(labels)
    rows = read_tsv(table) if table.is_file() else []
    try:
        return [
            int(row["index"]) for row in rows if row.get("certainty") == Certainty.MACROHAEMORRHAGE
        ]
    except (KeyError, ValueError) as error:
        raise InputError(f"expected whole numbers as index in {table.name}") from error


def read_field_t(reference: Path, name: str) -> float:
    """Return a scan's field strength in tesla, or NaN where nothing that can be read says.

    Args:
        reference: Its reference; the scan's sidecar is looked for beside it and in the BIDS
            dataset it belongs to, then that dataset's participants.tsv is.
        name: What the names of the scan's files have in common.
    """
    found = _sidecar_field(reference.parent, name)
    subject = entities(name + "_x").get("sub")
    session = entities(name + "_x").get("ses")
    if subject is None:
        return found
    for root in list(reference.resolve().parents)[:_DEPTH]:
        if not math.isnan(found):
            break
        folder = root / f"sub-{subject}" / (f"ses-{session}" if session else "") / "anat"
        found = _sidecar_field(folder, name)
        if math.isnan(found):
            found = _participant_field(root / "participants.tsv", subject)
    return found


def _sidecar_field(folder: Path, name: str) -> float:
    for suffix in _SCAN_SUFFIXES:
        path = folder / f"{name}{suffix}.json"
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                # A scan is scored without its sidecar all the same.
                continue
            if isinstance(content, dict) and FIELD_KEY in content:
                return _number(content[FIELD_KEY])
    return float("nan")


def _participant_field(path: Path, subject: str) -> float:
    if not path.is_file():
        return float("nan")
    try:
        rows = read_tsv(path)
    except InputError:
        # So it is without this table.
        return float("nan")
    for row in rows:
        if row.get("participant_id", "").removeprefix("sub-") == subject:
            return _number(next((row[name] for name in FIELD_COLUMNS if name in row), "n/a"))
    return float("nan")


def _number(value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        return float("nan")
    return number if number > 0 else float("nan")
