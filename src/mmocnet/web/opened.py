"""A study as it is opened: all that the page needs to show it."""

from dataclasses import asdict
from typing import Any

from mmocnet.review.candidates import MachineResult
from mmocnet.web.context import Context
from mmocnet.web.results import is_shown, read_about
from mmocnet.web.studies import list_studies, read_study


def open_study(context: Context, study: str) -> dict[str, Any]:
    """Return a study with all that the page needs to show it.

    Raises:
        NotFoundError: If there is no such study.
        DamagedError: If its result is damaged.
    """
    row = read_study(context.store, study)
    answer = list_studies(context.store, [study])[0]
    # With a result the scan is shown as it was segmented, until the next import has ended well.
    seen = row["imported"] or row["result"] is not None
    about = read_about(context.room.view(study)) if seen else None
    more: dict[str, Any] = {"about": about, "model": None, "thresholds": None, "threshold": None}
    if row["result"] is not None:
        machine = context.readings.result(study, row["result"])
        grid = machine.grid
        if about is not None and not is_shown(about, grid.shape, grid.affine, machine.provenance):
            # Marks are shown on the scan that they are of, or not at all.
            more["about"] = None
        more |= {
            "model": _model(machine),
            "thresholds": asdict(machine.thresholds),
            "threshold": machine.threshold,
        }
    return answer | more


def _model(machine: MachineResult) -> dict[str, Any]:
    record = machine.provenance
    return {
        "name": record["Model"]["Name"],
        "sha256": record["Model"]["SHA256"],
        "version": record["Version"],
        "operating_point": record["OperatingPoint"],
        "engine": record["Engine"],
        "seconds": record.get("Seconds"),
        "started": record.get("Started"),
        "input_sha256": record["Input"]["SHA256"],
        "phase": record["Input"].get("Phase", {}).get("Name") is not None,
        "mask": record["Input"].get("Mask") is not None,
    }
