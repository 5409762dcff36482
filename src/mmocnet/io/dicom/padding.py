"""Pixels that fill up what was not measured, as a header tells them."""

import math

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from mmocnet.io.dicom.values import number_of


def padding_of(header: Dataset) -> tuple[int, int] | None:
    """Return the lowest and the highest stored value of padding; None where there is none.

    Some write it signed where the pixels are unsigned, or the other way round: the bits count.

    >>> header = Dataset()
    >>> header.BitsAllocated, header.PixelRepresentation = 16, 1
    >>> header.add_new("PixelPaddingValue", "US", 63536)
    >>> padding_of(header)
    (-2000, -2000)
    """
    value = number_of(header.get("PixelPaddingValue"))
    limit = number_of(header.get("PixelPaddingRangeLimit"))
    ends = (value, value if math.isnan(limit) else limit)
    size = 2 ** int(header.BitsAllocated)
    if not all(-size // 2 <= one < size for one in ends):
        return None
    lowest = -size // 2 if header.get("PixelRepresentation") == 1 else 0
    stored = [(int(one) - lowest) % size + lowest for one in ends]
    return min(stored), max(stored)


def fill_padding(array: NDArray[np.float32], padded: NDArray[np.bool_]) -> None:
    """Give padding the lowest of the other values, or 0 where all are above it, in place.

    Nothing is changed where padding lies among the other values: it may be tissue then, and dark
    dots in the brain would look like microbleeds.

    Args:
        array: Rescaled values.
        padded: Which of them are padding, same shape.
    """
    if not padded.any() or padded.all():
        return
    padding, lowest = array[padded], float(np.min(array, where=~padded, initial=np.inf))
    highest = float(np.max(array, where=~padded, initial=-np.inf))
    if padding.max() < lowest or padding.min() > highest:
        array[padded] = min(lowest, 0.0)
