"""A prediction, whatever made it: outlined lesions that each have a confidence."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.evaluate.matching import Labels, components, objects
from mmocnet.io.dataset import read_tsv
from mmocnet.io.lesion_labels import numbered, whole_numbers
from mmocnet.io.tables import SET_ASIDE
from mmocnet.types import FloatArray

PROBABILITY_LEVELS = tuple(round(level / 50, 2) for level in range(1, 50))
"""Thresholds tried on a probability map, which has no lesions of its own to list."""


class Prediction(Protocol):
    """What can be cut at a threshold."""

    def at(self, threshold: float) -> Labels:
        """Return the label image of the lesions called at this threshold."""
        ...

    def levels(self) -> FloatArray:
        """Return the thresholds at which something changes, ascending."""
        ...


@dataclass(frozen=True)
class Instances:
    """Outlined lesions with a confidence each.

    Attributes:
        labels: Label image, 0 is background.
        confidence: Shape (N,): entry i belongs to label i + 1.
    """

    labels: Labels
    confidence: FloatArray

    def __post_init__(self) -> None:
        if self.labels.size and self.labels.max() > len(self.confidence):
            raise InputError(
                f"expected a confidence for each of {self.labels.max()} labels, "
                f"got {len(self.confidence)}"
            )

    def at(self, threshold: float) -> Labels:
        """Return the label image without the lesions under the threshold."""
        keep = np.concatenate([[False], np.asarray(self.confidence) >= threshold])
        return np.where(keep[self.labels], self.labels, 0)

    def levels(self) -> FloatArray:
        """Return the confidences that occur, ascending."""
        present = np.unique(self.labels[self.labels > 0])
        return np.unique(np.asarray(self.confidence)[present - 1])

    def without(self, indices: Iterable[int]) -> "Instances":
        """Return the lesions without those of some labels."""
        return Instances(
            np.where(np.isin(self.labels, list(indices)), 0, self.labels), self.confidence
        )


@dataclass(frozen=True)
class ProbabilityMap:
    """A probability for each pixel; lesions are its connected pieces at the threshold.

    Attributes:
        probability: Any shape, 0 to 1.
    """

    probability: FloatArray

    def at(self, threshold: float) -> Labels:
        """Return the connected pieces at or above the threshold."""
        return components(self.probability >= threshold)

    def levels(self) -> FloatArray:
        """Return 0.02, 0.04, ... 0.98."""
        return np.array(PROBABILITY_LEVELS)


def check_threshold(threshold: float | None) -> None:
    """Refuse what is no confidence or probability to cut at.

    Raises:
        InputError: If it is not above 0 and at most 1.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise InputError(f"threshold must be above 0 and at most 1, got {threshold:g}")


def is_scattered(labels: Labels, spacing_mm: tuple[float, ...], apart_mm: float) -> bool:
    """Return whether two pieces of one label have centroids farther apart than that along an axis.

    Args:
        labels: Label image, 0 is background.
        spacing_mm: Voxel size along each axis.
        apart_mm: How far.

    >>> is_scattered(np.array([[1, 0, 0, 1, 2]]), (1.0, 1.0), apart_mm=2.0)
    True
    """
    boxes = enumerate(ndimage.find_objects(labels.astype(np.int32, copy=False)), 1)
    pieces = (
        objects(components(labels[box] == number), spacing_mm)
        for number, box in boxes
        if box is not None
    )
    return any(np.ptp(one.centroids_mm, axis=0).max() > apart_mm for one in pieces)


def from_mask(mask: NDArray[Any], numbers: bool = False) -> Instances:
    """Take a mask or label image as lesions that are all certain; see `numbered`.

    >>> from_mask(np.array([[1, 0, 1]])).confidence
    array([1., 1.])
    """
    labels = numbered(mask, numbers=numbers)
    return Instances(labels, np.ones(int(labels.max(initial=0))))


def read_candidates(labels: NDArray[Any], table: Path) -> Instances:
    """Join a candidates' label image and the confidences of its table.

    Candidates that were set aside, as siderosis or a vessel, are left out: they are never counted.

    Raises:
        InputError: If the table is missing or lacks a label or a column, or a confidence is not
            from 0 to 1.
    """
    if not table.is_file():
        raise InputError(f"expected the table {table.name} beside its label image")
    rows = read_tsv(table)
    try:
        listed = {int(row["index"]): float(row["confidence"]) for row in rows}
    except (KeyError, ValueError) as error:
        raise InputError(f"expected index and confidence in {table.name}") from error
    labels = whole_numbers(labels, f"the labels of {table.name}")
    present = np.unique(labels[labels > 0]).tolist()
    for label in present:
        if not 0 <= listed.get(label, np.nan) <= 1:
            raise InputError(
                f"expected a confidence from 0 to 1 for label {label}, "
                f"got {listed.get(label, 'none')} in {table.name}"
            )
    confidence = np.zeros(max(present, default=0))
    for label in present:
        confidence[label - 1] = listed[label]
    aside = [int(row["index"]) for row in rows if row.get("status") in SET_ASIDE]
    return Instances(labels, confidence).without(aside)
