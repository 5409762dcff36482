"""Resample planes along rows and columns, each a small dense matrix."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmocnet.types import FloatArray

Order = Literal[0, 1, 3]
"""0 nearest, 1 linear, 3 cubic."""

_SUPPORT: dict[Order, float] = {0: 0.5, 1: 1.0, 3: 2.0}


def sample_positions(count: int, start: int, step_mm: float, source_mm: float) -> FloatArray:
    """Return where `count` pixels of `step_mm` lie among pixels of `source_mm`, as indices."""
    return (np.arange(start, start + count) + 0.5) * (step_mm / source_mm) - 0.5


def _kernel(distance: FloatArray, order: Order) -> FloatArray:
    if order == 0:
        # Half open, so that a place between two pixels takes one of them.
        return ((distance >= -0.5) & (distance < 0.5)).astype(np.float64)
    x = np.abs(distance)
    if order == 1:
        return np.maximum(0.0, 1.0 - x)
    # Keys 1981 with a = -1/2: cubic convolution that is exact for quadratics.
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def resampling_matrix(
    positions: FloatArray, count: int, order: Order, widen: float = 1.0
) -> NDArray[np.float32]:
    """Return weights, shape (positions, count), that sample `count` pixels at `positions`.

    The outermost pixels are repeated outside, and a position outside every pixel has weight 0.
    """
    width = 1.0 if order == 0 else max(1.0, widen)
    # Rounding keeps 2.4999999 and 2.5 the same place whichever way it was reached.
    positions = np.round(positions, 9)
    reach = int(np.ceil(_SUPPORT[order] * width))
    base = np.floor(positions).astype(int)
    weights = np.zeros((len(positions), count))
    rows = np.arange(len(positions))
    for step in range(-reach, reach + 2):
        source = base + step
        value = _kernel((source - positions) / width, order)
        np.add.at(weights, (rows, np.clip(source, 0, count - 1)), value)
    weights /= weights.sum(axis=1, keepdims=True)
    weights[(positions < -0.5) | (positions >= count - 0.5)] = 0.0
    return weights.astype(np.float32)


def resample_planes(
    rows: NDArray[np.float32], array: NDArray[Any], cols: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return rows @ slice @ cols.T of every slice, leaving out input that no output needs."""
    used_rows, used_cols = (np.flatnonzero(m.any(axis=0)) for m in (rows, cols))
    out = np.zeros((array.shape[0], len(rows), len(cols)), dtype=np.float32)
    if not (len(used_rows) and len(used_cols)):
        return out
    r = slice(used_rows[0], used_rows[-1] + 1)
    c = slice(used_cols[0], used_cols[-1] + 1)
    left, right = np.ascontiguousarray(rows[:, r]), np.ascontiguousarray(cols[:, c].T)
    for index in range(len(array)):
        plane = np.ascontiguousarray(array[index, r, c], dtype=np.float32)
        np.matmul(left @ plane, right, out=out[index])
    return out
