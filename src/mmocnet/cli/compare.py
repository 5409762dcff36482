"""`mmocnet compare`: tell what is new, grown or not seen between two visits."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from mmocnet.compare.visit import CompareSettings, Visit
from mmocnet.config import EngineName, OperatingPoint, SegmentSettings

if TYPE_CHECKING:
    from mmocnet.compare.comparison import Comparison
    from mmocnet.compare.outputs import CompareFiles
    from mmocnet.lesion import Lesion
    from mmocnet.volume import Volume


@dataclass(frozen=True)
class Compare:
    """Tell what is new, grown, stable or not seen between two visits of one person.

    Both scans are segmented, unless their lesions are given, and registered to each other. Writes
    a table of every lesion at both visits, its provenance and a report with pictures side by side.
    Research use only - not a medical device.
    """

    baseline: tyro.conf.Positional[Path]
    """Scan of the first visit, as `mmocnet segment` takes it."""
    follow_up: tyro.conf.Positional[Path]
    """Scan of the second visit."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the results; made if missing. Segmentations go into `baseline` and `follow-up`."""
    baseline_mask: Path | None = None
    """Lesions of the first scan on its grid, each a number or all 1, in place of segmenting it."""
    follow_up_mask: Path | None = None
    """Lesions of the second scan."""
    settings: Annotated[CompareSettings, tyro.conf.arg(name="")] = field(
        default_factory=CompareSettings
    )
    """When two lesions are one, and when one has grown."""
    model: str | None = None
    """compact, standard, paper, or a folder that training wrote; none takes the best there is."""
    operating_point: OperatingPoint = "balanced"
    """screening: sensitivity first. balanced: best lesion F1. report: precision first."""
    threshold: float | None = None
    """Confidence from which a candidate is a lesion, in place of the operating point's."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the networks run."""
    engine: EngineName = "torch"
    """What runs them, see `mmocnet segment`."""
    location: bool = True
    """Whether regions of the brain are found; needs SimpleITK."""
    overwrite: bool = False
    """Make segmentations again that are there already."""

    def run(self) -> None:
        """Segment, compare, write and say what was found."""
        from mmocnet.compare.comparison import compare_visits
        from mmocnet.compare.outputs import CompareFiles, write_comparison
        from mmocnet.predict.outputs import output_files

        first = self._visit(self.baseline, self.baseline_mask, "baseline")
        second = self._visit(self.follow_up, self.follow_up_mask, "follow-up")
        comparison = compare_visits(first, second, self.settings)
        files = CompareFiles(self.out, output_files(self.follow_up, self.out).stem)
        write_comparison(comparison, files)
        _say(comparison, files)

    def _visit(self, path: Path, mask: Path | None, name: str) -> Visit:
        from mmocnet.io.read import read_scan
        from mmocnet.locate.locate import located
        from mmocnet.predict.labels import measured_lesions, read_labels
        from mmocnet.predict.provenance import FileOptions, given_record
        from mmocnet.prepare.brain import brain_mask

        scan = read_scan(path)
        brain = brain_mask(scan.volume)
        technique = given_record(path, FileOptions(), scan=scan)["Acquisition"]
        if mask is None:
            labels, lesions, below, source = self._segmented(path, name)
        else:
            labels = read_labels(mask, scan.volume)
            lesions, _ = located(measured_lesions(labels), scan.volume, brain, wanted=self.location)
            below = ()
            source = {"Source": f"given: {mask.name}"}
        record = {"Name": scan.volume.name, "SHA256": scan.sha256, "Acquisition": technique}
        return Visit(
            image=scan.volume,
            labels=labels,
            lesions=tuple(lesions),
            brain=brain,
            candidates=tuple(below),
            acquisition=technique,
            provenance=source | {"Input": record},
        )

    def _segmented(
        self, path: Path, name: str
    ) -> "tuple[Volume, tuple[Lesion, ...], tuple[Lesion, ...], dict[str, Any]]":
        """Return labels, lesions, candidates below threshold and provenance of a scan."""
        from mmocnet.io.nifti import read_nifti
        from mmocnet.io.tables import read_lesions
        from mmocnet.predict.outputs import read_summary
        from mmocnet.predict.pipeline import segment_file
        from mmocnet.predict.provenance import FileOptions

        settings = SegmentSettings(
            model=self.model,
            operating_point=self.operating_point,
            threshold=self.threshold,
            device=self.device,
            engine=self.engine,
            location=self.location,
        )
        options = FileOptions(overwrite=self.overwrite)
        files = segment_file(path, self.out / name, settings, options=options).files
        lesions = read_lesions(files.table)
        candidates = read_lesions(files.folder / f"{files.stem}_desc-candidates_dseg.tsv")
        record = read_summary(files) or {}
        point = f"{record['Threshold']:g} ({record['OperatingPoint']})"
        source = f"segmented by {record['Model']['Name']} at confidence {point}"
        known = {one.index for one in lesions}
        below = tuple(
            one
            for one in candidates
            if one.index not in known and one.confidence < record["Threshold"]
        )
        return read_nifti(files.labels), lesions, below, {"Source": source, "Segmentation": record}


def _say(comparison: "Comparison", files: "CompareFiles") -> None:
    from mmocnet.compare.comparison import summary_sentence

    for warning in comparison.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(summary_sentence(comparison))
    print(f"  ARIA-H class of new microbleeds: {comparison.new_class}, grade: {comparison.grade}")
    print(f"  report: {files.report}\n  Research use only - not a medical device.")
