"""Stage 2 on a whole scan: candidates, patches, outlines, fusion."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mmocnet.lesion import Candidate
from mmocnet.predict.candidates import cut_rois, roi_around
from mmocnet.predict.engine import Engine
from mmocnet.predict.fuse import paste_rois


@dataclass(frozen=True)
class StageMaps:
    """What both stages say of each pixel of the working grid.

    Attributes:
        marks: Stage 1's probability, shape (S, R, C).
        outlines: Stage 2's, fused, 0 outside every patch, same shape.
    """

    marks: Float[np.ndarray, "s r c"]
    outlines: Float[np.ndarray, "s r c"]


def outlined(
    engine: Engine,
    slices: Float[np.ndarray, "s r c"],
    candidates: list[Candidate],
    roi_size: int,
    step: int = 1,
) -> Float[np.ndarray, "s r c"]:
    """Return stage 2's fused probability, 0 outside every patch.

    Args:
        engine: With stage 2.
        slices: Prepared slices.
        candidates: Where patches are cut.
        roi_size: Side of a patch in pixels.
        step: How many slices apart neighbours lie.
    """
    rois = [roi_around(candidate, roi_size) for candidate in candidates]
    shape = (slices.shape[0], slices.shape[1], slices.shape[2])
    if not rois:
        return np.zeros(shape, dtype=np.float32)
    patches = cut_rois(slices, rois, step, engine.patch_channels)
    return paste_rois(shape, rois, engine.outline(patches))
