"""Where a candidate ends: where the image has lost a share of the candidate's contrast.

Stage 2 says that something is there and about where. How far it reaches is a matter of what stage
2 was trained with: on simulated scans its outlines are a third too large, on real ones a fifth too
small. A reader's outline follows the image, and so does this one: from the darkest voxel up to a
share of the way to the tissue around, as far as that hangs together and hardly beyond stage 2's
outline.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.types import FloatArray, Labels3D, Mask3D, Triple

REACH_MM = 0.75
"""How far beyond stage 2's outline a candidate may go."""
SURROUND_MM = (1.0, 3.0)
"""Between these distances from stage 2's outline lies the tissue around it."""
LEAST_AROUND = 5
"""Voxels of tissue around; with fewer the outline stays stage 2's."""
NEIGHBOURS = np.ones((3, 3, 3))

Box = tuple[slice, ...]


def outline_by_contrast(
    labels: Labels3D,
    image: NDArray[np.floating],
    brain: Mask3D,
    spacing_mm: Triple,
    share: float,
) -> Labels3D:
    """Return candidates outlined by what is dark, around where stage 2 outlined them.

    Args:
        labels: Candidates, shape (I, J, K).
        image: The scan on the same grid; microbleeds are dark.
        brain: Mask on the same grid: what is around a candidate is looked at inside it alone.
        spacing_mm: Of the grid.
        share: Of the contrast between the candidate's darkest voxel and the median around it that
            a voxel of the candidate has more of, above 0 and below 1.

    Returns:
        The same candidates, each of at least one voxel, none in the place of another.

    Raises:
        InputError: If the share is out of range.
    """
    if not 0 < share < 1:
        raise InputError(f"expected a share of the contrast between 0 and 1, got {share}")
    found = labels.copy()
    pad = [math.ceil(SURROUND_MM[1] / side) + 1 for side in spacing_mm]
    for number, own in enumerate(ndimage.find_objects(labels), 1):
        if own is None:
            continue
        box: Box = tuple(
            slice(max(part.start - more, 0), part.stop + more)
            for part, more in zip(own, pad, strict=True)
        )
        before, now = labels[box] == number, found[box]
        outline = _outline(before, now, image[box], brain[box], spacing_mm, share)
        if outline is not None:
            now[before] = 0
            now[outline] = number
    return found


def _outline(
    before: NDArray[np.bool_],
    taken: Labels3D,
    image: FloatArray,
    brain: NDArray[np.bool_],
    spacing_mm: Triple,
    share: float,
) -> NDArray[np.bool_] | None:
    """Return one candidate's outline in its box, None where there is no contrast to go by.

    `before` is stage 2's outline; `taken` holds all candidates, as far as they are outlined now.
    """
    distance = ndimage.distance_transform_edt(~before, sampling=spacing_mm)
    free = before | (taken == 0)
    around = free & brain & (distance > SURROUND_MM[0]) & (distance <= SURROUND_MM[1])
    if np.count_nonzero(around) < LEAST_AROUND:
        return None
    surround = float(np.median(image[around]))
    darkest = np.unravel_index(np.argmin(np.where(before, image, np.inf)), image.shape)
    depth = surround - float(image[darkest])
    if not depth > 0:
        return None
    dark = free & (distance <= REACH_MM) & (image < surround - share * depth)
    pieces, _ = ndimage.label(dark, NEIGHBOURS)
    return np.asarray(ndimage.binary_fill_holes(pieces == pieces[darkest]) & free)
