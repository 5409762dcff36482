"""UIDs that follow from what an object says, so that a repeat is the same object."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

UUID_BITS = 128
"""A UID below 2.25 is a UUID as one decimal number (PS3.5, B.2)."""

_FORM = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")


def is_uid(text: str) -> bool:
    """Return whether a text is a valid UID.

    >>> is_uid("1.2.840"), is_uid("1.02"), is_uid("")
    (True, False, False)
    """
    return len(text) <= 64 and _FORM.fullmatch(text) is not None


def derived_uid(
    series_uid: str, weights_sha256: Mapping[str, str], settings: Mapping[str, Any], role: str
) -> str:
    """Return the UID of an object made from a series with a model and settings.

    Args:
        series_uid: Series Instance UID of the source.
        weights_sha256: SHA-256 of each file of weights by its name.
        settings: All that changes the result; plain JSON values.
        role: What the UID names, as "seg" or "lesion 3".

    Returns:
        A UID of at most 44 characters, the same whatever the order of the keys.

    >>> derived_uid("1.2.3", {"detector": "ab"}, {"threshold": 0.5}, "seg")
    '2.25.256091565364548536150064228572095212547'
    >>> derived_uid("1.2.3", {"detector": "ab"}, {"threshold": 0.6}, "seg")
    '2.25.152545671336214373951277067707828116832'
    """
    said = [series_uid, dict(weights_sha256), dict(settings), role]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"2.25.{int.from_bytes(digest[: UUID_BITS // 8], 'big')}"
