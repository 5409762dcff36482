"""The tables of a cohort: a row a scan, and a row a lesion."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmocnet import __version__
from mmocnet.cohort.rows import ScanResult
from mmocnet.cohort.scans import RESULTS
from mmocnet.io.dataset import write_json, write_tsv
from mmocnet.io.report import NOTICE
from mmocnet.io.tables import LESION_COLUMNS, lesion_row
from mmocnet.locate.pattern import pattern

WHO_COLUMNS = {
    "participant_id": {"Description": "Participant, where known"},
    "session_id": {"Description": "Session, where known"},
    "scan": {"Description": "The scan's place below the dataset, or as the table of scans has it"},
}
SCAN_COLUMNS = WHO_COLUMNS | {
    "state": {
        "Description": "What became of the scan",
        "Levels": {
            "done": "Segmented",
            "failed": "Could not be segmented, see reason; its other cells are n/a",
            "waiting": "Not segmented yet; its other cells are n/a",
        },
    },
    "reason": {"Description": "Why it failed"},
    "microbleeds": {"Description": "Number of microbleeds, definite and possible"},
    "definite": {"Description": "Definite microbleeds"},
    "possible": {"Description": "Possible microbleeds"},
    "macrohaemorrhages": {"Description": "Haemorrhages over 10 mm, not among the microbleeds"},
    "lobar": {"Description": "Microbleeds in lobes and insula; n/a where none could be located"},
    "deep": {"Description": "Microbleeds in deep nuclei, capsules, callosum and deep white matter"},
    "infratentorial": {"Description": "Microbleeds in brainstem and cerebellum"},
    "not_located": {"Description": "Microbleeds of which no region is known"},
    "pattern": {
        "Description": "Where the microbleeds lie; brainstem is deep here, cerebellum neither",
        "Levels": {
            "strictly lobar": "All in lobes or insula",
            "strictly deep": "All in deep regions or brainstem",
            "mixed": "Both",
            "none": "None outside the cerebellum",
            "unknown": "Not all are located",
        },
    },
    "volume_mm3": {"Description": "Volume of all microbleeds", "Units": "mm3"},
    "largest_mm": {"Description": "Largest diameter of any microbleed", "Units": "mm"},
    "siderosis_candidates": {
        "Description": "Components that look like superficial siderosis, not counted"
    },
    "brain_ml": {"Description": "Brain that the scan shows", "Units": "mL"},
    "phase_read": {
        "Description": "Whether the result rests on phase",
        "Levels": {"yes": "Yes", "no": "No"},
    },
    "voxel_mm": {"Description": "Sides of a voxel", "Units": "mm"},
    "field_t": {"Description": "Field strength, where stated", "Units": "T"},
    "echo_ms": {"Description": "Echo time, where stated", "Units": "ms"},
    "manufacturer": {"Description": "Of the scanner, where stated"},
    "model": {"Description": "Model that found the microbleeds"},
    "threshold": {"Description": "Confidence from which a candidate is a microbleed"},
    "warnings": {"Description": "Sentences of doubt, parted by |"},
    "report": {"Description": "The scan's report, below this table's folder"},
}


@dataclass(frozen=True)
class CohortFiles:
    """Where the files of a cohort are.

    Attributes:
        out: Their folder.
    """

    out: Path

    @property
    def scans(self) -> Path:
        """A row a scan."""
        return self.out / RESULTS

    @property
    def lesions(self) -> Path:
        """A row a lesion."""
        return self.out / "cohort_lesions.tsv"

    @property
    def report(self) -> Path:
        """For people."""
        return self.out / "cohort_report.html"


def write_tables(results: Sequence[ScanResult], files: CohortFiles) -> None:
    """Write both tables, each with a data dictionary of the same name beside it."""
    write_tsv(files.scans, list(SCAN_COLUMNS), (scan_row(one, files.out) for one in results))
    columns = WHO_COLUMNS | LESION_COLUMNS
    rows = (
        _who(one) | lesion_row(lesion) for one in results if one.is_done for lesion in one.lesions
    )
    write_tsv(files.lesions, list(columns), rows)
    made = {"Description": f"Made by mmocnet {__version__}. {NOTICE}"}
    write_json(files.scans.with_suffix(".json"), made | SCAN_COLUMNS)
    write_json(files.lesions.with_suffix(".json"), made | columns)


def _who(one: ScanResult) -> dict[str, object]:
    return {
        "participant_id": one.scan.participant,
        "session_id": one.scan.session,
        "scan": _cell(one.scan.key),
    }


def _cell(text: str) -> str:
    """Return a text as a cell: names of files can hold tabs and line ends."""
    return re.sub(r"[\x00-\x1f\x7f]", " ", text)


def scan_row(one: ScanResult, out: Path) -> dict[str, object]:
    """Return the cells of a scan's row; what is not known is None or NaN."""
    row = _who(one) | {"state": one.state, "reason": _cell(one.reason) or None}
    if not one.is_done:
        return row
    counted, record = one.microbleeds, one.provenance
    regions = ("lobar", "deep", "infratentorial")
    by_region = {group: one.in_group(group) for group in regions}
    located = sum(by_region.values())
    sizes = [lesion.diameter_mm for lesion in counted if math.isfinite(lesion.diameter_mm)]
    echo_s = one.acquired("EchoTime")
    return row | {
        "microbleeds": len(counted),
        "definite": one.definite,
        "possible": len(counted) - one.definite,
        "macrohaemorrhages": len(one.lesions) - len(counted),
        **by_region,
        "not_located": len(counted) if math.isnan(located) else len(counted) - located,
        "pattern": pattern(one.lesions),
        "volume_mm3": round(math.fsum(lesion.volume_mm3 for lesion in counted), 3),
        "largest_mm": max(sizes, default=math.nan),
        "siderosis_candidates": len(one.summary.get("PossibleSiderosis", ())),
        "brain_ml": one.brain_ml,
        "phase_read": "yes" if record.get("PhaseRead") else "no",
        "voxel_mm": voxel_text(one),
        "field_t": one.acquired("MagneticFieldStrength"),
        "echo_ms": None if echo_s is None else 1000 * echo_s,
        "manufacturer": one.acquired("Manufacturer"),
        "model": record.get("Model", {}).get("Name"),
        "threshold": record.get("Threshold"),
        "warnings": _cell(" | ".join(one.warnings)) or None,
        "report": _cell(one.scan.files.report.relative_to(out).as_posix()),
    }


def voxel_text(one: ScanResult) -> str | None:
    """Return the sides of a scan's voxel, None where they are not known.

    Two decimals: what scanners call one protocol differs in the third.
    """
    if math.isnan(one.voxel_mm[0]):
        return None
    return " x ".join(f"{side:.2f}".rstrip("0").rstrip(".") for side in one.voxel_mm)
