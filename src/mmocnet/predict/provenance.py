"""What a result records of how it came about, and what was given to make it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmocnet import __version__
from mmocnet.config import PhaseSign, SegmentSettings, Thresholds
from mmocnet.config.checked import Checked
from mmocnet.errors import InputError
from mmocnet.io.dicom.series import DicomSeries
from mmocnet.io.digest import file_sha256
from mmocnet.io.nifti import read_nifti
from mmocnet.io.phase import read_phase
from mmocnet.io.picture import SUFFIXES as PICTURE_SUFFIXES
from mmocnet.io.picture import read_picture
from mmocnet.io.read import Scan
from mmocnet.io.sidecar import ACQUISITION_WORDS, read_acquisition
from mmocnet.locate.register import has_simpleitk
from mmocnet.nets.checkpoint import Cascade
from mmocnet.predict.classify import calibration_of
from mmocnet.predict.context import limits_for
from mmocnet.predict.fuse import CANDIDATE_FLOOR
from mmocnet.predict.outputs import OutputFiles, all_there, read_summary
from mmocnet.prepare.brain import brain_mask
from mmocnet.prepare.geometry import slice_axis
from mmocnet.prepare.phase import to_radians
from mmocnet.types import Mask3D
from mmocnet.volume import Volume, check_grid, on_grid


@dataclass(frozen=True)
class FileOptions(Checked):
    """How files are read and written."""

    spacing_mm: float | None = None
    """Pixel size of a picture, which has none of its own."""
    mask: Path | None = None
    """Brain mask on the scan's grid, in place of the one that is made."""
    overwrite: bool = False
    """Whether results that are there are made again."""
    phase: Path | None = None
    """Phase image on the scan's grid, for a model that reads phase."""
    series: str | None = None
    """Number or UID of the DICOM series, where there are several to choose from."""
    name: str | None = None
    """What a scan that is not DICOM is called, where its file is called otherwise."""
    phase_must_fit: bool = True
    """Whether a scan is refused whose phase cannot be used, instead of segmented without it."""


def read_mask(path: Path, scan: Volume) -> Mask3D:
    """Return a brain mask on a scan's grid: all that is above 0.

    Raises:
        InputError: If it lies on another grid or is empty.
    """
    if path.name.lower().endswith(PICTURE_SUFFIXES):
        return _inside(read_picture(path, scan.spacing_mm[0]), scan)
    return _inside(read_nifti(path), scan)


@dataclass(frozen=True)
class Beside:
    """What is read beside a scan.

    Attributes:
        brain: Mask, shape (I, J, K): given, or made to look at a phase with; or None.
        phase: On the scan's grid, in the file's unit; None where there is none.
        record: All of it, as provenance.
        warnings: One sentence for each doubt.
    """

    brain: Mask3D | None
    phase: Volume | None
    record: dict[str, Any]
    warnings: tuple[str, ...] = ()


def read_beside(
    path: Path, scan: Scan, options: FileOptions, sign: PhaseSign, *, reads_phase: bool
) -> Beside:
    """Read mask and phase: the phase that was given, or that of a DICOM scan's study.

    Args:
        path: The scan's.
        scan: As it was read.
        options: What was given.
        sign: Setting of the phase's sign.
        reads_phase: Whether the model reads phase.

    Raises:
        InputError: If what was given cannot be read or lies on another grid.
    """
    brain = None if options.mask is None else read_mask(options.mask, scan.volume)
    record = given_record(path, options, scan)
    if options.phase is not None and options.phase_must_fit:
        given = read_phase(options.phase, scan)
        record["Phase"] = _phase_record(options.phase.name, given, sign)
        return Beside(brain, given.volume, record)
    reading = _phase_reader(scan, options.phase, reads_phase=reads_phase)
    if reading is None:
        return Beside(brain, None, record)
    brain, fitting, doubts = _fitting_phase(scan, brain, reading)
    if fitting is None:
        return Beside(brain, None, record, doubts)
    name = fitting.volume.name if options.phase is None else options.phase.name
    record["Phase"] = _phase_record(name, fitting, sign)
    return Beside(brain, fitting.volume, record)


def beside_in_memory(
    scan: Scan,
    brain: NDArray[Any] | Volume | None,
    phase: Volume | None,
    *,
    reads_phase: bool,
) -> Beside:
    """Return what is beside a scan that was given as arrays, the phase of a DICOM scan included.

    Args:
        scan: As it was read.
        brain: Brain mask, shape (I, J, K), what is above 0.
        phase: On the scan's grid.
        reads_phase: Whether the model reads phase.

    Raises:
        InputError: If mask or phase are of another kind or lie on another grid.
    """
    inside = None if brain is None else _inside(brain, scan.volume)
    if phase is not None:
        if not isinstance(phase, Volume):
            raise InputError(f"expected phase as a Volume, got {type(phase).__name__}")
        return Beside(inside, on_grid(phase, scan.volume, "phase"), {})
    reading = _phase_reader(scan, None, reads_phase=reads_phase)
    if reading is None:
        return Beside(inside, None, {})
    inside, found, doubts = _fitting_phase(scan, inside, reading)
    return Beside(inside, None if found is None else found.volume, {}, doubts)


def _inside(brain: NDArray[Any] | Volume, scan: Volume) -> Mask3D:
    """Return a brain mask on a scan's grid: all that is above 0."""
    if not isinstance(brain, Volume):
        array = np.asarray(brain)
        if array.shape != scan.shape:
            raise InputError(f"expected a brain mask of shape {scan.shape}, got {array.shape}")
        brain = scan.like(array, "the brain mask")
    inside = on_grid(brain, scan, "a mask").array > 0
    if not inside.any():
        raise InputError(f"expected a brain mask, got no voxel above 0 in {brain.name}")
    return np.asarray(inside)


def _phase_reader(
    scan: Scan, given: Path | None, *, reads_phase: bool
) -> Callable[[], Scan] | None:
    """Return what reads the phase beside a scan, given or in its study; None without any."""
    if given is not None:
        return partial(read_phase, given, scan)
    if reads_phase and scan.dicom is not None and scan.dicom.phase is not None:
        return partial(_phase_of_study, scan.dicom.phase)
    return None


def _phase_of_study(series: DicomSeries) -> Scan:
    from mmocnet.io.dicom.volume import read_series

    volume, source, _ = read_series(series)
    return Scan(volume, "volume", "dicom", source.sha256, dicom=source)


def _fitting_phase(
    scan: Scan, brain: Mask3D | None, read: Callable[[], Scan]
) -> tuple[Mask3D, Scan | None, tuple[str, ...]]:
    """Return brain, phase and doubts: no phase where it cannot be used, and why."""
    brain = brain_mask(scan.volume) if brain is None else brain
    try:
        phase = read()
        check_grid(phase.volume, scan.volume, "phase")
        to_radians(phase.volume, scan.volume, brain)
    except InputError as error:
        # The scan is segmented without its phase all the same.
        return brain, None, (f"the phase beside it is not used: {error}",)
    return brain, phase, ()


def _phase_record(name: str, phase: Scan, sign: PhaseSign) -> dict[str, Any]:
    record: dict[str, Any] = {"Name": name, "SHA256": phase.sha256, "Sign": sign}
    source = phase.dicom
    if source is None:
        return record
    echo = {key: value for key, value in source.technique.items() if key == "EchoTime"}
    return record | {"SeriesInstanceUID": source.series_uid} | echo


def operating_threshold(settings: SegmentSettings, limits: Thresholds) -> float:
    """Return the confidence from which a candidate is a lesion.

    Raises:
        InputError: If a threshold was given that is not above 0 and at most 1.

    >>> operating_threshold(SegmentSettings(operating_point="report"), Thresholds())
    0.7
    """
    if settings.threshold is None:
        return float(getattr(limits, settings.operating_point))
    if not 0 < settings.threshold <= 1:
        raise InputError(f"threshold must be above 0 and at most 1, got {settings.threshold:g}")
    return settings.threshold


def as_scan(scan: Scan | Volume) -> Scan:
    """Return a scan; an array that came from no file has the hash of its values.

    Raises:
        InputError: If it is neither, or holds NaN or infinity.
    """
    if isinstance(scan, Scan):
        return scan
    if not isinstance(scan, Volume):
        raise InputError(
            f"expected a Scan or a Volume, got {type(scan).__name__}: load_scan(path) reads one, "
            "Volume(array, affine) makes one"
        )
    array = np.ascontiguousarray(scan.array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"expected finite values, got NaN or infinity in {scan.name}")
    volume = Volume(array, scan.affine, scan.name)
    return Scan(
        volume=volume,
        kind="slice" if 1 in volume.shape else "volume",
        source="nifti",
        sha256=hashlib.sha256(array.tobytes()).hexdigest(),
    )


def provenance(
    scan: Scan, settings: SegmentSettings, cascade: Cascade, threshold: float
) -> dict[str, Any]:
    """Return the record of a run, plain JSON values; times and file options come later."""
    scan_slices = scan.volume.shape[slice_axis(scan.volume)]
    point = "given" if settings.threshold is not None else settings.operating_point
    seen = cascade.settings.classifier
    line = None if seen is None else calibration_of(scan.volume, seen)
    local = None if line is None else line.local
    burden = None if line is None else line.burden
    return {
        "Version": __version__,
        "Model": {"Name": cascade.name, "SHA256": cascade.sha256, "Card": cascade.card},
        "Input": {"Name": scan.volume.name, "SHA256": scan.sha256},
        "Settings": asdict(cascade.settings),
        "OperatingPoint": point,
        "Threshold": threshold,
        "Thresholds": asdict(limits_for(cascade.settings, scan_slices)),
        "LocalConfidence": None if local is None else asdict(local),
        "Burden": None if burden is None else asdict(burden),
        "CandidateFloor": CANDIDATE_FLOOR,
        "Device": settings.device,
        "Engine": settings.engine,
        "LocationTried": settings.location and has_simpleitk(),
        "Seed": None,
    }


def given_record(path: Path, options: FileOptions, scan: Scan | None = None) -> dict[str, Any]:
    """Return what was given beside the scan, as provenance: options, mask, technique."""
    if scan is not None and scan.dicom is not None:
        series = {"SeriesInstanceUID": scan.dicom.series_uid}
        given: dict[str, Any] = {"Acquisition": dict(scan.dicom.technique)} | series
    else:
        given = {"Acquisition": read_acquisition(path, options.name)}
    if options.spacing_mm is not None:
        given["SpacingMm"] = options.spacing_mm
    if options.mask is not None:
        given["Mask"] = {"Name": options.mask.name, "SHA256": file_sha256(options.mask)}
    return given


def is_done(files: OutputFiles, expected: dict[str, Any]) -> bool:
    """Return whether the results are there, all of them.

    Raises:
        InputError: If other results are there under the same name.
    """
    found = read_summary(files)
    if found is None:
        return False
    for key, value in _identity(expected).items():
        if _identity(found).get(key) != value:
            raise InputError(
                f"{files.root.name!r} already holds results named {files.stem} with another "
                f"{key.lower()}: choose another folder, or --overwrite"
            )
    return all_there(files)


def _identity(record: dict[str, Any]) -> dict[str, Any]:
    """Return what makes two runs the same, as JSON has it: tuples are lists there."""
    record = record | {"Input": _without_words(record.get("Input", {}))}
    parts = {key: record.get(key) for key in ("Version", "Input", "Settings", "Threshold")}
    parts["Model"] = record.get("Model", {}).get("SHA256")
    parts["Location"] = record.get("LocationTried", True)
    # The other engines give the same results as each other.
    parts["Engine"] = "8 bits" if record.get("Engine") == "openvino-int8" else "exact"
    same: dict[str, Any] = json.loads(json.dumps(parts))
    return same


def _without_words(given: dict[str, Any]) -> dict[str, Any]:
    """Return an input without the technique's words, which older results do not have."""
    technique = given.get("Acquisition", {})
    numbers = {key: value for key, value in technique.items() if key not in ACQUISITION_WORDS}
    return given | {"Acquisition": numbers}
