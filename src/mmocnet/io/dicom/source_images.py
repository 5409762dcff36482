"""The headers of a source series, as far as an object made from it needs them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmocnet.errors import InputError
from mmocnet.io.dicom.guard import read_header
from mmocnet.io.dicom.quiet import quiet
from mmocnet.io.dicom.source import DicomSource
from mmocnet.io.dicom.uids import derived_uid, is_uid
from mmocnet.types import FloatArray
from mmocnet.volume import Volume

POSITION_TOLERANCE = 0.15
"""Of the distance of slices. A series is read where its slices lie within a tenth of it; one slice
for another is a whole one."""
SHARED = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientAge", "PatientSize", "PatientWeight"),
    *("PatientIdentityRemoved", "DeidentificationMethod"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName"),
    *("ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID"),
    *("ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription"),
    *("AccessionNumber", "ReferringPhysicianName", "SeriesInstanceUID", "SeriesNumber"),
    *("SOPClassUID", "SOPInstanceUID", "Modality", "FrameOfReferenceUID"),
    *("PositionReferenceIndicator", "LossyImageCompression", "Rows", "Columns"),
    "TimezoneOffsetFromUTC",
)
EMPTY_WHERE_MISSING = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    *("PositionReferenceIndicator",),
)
PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID")
"""What tells whose an object is: where it cannot be copied, an archive would file it elsewhere."""
NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
FORMS = {
    "PatientBirthDate": r"\d{8}",
    "StudyDate": r"\d{8}",
    "StudyTime": r"\d{2,6}(\.\d{1,6})?",
    "PatientSex": r"[MFO]",
    "PatientAge": r"\d{3}[DWMY]",
    "LossyImageCompression": r"0[01]",
    "TimezoneOffsetFromUTC": r"[-+](0\d|1[0-4])[0-5]\d",
}
VR_FORMS = {
    "DS": r"[-+.\deE ]{0,16}",
    "LO": r".{0,64}",
    "PN": r"[^=]{0,64}(=[^=]{0,64}){0,2}",
    "SH": r".{0,16}",
}
"""A value in another form is left out: it would make the new object invalid too."""


@dataclass(frozen=True)
class SourceImages:
    """A series' headers, pydicom datasets without pixels: who, which study, where, nothing else.

    Attributes:
        slices: One a slice for single-frame files, else one with a frame a slice, be they in one
            file or in several. All have one orientation and the true distance of slices.
        instances: One a file.
        frames: Of each slice in multi-frame files: the header of its file, and its frame there,
            None where the file has no other.
    """

    slices: list[Any]
    instances: list[Any]
    frames: list[tuple[Any, int | None]]


@quiet()
def source_images(source: DicomSource, labels: Volume) -> SourceImages:
    """Return the headers of a series, as far as an object made from it needs them.

    Args:
        source: The series.
        labels: A volume on its grid.

    Raises:
        InputError: If a header lacks what identifies it, names a patient in a way that cannot be
            copied or another than the others, or lies elsewhere than `labels`.
    """
    slices = labels.shape[2]
    if len(source.frames) != slices or len(source.files) not in (1, slices):
        raise InputError(
            f"expected a frame of the series for each of {slices} slices of {labels.name}, "
            f"got {len(source.frames)}"
        )
    raw = {path: read_header(path) for path in dict.fromkeys(source.files)}
    if all("PerFrameFunctionalGroupsSequence" in one for one in raw.values()):
        return _of_frames(raw, source, labels)
    places = [_place(one, one, labels.name) for one in raw.values()]
    _check_places(places, labels)
    images = _all_shared(raw, source, labels.name)
    for image, place in zip(images, places, strict=True):
        image.update(_geometry(places[0], labels))
        image.ImagePositionPatient = place["ImagePositionPatient"]
    return SourceImages(images, images, [])


def _of_frames(raw: Mapping[Path, Any], source: DicomSource, labels: Volume) -> SourceImages:
    """Return the headers of multi-frame files: for the slices, one as if all were in one file."""
    of_slice = [(source.file(k), frame) for k, frame in enumerate(source.frames)]
    places = [_frame_place(raw[path], frame, labels.name) for path, frame in of_slice]
    _check_places(places, labels)
    instances = _all_shared(raw, source, labels.name)
    shared = dict(zip(raw, instances, strict=True))
    alone = {path: len(one.PerFrameFunctionalGroupsSequence) == 1 for path, one in raw.items()}
    frames = [(shared[path], None if alone[path] else frame) for path, frame in of_slice]
    return SourceImages([_multiframe(instances[0], places, labels)], instances, frames)


def _all_shared(raw: Mapping[Path, Any], source: DicomSource, name: str) -> list[Any]:
    images = [_shared(one, source, name) for one in raw.values()]
    if len({tuple(str(image.get(keyword, "")) for keyword in PATIENT) for image in images}) > 1:
        raise InputError(
            f"expected the same patient in every DICOM header of {name}, got headers that differ"
        )
    return images


def _shared(raw: Any, source: DicomSource, name: str) -> Any:
    """Return who and which study, as text; what cannot be valid is left out."""
    from pydicom import Dataset

    image = Dataset()
    for keyword in SHARED:
        value = raw.get(keyword)
        if isinstance(value, (int, float)) and keyword in ("Rows", "Columns", "SeriesNumber"):
            setattr(image, keyword, int(value))
        elif (text := _text(keyword, value)) is not None:
            setattr(image, keyword, text)
    _check_identity(raw, image, name)
    for keyword in EMPTY_WHERE_MISSING:
        if keyword not in image:
            setattr(image, keyword, "")
    image.Modality = image.get("Modality") or "MR"
    if not image.get("FrameOfReferenceUID"):
        image.FrameOfReferenceUID = derived_uid(source.series_uid, {}, {}, "frame of reference")
    return image


def _check_identity(raw: Any, image: Any, name: str) -> None:
    """Refuse a header that lacks what identifies it, or a patient that its copy does not name."""
    missing = [keyword for keyword in NEEDED if not image.get(keyword)]
    if missing:
        raise InputError(f"expected {', '.join(missing)} in every DICOM header of {name}, got none")
    lost = [one for one in PATIENT if raw.get(one) is not None and one not in image]
    if lost:
        raise InputError(
            f"expected one valid value of {', '.join(lost)} in every DICOM header of {name}, got "
            "one that cannot be copied as it is"
        )


def _text(keyword: str, value: Any) -> str | None:
    """Return a value as text, None where it is not valid."""
    from pydicom.datadict import dictionary_VM
    from pydicom.multival import MultiValue
    from pydicom.valuerep import IS, DSfloat, PersonName

    values = value if isinstance(value, MultiValue) else [value]
    if len(values) > 1 and dictionary_VM(keyword) == "1":
        return None
    # Bytes, tags and sequences have a text too, which is no value.
    if not all(isinstance(one, str | PersonName | DSfloat | IS) for one in values):
        return None
    texts = [str(one) for one in values]
    return "\\".join(texts) if all(_is_valid(keyword, one) for one in texts) else None


def _is_valid(keyword: str, text: str) -> bool:
    from pydicom.datadict import dictionary_VR

    # What stands for a letter that was not readable.
    if "\ufffd" in text:
        return False
    kind = dictionary_VR(keyword)
    if kind == "UI":
        return is_uid(text)
    form = FORMS.get(keyword) or VR_FORMS.get(kind, ".*")
    return re.fullmatch(form, text) is not None


def _frame_place(raw: Any, frame: int, name: str) -> dict[str, Any]:
    """Return where a frame lies, from its own groups or else the shared ones."""
    from pydicom import Dataset

    groups = raw.PerFrameFunctionalGroupsSequence
    if not 1 <= frame <= len(groups):
        raise InputError(f"expected frame {frame}, got {len(groups)} frames in {name}")
    place = Dataset()
    for group in (*raw.get("SharedFunctionalGroupsSequence", []), groups[frame - 1]):
        for sequence in (
            "PlanePositionSequence",
            "PlaneOrientationSequence",
            "PixelMeasuresSequence",
        ):
            for item in group.get(sequence, []):
                place.update(item)
    return _place(place, raw, name)


def _place(held: Any, raw: Any, name: str) -> dict[str, Any]:
    place = {
        keyword: held.get(keyword)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    }
    missing = [keyword for keyword, value in place.items() if not value]
    if missing:
        raise InputError(f"expected {', '.join(missing)} in every DICOM slice of {name}, got none")
    thickness = held.get("SliceThickness")
    return place | {"SliceThickness": thickness, "size": (raw.get("Columns"), raw.get("Rows"))}


def _check_places(places: list[dict[str, Any]], labels: Volume) -> None:
    """Raise where a slice's header does not put its corner where the volume has it."""
    for k, place in enumerate(places):
        if place["size"] != labels.shape[:2]:
            raise InputError(
                f"expected slices of {labels.shape[:2]} pixels as in {labels.name}, "
                f"got {place['size']}"
            )
        corners = np.array([[0, 0, k], [labels.shape[0], 0, k], [0, labels.shape[1], k]])
        off_mm = np.abs(_corners(place, labels) - labels.world(corners.astype(float))).max()
        if not off_mm <= POSITION_TOLERANCE * labels.spacing_mm[2]:
            raise InputError(
                f"expected slice {k + 1} of {labels.name} where its DICOM header has it, "
                f"got a volume {off_mm:.3g} mm away"
            )


def _corners(place: Mapping[str, Any], labels: Volume) -> FloatArray:
    """Return three corners of a slice, shape (3, 3), world RAS+ mm, from its header."""
    origin = np.array(place["ImagePositionPatient"], dtype=float)
    turned = np.array(place["ImageOrientationPatient"], dtype=float).reshape(2, 3)
    row_mm, column_mm = (float(mm) for mm in place["PixelSpacing"])
    along = turned * np.array([[column_mm * labels.shape[0]], [row_mm * labels.shape[1]]])
    lps = np.stack([origin, origin + along[0], origin + along[1]])
    return np.asarray(lps * [-1.0, -1.0, 1.0])


def _geometry(place: Mapping[str, Any], labels: Volume) -> Any:
    """Return orientation and sizes of the pixels, the distance of slices as it is."""
    from pydicom import Dataset
    from pydicom.valuerep import format_number_as_ds

    geometry = Dataset()
    # Along the normal: tilted slices are farther apart from centre to centre.
    along_mm = labels.voxel_mm3 / (labels.spacing_mm[0] * labels.spacing_mm[1])
    step_mm = format_number_as_ds(round(along_mm, 6))
    geometry.ImageOrientationPatient = place["ImageOrientationPatient"]
    geometry.PixelSpacing = place["PixelSpacing"]
    geometry.SliceThickness = place["SliceThickness"] or step_mm
    # The header's may leave out a gap, or be of another series.
    geometry.SpacingBetweenSlices = step_mm
    return geometry


def _multiframe(image: Any, places: list[dict[str, Any]], labels: Volume) -> Any:
    """Return a header with a frame a slice, in the order of slices."""
    from pydicom import Dataset

    geometry = _geometry(places[0], labels)
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = geometry.pop("ImageOrientationPatient").value
    measures.update(geometry)
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [measures]
    image.SharedFunctionalGroupsSequence = [shared]
    image.PerFrameFunctionalGroupsSequence = []
    for place in places:
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = place["ImagePositionPatient"]
        group.PlanePositionSequence = [position]
        image.PerFrameFunctionalGroupsSequence.append(group)
    image.NumberOfFrames = len(places)
    return image
