"""What a slice is, from the header of its file, which holds one slice or many."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import Dataset

from mmocnet.errors import InputError
from mmocnet.io.dicom.guard import frame_count, image_bytes
from mmocnet.io.dicom.padding import padding_of
from mmocnet.io.dicom.quiet import UNREADABLE, quiet
from mmocnet.io.dicom.values import (
    floats_of,
    integer_of,
    number_of,
    scale_of,
    spacing_of,
    text_of,
    triple_of,
    unit_of,
    values_of,
)
from mmocnet.io.dicom.vendors import Technique
from mmocnet.types import Triple

GE_COMPONENT = 0x0043102F
"""Private: magnitude, phase, real, imaginary from 0, the first of four numbers of 16 bits."""

TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyDate",
    "SeriesNumber",
    "SeriesDescription",
    "ProtocolName",
    "SequenceName",
    "PulseSequenceName",
    "ScanningSequence",
    "Modality",
    "ImageType",
    "ComplexImageComponent",
    "Manufacturer",
    "MagneticFieldStrength",
    "EchoTime",
    "RepetitionTime",
    "FlipAngle",
    "InstanceNumber",
    "AcquisitionNumber",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "TemporalPositionIdentifier",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "Rows",
    "Columns",
    "BitsAllocated",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "RescaleSlope",
    "RescaleIntercept",
    "LossyImageCompression",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    GE_COMPONENT,
    "PatientID",
    "PatientName",
)
"""What is read of a header. Who the patient is and the date are only compared."""

MAX_FRAMES = 20_000


@dataclass(frozen=True)
class Slice:
    """One slice and where it lies.

    Attributes:
        path: Its file.
        frame: Its frame in the file, from 1.
        frames: Frames that the file has.
        series_uid: Series Instance UID, "" where the file has none.
        study_uid: Study Instance UID, likewise.
        instance_uid: SOP Instance UID, likewise.
        patient: Stands for name and identifier in this process; 0 where there are none.
        number: Instance number, or frame.
        acquisition: Acquisition number, "" where the file has none.
        acquired: When, as the file writes it, likewise.
        temporal: Which of several times the same was acquired, as in dynamics, likewise.
        stack: Which of several stacks it belongs to, likewise.
        series_number: None where the file has none.
        reference_uid: Frame of Reference UID, "" where none.
        position: Centre of the first pixel, LPS mm.
        along_row: Unit vector from column to column, LPS.
        along_column: Unit vector from row to row, LPS.
        spacing_mm: Between rows, between columns.
        thickness_mm: Of the slice, without a gap; NaN where it is not given.
        distance_mm: From the centre of one slice to the next by the header; likewise.
        shape: Rows, columns.
        slope: Of stored values.
        intercept: Of stored values.
        padding: Lowest and highest stored value that fills up what was not measured; None where
            the file has none.
        lossy: Whether its pixels were once compressed with loss.
        looks: What tells its kind.
        technique: How it was acquired, as in `DicomSource`.
        date: Of the study, YYYYMMDD, "" where there is none; never said or written.
    """

    path: Path
    frame: int
    frames: int
    series_uid: str
    study_uid: str
    instance_uid: str
    patient: int = field(repr=False)
    number: int
    acquisition: str
    acquired: str
    temporal: str
    stack: str
    series_number: int | None
    reference_uid: str
    position: Triple
    along_row: Triple
    along_column: Triple
    spacing_mm: tuple[float, float]
    thickness_mm: float
    distance_mm: float
    shape: tuple[int, int]
    slope: float
    intercept: float
    padding: tuple[int, int] | None
    lossy: bool
    looks: Technique
    technique: dict[str, float | str]
    date: str = field(default="", repr=False)


def slices_of(path: Path, header: Dataset) -> tuple[Slice, ...]:
    """Return the slices of a file; none where it holds no grey-scale image with a place.

    Args:
        path: The file.
        header: Of `read_header`, with `TAGS` at least.
    """
    with quiet():
        try:
            image_bytes(header)
            count = frame_count(header)
            per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
            if count > MAX_FRAMES or (per_frame and len(per_frame) != count):
                return ()
            shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
            if not per_frame:
                return (_slice(path, header, (header,), 1),) if count == 1 else ()
            return tuple(
                _slice(path, header, (*_groups(one), *_groups(shared), header), number)
                for number, one in enumerate(per_frame, start=1)
            )
        except (InputError, *UNREADABLE):
            return ()


def _groups(item: Dataset) -> tuple[Dataset, ...]:
    """Return the functional groups of a frame, flat: no keyword is in two that are read here."""
    return tuple(
        element.value[0] for element in item if element.VR == "SQ" and len(element.value) > 0
    )


def _slice(path: Path, header: Dataset, where: tuple[Dataset, ...], frame: int) -> Slice:
    def find(keyword: str, default: Any = None) -> Any:
        found = (one.get(keyword) for one in where)
        return next((value for value in found if value not in (None, "")), default)

    when = find("FrameAcquisitionDateTime", find("AcquisitionDateTime", ""))
    turned = floats_of(find("ImageOrientationPatient"), 6)
    slope, intercept = scale_of(find("RescaleSlope", 1.0), find("RescaleIntercept", 0.0))
    return Slice(
        path=path,
        frame=frame,
        frames=frame_count(header),
        series_uid=str(header.get("SeriesInstanceUID") or ""),
        study_uid=str(header.get("StudyInstanceUID") or ""),
        instance_uid=str(header.get("SOPInstanceUID") or ""),
        patient=_patient(header),
        number=frame if frame_count(header) > 1 else int(header.get("InstanceNumber") or 0),
        acquisition=str(find("AcquisitionNumber", find("FrameAcquisitionNumber", ""))),
        acquired=str(find("AcquisitionTime", when)),
        temporal=str(find("TemporalPositionIdentifier", find("TemporalPositionIndex", ""))),
        stack=str(find("StackID", "")),
        series_number=integer_of(header.get("SeriesNumber")),
        reference_uid=str(header.get("FrameOfReferenceUID", "")),
        position=triple_of(floats_of(find("ImagePositionPatient"), 3)),
        along_row=unit_of(turned[:3]),
        along_column=unit_of(turned[3:]),
        spacing_mm=spacing_of(find("PixelSpacing")),
        thickness_mm=number_of(find("SliceThickness")),
        # Some write it along a normal of the other sign.
        distance_mm=abs(number_of(find("SpacingBetweenSlices"))),
        shape=(int(header.Rows), int(header.Columns)),
        slope=slope,
        intercept=intercept,
        padding=padding_of(header),
        lossy=str(find("LossyImageCompression", "")) == "01",
        looks=_looks(header, find),
        technique=_technique(find),
        date=_date(header.get("StudyDate")),
    )


def _looks(header: Dataset, find: Any) -> Technique:
    types = find("FrameType") or find("ImageType") or ()
    names = (find("ProtocolName"), find("SequenceName"), find("PulseSequenceName"))
    private = header.get(GE_COMPONENT)
    return Technique(
        modality=str(header.get("Modality", "")),
        image_type=tuple(str(value).strip().upper() for value in values_of(types)),
        component=str(find("ComplexImageComponent", "")),
        description=str(header.get("SeriesDescription", "")),
        protocol=" ".join(str(name) for name in names if name),
        sequence=" ".join(str(value) for value in values_of(find("ScanningSequence", ()))),
        echo_ms=number_of(find("EffectiveEchoTime", find("EchoTime"))),
        ge_component=-1 if private is None else _ge_component(private.value),
    )


def _ge_component(value: Any) -> int:
    if isinstance(value, bytes):
        # No type is stated in implicit VR, nor for what an archive did not know.
        value = int.from_bytes(value[:2], "little")
    first = next(iter(values_of(value)), -1)
    return first if isinstance(first, int) and 0 <= first <= 3 else -1


def _technique(find: Any) -> dict[str, float | str]:
    """Return the settings under their BIDS names, times in seconds."""
    sought: dict[str, tuple[Any, float]] = {
        "MagneticFieldStrength": (find("MagneticFieldStrength"), 1.0),
        "EchoTime": (find("EffectiveEchoTime", find("EchoTime")), 1e-3),
        "RepetitionTime": (find("RepetitionTime"), 1e-3),
        "FlipAngle": (find("FlipAngle"), 1.0),
        "SliceThickness": (find("SliceThickness"), 1.0),
    }
    # The digits of a decimal string, not those of the float: 20 ms are 0.02 s.
    record: dict[str, float | str] = {
        name: round(number_of(value) * scale, 9)
        for name, (value, scale) in sought.items()
        if math.isfinite(number_of(value))
    }
    for name in ("ScanningSequence", "Manufacturer"):
        text = text_of(find(name, ""))
        if text:
            record[name] = text
    return record


def _patient(header: Dataset) -> int:
    named = [str(header.get(one) or "").strip(" ^") for one in ("PatientID", "PatientName")]
    return hash(tuple(named)) if any(named) else 0


def _date(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) == 8 and text.isdecimal() else ""
