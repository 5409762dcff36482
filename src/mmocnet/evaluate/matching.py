"""Which predicted lesion is which reference lesion: one to one, under a named rule."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from mmocnet.errors import InputError
from mmocnet.types import FloatArray

CENTROID_MM = 3.0
"""Farthest that two matching centroids may lie apart (VALDO 2021 task 2 and the field's habit)."""
MIN_IOU = 0.1
"""Intersection over union above which the strictest rule lets two lesions match."""

Labels = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]


class Rule(StrEnum):
    """When a predicted lesion may stand for a reference lesion."""

    OVERLAP = "overlap"
    CENTROID = "centroid"
    IOU = "iou"


@dataclass(frozen=True)
class Objects:
    """The objects of a label image, in the order of their labels.

    Attributes:
        ids: Shape (N,), the labels that occur, ascending.
        sizes: Shape (N,), voxels of each.
        centroids_mm: Shape (N, D), in mm from the first voxel along the array's axes.
    """

    ids: Labels
    sizes: Labels
    centroids_mm: FloatArray


@dataclass(frozen=True)
class Pairing:
    """How well each predicted lesion fits each reference lesion.

    Attributes:
        reference: The reference lesions, N of them.
        predicted: The predicted lesions, M of them.
        overlap: Shape (N, M), voxels in common.
        eligible: Shape (N, M), whether the rule lets the two match.
        quality: Shape (N, M), 0 to 1, which of several allowed matches is the better one.
    """

    reference: Objects
    predicted: Objects
    overlap: Labels
    eligible: BoolArray
    quality: FloatArray

    def dice(self) -> FloatArray:
        """Return the Dice coefficient of each pair, shape (N, M)."""
        total = self.reference.sizes[:, None] + self.predicted.sizes[None, :]
        return np.asarray(2.0 * self.overlap / total)


@dataclass(frozen=True)
class Matching:
    """A one-to-one matching, as positions in the pairing's reference and predicted objects.

    Attributes:
        pairs: Shape (K, 2), (reference, predicted).
        missed: Reference lesions without a match.
        false: Predicted lesions without a match.
    """

    pairs: NDArray[np.intp]
    missed: NDArray[np.intp]
    false: NDArray[np.intp]


def components(mask: NDArray[Any]) -> Labels:
    """Label the connected pieces of a mask: 8 neighbours in 2D, 26 in 3D.

    >>> int(components(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]])).max())
    2
    """
    labels, _ = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    return np.asarray(labels)


def objects(labels: Labels, spacing_mm: tuple[float, ...]) -> Objects:
    """Measure the objects of a label image; 0 is background.

    Raises:
        InputError: If a label is negative or the spacing has the wrong number of axes.
    """
    if len(spacing_mm) != labels.ndim:
        raise InputError(f"expected {labels.ndim} spacings for the axes, got {spacing_mm}")
    where = np.nonzero(labels)
    values = labels[where]
    if values.size and values.min() < 0:
        raise InputError(f"labels must be 0 or more, got {values.min()}")
    ids, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
    sums = [np.bincount(inverse, weights=axis, minlength=len(ids)) for axis in where]
    scaled = [total / np.maximum(sizes, 1) * mm for total, mm in zip(sums, spacing_mm, strict=True)]
    return Objects(ids, sizes, np.stack(scaled, axis=1))


def pairing(
    reference: Labels,
    predicted: Labels,
    spacing_mm: tuple[float, ...],
    rule: Rule = Rule.OVERLAP,
) -> Pairing:
    """Compare each predicted lesion with each reference lesion.

    Args:
        reference: Label image, 0 is background.
        predicted: Label image of the same shape.
        spacing_mm: Voxel size along each axis.
        rule: overlap: at least one voxel in common. centroid: centroids at most 3 mm apart.
            iou: intersection over union above 0.1.

    Raises:
        InputError: If the shapes differ.
    """
    return pairings(reference, predicted, spacing_mm, (rule,))[rule]


def pairings(
    reference: Labels,
    predicted: Labels,
    spacing_mm: tuple[float, ...],
    rules: Iterable[Rule] = tuple(Rule),
) -> dict[Rule, Pairing]:
    """Compare lesions under several rules; the lesions are measured once.

    Raises:
        InputError: If the shapes differ.
    """
    if reference.shape != predicted.shape:
        raise InputError(f"expected a prediction of {reference.shape}, got {predicted.shape}")
    first, second = objects(reference, spacing_mm), objects(predicted, spacing_mm)
    overlap = _overlap(reference, predicted, first, second)
    return {rule: _under(rule, first, second, overlap) for rule in rules}


def _under(rule: Rule, first: Objects, second: Objects, overlap: Labels) -> Pairing:
    union = first.sizes[:, None] + second.sizes[None, :] - overlap
    iou = overlap / np.maximum(union, 1)
    if rule is Rule.OVERLAP:
        return Pairing(first, second, overlap, overlap > 0, iou)
    if rule is Rule.IOU:
        return Pairing(first, second, overlap, iou > MIN_IOU, iou)
    distance = cdist(first.centroids_mm, second.centroids_mm)
    # The slack keeps "at most 3 mm" true for centroids that float arithmetic puts at 3 + 1e-15.
    near = distance <= CENTROID_MM + 1e-9
    return Pairing(first, second, overlap, near, np.maximum(1.0 - distance / CENTROID_MM, 0.0))


def _overlap(reference: Labels, predicted: Labels, first: Objects, second: Objects) -> Labels:
    table = np.zeros((len(first.ids), len(second.ids)), dtype=np.int64)
    both = (reference != 0) & (predicted != 0)
    if both.any():
        rows = np.searchsorted(first.ids, reference[both])
        columns = np.searchsorted(second.ids, predicted[both])
        np.add.at(table, (rows, columns), 1)
    return table


def match(pair: Pairing, keep: BoolArray | None = None) -> Matching:
    """Match one to one: as many pairs as can be, and of those ways the best in sum of quality.

    Args:
        pair: Every reference lesion against every predicted one.
        keep: Shape (M,), which predicted lesions take part; None lets all.
    """
    count = len(pair.predicted.ids)
    chosen = np.arange(count) if keep is None else np.flatnonzero(keep)
    eligible = pair.eligible[:, chosen]
    # One more pair outweighs every gain in quality, because all qualities together stay under 1.
    most = min(eligible.shape)
    gain = np.where(eligible, 1.0 + pair.quality[:, chosen] / (most + 1.0), 0.0)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    allowed = eligible[rows, columns]
    rows, columns = rows[allowed], chosen[columns[allowed]]
    return Matching(
        pairs=np.stack([rows, columns], axis=1),
        missed=np.setdiff1d(np.arange(len(pair.reference.ids)), rows),
        false=np.setdiff1d(chosen, columns),
    )


def with_rims(ignore: BoolArray, predicted: Labels, reference: Labels) -> BoolArray:
    """Return an ignore mask with the predicted lesions that are about what it covers.

    Those lie in it by more than half and on no reference lesion outside it: an outline is not
    the mask's own, and its rim is no false positive.

    Args:
        ignore: Any shape.
        predicted: Label image of the same shape.
        reference: Label image of the same shape.
    """
    ids, at = np.unique(predicted, return_inverse=True)
    at = at.reshape(predicted.shape)
    whole, covered, touching = (
        np.bincount(part, minlength=len(ids))
        for part in (at.ravel(), at[ignore], at[(reference != 0) & ~ignore])
    )
    aside = (ids != 0) & (2 * covered > whole) & (touching == 0)
    return np.asarray(ignore | aside[at])


def restrict(
    labels: NDArray[Any], ignore: BoolArray | None = None, window: tuple[slice, ...] | None = None
) -> NDArray[Any]:
    """Cut a label image to a window and take out what an ignore mask covers.

    Args:
        labels: Label image or mask.
        ignore: Same shape; nothing inside it counts for or against anyone.
        window: One slice an axis; None keeps all.

    Raises:
        InputError: If the ignore mask has another shape.
    """
    if ignore is not None:
        if ignore.shape != labels.shape:
            raise InputError(f"expected an ignore mask of {labels.shape}, got {ignore.shape}")
        labels = np.where(ignore, 0, labels)
    return labels if window is None else labels[window]
