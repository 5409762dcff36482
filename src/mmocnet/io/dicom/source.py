"""Where the slices of a volume lie in DICOM files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmocnet.io.dicom.series import DicomSeries


@dataclass(frozen=True)
class DicomSource:
    """The DICOM files behind a volume: slice k of the array is frame `frames[k]` of a file.

    Axis I of the array runs along DICOM's columns, J along its rows, K along its slices, so that
    `array[:, :, k].T` is the pixel matrix of slice k. The affine is DICOM's, its first two rows
    negated: LPS to RAS.

    Attributes:
        series_uid: Series Instance UID.
        files: One a slice, ascending along the slice axis, a file as often as it holds one; one
            alone where a multi-frame file holds all.
        frames: Frame of each slice, from 1; all 1 for single-frame files.
        numbers: Of each slice, by which viewers call it: its Instance Number, or frame; empty where
            they are missing or occur twice.
        vendor: "siemens", "ge", "philips", "canon", another maker's first word, or "".
        technique: How it was acquired, under BIDS names: MagneticFieldStrength [T], EchoTime [s],
            RepetitionTime [s], FlipAngle [degree], SliceThickness [mm], ScanningSequence,
            Manufacturer, and ImageKind in words where it is known; nothing of a patient.
        sha256: Hash of the instance UID, frame and stored pixels of each slice, in the order of
            UIDs: the same in a zip, in other files, or packed otherwise.
        phase: The phase series on the same grid, not read yet; None where there is none.
        unfit: Why no DICOM object can be made from it, "" where one can.
        date: Of the study, YYYYMMDD, "" where there is none; to be compared, never said or written.
        keep: Holds files that were unpacked from a zip; they are deleted with it.
    """

    series_uid: str
    files: tuple[Path, ...]
    frames: tuple[int, ...]
    numbers: tuple[int, ...] = ()
    vendor: str = ""
    technique: Mapping[str, float | str] = field(default_factory=dict)
    sha256: str = ""
    phase: "DicomSeries | None" = field(default=None, repr=False, compare=False)
    unfit: str = ""
    date: str = field(default="", repr=False)
    keep: object = field(default=None, repr=False, compare=False)

    def file(self, k: int) -> Path:
        """Return the file of slice k, from 0."""
        return self.files[k if len(self.files) > 1 else 0]
