"""The three services of an archive that are used: search, retrieve, store."""

import datetime
import hashlib
import logging
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmocnet.errors import InputError
from mmocnet.io.dicom.uids import is_uid
from mmocnet.pacs.connection import Connection, bounded
from mmocnet.pacs.errors import ServerError
from mmocnet.pacs.multipart import write_parts

LOG = logging.getLogger("mmocnet.pacs")

PAGE = 200
"""Records asked for at once; a server may send fewer."""
PAGES = 200
"""So many of them at most, whatever the server still has."""
DUPLICATE = 0x0111
"""Failure reason of an object that is there already (PS3.18 Table I.2-2)."""

STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
MODALITY, DESCRIPTION, COUNT = "00080060", "0008103E", "00201209"
NUMBER = "00200011"
FAILED, REASON = "00081198", "00081197"


@dataclass(frozen=True)
class FoundSeries:
    """A series as the archive lists it.

    Attributes:
        study_uid: Study that it belongs to; never printed.
        uid: Its own; never printed.
        description: Free text; never printed.
        instances: How many are there now; 0 where the archive does not say.
        number: Series number; None where it has none.
    """

    study_uid: str
    uid: str
    description: str
    instances: int
    number: int | None = None

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return short(self.uid)


def short(uid: str) -> str:
    """Return what a series is called in logs: nothing that leads to a patient.

    >>> short("1.2.3")
    'c47f5b18b8'
    """
    return hashlib.sha256(uid.encode()).hexdigest()[:10]


def check_uid(text: str) -> str:
    """Return a UID that may go into an address.

    Raises:
        InputError: If it is none.
    """
    if not is_uid(text):
        raise InputError("expected a DICOM UID of digits and dots, got another")
    return text


class DicomWeb:
    """An archive."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._strange = 0

    def check(self) -> None:
        """Ask for one series, to learn whether the server answers and lets us in.

        Raises:
            ServerError: If it does not.
        """
        self.connection.list("/series", {"limit": "1"})

    def new_series(self, since: datetime.date) -> list[FoundSeries]:
        """Return the MR series of studies from a day on.

        Those with UIDs that are none are left out, and their number is logged when it changes.

        Raises:
            ServerError: If the server cannot be reached or answers something else.
        """
        records = list(self._search({"Modality": "MR", "StudyDate": f"{since:%Y%m%d}-"}))
        strange = sum(_is_mr(one) and not _has_uids(one) for one in records)
        if strange and strange != self._strange:
            LOG.warning("%d MR series are left alone: expected valid UIDs, got others", strange)
        self._strange = strange
        return [one for one in map(_found, records) if one is not None]

    def series(self, uid: str) -> FoundSeries | None:
        """Return one series with its number of instances, None where there is none of this UID.

        Raises:
            InputError: If it is no UID.
            ServerError: If the server cannot be reached or answers something else.
        """
        found = map(_found, self._search({"SeriesInstanceUID": check_uid(uid)}))
        series = next((one for one in found if one is not None and one.uid == uid), None)
        return None if series is None else self.counted(series)

    def series_of(self, study_uid: str) -> list[FoundSeries]:
        """Return the MR series of a study.

        Raises:
            ServerError: If the server cannot be reached or answers something else.
        """
        records = self._search({"Modality": "MR", "StudyInstanceUID": check_uid(study_uid)})
        return [one for one in map(_found, records) if one is not None]

    def counted(self, series: FoundSeries) -> FoundSeries:
        """Return a series with its number of instances, which not every server lists.

        Raises:
            ServerError: If the server cannot be reached or answers something else.
        """
        if series.instances:
            return series
        number = sum(1 for _ in self._pages(f"{_path(series)}/instances", {}, INSTANCE))
        return replace(series, instances=number)

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
            ServerError: If the server cannot be reached, stops, or sends more than allowed or
                fewer instances than it has listed.
        """
        # Any transfer syntax: the server need not unpack what we read as it is.
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        limits = self.connection.limits
        with self.connection.stream(_path(series), accept) as (_, kind, chunks):
            files = write_parts(bounded(chunks, limits), _boundary(kind), folder, limits.instances)
        if len(files) < series.instances:
            raise ServerError(
                f"expected {series.instances} instances, the archive sent {len(files)}"
            )
        return files

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

    def _search(self, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Give the records of the series that a search finds, each once."""
        more = {"includefield": f"{DESCRIPTION},{COUNT},{NUMBER}"}
        return self._pages("/series", query | more, SERIES)

    def _pages(self, path: str, query: dict[str, str], tag: str) -> Iterator[dict[str, Any]]:
        """Give the records of a search, each value of a tag once, however many come at a time."""
        seen: set[str] = set()
        offset = 0
        while len(seen) <= PAGE * PAGES:
            page = query | {"limit": str(PAGE), "offset": str(offset)}
            records = self.connection.list(path, page)
            # A server may send fewer than asked for; one that knows no offset sends the same again.
            new = {_text(record, tag): record for record in records}
            new = {value: record for value, record in new.items() if value not in seen}
            if not new:
                return
            yield from new.values()
            seen |= new.keys()
            offset += len(records)
        raise ServerError(
            f"expected at most {PAGE * PAGES} records of a search, got more: give a later --since"
        )


def _path(series: FoundSeries) -> str:
    return f"/studies/{check_uid(series.study_uid)}/series/{check_uid(series.uid)}"


def _is_mr(record: Mapping[str, Any]) -> bool:
    return _text(record, MODALITY) in ("MR", "")


def _has_uids(record: Mapping[str, Any]) -> bool:
    return is_uid(_text(record, STUDY)) and is_uid(_text(record, SERIES))


def _found(record: Mapping[str, Any]) -> FoundSeries | None:
    """Return a series, None where the record is not one of MR or has UIDs that are none."""
    if not _is_mr(record) or not _has_uids(record):
        return None
    return FoundSeries(
        study_uid=_text(record, STUDY),
        uid=_text(record, SERIES),
        description=_text(record, DESCRIPTION),
        instances=_whole(record, COUNT) or 0,
        number=_whole(record, NUMBER),
    )


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
    # Longer ones fit into no database; not every digit of Unicode is one of a number.
    digits = isinstance(value, int | str) and re.fullmatch("[0-9]{1,9}", str(value))
    return int(digits.group()) if digits else None


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
