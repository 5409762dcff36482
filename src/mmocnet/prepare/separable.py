"""Resampling and filtering along one axis at a time, each a small dense matrix.

A matrix product runs at the machine's full speed on any layout and device, where trilinear
interpolation and strided FFTs do not; it also puts shift, crop and window into one step. Where
TF32 is switched on for a GPU's matrix products the result is good to about 5e-4 of the input.
"""

import numpy as np
import torch
from torch import Tensor

from mmocnet.errors import InputError
from mmocnet.types import FloatArray


def along_axis(volume: Tensor, matrix: FloatArray, axis: int) -> Tensor:
    """Return a volume multiplied by a real matrix along one axis.

    Args:
        volume: Shape (I, J, K), float32 or complex64, any device.
        matrix: Shape (N, length of `axis`).
        axis: 0, 1 or 2.

    Returns:
        The volume with `axis` of length N, same kind and device.

    Raises:
        InputError: If the matrix does not fit the axis.
    """
    length = volume.shape[axis]
    if matrix.shape[1] != length:
        raise InputError(f"expected {length} columns for axis {axis}, got {matrix.shape[1]}")
    weights = torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32)).to(volume.device)
    if volume.is_complex():
        return _complex_along_axis(volume, weights, axis)
    if axis == 0:
        return (weights @ volume.reshape(length, -1)).reshape(-1, *volume.shape[1:])
    return torch.matmul(weights, volume) if axis == 1 else volume @ weights.T


def _complex_along_axis(volume: Tensor, weights: Tensor, axis: int) -> Tensor:
    if axis == 2:
        # A matrix product over pairs (real, imaginary) has two columns and crawls.
        return torch.complex(
            volume.real.contiguous() @ weights.T, volume.imag.contiguous() @ weights.T
        )
    pairs = torch.view_as_real(volume.contiguous()).flatten(2)
    if axis == 0:
        moved = (weights @ pairs.reshape(len(pairs), -1)).reshape(-1, *pairs.shape[1:])
    else:
        moved = torch.matmul(weights, pairs)
    return torch.view_as_complex(moved.reshape(*moved.shape[:2], -1, 2))


def along_axes(volume: Tensor, matrices: dict[int, FloatArray]) -> Tensor:
    """Return a volume multiplied along several axes, those that shrink it most first."""
    ratio = {axis: matrix.shape[0] / matrix.shape[1] for axis, matrix in matrices.items()}
    for axis in sorted(matrices, key=lambda axis: ratio[axis]):
        volume = along_axis(volume, matrices[axis], axis)
    return volume


def _centres(length: int, new_length: int) -> FloatArray:
    """Return the centres of new voxels over the same extent, in voxels of the old grid."""
    return np.asarray((np.arange(new_length) + 0.5) * length / new_length - 0.5)


def linear_matrix(length: int, new_length: int) -> FloatArray:
    """Return linear interpolation onto another number of voxels over the same extent.

    >>> linear_matrix(2, 4).tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    at = np.clip(_centres(length, new_length), 0, length - 1)
    return np.asarray(np.maximum(0.0, 1 - np.abs(at[:, None] - np.arange(length))))


def box_matrix(length: int, new_length: int) -> FloatArray:
    """Return the mean over each new voxel of what it covers; sums are kept up to voxel size.

    >>> box_matrix(4, 2).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    edges = np.arange(new_length + 1) * length / new_length
    low, high = edges[:-1, None], edges[1:, None]
    cell = np.arange(length)
    covered = np.clip(np.minimum(high, cell + 1) - np.maximum(low, cell), 0, 1)
    return np.asarray(covered / (high - low))


def tukey(count: int, taper: float) -> FloatArray:
    """Return half a Tukey window: weight of k = 0 .. count // 2 of `count` k-space lines.

    Args:
        count: Lines acquired.
        taper: Share of each half that falls off as a cosine: 0 keeps all, 1 is a Hann window.
    """
    k = np.arange(count // 2 + 1) / (count / 2)
    if taper <= 0:
        return np.ones_like(k)
    fall = np.clip((k - 1 + taper) / taper, 0, 1)
    return np.asarray(0.5 * (1 + np.cos(np.pi * fall)))


def fourier_matrix(length: int, new_length: int, window: FloatArray | None = None) -> FloatArray:
    """Return what a scanner does along an axis: keep some k-space lines, transform back.

    Args:
        length: Voxels of the grid it comes from.
        new_length: Voxels of the grid it goes to, over the same extent: fewer crop k-space,
            more fill it with zeros.
        window: Weight of k = 0, 1, ..., of k-space on one side; lines beyond it are dropped.
            All lines that both grids hold by default.

    Returns:
        Shape (new_length, length), real because the window is even. New voxels lie on their
        own centres, so the extent of the field of view is the same before and after.
    """
    synthesis, analysis = fourier_factors(length, new_length, window)
    return np.asarray(synthesis @ analysis)


def fourier_factors(
    length: int, new_length: int, window: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return `fourier_matrix` as synthesis @ analysis, through as many rows as lines are kept.

    For a narrow window in two or three axes it pays to analyse along all of them first.
    """
    lines = min(length, new_length)
    kept = lines // 2 + 1
    weight = np.ones(kept) if window is None else np.array(window[:kept], dtype=np.float64)
    weight[1:] *= 2  # k and -k
    if lines % 2 == 0 and len(weight) == kept:
        weight[-1] /= 2  # the line at Nyquist is its own mirror image
    k = 2 * np.pi * np.arange(len(weight)) / length
    to = k * _centres(length, new_length)[:, None]
    come = k[:, None] * np.arange(length)
    synthesis = np.hstack((np.cos(to) * weight, np.sin(to[:, 1:]) * weight[1:])) / length
    return synthesis, np.vstack((np.cos(come), np.sin(come[1:])))
