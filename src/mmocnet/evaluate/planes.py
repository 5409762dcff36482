"""Scores on single planes around expert-marked lesions, and on planes through mimics.

The folder holds `images/TAG_ax.png`, `masks/` likewise, `ignore/` likewise (known lesions whose
mask is not complete) and `lesions.csv`: kind (CMB, mimic, or another that is not scored), voxel
size, shape, centre in voxels (RAS) and the window inside which the mask is complete. Planes are
shown anterior or superior up and left on the left, so that columns follow the first axis and
rows run against the second.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmocnet.errors import InputError
from mmocnet.evaluate.instances import Prediction
from mmocnet.evaluate.lesions import thinned
from mmocnet.evaluate.matching import (
    CENTROID_MM,
    Labels,
    components,
    objects,
    pairing,
    restrict,
    with_rims,
)
from mmocnet.evaluate.pixels import Counts, count_pixels, pixel_scores
from mmocnet.types import FloatArray

Plane = Literal["ax", "cor", "sag"]
PLANE_AXES: dict[Plane, tuple[int, int]] = {"ax": (0, 1), "cor": (0, 2), "sag": (1, 2)}
"""The volume's axes that a plane shows: along its columns, against its rows."""
MIN_LESION_PX = 6
"""Smaller reference components are neither counted nor held against a prediction."""
MIMIC_MM = 2.0
"""A mimic is taken for a microbleed when a predicted lesion is centred within this distance."""


@dataclass(frozen=True)
class ReferencePlane:
    """One plane with what is known about it.

    Attributes:
        tag: Name in the table.
        stem: Name of its files without the ending.
        subject: Whose.
        kind: CMB or mimic.
        image: Shape (R, C), as stored.
        mask: Shape (R, C), the lesions' reference.
        ignore: Shape (R, C), left out of the score.
        window: Rows and columns inside which the mask is complete.
        centre_px: Row and column of the lesion or mimic.
        pixel_mm: Side of a pixel.
    """

    tag: str
    stem: str
    subject: str
    kind: str
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    ignore: NDArray[np.bool_]
    window: tuple[slice, slice]
    centre_px: tuple[float, float]
    pixel_mm: float


@dataclass(frozen=True)
class PlaneOutcome:
    """The score of one plane at one threshold.

    Attributes:
        tag: Which plane.
        kind: CMB or mimic.
        references: Reference lesions of 6 pixels or more; 0 on a mimic's plane.
        found: Those that a predicted lesion overlaps or is centred within 3 mm of.
        false_positives: Predicted lesions near no reference lesion; 0 on a mimic's plane.
        dice: Dice of each found lesion with the predicted lesion that fits it best.
        counts: Pixels in the window.
        rejected: Whether the mimic was left alone; False on a microbleed's plane.
    """

    tag: str
    kind: str
    references: int
    found: int
    false_positives: int
    dice: tuple[float, ...]
    counts: Counts
    rejected: bool


@dataclass(frozen=True)
class PlaneScores:
    """All planes at one threshold; NaN where undefined."""

    threshold: float
    lesions: int
    lesion_sensitivity: float
    fp_per_plane: float
    mimics_rejected: int
    mimics: int
    matched_dice: float
    pooled_dsc: float
    pooled_f2: float


def read_planes(folder: Path, plane: Plane = "ax") -> Iterator[ReferencePlane]:
    """Yield the scored planes of a folder: microbleeds and mimics, in the table's order.

    Raises:
        InputError: If the table, a column or a picture is missing, a cell cannot be read, or a
            mask does not fit its image.
    """
    table = folder / "lesions.csv"
    if not table.is_file():
        raise InputError(f"expected lesions.csv and images/, masks/, ignore/ in {folder}")
    # Spreadsheets put a mark of UTF-8 in front.
    with table.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            try:
                scored = row["kind"] in ("CMB", "mimic")
                read = _read_plane(folder, row, plane) if scored else None
            except (KeyError, ValueError, TypeError) as error:
                raise InputError(
                    f"expected the columns of a plane in lesions.csv, got {error} for "
                    f"{row.get('tag', 'a row without a tag')}"
                ) from error
            if read is not None:
                yield read


def _read_plane(folder: Path, row: dict[str, str], plane: Plane) -> ReferencePlane:
    stem = f"{row['tag']}_{plane}"
    image, mask, ignore = (
        _picture(folder / kind / f"{stem}.png") for kind in ("images", "masks", "ignore")
    )
    if not image.shape == mask.shape == ignore.shape:
        raise InputError(f"expected one shape, got {image.shape} and {mask.shape} for {stem}")
    across, up = PLANE_AXES[plane]
    height = json.loads(row["shape"])[up]
    left, right, low, high = json.loads(row[f"{plane}_window"])
    centre = json.loads(row["cm"])
    return ReferencePlane(
        tag=row["tag"],
        stem=stem,
        subject=row["subject"],
        kind=row["kind"],
        image=image,
        mask=mask > 0,
        ignore=ignore > 0,
        window=(slice(height - high, height - low), slice(left, right)),
        centre_px=(height - 1 - centre[up], centre[across]),
        pixel_mm=float(row["voxel_mm"]),
    )


def _picture(path: Path) -> NDArray[np.uint8]:
    if not path.is_file():
        raise InputError(f"expected the picture {path.name} in {path.parent}")
    with Image.open(path) as file:
        return np.asarray(file.convert("L"))


def score_plane(reference: ReferencePlane, predicted: Labels) -> PlaneOutcome:
    """Score the lesions called on one plane.

    Args:
        reference: The plane.
        predicted: Label image of the whole plane; it is cut to the window here.

    Raises:
        InputError: If the prediction has another shape than the plane.
    """
    if predicted.shape != reference.mask.shape:
        raise InputError(
            f"expected a prediction of {reference.mask.shape}, got {predicted.shape} "
            f"for {reference.stem}"
        )
    ignore = with_rims(reference.ignore, predicted, components(reference.mask))
    called = restrict(predicted, ignore, reference.window)
    if reference.kind == "mimic":
        empty = Counts(0, 0, 0, 0)
        return PlaneOutcome(reference.tag, "mimic", 0, 0, 0, (), empty, _rejects(reference, called))
    truth = components(restrict(reference.mask, ignore, reference.window))
    pair = pairing(truth, called, (reference.pixel_mm,) * 2)
    gap = pair.reference.centroids_mm[:, None] - pair.predicted.centroids_mm[None]
    hit = pair.eligible | (np.linalg.norm(gap, axis=2) <= CENTROID_MM)
    counted = pair.reference.sizes >= MIN_LESION_PX
    found = counted & hit.any(axis=1)
    best = np.where(hit, pair.dice(), 0.0).max(axis=1, initial=0.0)
    # A lesion too small to count takes its own pixels and what was called only there with it.
    aside = hit.any(axis=0) & ~hit[counted].any(axis=0)
    valid = ~np.isin(truth, pair.reference.ids[~counted])
    valid &= ~np.isin(called, pair.predicted.ids[aside])
    valid &= ~ignore[reference.window]
    return PlaneOutcome(
        tag=reference.tag,
        kind="CMB",
        references=int(counted.sum()),
        found=int(found.sum()),
        false_positives=int(np.count_nonzero(~hit.any(axis=0))),
        dice=tuple(float(d) for d in best[found]),
        counts=count_pixels(truth > 0, called > 0, valid),
        rejected=False,
    )


def _rejects(reference: ReferencePlane, called: Labels) -> bool:
    corner = [part.start for part in reference.window]
    centres = objects(called, (reference.pixel_mm,) * 2).centroids_mm
    mimic = (np.array(reference.centre_px) - corner) * reference.pixel_mm
    return not bool(np.any(np.linalg.norm(centres - mimic, axis=1) <= MIMIC_MM))


def pool_planes(outcomes: Sequence[PlaneOutcome], threshold: float) -> PlaneScores:
    """Return the scores of all planes at one threshold."""
    bleeds = [o for o in outcomes if o.kind == "CMB"]
    mimics = [o for o in outcomes if o.kind == "mimic"]
    references = sum(o.references for o in bleeds)
    found = sum(o.found for o in bleeds)
    dice = [d for o in bleeds for d in o.dice]
    pixels = pixel_scores(sum((o.counts for o in bleeds), Counts(0, 0, 0, 0)))
    nan = float("nan")
    return PlaneScores(
        threshold=float(threshold),
        lesions=references,
        lesion_sensitivity=found / references if references else nan,
        fp_per_plane=sum(o.false_positives for o in bleeds) / len(bleeds) if bleeds else nan,
        mimics_rejected=sum(o.rejected for o in mimics),
        mimics=len(mimics),
        matched_dice=float(np.mean(dice)) if dice else nan,
        pooled_dsc=pixels.dsc,
        pooled_f2=pixels.f2,
    )


def score_planes(
    planes: Sequence[ReferencePlane],
    predictions: Sequence[Prediction],
    thresholds: FloatArray | Sequence[float] | None = None,
) -> list[PlaneScores]:
    """Return the scores at each threshold, ascending: one threshold for all planes.

    Args:
        planes: From `read_planes`.
        predictions: One a plane, on the whole plane's pixels.
        thresholds: Shape (K,); None takes the confidences that occur, at most 60 of them.

    Raises:
        InputError: If a prediction is missing or has another shape than its plane.
    """
    if len(planes) != len(predictions):
        raise InputError(f"expected {len(planes)} predictions, got {len(predictions)}")
    if thresholds is None:
        thresholds = thinned(np.concatenate([np.zeros(0)] + [p.levels() for p in predictions]))
        # Nothing called on any plane is a result too: one row says so.
        thresholds = thresholds if len(thresholds) else [1.0]
    return [
        pool_planes([score_plane(r, p.at(t)) for r, p in zip(planes, predictions, strict=True)], t)
        for t in thresholds
    ]
