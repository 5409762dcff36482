"""Values of a header as Python numbers: where there should be one, several or none may be."""

import math
from typing import Any

from mmocnet.types import Triple

MAX_TEXT = 64
"""Characters of a DICOM LO; an SH or CS has 16."""

MAX_SCALE = 1e28
"""Of slope and intercept: times 32 bits they still are a float32."""


def values_of(value: Any) -> tuple[Any, ...]:
    """Return the values of an element, however many it has."""
    return (value,) if isinstance(value, str | bytes | int) else tuple(value or ())


def text_of(value: Any) -> str:
    r"""Return text as a header may have it: printable, several values joined, `MAX_TEXT` long.

    >>> text_of("SIE\x1bMENS" + 100 * "x") == "SIEMENS" + 56 * "x"
    True
    """
    text = "\\".join(one for one in values_of(value) if isinstance(one, str))
    return "".join(filter(str.isprintable, text[:MAX_TEXT]))


def integer_of(value: Any) -> int | None:
    """Return a whole number; None where there is none."""
    return None if value in (None, "") else int(value)


def number_of(value: Any) -> float:
    """Return a number; NaN where there is none, or several."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def floats_of(value: Any, count: int) -> tuple[float, ...]:
    """Return finite numbers.

    Raises:
        ValueError: If there are more or fewer, or they are not finite.
    """
    numbers = tuple(float(one) for one in value)
    if len(numbers) != count or not all(math.isfinite(one) for one in numbers):
        raise ValueError
    return numbers


def scale_of(slope: Any, intercept: Any) -> tuple[float, float]:
    """Return slope and intercept of stored values.

    Raises:
        ValueError: If they make a slice blank or infinite.
    """
    numbers = float(slope), float(intercept)
    if not (0 < abs(numbers[0]) <= MAX_SCALE and abs(numbers[1]) <= MAX_SCALE):
        raise ValueError
    return numbers


def triple_of(numbers: tuple[float, ...]) -> Triple:
    """Return three numbers as what they are."""
    return numbers[0], numbers[1], numbers[2]


def unit_of(numbers: tuple[float, ...]) -> Triple:
    """Return a vector that is nearly of length 1 at that length.

    Raises:
        ValueError: If it is of another length.
    """
    length = math.hypot(*numbers)
    if not 0.99 < length < 1.01:
        raise ValueError
    return numbers[0] / length, numbers[1] / length, numbers[2] / length


def spacing_of(value: Any) -> tuple[float, float]:
    """Return the distances between rows and between columns.

    Raises:
        ValueError: If they are not two positive numbers.
    """
    rows, columns = floats_of(value, 2)
    if min(rows, columns) <= 0:
        raise ValueError
    return rows, columns
