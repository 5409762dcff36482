"""`mmocnet compare`: tell what is new, grown or not seen between two visits."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mmocnet.compare.visit import CompareSettings
from mmocnet.config import EngineName, OperatingPoint, PhaseSign, SegmentSettings

if TYPE_CHECKING:
    from mmocnet.commands.compare import ComparedScans


@dataclass(frozen=True)
class Compare:
    """Tell what is new, grown, stable or not seen between two visits of one person.

    Both scans are segmented, unless their lesions are given, and registered to each other. Writes
    a table of every lesion at both visits, its provenance and a report with pictures side by side.
    Research use only - not a medical device.
    """

    baseline: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="BASELINE")]
    """Scan of the first visit, as `mmocnet segment` takes it."""
    follow_up: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLLOW-UP")]
    """Scan of the second visit."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the results; made if missing. Segmentations go into `baseline` and `follow-up`."""
    baseline_mask: Path | None = None
    """Lesions of the first scan on its grid, each a number or all 1, in place of segmenting it."""
    follow_up_mask: Path | None = None
    """Lesions of the second scan."""
    baseline_series: str | None = None
    """Number or UID of the first visit's DICOM series; none takes the one that is named as SWI."""
    follow_up_series: str | None = None
    """Number or UID of the second visit's DICOM series."""
    baseline_phase: Path | None = None
    """Phase image of the first scan, on its grid, for a model that reads phase; without it that of
    a DICOM scan's study is taken."""
    follow_up_phase: Path | None = None
    """Phase image of the second scan."""
    phase_sign: PhaseSign = "auto"
    """See `mmocnet segment`."""
    settings: Annotated[CompareSettings, tyro.conf.arg(name="")] = field(
        default_factory=CompareSettings
    )
    """When two lesions are one, and when one has grown."""
    model: str | None = None
    """compact, standard, paper, or a folder that training wrote; none takes the best there is."""
    operating_point: OperatingPoint = "balanced"
    """screening: sensitivity first. balanced: best lesion F1 with few false calls. report:
    precision first."""
    threshold: float | None = None
    """Confidence from which a candidate is a lesion, in place of the operating point's."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the networks run."""
    engine: EngineName = "torch"
    """What runs them, see `mmocnet segment`."""
    location: bool = True
    """Whether regions of the brain are found; needs SimpleITK."""
    overwrite: bool = False
    """Make segmentations again that are there already; replace a comparison of other inputs."""

    def run(self) -> None:
        """Segment, compare, write and say what was found."""
        from mmocnet.commands.compare import VisitFiles, compare_scans

        done = compare_scans(
            VisitFiles(
                self.baseline, self.baseline_mask, self.baseline_series, self.baseline_phase
            ),
            VisitFiles(
                self.follow_up, self.follow_up_mask, self.follow_up_series, self.follow_up_phase
            ),
            self.out,
            self.settings,
            segment=SegmentSettings(
                model=self.model,
                operating_point=self.operating_point,
                threshold=self.threshold,
                device=self.device,
                engine=self.engine,
                phase_sign=self.phase_sign,
                location=self.location,
            ),
            overwrite=self.overwrite,
        )
        _say(done)


def _say(done: "ComparedScans") -> None:
    from mmocnet.compare.comparison import summary_sentence

    comparison = done.comparison
    for warning in comparison.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(summary_sentence(comparison))
    print(f"  ARIA-H class of new microbleeds: {comparison.new_text}")
    print(f"  report: {done.files.report}\n  Research use only - not a medical device.")
