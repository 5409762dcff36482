"""From one scan to its lesions: start reading here.

`segment` is a pure function of one study; `segment_file` reads, calls it and writes. The scan is
cut into slices on a working grid, stage 1 marks candidates on each slice, stage 2 outlines or
rejects each candidate in a small patch, the patches are fused, and what was found is measured on
the scan's own grid.
"""

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.config import CascadeSettings, PhaseSign, SegmentSettings, Thresholds
from mmocnet.io.dicom.vendors import PHASE_SIGN
from mmocnet.io.read import Scan, read_scan
from mmocnet.io.tables import read_lesions
from mmocnet.lesion import Lesion
from mmocnet.locate.locate import NOTHING, placed, register_scan
from mmocnet.nets.card import default_model
from mmocnet.nets.checkpoint import Cascade, load_cascade
from mmocnet.predict.candidates import find_candidates
from mmocnet.predict.classify import surroundings, with_classifier
from mmocnet.predict.context import limits_for, with_context
from mmocnet.predict.contrast import outline_by_contrast
from mmocnet.predict.engine import Engine, Progress, make_engine
from mmocnet.predict.findings import list_findings
from mmocnet.predict.fuse import Outlines, by_confidence, outline_candidates, place_on_input
from mmocnet.predict.outputs import OutputFiles, output_files, write_outputs
from mmocnet.predict.provenance import (
    Beside,
    FileOptions,
    as_scan,
    beside_in_memory,
    is_done,
    operating_threshold,
    provenance,
    read_beside,
)
from mmocnet.predict.second_stage import StageMaps, outlined
from mmocnet.predict.segmentation import Segmentation
from mmocnet.prepare.brain import brain_mask
from mmocnet.prepare.geometry import WorkingGrid, slice_axis
from mmocnet.prepare.neighbours import neighbour_step
from mmocnet.prepare.phase import high_passed_phase
from mmocnet.prepare.refuse import check_scan, check_values
from mmocnet.prepare.slices import PreparedSlices, prepare_slices
from mmocnet.types import FloatArray, Labels3D, Mask3D, Volume3D
from mmocnet.volume import Volume

EIGHT_BITS = (
    "the confidence and the operating points hold for engines torch and openvino: with "
    "openvino-int8 a single scan may have other microbleeds"
)
"""Said where stage 1 ran in 8 bits and a classifier read what it said."""


def segment(
    scan: Scan | Volume,
    settings: SegmentSettings | None = None,
    *,
    cascade: Cascade | None = None,
    brain: NDArray[Any] | Volume | None = None,
    phase: Volume | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Find and outline the microbleeds of one scan. Writes nothing, draws no lots.

    Args:
        scan: The SWI: from `load_scan`, which keeps what its file says of it, or an array with
            its affine.
        settings: Model, operating point, device; defaults where None.
        cascade: The model, already loaded, to be used for many scans; else it is loaded.
        brain: Brain mask, shape (I, J, K), what is above 0; else it is taken from the scan. Of
            a volume, the axes may run the other way.
        phase: Phase image on the scan's grid, for a model with a classifier; else the phase
            series beside a DICOM scan is read.
        progress: Called with (slices done, slices in all).

    Returns:
        Lesions and candidates with labels and probability on the scan's own grid.

    Raises:
        InputError: If the scan cannot be processed, mask or phase lie on another grid, or a
            setting is out of range.
        ModelError: If the model is missing or was never trained.

    Research use only - not a medical device.
    """
    settings = SegmentSettings() if settings is None else settings
    if cascade is None:
        cascade = load_cascade(settings.model or default_model(), settings.device)
    scan = as_scan(scan)
    beside = beside_in_memory(scan, brain, phase, reads_phase=cascade.settings.reads_phase)
    return _segmented(scan, settings, cascade, beside, progress)


def _segmented(
    scan: Scan,
    settings: SegmentSettings,
    cascade: Cascade,
    beside: Beside,
    progress: Progress | None,
) -> Segmentation:
    """Segment a scan with what is beside it, whose doubts are told with the scan's own."""
    scan = dataclasses.replace(scan, warnings=scan.warnings + beside.warnings)
    model = cascade, engine_of(cascade, settings)
    staged = run_stages(
        scan, settings, model, brain=beside.brain, phase=beside.phase, progress=progress
    )
    return conclude(staged, settings, model)


@dataclasses.dataclass(frozen=True)
class StagedScan:
    """A scan after both stages, before its candidates have a confidence.

    Attributes:
        scan: As it was read.
        brain: Brain mask, shape (I, J, K).
        slices: What the stages saw.
        maps: What they said.
        phase: High-passed on the working grid, radians; None where there is none to be relied on.
        warnings: So far.
    """

    scan: Scan
    brain: Mask3D
    slices: PreparedSlices
    maps: StageMaps
    phase: NDArray[np.float32] | None
    warnings: tuple[str, ...]


def engine_of(cascade: Cascade, settings: SegmentSettings) -> Engine:
    """Return the engine that runs a cascade as the settings say."""
    crop = cascade.settings.preparation.pixel_mm is not None
    return make_engine(cascade, settings.device, crop=crop, engine=settings.engine)


def run_stages(
    scan: Scan,
    settings: SegmentSettings,
    model: tuple[Cascade, Engine],
    *,
    brain: Mask3D | None = None,
    phase: Volume | None = None,
    progress: Progress | None = None,
) -> StagedScan:
    """Prepare a scan and run both stages on it, which takes most of the time; see `segment`."""
    (cascade, engine), volume = model, scan.volume
    # A setting out of range is said before the work, not after it.
    _thresholds(scan, settings, cascade)
    check_values(volume)
    if brain is None:
        brain = brain_mask(volume)
    warnings = [*scan.warnings, *check_scan(scan, brain)]
    slices = prepare_slices(volume, cascade.settings.preparation, brain)
    maps = stage_maps(slices, engine, cascade.settings, progress)
    seen = phase if cascade.settings.reads_phase else None
    radians, doubts = phase_slices(
        seen, volume, brain, slices.grid, settings.phase_sign, phase_hint(scan)
    )
    return StagedScan(scan, brain, slices, maps, radians, (*warnings, *doubts))


def conclude(
    staged: StagedScan, settings: SegmentSettings, model: tuple[Cascade, Engine]
) -> Segmentation:
    """Give the candidates of both stages their confidence, and list, measure and place them.

    Args:
        staged: By a cascade with the same stages and preparation.
        settings: Operating point, location.
        model: A cascade, for its confidence and thresholds, and its engine.
    """
    cascade, _ = model
    scan, volume, brain = staged.scan, staged.scan.volume, staged.brain
    limits, threshold = _thresholds(scan, settings, cascade)
    warnings = list(staged.warnings)
    random = cascade.card.get("never_trained")
    if random:
        warnings.append(f"{' and '.join(random)} were never trained: what is found means nothing")
    if cascade.settings.classifier is not None and settings.engine == "openvino-int8":
        warnings.append(EIGHT_BITS)
    outlines = outline_candidates(staged.maps.outlines)
    wanted = settings.location and len(outlines.confidence) > 0
    with ThreadPoolExecutor(1) as aside:
        # It takes one thread about as long as the networks and measures take here.
        registering = aside.submit(register_scan, volume, brain, wanted=wanted)
        labels, confidence, probability, outlining = _judged(outlines, staged, model)
        findings = list_findings(volume.like(labels), confidence, brain, limits, threshold)
        place = registering.result()

    if findings.siderosis:
        warnings.append(
            "possible cortical superficial siderosis: long thin superficial components were "
            f"not counted (candidates {', '.join(map(str, findings.siderosis))})"
        )
    if findings.vessels:
        warnings.append(
            "possible vessels: long thin components over 10 mm were not counted (candidates "
            f"{', '.join(map(str, findings.vessels))})"
        )
    if settings.location and not findings.candidates:
        place = NOTHING
    candidates = placed(findings.candidates, place)
    warnings += place.warnings
    lesion_labels = np.where(findings.labels <= len(findings.lesions), findings.labels, 0)
    return Segmentation(
        image=volume,
        labels=volume.like(lesion_labels),
        probability=volume.like(probability),
        outlining=volume.like(outlining),
        candidate_labels=volume.like(findings.labels),
        lesions=candidates[: len(findings.lesions)],
        candidates=candidates,
        siderosis=findings.siderosis,
        vessels=findings.vessels,
        warnings=tuple(warnings),
        slice_axis=slice_axis(volume),
        source=scan.source,
        provenance=provenance(scan, settings, cascade, threshold)
        | {
            "Location": place.as_json(),
            "BrainMl": brain_ml(volume, brain),
            "PhaseRead": staged.phase is not None,
        },
        dicom=scan.dicom,
    )


def _judged(
    outlines: Outlines, staged: StagedScan, model: tuple[Cascade, Engine]
) -> tuple[Labels3D, FloatArray, Volume3D, Volume3D]:
    """Return the candidates on the scan's own grid, and the confidence of each.

    Returns:
        Labels, shape (I, J, K); confidence, shape (N,); probability by it; stage 2's probability.
    """
    (cascade, engine), volume = model, staged.scan.volume
    seen = cascade.settings.classifier
    if seen is not None:
        around = surroundings(staged.slices, staged.maps, staged.phase)
        judged = with_classifier(outlines, around, engine, seen, volume)
    else:
        judged = with_context(outlines, staged.slices, cascade.settings.context)
    labels, outlining = place_on_input(judged, staged.maps.outlines, staged.slices.grid)
    probability = outlining
    if judged is not outlines:
        probability = by_confidence(outlining, labels, judged.confidence)
    share = cascade.settings.contrast_share
    if share is not None:
        labels = outline_by_contrast(labels, volume.array, staged.brain, volume.spacing_mm, share)
    return labels, judged.confidence, probability, outlining


def brain_ml(volume: Volume, brain: Mask3D) -> float | None:
    """Return how much brain a volume shows, None of a single slice."""
    if 1 in volume.shape:
        return None
    return round(float(brain.sum()) * volume.voxel_mm3 / 1000, 1)


def _thresholds(
    scan: Scan, settings: SegmentSettings, cascade: Cascade
) -> tuple[Thresholds, float]:
    """Return a model's operating points for such a scan, and the confidence of the chosen one."""
    limits = limits_for(cascade.settings, scan.volume.shape[slice_axis(scan.volume)])
    return limits, operating_threshold(settings, limits)


def phase_slices(
    phase: Volume | None,
    volume: Volume,
    brain: Mask3D,
    grid: WorkingGrid,
    sign: PhaseSign = "auto",
    hint: int | None = None,
) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
    """Return the phase on the working grid, or None where there is none to be relied on."""
    if phase is None:
        return None, ()
    prepared = high_passed_phase(phase, volume, brain, sign, hint)
    return (prepared.slices(grid) if prepared.sure else None), prepared.warnings


def phase_hint(scan: Scan) -> int | None:
    """Return the sign of phase by the scanner's vendor, None where it is not known."""
    return None if scan.dicom is None else PHASE_SIGN.get(scan.dicom.vendor)


def stage_maps(
    slices: PreparedSlices,
    engine: Engine,
    settings: CascadeSettings,
    progress: Progress | None = None,
) -> StageMaps:
    """Return what both stages say: stage 1, patches, stage 2, fusion."""
    step = neighbour_step(slices.grid.thickness_mm)
    coarse = engine.detect(slices.array, slices.shown, progress, step)
    threshold = settings.candidate_threshold
    if len(slices.array) == 1 and settings.slice_candidate_threshold is not None:
        threshold = settings.slice_candidate_threshold
    found = find_candidates(coarse, threshold, settings.roi_size)
    return StageMaps(coarse, outlined(engine, slices.array, found, settings.roi_size, step))


@dataclasses.dataclass(frozen=True)
class SegmentedFile:
    """What `segment_file` did.

    Attributes:
        files: Where everything is.
        result: What was found; None where it was there already.
    """

    files: OutputFiles
    result: Segmentation | None

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """What was found, by the table where it was there already.

        Raises:
            InputError: If the table cannot be read.
        """
        return read_lesions(self.files.table) if self.result is None else self.result.lesions


def segment_file(
    path: Path | str,
    out: Path | str,
    settings: SegmentSettings | None = None,
    *,
    options: FileOptions | None = None,
    cascade: Cascade | None = None,
    progress: Progress | None = None,
) -> SegmentedFile:
    """Segment one file and write masks, tables, provenance and report; all files or none.

    A scan whose complete results for the same content and settings are in `out` is not
    segmented again.

    Raises:
        InputError: If the scan cannot be processed, or `out` holds other results under its name.
        ModelError: If the model is missing or was never trained.
    """
    path, settings = Path(path), settings or SegmentSettings()
    options = options or FileOptions()
    started, clock = datetime.now(UTC), time.perf_counter()
    files = output_files(path, Path(out))
    scan = _named(read_scan(path, options.spacing_mm, options.series), options.name)
    if cascade is None:
        cascade = load_cascade(settings.model or default_model(), settings.device)
    reads_phase = cascade.settings.reads_phase
    beside = read_beside(path, scan, options, settings.phase_sign, reads_phase=reads_phase)
    _, threshold = _thresholds(scan, settings, cascade)
    expected = provenance(scan, settings, cascade, threshold)
    expected["Input"] |= beside.record

    def done() -> bool:
        return not options.overwrite and is_done(files, expected)

    if done():
        return SegmentedFile(files, None)

    result = _segmented(scan, settings, cascade, beside, progress)
    found = {key: result.provenance[key] for key in ("Location", "BrainMl", "PhaseRead")}
    record = expected | {
        **found,
        "Started": started.isoformat(timespec="seconds"),
        "Seconds": round(time.perf_counter() - clock, 2),
    }
    result = dataclasses.replace(result, provenance=record)
    # Another process may have written the same name meanwhile.
    return SegmentedFile(files, write_outputs(result, files, done))


def _named(scan: Scan, name: str | None) -> Scan:
    """Return a scan under its user's name for it; a DICOM series has one of its own."""
    if name is None or scan.dicom is not None:
        return scan
    return dataclasses.replace(scan, volume=dataclasses.replace(scan.volume, name=name))


def load_scan(
    path: Path | str, spacing_mm: float | None = None, series: str | int | None = None
) -> Scan:
    """Return the scan in a NIfTI, PNG or TIFF file, or in DICOM, with what its file says of it.

    Args:
        path: The file; of DICOM also a folder or a zip.
        spacing_mm: Pixel size of a picture; the others have their own.
        series: Number or UID of the DICOM series; None takes the one that is named as SWI.

    Raises:
        InputError: If it cannot be read.
    """
    return read_scan(Path(path), spacing_mm, None if series is None else str(series))


def load_volume(
    path: Path | str, spacing_mm: float | None = None, series: str | int | None = None
) -> Volume:
    """Return the array and affine alone of what `load_scan` reads, as of a mask or a phase.

    Raises:
        InputError: If it cannot be read.
    """
    return load_scan(path, spacing_mm, series).volume
