"""What a comparison takes: two visits, and its settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mmocnet.compare.coverage import Coverage
from mmocnet.config.checked import Checked
from mmocnet.io.burden import microbleeds
from mmocnet.io.covered import covered
from mmocnet.lesion import Lesion
from mmocnet.types import Mask3D
from mmocnet.volume import Volume

CANDIDATE_FLOOR = 0.05
"""Candidates of less confidence say nothing of what may have been there."""


@dataclass(frozen=True)
class Visit:
    """A scan and its lesions.

    Attributes:
        image: The scan.
        labels: On its grid, each lesion its number.
        lesions: Rows of its table.
        brain: Its brain, shape (I, J, K).
        candidates: What was found below the threshold; empty where not known.
        acquisition: Technique as BIDS has it, EchoTime in seconds.
        provenance: How the lesions came about, plain JSON values: Source in words, Input, and
            Outlines, which is the file that they were given in, and Location, or Segmentation,
            which is the record of `mmocnet segment`.
        warnings: One sentence for each doubt about the scan and its lesions.
        numbers: Of the slices of a DICOM series, as `DicomSource` has them; else none.
        date: Of the study, YYYYMMDD, "" where it is not known; never said or written.
    """

    image: Volume
    labels: Volume
    lesions: tuple[Lesion, ...]
    brain: Mask3D
    candidates: tuple[Lesion, ...] = ()
    acquisition: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    date: str = field(default="", repr=False)

    @cached_property
    def coverage(self) -> Coverage:
        """What its scan covers."""
        return Coverage(self.image, self.brain)

    @property
    def covered(self) -> tuple[float, float]:
        """Share of the brain that its scan covers, NaN where not known, and ml that it shows."""
        share, _ = covered(self.provenance.get("Segmentation", self.provenance))
        return share, float(self.brain.sum()) * self.image.voxel_mm3 / 1000

    @property
    def phase_read(self) -> bool | None:
        """Whether its lesions rest on phase too, None where they were given."""
        record = self.provenance.get("Segmentation")
        return None if record is None else record.get("PhaseRead", "Phase" in record["Input"])

    @property
    def series_uid(self) -> str:
        """Series Instance UID of a DICOM scan, "" of another."""
        return str(self.provenance.get("Input", {}).get("SeriesInstanceUID", ""))

    @property
    def count(self) -> int:
        """Number of its microbleeds."""
        return len(microbleeds(self.lesions))

    @cached_property
    def told_candidates(self) -> tuple[Lesion, ...]:
        """Candidates that are told of: from the screening threshold, or `CANDIDATE_FLOOR`."""
        floor = self._floor()
        return tuple(one for one in self.candidates if one.confidence >= floor)

    def _floor(self) -> float:
        record = self.provenance.get("Segmentation") or {}
        screening = record.get("Thresholds", {}).get("screening")
        # All candidates are below a threshold that is the screening one itself.
        if screening is None or screening >= record.get("Threshold", 1.0):
            return CANDIDATE_FLOOR
        return float(screening)


@dataclass(frozen=True)
class CompareSettings(Checked):
    """When two lesions are one, and when one has grown."""

    tolerance_mm: float = 2.0
    """How far a lesion's centre at one visit may lie from the lesion at the other, taken as the
    sphere of its volume. Registration is off by up to 1 mm and a centre by half a slice."""
    growth_ratio: float = 2.0
    """A lesion has grown where its volume has become at least so many times what it was,"""
    growth_mm3: float = 10.0
    """and by so many mm3 more; smaller changes are within what outlines differ by."""
