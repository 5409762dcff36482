"""What the objects written back share: findings, source images, dates, UIDs.

An object belongs to the patient and study of its source, is a series of its own, and has only
UIDs and dates that follow from what it says, so that a repeat gives the same bytes.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmocnet import __version__
from mmocnet.errors import InputError
from mmocnet.io.atomic import replacing
from mmocnet.io.dicom.codes import Term
from mmocnet.io.dicom.quiet import quiet
from mmocnet.io.dicom.source import DicomSource
from mmocnet.io.dicom.source_images import SourceImages, source_images
from mmocnet.io.dicom.uids import derived_uid
from mmocnet.lesion import Lesion
from mmocnet.volume import Volume

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept

NOTICE = "Research use only - not a medical device"
MANUFACTURER = "The mmocnet developers"
SERIES = {"SEG": 1, "SR": 2, "PDF": 3}
"""What the series number ends with; the source's is before it."""
READ_SERIES = 10
"""What is added to it where a reader has read the findings."""
LONG_STRING = 64
"""Characters of a DICOM LO."""
FORESEEN = "sr"
"""The one UID that is known before the series is read: who asks an archive whether there is a
result asks for it."""
MADE_AT = ("InstanceCreation", "Content", "Series")


@dataclass(frozen=True)
class ReadBy:
    """Who has read the findings.

    Attributes:
        reader: Pseudonym.
        outlines: Who drew each lesion's, by its number: "model", "edited" or "reader".
        remark: One sentence about what was not counted.
    """

    reader: str
    outlines: Mapping[int, str]
    remark: str = ""

    @property
    def person_name(self) -> str:
        """The reader as DICOM writes a name: without its separators, 64 characters at most."""
        plain = re.sub(r"[\\^=\x00-\x1f]", " ", self.reader).strip()
        return f"{plain[: LONG_STRING - 1]}^"


@dataclass(frozen=True)
class Findings:
    """What was found in a DICOM series, and how.

    Attributes:
        source: The series.
        lesions: Numbered from 1, in order.
        labels: Each lesion its number, on the grid of `source`.
        weights_sha256: SHA-256 of each file of weights by its name.
        settings: All that changes the result; plain JSON values.
        made: When, with its time zone.
        model: The model's name.
        version: Of this software.
        made_with: How, for people: what each is called and what it was.
        limits: What the number of microbleeds leaves out or what makes it doubtful: sentences.
        reading: Who has read the findings; None where no one has.
    """

    source: DicomSource
    lesions: Sequence[Lesion]
    labels: Volume
    weights_sha256: Mapping[str, str]
    settings: Mapping[str, Any]
    made: datetime
    model: str
    version: str = __version__
    made_with: Mapping[str, str] = field(default_factory=dict)
    limits: Sequence[str] = ()
    reading: ReadBy | None = None

    def __post_init__(self) -> None:
        numbers = [one.index for one in self.lesions]
        if numbers != list(range(1, len(numbers) + 1)):
            raise InputError(f"expected lesions numbered 1, 2, ..., got {numbers[:5]}")
        held = np.unique(self.labels.array)
        if held[held != 0].tolist() != numbers:
            raise InputError(
                f"expected a label of each of {len(numbers)} lesions in {self.labels.name}, "
                f"got {np.count_nonzero(held)} labels"
            )

    @cached_property
    def images(self) -> SourceImages:
        """The source's headers.

        Raises:
            InputError: If they lack what identifies them, or lie elsewhere than `labels`.
        """
        with making("object", self):
            return source_images(self.source, self.labels)

    def uid(self, role: str) -> str:
        """Return the UID of one thing in these objects, as "seg" or "lesion 1".

        All but that of the Structured Report depend on which instances the source had: an archive
        keeps the first object of a UID, so that one of more slices needs another.

        Raises:
            InputError: If the source's headers do not identify its instances.
        """
        settings = dict(self.settings)
        if role != FORESEEN:
            settings["Instances"] = self._instances
        return derived_uid(self.source.series_uid, self.weights_sha256, settings, role)

    @property
    def parameters(self) -> dict[str, str]:
        """What objects say of the algorithm: model, weights, and how it was used."""
        weights = sorted(self.weights_sha256.items())
        hashes = {f"SHA-256 of {name}": digest for name, digest in weights}
        return {"Model": self.model, **hashes, **self.made_with}

    @cached_property
    def _instances(self) -> str:
        """SHA-256 of the source's instance UIDs in order."""
        uids = sorted(str(image.SOPInstanceUID) for image in self.images.instances)
        return hashlib.sha256("\n".join(uids).encode()).hexdigest()


def tracking(findings: Findings, lesion: Lesion) -> tuple[str, str]:
    """Return a lesion's tracking identifier and UID, the same in SEG and SR."""
    return lesion.name, findings.uid(f"lesion {lesion.index}")


def series_arguments(findings: Findings, kind: str) -> dict[str, Any]:
    """Return what highdicom asks of every object: UIDs, numbers, maker, descriptions."""
    number = int(findings.images.instances[0].get("SeriesNumber") or 0)
    read = findings.reading is not None
    return {
        "series_instance_uid": findings.uid(f"{kind.lower()} series"),
        # Kept below the ten digits that a series number may have.
        "series_number": abs(number) % 100_000 * 100 + SERIES[kind] + READ_SERIES * read,
        "sop_instance_uid": findings.uid(kind.lower()),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": long_string(f"mmocnet {findings.model}"),
        "software_versions": findings.version,
        "device_serial_number": device_number(findings),
        "series_description": f"{'Read microbleeds' if read else 'Microbleeds'} {kind}. {NOTICE}",
        "specific_character_set": "ISO_IR 192",
    }


def device_number(findings: Findings) -> str:
    """Return what tells one set of weights from another, as 16 hexadecimal digits."""
    uid = derived_uid("", findings.weights_sha256, {}, "weights")
    return f"{int(uid.rpartition('.')[2]):032x}"[:16]


def long_string(text: str) -> str:
    r"""Return a text that a DICOM LO can hold: printable ASCII, no backslash, 64 characters.

    >>> long_string("a\\b\n" + "c" * 80) == "a?b?" + "c" * 60
    True
    """
    return re.sub(r"[^ -\[\]-~]", "?", text)[:LONG_STRING]


def concept(term: Term) -> "CodedConcept":
    """Return a term as highdicom takes it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(term.value, term.scheme, term.meaning)


def reference(instance: Any) -> Any:
    """Return what refers to an instance by its header."""
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = instance.SOPClassUID
    item.ReferencedSOPInstanceUID = instance.SOPInstanceUID
    return item


def nameless(images: list[Any]) -> list[Any]:
    """Return copies without a patient's name, which highdicom may log."""
    from pydicom import Dataset

    copies = [Dataset() for _ in images]
    for one, image in zip(copies, images, strict=True):
        one.update(image)
        # Deleted first: a value that is set anew would be set in the original too.
        del one.PatientName
        one.PatientName = ""
    return copies


@contextmanager
def making(kind: str, findings: Findings) -> Iterator[None]:
    """Turn what a header of the source can cause into an InputError, and keep values unsaid.

    Raises:
        InputError: If the block fails; it names the kind of failure, and nothing of a patient.
    """
    from pydicom import config

    reason = ""
    with quiet(), config.disable_value_validation():
        try:
            yield
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            reason = type(error).__name__
    if reason:
        raise InputError(
            f"expected headers from which a DICOM {kind} can be made in {findings.labels.name}, "
            f"got ones that raise {reason}"
        )


def save(dataset: Any, findings: Findings, path: Path) -> Path:
    """Name the patient in an object, date it by `findings.made` and write it.

    Times are of the zone that the source states, which the object then states too; where it states
    none, they are this machine's, as DICOM takes times to be local.

    Raises:
        InputError: If the folder cannot be written to.
    """
    # Only here: highdicom logs a name that it does not like.
    source = findings.images.instances[0]
    dataset.PatientName = source.get("PatientName") or ""
    offset = source.get("TimezoneOffsetFromUTC")
    zone = None
    if offset:
        zone = datetime.strptime(offset, "%z").tzinfo
        dataset.TimezoneOffsetFromUTC = offset
    made = findings.made.astimezone(zone)
    date, time = made.strftime("%Y%m%d"), made.strftime("%H%M%S")
    for what in MADE_AT:
        setattr(dataset, f"{what}Date", date)
        setattr(dataset, f"{what}Time", time)
    for one in dataset.get("ContributingEquipmentSequence", []):
        one.ContributionDateTime = date + time
    with replacing(path) as partial:
        dataset.save_as(partial, enforce_file_format=True)
    return path
