"""The three services of an archive that are used: search, retrieve, store."""

import datetime
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmocnet.errors import InputError
from mmocnet.pacs.connection import Connection, bounded
from mmocnet.pacs.errors import ServerError
from mmocnet.pacs.multipart import write_parts

PAGE = 200
PAGES = 200
DUPLICATE = 0x0111
"""Failure reason of an object that is there already (PS3.18 Table I.2-2)."""

STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
MODALITY, DESCRIPTION, COUNT = "00080060", "0008103E", "00201209"
NUMBER = "00200011"
STUDY_DATE = "00080020"
FAILED, FAILED_UID, REASON = "00081198", "00081155", "00081197"
STORED = "00081199"

UID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")


@dataclass(frozen=True)
class FoundSeries:
    """A series as the archive lists it.

    Attributes:
        study_uid: Study that it belongs to; never printed.
        uid: Its own; never printed.
        description: Free text; never printed.
        instances: How many are there now.
        number: Series number; None where it has none.
    """

    study_uid: str
    uid: str
    description: str
    instances: int
    number: int | None = None


def check_uid(text: str) -> str:
    """Return a UID that may go into an address.

    Raises:
        InputError: If it is none.
    """
    if len(text) > 64 or not UID.fullmatch(text):
        raise InputError("expected a DICOM UID of digits and dots, got another")
    return text


class DicomWeb:
    """An archive."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def check(self) -> None:
        """Ask for one series, to learn whether the server answers and lets us in.

        Raises:
            ServerError: If it does not.
        """
        self.connection.list("/series", {"limit": "1"})

    def new_series(self, since: datetime.date) -> list[FoundSeries]:
        """Return the MR series of studies from a day on.

        Raises:
            ServerError: If the server cannot be reached or answers something else.
        """
        return self._series({"Modality": "MR", "StudyDate": f"{since:%Y%m%d}-"})

    def series(self, uid: str) -> FoundSeries | None:
        """Return one series, None where the archive has none of this UID.

        Raises:
            InputError: If it is no UID.
            ServerError: If the server cannot be reached or answers something else.
        """
        found = self._series({"SeriesInstanceUID": check_uid(uid)})
        return next((one for one in found if one.uid == uid), None)

    def series_of(self, study_uid: str) -> list[FoundSeries]:
        """Return the MR series of a study.

        Raises:
            ServerError: If the server cannot be reached or answers something else.
        """
        return self._series({"Modality": "MR", "StudyInstanceUID": check_uid(study_uid)})

    def has_instance(self, study_uid: str, uid: str) -> bool:
        """Return whether a study holds an object.

        Raises:
            ServerError: If the server cannot be reached or answers something else.
        """
        path = f"/studies/{check_uid(study_uid)}/instances"
        found = self.connection.list(path, {"SOPInstanceUID": check_uid(uid)})
        return any(_text(record, INSTANCE) == uid for record in found)

    def fetch(self, series: FoundSeries, folder: Path) -> list[Path]:
        """Write a series' instances into a folder as they arrive.

        Returns:
            The files.

        Raises:
            ServerError: If the server cannot be reached, stops, or sends more than allowed.
        """
        path = f"/studies/{check_uid(series.study_uid)}/series/{check_uid(series.uid)}"
        # Any transfer syntax: the server need not unpack what we read as it is.
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        limits = self.connection.limits
        with self.connection.stream(path, accept) as (_, kind, chunks):
            return write_parts(bounded(chunks, limits), _boundary(kind), folder, limits.instances)

    def store(self, study_uid: str, objects: Mapping[str, Path]) -> None:
        """Store objects, those that are there already included.

        Args:
            study_uid: Study that they belong to.
            objects: File of each SOP instance UID.

        Raises:
            ServerError: If the server cannot be reached or does not take all of them.
        """
        boundary = secrets.token_hex(16)
        parts = [
            f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            + path.read_bytes()
            + b"\r\n"
            for path in objects.values()
        ]
        status, record = self.connection.post(
            f"/studies/{check_uid(study_uid)}",
            b"".join([*parts, f"--{boundary}--\r\n".encode()]),
            f'multipart/related; type="application/dicom"; boundary={boundary}',
        )
        if status == 409 and FAILED not in record:
            raise ServerError("the server did not store the objects and does not say why (409)")
        reasons = _refused(record)
        if reasons:
            raise ServerError(
                f"the server did not store {len(reasons)} of {len(objects)} objects "
                f"(failure reason {reasons[0]:04X}H)"
            )

    def _series(self, query: dict[str, str]) -> list[FoundSeries]:
        found: dict[str, FoundSeries] = {}
        more = {"includefield": f"{DESCRIPTION},{COUNT},{NUMBER}", "limit": str(PAGE)}
        for page in range(PAGES):
            records = self.connection.list("/series", query | more | {"offset": str(page * PAGE)})
            before = len(found)
            found |= {one.uid: one for one in map(_found, records) if one is not None}
            # A server that knows no offset sends the same again.
            if len(records) < PAGE or len(found) == before:
                return list(found.values())
        raise ServerError(f"expected at most {PAGE * PAGES} series, got more: give a later --since")


def _found(record: Mapping[str, Any]) -> FoundSeries | None:
    """Return a series, None where the record is not one of MR."""
    study, uid = _text(record, STUDY), _text(record, SERIES)
    if _text(record, MODALITY) not in ("MR", "") or not UID.fullmatch(uid or "-"):
        return None
    instances = _whole(record, COUNT) or 0
    return FoundSeries(study, uid, _text(record, DESCRIPTION), instances, _whole(record, NUMBER))


def _refused(record: Mapping[str, Any]) -> Sequence[int]:
    """Return the reasons of the objects that were not stored."""
    failed = record.get(FAILED, {})
    items = failed.get("Value", []) if isinstance(failed, dict) else []
    reasons = [_first(item, REASON) if isinstance(item, dict) else None for item in items]
    return [one if isinstance(one, int) else 0 for one in reasons if one != DUPLICATE]


def _first(record: Mapping[str, Any], tag: str) -> object:
    element = record.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _whole(record: Mapping[str, Any], tag: str) -> int | None:
    value = _first(record, tag)
    return int(value) if isinstance(value, int | str) and str(value).isdigit() else None


def _text(record: Mapping[str, Any], tag: str) -> str:
    value = _first(record, tag)
    return value if isinstance(value, str) else ""


def _boundary(kind: str) -> str:
    """Return what separates the parts of an answer.

    >>> _boundary('multipart/related; type="application/dicom"; boundary="a b"')
    'a b'
    """
    from email.message import Message

    message = Message()
    message["Content-Type"] = kind
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/related" or not isinstance(boundary, str):
        raise ServerError("expected multipart/related from the server, got another answer")
    return boundary
