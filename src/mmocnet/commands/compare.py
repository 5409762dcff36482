"""`mmocnet compare` as one call."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmocnet.compare.comparison import Comparison, compare_visits
from mmocnet.compare.outputs import CompareFiles, check_inputs, write_comparison
from mmocnet.compare.visit import CompareSettings, Visit
from mmocnet.config import SegmentSettings
from mmocnet.config.checked import Checked
from mmocnet.errors import InputError
from mmocnet.io.atomic import check_folder
from mmocnet.io.digest import file_sha256
from mmocnet.io.nifti import read_nifti
from mmocnet.io.picture import SUFFIXES
from mmocnet.io.read import Scan, may_be_dicom, read_scan
from mmocnet.io.tables import read_lesions
from mmocnet.lesion import Lesion
from mmocnet.locate.locate import located
from mmocnet.nets.card import default_model
from mmocnet.nets.checkpoint import load_cascade
from mmocnet.predict.labels import measured_lesions, read_labels
from mmocnet.predict.outputs import output_files, read_summary, read_warnings
from mmocnet.predict.pipeline import segment_file
from mmocnet.predict.provenance import FileOptions, given_record
from mmocnet.prepare.brain import brain_mask
from mmocnet.prepare.refuse import check_scan
from mmocnet.types import Mask3D
from mmocnet.volume import Volume


@dataclass(frozen=True)
class VisitFiles(Checked):
    """The files of a visit.

    Attributes:
        scan: As `segment_file` takes it.
        mask: Its lesions on its grid, each a number or all 1; None segments the scan.
        series: Number or UID of the DICOM series; None takes the one that is named as SWI.
        phase: Phase image on its grid, for a model that reads phase; without it that of a DICOM
            scan's study is taken.
    """

    scan: Path
    mask: Path | None = None
    series: str | None = None
    phase: Path | None = None

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: If one is of another kind, or the lesions are given and a phase too.
        """
        super().__post_init__()
        if self.mask is not None and self.phase is not None:
            raise InputError(
                f"expected a phase of a scan that is segmented, got {self.phase.name} beside the "
                f"lesions in {self.mask.name}"
            )


@dataclass(frozen=True)
class ComparedScans:
    """What `compare_scans` did.

    Attributes:
        comparison: Every lesion at both visits.
        files: Where table, provenance and report are.
    """

    comparison: Comparison
    files: CompareFiles


def compare_scans(
    baseline: VisitFiles | Path | str,
    follow_up: VisitFiles | Path | str,
    out: Path | str,
    settings: CompareSettings | None = None,
    *,
    segment: SegmentSettings | None = None,
    overwrite: bool = False,
) -> ComparedScans:
    """Tell what is new, grown, stable or not seen between two visits of one person.

    Both scans are segmented, unless their lesions are given, and registered to each other.

    Args:
        baseline: First visit.
        follow_up: Second visit.
        out: Folder of table, provenance and report; segmentations go into `baseline` and
            `follow-up`.
        settings: When two lesions are one, and when one has grown; None takes the defaults.
        segment: How scans are segmented; None takes the defaults.
        overwrite: Make segmentations again, and replace a comparison of other inputs.

    Raises:
        InputError: If a visit cannot be read or segmented (it says which), or `out` holds a
            comparison of other inputs.
        ModelError: If the model is missing or was never trained.
    """
    out = Path(out)
    check_folder(out)
    how = _Making(out, segment or SegmentSettings(), overwrite)
    first, second = _files_of(baseline), _files_of(follow_up)
    files = CompareFiles(out, output_files(second.scan, out).stem)
    visits = _visit("baseline", first, how), _visit("follow-up", second, how)
    if not overwrite:
        check_inputs(files, *visits)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    comparison = compare_visits(*visits, settings or CompareSettings())
    comparison = replace(comparison, made=made)
    write_comparison(comparison, files)
    return ComparedScans(comparison, files)


def _files_of(given: VisitFiles | Path | str) -> VisitFiles:
    return given if isinstance(given, VisitFiles) else VisitFiles(Path(given))


@dataclass(frozen=True)
class _Making:
    """How lesions are found.

    Attributes:
        out: Folder of both visits' folders.
        segment: How scans are segmented; also whether given lesions are located.
        overwrite: Whether to segment again what is there.
    """

    out: Path
    segment: SegmentSettings
    overwrite: bool


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

    labels: Volume
    lesions: tuple[Lesion, ...]
    below: tuple[Lesion, ...]
    source: dict[str, Any]
    warnings: tuple[str, ...]


def _visit(name: str, files: VisitFiles, how: _Making) -> Visit:
    """Return a visit; what is wrong with it is said with the visit's name.

    Raises:
        InputError: If it cannot be read or segmented.
    """
    try:
        return _read_visit(name, files, how)
    except InputError as error:
        # The option of `segment` is called otherwise here.
        text = str(error).replace("--series", f"--{name}-series")
        raise InputError(f"{name}: {text}") from error


def _read_visit(name: str, files: VisitFiles, how: _Making) -> Visit:
    path = files.scan
    if not may_be_dicom(path) and path.name.lower().endswith(SUFFIXES):
        # Reading it would ask for a spacing, which is of no use here.
        raise InputError(f"expected a volume to compare, got a single slice in {path.name}")
    scan = read_scan(path, series=files.series)
    volume = scan.volume
    if scan.dicom is not None:
        volume = replace(volume, name=f"{path.name}, {volume.name}")
    brain = brain_mask(volume)
    given = given_record(path, FileOptions(), scan=scan)
    if files.mask is None:
        found = _segmented(files, how.out / name, how)
    else:
        found = _given(files.mask, replace(scan, volume=volume), brain, wanted=how.segment.location)
    record = {"Name": volume.name, "SHA256": scan.sha256} | given
    return Visit(
        image=volume,
        labels=found.labels,
        lesions=found.lesions,
        brain=brain,
        candidates=found.below,
        acquisition=given["Acquisition"],
        provenance=found.source | {"Input": record},
        warnings=found.warnings,
        numbers=() if scan.dicom is None else scan.dicom.numbers,
        date="" if scan.dicom is None else scan.dicom.date,
    )


def _given(mask: Path, scan: Scan, brain: Mask3D, *, wanted: bool) -> _Found:
    """Return the lesions of a mask, placed where wanted, on a scan that `segment` would take."""
    doubts = check_scan(scan, brain)
    labels = read_labels(mask, scan.volume)
    lesions, place = located(measured_lesions(labels), scan.volume, brain, wanted=wanted)
    source = {
        "Source": f"given: {mask.name}",
        "Outlines": {"Name": mask.name, "SHA256": file_sha256(mask)},
        "Location": place.as_json(),
    }
    return _Found(labels, lesions, (), source, (*scan.warnings, *doubts, *place.warnings))


def _segmented(visit: VisitFiles, out: Path, how: _Making) -> _Found:
    """Return what the model finds, or has found before."""
    cascade = load_cascade(how.segment.model or default_model(), how.segment.device)
    phase = visit.phase if cascade.settings.reads_phase else None
    doubts = [] if phase == visit.phase else [f"phase is not used: {cascade.name} reads none"]
    options = FileOptions(overwrite=how.overwrite, phase=phase, series=visit.series)
    files = segment_file(visit.scan, out, how.segment, options=options, cascade=cascade).files
    lesions = read_lesions(files.table)
    candidates = read_lesions(files.folder / f"{files.stem}_desc-candidates_dseg.tsv")
    record = read_summary(files) or {}
    point = f"{record['Threshold']:g} ({record['OperatingPoint']})"
    source = f"segmented by {record['Model']['Name']} at confidence {point}"
    known = {one.index for one in lesions}
    below = tuple(
        one for one in candidates if one.index not in known and one.confidence < record["Threshold"]
    )
    return _Found(
        read_nifti(files.labels),
        lesions,
        below,
        {"Source": source, "Segmentation": record},
        (*doubts, *read_warnings(files)),
    )
