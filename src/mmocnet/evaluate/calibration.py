"""Whether a confidence of 0.7 is right seven times in ten."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmocnet.errors import InputError
from mmocnet.evaluate.matching import BoolArray, Labels
from mmocnet.types import FloatArray

BINS = 10
MIN_CONFIDENCE = 0.05
"""Below, candidates are so many and so surely none that they hide the errors of the others."""


@dataclass(frozen=True)
class Calibration:
    """Reliability of the confidences of candidates.

    Attributes:
        edges: Shape (B + 1,), of the bins, from 0 to 1.
        mean_confidence: Shape (B,), in each bin; NaN in an empty one.
        share_true: Shape (B,), share of lesions among the bin's candidates; NaN in an empty one.
        count: Shape (B,), candidates in each bin.
        ece: Expected calibration error: mean gap of the two, weighted by count; NaN with no
            candidate.
        brier: Mean squared difference of confidence and truth; NaN with no candidate.
        candidates: How many there are.
    """

    edges: FloatArray
    mean_confidence: FloatArray
    share_true: FloatArray
    count: Labels
    ece: float
    brier: float
    candidates: int


def calibration(
    confidence: FloatArray | Sequence[float],
    is_lesion: BoolArray | Sequence[bool],
    bins: int = BINS,
) -> Calibration:
    """Compare confidences with how often they were right.

    Only candidates are judged: lesions that no candidate covers have no confidence, so this says
    nothing of sensitivity.

    Args:
        confidence: Shape (N,), 0 to 1.
        is_lesion: Shape (N,), whether the candidate has a reference lesion of its own (one-to-one).
        bins: Of equal width; a confidence on an edge counts in the lower bin.

    Raises:
        InputError: If the lengths differ, there is no bin, or a confidence is outside 0 to 1.

    Reference:
        Guo et al. 2017, arXiv:1706.04599, applied to the probability of being a lesion.
    """
    given = np.asarray(confidence, dtype=float)
    truth = np.asarray(is_lesion, dtype=bool).astype(float)
    if given.ndim != 1 or given.shape != truth.shape:
        raise InputError(f"expected a truth a confidence, got {truth.shape} for {given.shape}")
    if bins < 1:
        raise InputError(f"expected at least 1 bin, got {bins}")
    if not ((given >= 0) & (given <= 1)).all():
        raise InputError("expected confidences from 0 to 1")
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.searchsorted(edges[1:-1], given, side="left")
    count = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (given, truth)]
    empty = count == 0
    means = [np.where(empty, np.nan, total / np.maximum(count, 1)) for total in sums]
    number = len(given)
    gap = float(np.abs(sums[0] - sums[1]).sum())
    return Calibration(
        edges=edges,
        mean_confidence=means[0],
        share_true=means[1],
        count=count,
        ece=gap / number if number else float("nan"),
        brier=float(((given - truth) ** 2).mean()) if number else float("nan"),
        candidates=number,
    )
