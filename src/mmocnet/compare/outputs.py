"""The files of a comparison: table, sidecar, report as HTML and PDF."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmocnet import __version__
from mmocnet.compare.comparison import Comparison
from mmocnet.compare.match import Change, State, count_new
from mmocnet.compare.pages import render_html, render_pdf
from mmocnet.compare.report import make_report
from mmocnet.compare.visit import Visit
from mmocnet.errors import InputError
from mmocnet.io.atomic import replacing
from mmocnet.io.burden import rad_element_follow_up
from mmocnet.io.dataset import write_json, write_text, write_tsv
from mmocnet.io.report import NOTICE
from mmocnet.lesion import Certainty, Lesion

COLUMNS: dict[str, dict[str, Any]] = {
    "index": {"Description": "Number of the lesion in this table"},
    "state": {
        "Description": "What became of the lesion",
        "Levels": {
            "new": "Seen at follow-up alone",
            "grown": "Seen at both, larger by more than the settings in the provenance",
            "stable": "Seen at both",
            "not seen": "Seen at baseline alone; this does not say that it has gone",
            "not covered": "Seen at one visit, outside the scan of the other or where it holds "
            "only zeros",
        },
    },
    "certainty": {
        "Description": "How sure the finding is, as last seen; macrohaemorrhage where it was one "
        "at either visit"
    },
    "region": {"Description": "Region of the Microbleed Anatomical Rating Scale, where known"},
    "side": {"Description": "left or right, where known"},
    "group": {"Description": "lobar, deep or infratentorial, where known"},
    "x_mm": {"Description": "Place in the baseline's world, to the right", "Units": "mm"},
    "y_mm": {"Description": "Place in the baseline's world, to the front", "Units": "mm"},
    "z_mm": {"Description": "Place in the baseline's world, to the head", "Units": "mm"},
    "baseline_index": {"Description": "Its number at baseline"},
    "follow_up_index": {"Description": "Its number at follow-up"},
    "baseline_volume_mm3": {"Description": "Volume at baseline", "Units": "mm3"},
    "follow_up_volume_mm3": {"Description": "Volume at follow-up", "Units": "mm3"},
    "volume_ratio": {"Description": "Volume at follow-up over that at baseline"},
    "baseline_diameter_mm": {"Description": "Largest Feret diameter", "Units": "mm"},
    "follow_up_diameter_mm": {"Description": "Largest Feret diameter", "Units": "mm"},
    "baseline_confidence": {"Description": "Confidence at baseline, 0 to 1"},
    "follow_up_confidence": {"Description": "Confidence at follow-up, 0 to 1"},
    "distance_mm": {"Description": "Between both centres after registration", "Units": "mm"},
    "below_threshold": {
        "Description": "Highest confidence of a candidate below the threshold at that place, in "
        "the visit that does not show the lesion; from the screening threshold or, where that is "
        "not lower, from 0.05"
    },
}


@dataclass(frozen=True)
class CompareFiles:
    """Where the files of a comparison go.

    Attributes:
        folder: Of all of them.
        stem: What their names begin with.
    """

    folder: Path
    stem: str

    @property
    def table(self) -> Path:
        """A row a lesion."""
        return self.folder / f"{self.stem}_compare.tsv"

    @property
    def summary(self) -> Path:
        """Summary, columns and provenance; written last."""
        return self.folder / f"{self.stem}_compare.json"

    @property
    def report(self) -> Path:
        """For people."""
        return self.folder / f"{self.stem}_compare_report.html"

    @property
    def pdf(self) -> Path:
        """The same for print."""
        return self.folder / f"{self.stem}_compare_report.pdf"


def write_comparison(comparison: Comparison, files: CompareFiles) -> None:
    """Write the files of a comparison, the summary last; each whole or not at all.

    Raises:
        InputError: If the folder cannot be written to.
    """
    report = make_report(comparison)
    # An old summary beside a new table would tell of another comparison.
    files.summary.unlink(missing_ok=True)
    write_tsv(files.table, list(COLUMNS), [change_row(one) for one in comparison.changes])
    write_text(files.report, render_html(report))
    with replacing(files.pdf) as partial:
        partial.write_bytes(render_pdf(report))
    write_json(files.summary, sidecar(comparison))


def check_inputs(files: CompareFiles, baseline: Visit, follow_up: Visit) -> None:
    """Refuse to replace the comparison of other scans, or of other outlines of them.

    Raises:
        InputError: If one is there under the same name, or what is there is none.
    """
    if not files.summary.is_file():
        return
    try:
        there = json.loads(files.summary.read_text(encoding="utf-8"))["Provenance"]
        same = [
            _hashes(there[name]) == _hashes(visit.provenance)
            for name, visit in (("Baseline", baseline), ("FollowUp", follow_up))
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"expected a comparison written by mmocnet in {files.summary.name}: "
            "choose another folder, or --overwrite"
        ) from error
    if not all(same):
        raise InputError(
            f"{files.folder.name!r} already holds the comparison of other inputs named "
            f"{files.stem}: choose another folder, or --overwrite"
        )


def _hashes(visit: Mapping[str, Any]) -> list[Any]:
    """Return what makes two visits' inputs the same: the scan, and the outlines where given."""
    return [visit["Input"]["SHA256"], visit.get("Outlines", {}).get("SHA256")]


def change_row(change: Change) -> dict[str, object]:
    """Return a lesion as the cells of its row."""
    lesion = change.lesion
    x, y, z = (round(value, 3) for value in change.centre_mm)
    return {
        "index": change.index,
        "state": change.state.value,
        "certainty": change.certainty.value,
        "region": lesion.region,
        "side": lesion.side,
        "group": lesion.group,
        "x_mm": x,
        "y_mm": y,
        "z_mm": z,
        **_numbers("baseline", change.baseline),
        **_numbers("follow_up", change.follow_up),
        "volume_ratio": change.volume_ratio,
        "distance_mm": change.distance_mm,
        "below_threshold": change.below_threshold,
    }


def _numbers(visit: str, lesion: Lesion | None) -> dict[str, object]:
    if lesion is None:
        return {}
    return {
        f"{visit}_index": lesion.index,
        f"{visit}_volume_mm3": lesion.volume_mm3,
        f"{visit}_diameter_mm": lesion.diameter_mm,
        f"{visit}_confidence": lesion.confidence,
    }


def sidecar(comparison: Comparison) -> dict[str, Any]:
    """Return summary, columns and provenance as JSON values."""
    alignment = comparison.alignment
    larger = count_new(comparison.changes)[Certainty.MACROHAEMORRHAGE]
    new = comparison.count(State.NEW)
    summary: dict[str, Any] = {
        **{state.name.title().replace("_", ""): comparison.count(state) for state in State},
        "NewMacrohaemorrhages": larger,
        "GrownIntoMacrohaemorrhages": comparison.outgrown,
        "BaselineMicrobleeds": comparison.baseline.count,
        "FollowUpMicrobleeds": comparison.follow_up.count,
        "NewDefinite": comparison.new_definite,
        "NewClass": None if comparison.is_fragment else comparison.new_class,
        "Grade": None if comparison.is_fragment else comparison.grade,
        "Warnings": list(comparison.warnings),
    }
    if not comparison.is_fragment:
        # The set is of a whole brain.
        summary["RadElement"] = rad_element_follow_up(
            comparison.baseline.count,
            new,
            larger + comparison.outgrown,
            comparison.follow_up.acquisition,
        )
    registration = {
        "FollowUpToBaseline": alignment.matrix.tolist(),
        "Correlation": alignment.correlation,
        "Detail": alignment.detail,
        "Overlap": alignment.overlap,
        "TurnDegrees": alignment.turn_deg,
        "ShiftMm": alignment.shift_mm,
    }
    provenance = {
        "Version": __version__,
        "Settings": asdict(comparison.settings),
        "Registration": registration,
        "Baseline": dict(comparison.baseline.provenance),
        "FollowUp": dict(comparison.follow_up.provenance),
        "Seed": None,
    }
    about = {
        "Description": f"Cerebral microbleeds at two visits. {NOTICE}",
        "Sources": [comparison.baseline.image.name, comparison.follow_up.image.name],
    }
    content = about | COLUMNS | {"Summary": summary, "Provenance": provenance}
    return {key: _finite(value) for key, value in content.items()}


def _finite(value: Any) -> Any:
    """Return JSON values, n/a in place of what is not a finite number."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return "n/a" if isinstance(value, float) and not math.isfinite(value) else value
