"""What became of each scan of a cohort, kept beside the results."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmocnet.cohort.scans import CohortScan
from mmocnet.io.dataset import write_json

LOGS = "logs"
"""Folder of the records, in that of the cohort's results."""

State = Literal["done", "present", "failed", "waiting"]


@dataclass(frozen=True)
class Outcome:
    """What became of a scan.

    Attributes:
        key: The scan's, see `CohortScan`.
        state: "done"; "present" when it was there already; "failed"; "waiting" for its turn.
        reason: Why it failed, in a sentence.
        seconds: What it took, NaN where it was not run.
        microbleeds: Definite and possible ones, None where it was not run.
        is_disk_full: Whether it failed for lack of space, as every other would.
    """

    key: str
    state: State
    reason: str = ""
    seconds: float = math.nan
    microbleeds: int | None = None
    is_disk_full: bool = False


def write_outcome(out: Path, scan: CohortScan, outcome: Outcome, stamp: str) -> None:
    """Keep what became of a scan.

    Args:
        out: Folder of the cohort's results.
        scan: Which.
        outcome: Of it.
        stamp: What its files and settings were, see `stamp_of`.
    """
    record = {
        "Scan": outcome.key,
        "State": outcome.state,
        "Reason": outcome.reason,
        "Stamp": stamp,
    }
    write_json(_place(out, scan), record)


def read_outcome(out: Path, scan: CohortScan) -> tuple[Outcome, str]:
    """Return what became of a scan, and the stamp; it waits where nothing is known of it."""
    try:
        record = json.loads(_place(out, scan).read_text(encoding="utf-8"))
        state: State = "failed" if record["State"] == "failed" else "done"
        return Outcome(scan.key, state, str(record["Reason"])), str(record["Stamp"])
    except (OSError, ValueError, KeyError, TypeError):
        return Outcome(scan.key, "waiting"), ""


def _place(out: Path, scan: CohortScan) -> Path:
    # By the place of its results, which is nobody else's; scans may be called anything.
    place = scan.files.summary.relative_to(out).as_posix()
    name = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return out / LOGS / f"scan-{name}.json"
