"""`mmocnet compare`: tell what is new, grown or not seen between two visits."""

import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from mmocnet.compare.visit import CompareSettings, Visit
from mmocnet.config import EngineName, OperatingPoint, SegmentSettings
from mmocnet.errors import InputError
from mmocnet.io.atomic import check_folder

if TYPE_CHECKING:
    from mmocnet.compare.comparison import Comparison
    from mmocnet.compare.outputs import CompareFiles
    from mmocnet.io.read import Scan
    from mmocnet.lesion import Lesion
    from mmocnet.types import Mask3D
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
    baseline_series: str | None = None
    """Number or UID of the first visit's DICOM series; none takes the one that is named as SWI."""
    follow_up_series: str | None = None
    """Number or UID of the second visit's DICOM series."""
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
        from mmocnet.compare.comparison import compare_visits
        from mmocnet.compare.outputs import CompareFiles, check_inputs, write_comparison
        from mmocnet.predict.outputs import output_files

        check_folder(self.out)
        files = CompareFiles(self.out, output_files(self.follow_up, self.out).stem)
        first = self._visit("baseline", self.baseline, self.baseline_mask, self.baseline_series)
        second = self._visit(
            "follow-up", self.follow_up, self.follow_up_mask, self.follow_up_series
        )
        if not self.overwrite:
            check_inputs(files, first, second)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        comparison = replace(compare_visits(first, second, self.settings), made=made)
        write_comparison(comparison, files)
        _say(comparison, files)

    def _visit(self, name: str, path: Path, mask: Path | None, series: str | None) -> Visit:
        """Return a visit; what is wrong with it is said with the visit's name.

        Raises:
            InputError: If it cannot be read or segmented.
        """
        try:
            return self._read_visit(name, path, mask, series)
        except InputError as error:
            # The option of `segment` is called otherwise here.
            text = str(error).replace("--series", f"--{name}-series")
            raise InputError(f"{name}: {text}") from error

    def _read_visit(self, name: str, path: Path, mask: Path | None, series: str | None) -> Visit:
        from mmocnet.io.picture import SUFFIXES
        from mmocnet.io.read import may_be_dicom, read_scan
        from mmocnet.predict.provenance import FileOptions, given_record
        from mmocnet.prepare.brain import brain_mask

        if not may_be_dicom(path) and path.name.lower().endswith(SUFFIXES):
            # Reading it would ask for a spacing, which is of no use here.
            raise InputError(f"expected a volume to compare, got a single slice in {path.name}")
        scan = read_scan(path, series=series)
        volume = scan.volume
        if scan.dicom is not None:
            volume = replace(volume, name=f"{path.name}, {volume.name}")
        brain = brain_mask(volume)
        technique = given_record(path, FileOptions(), scan=scan)["Acquisition"]
        if mask is None:
            found = self._segmented(path, name, series)
        else:
            found = self._given(mask, replace(scan, volume=volume), brain)
        record = {"Name": volume.name, "SHA256": scan.sha256, "Acquisition": technique}
        return Visit(
            image=volume,
            labels=found.labels,
            lesions=found.lesions,
            brain=brain,
            candidates=found.below,
            acquisition=technique,
            provenance=found.source | {"Input": record},
            warnings=found.warnings,
            date="" if scan.dicom is None else scan.dicom.date,
        )

    def _given(self, mask: Path, scan: "Scan", brain: "Mask3D") -> "_Found":
        """Return the lesions of a mask, placed, on a scan that `segment` would take."""
        from mmocnet.locate.locate import located
        from mmocnet.nets.checkpoint import file_sha256
        from mmocnet.predict.labels import measured_lesions, read_labels
        from mmocnet.prepare.refuse import check_scan

        doubts = check_scan(scan, brain)
        labels = read_labels(mask, scan.volume)
        lesions, place = located(measured_lesions(labels), scan.volume, brain, wanted=self.location)
        source = {
            "Source": f"given: {mask.name}",
            "Outlines": {"Name": mask.name, "SHA256": file_sha256(mask)},
        }
        return _Found(labels, lesions, (), source, (*scan.warnings, *doubts, *place.warnings))

    def _segmented(self, path: Path, name: str, series: str | None) -> "_Found":
        """Return what the model finds, or has found before."""
        from mmocnet.io.nifti import read_nifti
        from mmocnet.io.tables import read_lesions
        from mmocnet.predict.outputs import read_summary, read_warnings
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
        options = FileOptions(overwrite=self.overwrite, series=series)
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
        return _Found(
            read_nifti(files.labels),
            lesions,
            below,
            {"Source": source, "Segmentation": record},
            read_warnings(files),
        )


@dataclass(frozen=True)
class _Found:
    """The lesions of a visit.

    Attributes:
        labels: On the scan's grid.
        lesions: Rows of their table.
        below: Candidates below the threshold.
        source: How they came about, as provenance.
        warnings: One sentence for each doubt.
    """

    labels: "Volume"
    lesions: "tuple[Lesion, ...]"
    below: "tuple[Lesion, ...]"
    source: dict[str, Any]
    warnings: tuple[str, ...]


def _say(comparison: "Comparison", files: "CompareFiles") -> None:
    from mmocnet.compare.comparison import summary_sentence

    for warning in comparison.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(summary_sentence(comparison))
    print(f"  ARIA-H class of new microbleeds: {comparison.new_class}, grade: {comparison.grade}")
    print(f"  report: {files.report}\n  Research use only - not a medical device.")
