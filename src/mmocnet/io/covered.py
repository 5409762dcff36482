"""How much of the brain a scan covers, by the record of what was found in it."""

import math
from collections.abc import Mapping
from typing import Any


def covered(record: Mapping[str, Any]) -> tuple[float, float]:
    """Return the share of the brain that a scan covers, and the ml of brain that it shows.

    Args:
        record: A result's provenance.

    Returns:
        Each NaN where it is not known.

    >>> covered({"Location": {"Ok": True, "Coverage": 0.4}, "BrainMl": 900.0}), covered({})
    ((0.4, 900.0), (nan, nan))
    """
    place, seen = record.get("Location", {}), record.get("BrainMl")
    share = float(place["Coverage"]) if place.get("Ok") else math.nan
    return share, math.nan if seen is None else float(seen)
