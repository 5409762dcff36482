"""What a reader did, one event at a time: kinds, payloads, and the check of what came in."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from mmocnet.errors import InputError

EVENT_KINDS = ("verdict", "add", "paint", "remove", "undo", "redo", "blind", "reveal", "complete")
REASONS = ("vein", "calcium", "iron", "artefact", "siderosis", "other")
"""Why a finding is no microbleed."""
HOW = ("probability", "growing", "drawn")
"""How the outline of an added finding came about."""

T = TypeVar("T")


@dataclass(frozen=True)
class Event:
    """One thing that a reader did; it is kept for good.

    Attributes:
        number: Ascending from event to event of a reader.
        reader: Whose it is.
        time: UTC, ISO 8601.
        kind: One of `EVENT_KINDS`.
        payload: Plain JSON values; which ones depends on the kind.
    """

    number: int
    reader: str
    time: str
    kind: str
    payload: dict[str, Any]


def event_lines(events: Iterable[Event]) -> str:
    """Return events as JSON, a line each: the audit log."""
    return "".join(
        json.dumps(
            {
                "number": one.number,
                "reader": one.reader,
                "time": one.time,
                "kind": one.kind,
                "payload": one.payload,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )
        + "\n"
        for one in events
    )


def take(event: Event, key: str, kind: type[T]) -> T:
    """Return a value of a payload.

    Raises:
        InputError: If it is missing or of another type.
    """
    value = event.payload.get(key)
    # Python counts true and false as numbers.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        names = {str: "text", int: "a whole number", bool: "true or false", list: "a list"}
        raise InputError(
            f"expected {names.get(kind, kind.__name__)} as {key} of {event.kind}, "
            f"got {type(value).__name__}"
        )
    return value


def choose(event: Event, key: str, allowed: Iterable[str]) -> str | None:
    """Return a value of a payload that is null or one of a few words.

    Raises:
        InputError: If it is another.
    """
    value = event.payload.get(key)
    words = tuple(allowed)
    if value is None or (isinstance(value, str) and value in words):
        return value
    raise InputError(f"expected {', '.join(words)} or null as {key} of {event.kind}")
