"""One scan's prediction and reference, read from whatever holds them, on one grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.errors import InputError
from mmocnet.evaluate.facts import read_field_t, read_regions, table_beside
from mmocnet.evaluate.files import CaseFiles
from mmocnet.evaluate.instances import Instances, ProbabilityMap, from_mask
from mmocnet.evaluate.matching import BoolArray, Labels, restrict
from mmocnet.io import nifti, picture
from mmocnet.io.dataset import read_tsv
from mmocnet.io.reviewed import Verdict
from mmocnet.prepare.geometry import slice_axis
from mmocnet.types import FloatArray, Triple
from mmocnet.volume import Volume

MASK_THRESHOLD = 0.5
"""A probability map without lesions of its own is cut here (VALDO 2021 task 2)."""
GRID_TOLERANCE_MM = 1e-2
"""How far a prediction's corners may lie from the reference's: files round their affine."""


@dataclass(frozen=True)
class Case:
    """One scan, read, on the reference's grid.

    Attributes:
        name: As in `CaseFiles`.
        subject: As in `CaseFiles`.
        spacing_mm: Voxel size along each axis.
        slice_axis: Across which slices are cut.
        reference: Reference lesions, numbered.
        predicted: Predicted lesions at the prediction's own operating point.
        candidates: Every candidate with its confidence, or None.
        probability: Shape of the reference, 0 to 1, or None.
        valid: False where voxels are left out, or None.
        regions: Region of each reference lesion that has one, by its number.
        field_t: Field strength in tesla; NaN where unknown.
        thickness_mm: Slice thickness of the reference; NaN of a picture.
    """

    name: str
    subject: str
    spacing_mm: Triple
    slice_axis: int
    reference: Labels
    predicted: Labels
    candidates: Instances | None
    probability: FloatArray | None
    valid: BoolArray | None
    regions: Mapping[int, str] = field(default_factory=dict)
    field_t: float = float("nan")
    thickness_mm: float = float("nan")


def read_image(path: Path, spacing_mm: float | None) -> Volume:
    """Read a mask, labels or a probability map; an 8-bit picture of one stays 0 to 255.

    Raises:
        InputError: If it cannot be read, or is a picture and no spacing is given.
    """
    if path.name.lower().endswith(nifti.SUFFIXES):
        return nifti.read_nifti(path)
    if spacing_mm is None:
        raise InputError(f"a picture has no spacing: give --spacing-mm for {path.name}")
    return picture.read_picture(path, spacing_mm)


def _on_grid(path: Path, reference: Volume, spacing_mm: float | None) -> NDArray[Any]:
    volume = read_image(path, spacing_mm)
    if volume.shape != reference.shape:
        raise InputError(
            f"expected the reference's grid of {reference.shape}, got {volume.shape} in {path.name}"
        )
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape])).reshape(3, -1).T
    apart = np.abs(volume.world(corners) - reference.world(corners)).max()
    if apart > GRID_TOLERANCE_MM:
        raise InputError(
            f"expected the reference's affine, got corners {apart:.3g} mm apart in {path.name}"
        )
    return volume.array


def as_probability(array: NDArray[Any]) -> FloatArray:
    """Return a map from 0 to 1; 8- and 16-bit pictures are scaled by what they can hold."""
    if np.issubdtype(array.dtype, np.integer):
        return np.asarray(array / np.float32(np.iinfo(array.dtype).max), dtype=np.float32)
    return np.asarray(array, dtype=np.float32)


def _lesions(array: NDArray[Any]) -> tuple[Labels, FloatArray | None]:
    """Return numbered lesions, and the array itself where it was a probability map."""
    if np.issubdtype(array.dtype, np.floating):
        inside = array[(array > 0) & (array < 1)]
        if inside.size and array.max() <= 1:
            return ProbabilityMap(array).at(MASK_THRESHOLD), np.asarray(array, dtype=np.float32)
    return from_mask(array).labels, None


def read_candidates(labels: NDArray[Any], table: Path) -> Instances:
    """Join a candidates' label image and the confidences of its table.

    Candidates whose status is siderosis are left out: they are never counted.

    Raises:
        InputError: If the table is missing or lacks a label or a column.
    """
    if not table.is_file():
        raise InputError(f"expected the table {table.name} beside its label image")
    rows = read_tsv(table)
    try:
        listed = {int(row["index"]): float(row["confidence"]) for row in rows}
    except (KeyError, ValueError) as error:
        raise InputError(f"expected index and confidence in {table.name}") from error
    labels = labels.astype(np.int32)
    present = np.unique(labels[labels > 0]).tolist()
    unknown = [label for label in present if not np.isfinite(listed.get(label, np.nan))]
    if unknown:
        raise InputError(f"expected a confidence for label {unknown[0]} in {table.name}")
    confidence = np.zeros(max(present, default=0))
    for label in present:
        confidence[label - 1] = listed[label]
    aside = [int(row["index"]) for row in rows if row.get("status") == "siderosis"]
    return Instances(labels, confidence).without(aside)


def without_rejected(labels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return the labels of a review without what its reader rejected; other files' as they are.

    A review outlines all that was judged, and its table beside it tells which is a microbleed.

    Raises:
        InputError: If a review's table is missing or has no verdicts.
    """
    if "_desc-reviewed_" not in path.name:
        return labels
    table = table_beside(path)
    if not table.is_file():
        raise InputError(f"expected the table {table.name} beside the review's label image")
    try:
        kept = [int(row["index"]) for row in read_tsv(table) if row["verdict"] != Verdict.REJECT]
    except (KeyError, ValueError) as error:
        raise InputError(f"expected index and verdict in {table.name}") from error
    return np.where(np.isin(labels, kept), labels, 0)


def _named_regions(files: CaseFiles, array: NDArray[Any], reference: Labels) -> dict[int, str]:
    """Return the regions by lesion number: a table goes by the value in the file."""
    listed = read_regions(files.reference)
    numbers, first = np.unique(reference.ravel(), return_index=True)
    values = array.ravel()[first]
    pairs = [(int(n), int(v)) for n, v in zip(numbers, values, strict=True) if n > 0]
    # A mask's pieces all have one value, so its table's rows cannot be told apart.
    if len({value for _, value in pairs}) < len(pairs):
        return {}
    return {number: listed[value] for number, value in pairs if value in listed}


def _left_out(files: CaseFiles, truth: Volume, spacing_mm: float | None) -> BoolArray | None:
    """Return where nothing is scored: in the ignore mask and outside the window."""
    ignore = None
    if files.ignore is not None:
        ignore = _on_grid(files.ignore, truth, spacing_mm) != 0
    if files.window is not None:
        outside = _on_grid(files.window, truth, spacing_mm) == 0
        ignore = outside if ignore is None else ignore | outside
    return ignore


def read_case(files: CaseFiles, spacing_mm: float | None = None) -> Case:
    """Read one scan's reference and prediction.

    Args:
        files: From `pair_files`.
        spacing_mm: Pixel size of pictures.

    Raises:
        InputError: If there is no prediction, or it is not on the reference's grid.
    """
    if files.lesions is None and files.probability is None:
        raise InputError(f"no prediction for {files.name}")
    truth = read_image(files.reference, spacing_mm)
    truth = truth.like(without_rejected(truth.array, files.reference))
    reference, _ = _lesions(truth.array)
    predicted, probability = _read_prediction(files, truth, spacing_mm)
    candidates = None
    if files.candidates is not None:
        labels = _on_grid(files.candidates, truth, spacing_mm)
        candidates = read_candidates(labels, table_beside(files.candidates))
    ignore = _left_out(files, truth, spacing_mm)
    if candidates is not None:
        candidates = Instances(restrict(candidates.labels, ignore), candidates.confidence)
    axis = slice_axis(truth)
    is_picture = not files.reference.name.lower().endswith(nifti.SUFFIXES)
    return Case(
        name=files.name,
        subject=files.subject,
        spacing_mm=truth.spacing_mm,
        slice_axis=axis,
        reference=restrict(reference, ignore),
        predicted=restrict(predicted, ignore),
        candidates=candidates,
        probability=probability,
        valid=None if ignore is None else ~ignore,
        regions=_named_regions(files, truth.array, reference),
        field_t=read_field_t(files.reference, files.name),
        thickness_mm=float("nan") if is_picture else truth.spacing_mm[axis],
    )


def _read_prediction(
    files: CaseFiles, truth: Volume, spacing_mm: float | None
) -> tuple[Labels, FloatArray | None]:
    probability: FloatArray | None = None
    if files.probability is not None:
        probability = as_probability(_on_grid(files.probability, truth, spacing_mm))
    if files.lesions is not None:
        labels = _on_grid(files.lesions, truth, spacing_mm)
        predicted, own = _lesions(without_rejected(labels, files.lesions))
        return predicted, own if probability is None else probability
    assert probability is not None  # a case has one or the other
    return ProbabilityMap(probability).at(MASK_THRESHOLD), probability
