"""The table of what changed between two simulated visits of one subject."""

from pathlib import Path
from typing import Any

from mmocnet.io.dataset import read_tsv, write_json, write_tsv
from mmocnet.simulate.record import SimulatedLesion
from mmocnet.simulate.visits import LesionChange, SimulatedVisits

SESSIONS = ("01", "02")
"""BIDS labels of the visits."""
COLUMNS: dict[str, dict[str, Any]] = {
    "index": {"Description": "Number of the microbleed in this table.", "Format": "integer"},
    "state": {
        "Description": "What became of the microbleed's source; whether it shows, and whether it "
        "seems grown, is in the volumes.",
        "Levels": {
            "stable": "There at both visits, the same",
            "new": "There at the second visit alone",
            "grown": "There at both visits, its radii 1.5 times as large at the second",
            "not seen": "There at the first visit alone",
        },
    },
    "baseline_index": {"Description": "Its number in the label images of ses-01."},
    "follow_up_index": {"Description": "Its number in the label images of ses-02."},
    "baseline_x_mm": {"Description": "Centre at ses-01, world x (right), mm.", "Units": "mm"},
    "baseline_y_mm": {"Description": "Centre at ses-01, world y (anterior), mm.", "Units": "mm"},
    "baseline_z_mm": {"Description": "Centre at ses-01, world z (superior), mm.", "Units": "mm"},
    "follow_up_x_mm": {"Description": "Centre at ses-02, world x (right), mm.", "Units": "mm"},
    "follow_up_y_mm": {"Description": "Centre at ses-02, world y (anterior), mm.", "Units": "mm"},
    "follow_up_z_mm": {"Description": "Centre at ses-02, world z (superior), mm.", "Units": "mm"},
    "baseline_volume_mm3": {
        "Description": "Volume of its apparent label at ses-01; 0 where nothing is visible.",
        "Units": "mm3",
    },
    "follow_up_volume_mm3": {
        "Description": "Volume of its apparent label at ses-02; 0 where nothing is visible.",
        "Units": "mm3",
    },
}


def changes_path(reference: Path) -> Path:
    """Return where the table lies in a subject's folder of the derivative."""
    return reference / f"{reference.name}_changes.tsv"


def write_changes(reference: Path, visits: SimulatedVisits) -> None:
    """Write the table of changes and its sidecar.

    Args:
        reference: The subject's folder of the derivative.
        visits: Both visits.
    """
    path = changes_path(reference)
    rows = [_row(number, change, visits) for number, change in enumerate(visits.changes, 1)]
    write_tsv(path, list(COLUMNS), rows)
    about = {
        "Description": "What became of each microbleed between ses-01 and ses-02, exact.",
        "BaselineToFollowUp": visits.motion.tolist(),
        "BaselineToFollowUpUnits": "4 x 4, world mm of ses-01 to world mm of ses-02",
    }
    write_json(path.with_suffix(".json"), about | COLUMNS)


def read_counts(reference: Path) -> tuple[int, int]:
    """Return how many microbleeds a subject has at either visit, and how many of them show.

    Args:
        reference: The subject's folder of the derivative.
    """
    rows = read_tsv(changes_path(reference))
    volumes = ("baseline_volume_mm3", "follow_up_volume_mm3")
    shown = [row for row in rows if any(row[name] not in ("n/a", "0") for name in volumes)]
    return len(rows), len(shown)


def _row(number: int, change: LesionChange, visits: SimulatedVisits) -> dict[str, object]:
    row: dict[str, object] = {"index": number, "state": change.change}
    sides = {
        "baseline": (change.baseline, visits.baseline.lesions),
        "follow_up": (change.follow_up, visits.follow_up.lesions),
    }
    for name, (index, lesions) in sides.items():
        if index:
            row |= _side(name, next(one for one in lesions if one.index == index))
    return row


def _side(name: str, lesion: SimulatedLesion) -> dict[str, object]:
    x, y, z = lesion.centre_mm
    values = {
        "index": lesion.index,
        "x_mm": x,
        "y_mm": y,
        "z_mm": z,
        "volume_mm3": lesion.apparent_mm3,
    }
    return {f"{name}_{key}": value for key, value in values.items()}
