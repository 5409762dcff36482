"""From the classifier's logits to confidence, which knows of the other candidates of a volume.

How many microbleeds people have differs by far more than chance: most have none or one, a few have
dozens. Where several are sure, the next doubtful spot is likelier to be one; where nothing else is,
it needs to be clearer.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from mmocnet.config import BurdenSettings

HIGHEST_LOG_ODDS = 30.0
"""Confidence is never further from one half than these say."""
DOUBTFUL = 0.05
"""Probability up to which a candidate says nothing of the others."""

PerCandidate = Float[np.ndarray, " n"]


def probability(
    logit: PerCandidate, slope: float, intercept: float, burden: BurdenSettings | None = None
) -> PerCandidate:
    """Return the calibrated probability of each candidate of a scan, shape (N,).

    Args:
        logit: Raw scores, shape (N,).
        slope: What they are multiplied with.
        intercept: What is then added.
        burden: What the other candidates, which must all be there, then say; None leaves them out.

    >>> probability(np.array([0.0, 2.0]), 0.5, -1.0).round(3)
    array([0.269, 0.5  ])
    >>> probability(np.array([0.0, 0.0]), 1.0, 0.0, BurdenSettings(weight=0.4)).round(3)
    array([0.545, 0.545])
    """
    alone = slope * logit + intercept
    if burden is None:
        return _sigmoid(alone)
    beside = others(_sigmoid(alone), burden.most)
    return _sigmoid(burden.scale * alone + burden.offset + burden.weight * beside)


def others(alone: PerCandidate, most: float) -> PerCandidate:
    """Return how many other microbleeds a volume seems to hold beside each candidate, shape (N,).

    The sum of what their probabilities have above 0.05: a thousand veins do not make a microbleed.

    Args:
        alone: Probability of each candidate of the volume on its own, shape (N,).
        most: The result is no higher.

    >>> others(np.array([1.0, 1.0, 0.5, 0.1]), most=10.0)
    array([1.45, 1.45, 1.95, 2.35])
    """
    above = np.maximum(alone - DOUBTFUL, 0)
    return np.asarray(np.minimum(above.sum() - above, most))


def _sigmoid(log_odds: PerCandidate) -> NDArray[np.float64]:
    inside = np.clip(log_odds, -HIGHEST_LOG_ODDS, HIGHEST_LOG_ODDS)
    return np.asarray(1 / (1 + np.exp(-inside)), float)
