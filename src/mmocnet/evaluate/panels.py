"""A slice with its lesions outlined, misses and false calls marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.evaluate.matching import components, match, pairing
from mmocnet.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOUND, MISSED, FALSE, GIVEN = "#2d9cff", "#ff2e9a", "#ff9500", "#00b886"
"""Outlines on a grey image; misses and false calls differ in shape too."""
LEGEND = "blue outline: found; pink ring: missed; orange square: false call"
MARK_MARGIN = 2.5
"""Pixels between a lesion and its mark."""


def panel(
    ax: Axes,
    image: FloatArray,
    reference: NDArray[Any] | None = None,
    predicted: NDArray[Any] | None = None,
) -> None:
    """Draw a grey slice, rows downwards, and the lesions on it.

    With both masks, found lesions are outlined in blue, missed ones in pink within a ring,
    false calls in orange within a square; they are matched one to one by overlap in this slice
    alone. With one mask, its lesions are outlined in green.

    Args:
        ax: Where to draw.
        image: Shape (R, C); shown from its 1st to its 99.5th percentile.
        reference: Mask or labels of the same shape.
        predicted: Mask or labels of the same shape.
    """
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (1, 99.5)) if finite.size else (0.0, 1.0)
    ax.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
    ax.set_axis_off()
    if reference is None or predicted is None:
        given = predicted if reference is None else reference
        if given is not None:
            outline(ax, np.asarray(given) > 0, GIVEN)
        return
    truth, called = components(np.asarray(reference) > 0), components(np.asarray(predicted) > 0)
    pair = pairing(truth, called, (1.0, 1.0))
    result = match(pair)
    draw_outcomes(
        ax,
        np.isin(called, pair.predicted.ids[result.pairs[:, 1]]),
        np.isin(truth, pair.reference.ids[result.missed]),
        np.isin(called, pair.predicted.ids[result.false]),
    )


def draw_outcomes(
    ax: Axes, found: NDArray[np.bool_], missed: NDArray[np.bool_], false: NDArray[np.bool_]
) -> None:
    """Outline lesions by outcome; each missed one gets a ring, each false call a square.

    Args:
        ax: Where to draw.
        found: Shape (R, C), what was called and is a lesion.
        missed: Lesions that were not found.
        false: What was called and is no lesion.
    """
    outline(ax, found, FOUND)
    for mask, colour, ring in ((missed, MISSED, True), (false, FALSE, False)):
        pieces = components(mask)
        for number in range(1, int(pieces.max(initial=0)) + 1):
            _mark(ax, pieces == number, colour, ring)


def outline(ax: Axes, mask: NDArray[np.bool_], colour: str) -> None:
    """Draw the edges of a mask's pixels."""
    from matplotlib.collections import LineCollection

    padded = np.pad(mask, 1)
    across = np.argwhere(padded[1:] != padded[:-1])
    along = np.argwhere(padded[:, 1:] != padded[:, :-1])
    # The edge between rows r - 1 and r lies at r - 0.5, and the padding moved all by one.
    edges = [[(c - 1.5, r - 0.5), (c - 0.5, r - 0.5)] for r, c in across]
    edges += [[(c - 0.5, r - 1.5), (c - 0.5, r - 0.5)] for r, c in along]
    ax.add_collection(LineCollection(edges, colors=colour, linewidths=1.2), autolim=False)


def _mark(ax: Axes, mask: NDArray[np.bool_], colour: str, ring: bool) -> None:
    from matplotlib.patches import Circle, Rectangle

    outline(ax, mask, colour)
    places = np.argwhere(mask)
    row, column = (places.min(axis=0) + places.max(axis=0)) / 2
    reach = float(np.ptp(places, axis=0).max()) / 2 + 0.5 + MARK_MARGIN
    if ring:
        shape: Circle | Rectangle = Circle((column, row), reach * 1.1)
    else:
        shape = Rectangle((column - reach, row - reach), 2 * reach, 2 * reach)
    shape.set(fill=False, edgecolor=colour, linewidth=1.2)
    ax.add_patch(shape)
