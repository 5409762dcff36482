"""Slices beside a slice: what a network with several input channels sees."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

NEIGHBOUR_MM = 1.5
"""Neighbours are the nearest slices at least this far apart: nearer ones look much the same."""


def neighbour_step(thickness_mm: float) -> int:
    """Return how many slices apart neighbours lie.

    >>> neighbour_step(0.5), neighbour_step(1.0), neighbour_step(3.0)
    (3, 2, 1)
    """
    return max(1, int(np.ceil(NEIGHBOUR_MM / thickness_mm - 1e-6)))


def neighbour_indices(
    index: Sequence[int] | NDArray[np.integer], count: int, step: int, channels: int
) -> NDArray[np.intp]:
    """Return which slices are seen with each of some slices, shape (N, channels).

    Where the scan ends, its last slice is repeated; a scan of one slice is seen `channels` times.

    Args:
        index: Slices in the middle, shape (N,).
        count: Slices of the scan.
        step: From `neighbour_step`.
        channels: Slices seen, odd.

    >>> neighbour_indices([0, 3], 5, 2, 3).tolist()
    [[0, 0, 2], [1, 3, 4]]
    """
    offsets = step * (np.arange(channels) - channels // 2)
    middle = np.asarray(index, np.intp)[:, None]
    seen: NDArray[np.intp] = np.clip(middle + offsets, 0, count - 1)
    return seen


def stack(
    slices: Shaped[np.ndarray, "s r c"],
    index: Sequence[int] | NDArray[np.integer],
    step: int,
    channels: int,
) -> NDArray[Any]:
    """Return some slices with their neighbours as channels, shape (N, channels, R, C)."""
    return np.asarray(slices[neighbour_indices(index, len(slices), step, channels)])
