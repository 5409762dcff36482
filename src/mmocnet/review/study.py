"""What an export is made from: where the study's files are, the machine's result, the reading."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmocnet.errors import InputError
from mmocnet.io.dataset import stem
from mmocnet.io.read import Scan, read_scan
from mmocnet.review.candidates import MachineResult
from mmocnet.review.reading import Reading
from mmocnet.review.record import audit_record
from mmocnet.review.rows import Row, reviewed_rows


@dataclass(frozen=True)
class ReviewedStudy:
    """Where the files of a study are.

    Attributes:
        scan: What was segmented: a file, or a folder or zip of DICOM.
        result: Folder with `findings.json` and `findings.npz`.
        name: What people call the scan, as "sub-01_acq-swi_T2starw.nii.gz"; exports are named
            after it.
        spacing_mm: Pixel size of a picture.
        series: Number or UID of the DICOM series, where there are several.
        phase: Phase image that was given beside it.
    """

    scan: Path
    result: Path
    name: str
    spacing_mm: float | None = None
    series: str | None = None
    phase: Path | None = None

    @property
    def stem(self) -> str:
        """What names of exports begin with: letters, digits, and none of another description."""
        base = stem(Path(self.name).name)
        if base.startswith("sub-"):
            base = re.sub(r"_(desc|label)-[A-Za-z0-9+]+", "", base)
        return re.sub(r"[^A-Za-z0-9._+-]+", "_", base).strip("._") or "scan"


@dataclass(frozen=True)
class Material:
    """What one export is made from.

    Attributes:
        study: Where its files are.
        machine: What the reading began with.
        reading: What the reader made of it.
        reader: Pseudonym.
    """

    study: ReviewedStudy
    machine: MachineResult
    reading: Reading
    reader: str

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The findings as tables have them."""
        return reviewed_rows(self.reading, self.machine.thresholds)

    @property
    def counted(self) -> tuple[Row, ...]:
        """Those that the reader says are ones, by their number."""
        return tuple(row for row in self.rows if row.counted)

    @cached_property
    def record(self) -> dict[str, Any]:
        """How it came about; plain JSON values."""
        return audit_record(self.machine, self.reading, self.reader)

    @cached_property
    def scan(self) -> Scan:
        """The scan as it is read.

        Raises:
            InputError: If it cannot be read, or is not what was segmented.
        """
        scan = read_scan(self.study.scan, self.study.spacing_mm, self.study.series)
        wanted = self.machine.provenance["Input"]["SHA256"]
        if scan.volume.shape != self.reading.grid.shape or scan.sha256 != wanted:
            raise InputError(
                "the scan is no longer the one that was segmented: segment it again, then read it"
            )
        return scan
