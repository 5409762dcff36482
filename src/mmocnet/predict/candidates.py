"""Stage 1's probability becomes candidates, and candidates become patches for stage 2."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.lesion import Candidate, Roi
from mmocnet.prepare.neighbours import neighbour_indices
from mmocnet.types import FloatArray

# Neighbours within a slice only: stage 1 reads one slice at a time.
IN_PLANE = np.zeros((3, 3, 3), dtype=bool)
IN_PLANE[1] = True


def find_candidates(
    probability: Float[np.ndarray, "s r c"], threshold: float, roi_size: int
) -> list[Candidate]:
    """Return a candidate for each 8-connected component of the thresholded probability.

    The centre is the component's centroid, or its highest pixel where the centroid falls
    outside the component. A component that is larger than the patch there gets several
    candidates, one for each cell of half a patch's side that it enters, so that patches
    overlap and every pixel of it lies inside one.

    Args:
        probability: Stage 1's, shape (S, R, C), 0 to 1.
        threshold: Pixels at or above it belong to a candidate.
        roi_size: Side of a patch in pixels.

    Returns:
        Candidates by slice, then by first row.

    >>> p = np.zeros((1, 9, 9)); p[0, 2:5, 3:6] = 0.8
    >>> find_candidates(p, 0.5, 32)
    [Candidate(slice_index=0, row=3.0, col=4.0, probability=0.8, area_px=9)]
    """
    labels, _ = ndimage.label(probability >= threshold, IN_PLANE)
    found: list[Candidate] = []
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        inside = labels[box][0] == number
        values = np.where(inside, probability[box][0], 0.0)
        corner = (box[0].start, box[1].start, box[2].start)
        whole = _candidate(inside, values, corner)
        if _fits(box, roi_around(whole, roi_size)):
            found.append(whole)
        else:
            found.extend(_tiles(inside, values, corner, roi_size))
    return found


def _fits(box: tuple[slice, ...], roi: Roi) -> bool:
    return all(
        first <= part.start and part.stop <= first + roi.size
        for first, part in zip((roi.row, roi.col), box[1:], strict=True)
    )


def _candidate(
    inside: NDArray[np.bool_], values: FloatArray, corner: tuple[int, int, int]
) -> Candidate:
    """Return the candidate of one component, cut out with its corner at `corner`."""
    rows, cols = np.nonzero(inside)
    row, col = float(rows.mean()), float(cols.mean())
    if not inside[round(row), round(col)]:
        peak = np.unravel_index(np.argmax(values), values.shape)
        row, col = float(peak[0]), float(peak[1])
    return Candidate(
        slice_index=corner[0],
        row=corner[1] + row,
        col=corner[2] + col,
        probability=float(values.max()),
        area_px=len(rows),
    )


def _tiles(
    inside: NDArray[np.bool_], values: FloatArray, corner: tuple[int, int, int], roi_size: int
) -> Iterator[Candidate]:
    """Yield a candidate for each cell of half a patch that a large component enters."""
    step = max(roi_size // 2, 1)
    for row in range(0, inside.shape[0], step):
        for col in range(0, inside.shape[1], step):
            cell = (slice(row, row + step), slice(col, col + step))
            if inside[cell].any():
                yield _candidate(
                    inside[cell], values[cell], (corner[0], corner[1] + row, corner[2] + col)
                )


def roi_around(candidate: Candidate, size: int) -> Roi:
    """Return the patch centred on a candidate; it may leave the slice.

    >>> roi_around(Candidate(2, 10.4, 3.0, 0.9, 5), 16)
    Roi(slice_index=2, row=2, col=-5, size=16)
    """
    return Roi(
        slice_index=candidate.slice_index,
        row=round(candidate.row) - size // 2,
        col=round(candidate.col) - size // 2,
        size=size,
    )


def cut_rois(
    slices: Float[np.ndarray, "s r c"], rois: Sequence[Roi], step: int = 1, channels: int = 1
) -> Float[np.ndarray, "n channels size size"]:
    """Return the patches of regions of interest; what lies outside a slice is reflected.

    Neighbouring slices are channels, as `prepare.neighbours` has them.

    Reflection is about the border pixel's centre and repeats where a patch is larger than
    the slice, as `numpy.pad` with mode "reflect".

    Raises:
        InputError: If the patches differ in size or there are none.
    """
    sizes = {roi.size for roi in rois}
    if len(sizes) != 1:
        raise InputError(f"expected patches of one size, got {sorted(sizes)}")
    offset = np.arange(sizes.pop())
    rows = reflected(np.array([roi.row for roi in rois])[:, None] + offset, slices.shape[1])
    cols = reflected(np.array([roi.col for roi in rois])[:, None] + offset, slices.shape[2])
    index = neighbour_indices([roi.slice_index for roi in rois], len(slices), step, channels)
    return np.asarray(
        slices[index[:, :, None, None], rows[:, None, :, None], cols[:, None, None, :]]
    )


def reflected(index: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Return indices folded into 0 .. length - 1 as if the axis were mirrored for ever.

    >>> reflected(np.arange(-2, 4), 4).tolist()
    [2, 1, 0, 1, 2, 3]
    """
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    index = index % period
    return np.minimum(index, period - index)
