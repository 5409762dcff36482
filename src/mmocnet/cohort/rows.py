"""What the results of a cohort's scans say, read from their files."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
from nibabel.filebasedimages import ImageFileError

from mmocnet.cohort.record import State, read_outcome
from mmocnet.cohort.scans import CohortScan
from mmocnet.errors import InputError
from mmocnet.io.burden import microbleeds
from mmocnet.io.covered import covered
from mmocnet.io.tables import read_lesions
from mmocnet.lesion import Certainty, Lesion
from mmocnet.predict.outputs import all_there, read_part

NO_RESULTS = "its results are not all there, or not readable"


@dataclass(frozen=True)
class ScanResult:
    """What is there of one scan.

    Attributes:
        scan: Which.
        state: "done", "failed" or "waiting".
        reason: Why it failed.
        lesions: Macrohaemorrhages among them; none where it is not done.
        summary: Counts and warnings, as the summary file has them.
        provenance: How it was made.
        voxel_mm: Sides of a voxel, NaN where they are not known.
    """

    scan: CohortScan
    state: State
    reason: str = ""
    lesions: tuple[Lesion, ...] = ()
    summary: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    voxel_mm: tuple[float, float, float] = (math.nan, math.nan, math.nan)

    @property
    def is_done(self) -> bool:
        """Whether it was segmented."""
        return self.state == "done"

    @property
    def microbleeds(self) -> list[Lesion]:
        """The lesions that count."""
        return microbleeds(self.lesions)

    @property
    def definite(self) -> int:
        """Definite microbleeds."""
        return sum(one.certainty is Certainty.DEFINITE for one in self.lesions)

    @property
    def warnings(self) -> list[str]:
        """Sentences."""
        return [str(text) for text in self.summary.get("Warnings", ())]

    @property
    def located(self) -> bool:
        """Whether regions of the brain were found in it."""
        return bool(self.provenance.get("Location", {}).get("Ok"))

    @property
    def brain_ml(self) -> float:
        """Brain that the scan shows, NaN where that is not known."""
        return covered(self.provenance)[1]

    def acquired(self, key: str) -> Any:
        """Return what is known of its acquisition, None where it is not."""
        return self.provenance.get("Input", {}).get("Acquisition", {}).get(key)

    def in_group(self, group: str) -> float:
        """Return its microbleeds of a group of regions, NaN where that cannot be told."""
        if not self.is_done or (self.microbleeds and not self.located):
            return math.nan
        return sum(one.group == group for one in self.microbleeds)


def read_results(scans: Iterable[CohortScan], out: Path) -> list[ScanResult]:
    """Return what is there of each scan.

    Args:
        scans: Of the cohort.
        out: Folder of its results.
    """
    return [_result(scan, out) for scan in scans]


def _result(scan: CohortScan, out: Path) -> ScanResult:
    outcome, _ = read_outcome(out, scan)
    if outcome.state == "failed":
        return ScanResult(scan, "failed", outcome.reason)
    files = scan.files
    try:
        provenance = read_part(files, "Provenance")
        if provenance is None or not all_there(files):
            # Of what was done once, files may have been moved away.
            known = outcome.state == "done"
            return ScanResult(scan, "failed" if known else "waiting", NO_RESULTS if known else "")
        return ScanResult(
            scan,
            "done",
            lesions=read_lesions(files.table),
            summary=read_part(files, "Summary") or {},
            provenance=provenance,
            voxel_mm=_voxel_mm(files.labels),
        )
    except InputError as error:
        return ScanResult(scan, "failed", str(error))
    except (ImageFileError, OSError, EOFError, ValueError):
        return ScanResult(scan, "failed", NO_RESULTS)


def _voxel_mm(labels: Path) -> tuple[float, float, float]:
    if labels.suffix == ".png":
        return math.nan, math.nan, math.nan
    x, y, z = (float(side) for side in nib.load(labels).header.get_zooms()[:3])  # type: ignore[attr-defined]
    return x, y, z


def mixed_settings(results: Sequence[ScanResult]) -> list[str]:
    """Return a sentence for each way in which results were not all made alike."""
    done = [one.provenance for one in results if one.is_done]
    told = []
    for key, name in (("Version", "versions of mmocnet"), ("Threshold", "thresholds")):
        values = sorted({str(record.get(key)) for record in done})
        if len(values) > 1:
            told.append(f"results were made with several {name}: {', '.join(values)}")
    models = {str(record.get("Model", {}).get("SHA256")) for record in done}
    if len(models) > 1:
        names = sorted({str(record.get("Model", {}).get("Name")) for record in done})
        told.append(f"results were made with {len(models)} models: {', '.join(names)}")
    read = {bool(record.get("PhaseRead")) for record in done}
    if len(read) > 1:
        number = sum(bool(record.get("PhaseRead")) for record in done)
        told.append(
            f"phase was read in {number} of {len(done)} scans: fewer false calls are made with it, "
            "so counts with and without it are not to be compared"
        )
    return told
