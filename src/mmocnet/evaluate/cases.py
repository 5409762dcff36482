"""One scan's prediction and reference, read from whatever holds them, on one grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.errors import InputError
from mmocnet.evaluate.facts import (
    read_field_t,
    read_macrohaemorrhages,
    read_regions,
    table_beside,
)
from mmocnet.evaluate.files import CaseFiles
from mmocnet.evaluate.instances import (
    Instances,
    ProbabilityMap,
    from_mask,
    is_scattered,
    read_candidates,
)
from mmocnet.evaluate.matching import BoolArray, Labels, restrict, with_rims
from mmocnet.io import nifti, picture
from mmocnet.io.dataset import read_tsv
from mmocnet.io.lesion_labels import are_numbers, whole_numbers
from mmocnet.io.reviewed import Verdict, read_complete
from mmocnet.prepare.geometry import Display, display_axes, slice_axis
from mmocnet.types import FloatArray, Triple
from mmocnet.volume import Volume, check_grid

MASK_THRESHOLD = 0.5
"""A probability map without lesions of its own is cut here (VALDO 2021 task 2)."""
MAX_GAP_MM = 10.0
"""Pieces of one number that lie farther apart are no single microbleed (Greenberg 2009)."""
PICTURE_DISPLAY: Display = ((1, 0), (-1, 1))
"""A picture is shown as it came: its sides are not known."""


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
        display: How a slice is shown, as `display_axes` has it.
        from_map: Whether the predicted lesions were cut from a probability map.
        warnings: One sentence for each doubt about the labels.
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
    display: Display = PICTURE_DISPLAY
    from_map: bool = False
    warnings: tuple[str, ...] = ()


def read_image(path: Path, spacing_mm: float | None) -> Volume:
    """Read a mask, labels or a probability map; an 8-bit picture of one stays 0 to 255.

    NaN, as outside a field of view, is 0.

    Raises:
        InputError: If it cannot be read, or is a picture and no spacing is given.
    """
    if path.name.lower().endswith(nifti.SUFFIXES):
        volume = nifti.read_nifti(path)
        undefined = np.isnan(volume.array)
        return volume.like(np.where(undefined, 0, volume.array)) if undefined.any() else volume
    if spacing_mm is None:
        raise InputError(f"a picture has no spacing: give --spacing-mm for {path.name}")
    return picture.read_picture(path, spacing_mm)


def _on_grid(path: Path, reference: Volume, spacing_mm: float | None) -> NDArray[Any]:
    volume = read_image(path, spacing_mm)
    check_grid(volume, reference, "a mask or map")
    return volume.array


def as_probability(array: NDArray[Any]) -> FloatArray:
    """Return a map from 0 to 1; whole numbers of a picture are scaled by the most it can hold."""
    if np.issubdtype(array.dtype, np.integer) and array.max(initial=0) > 1:
        return np.asarray(array / np.float32(np.iinfo(array.dtype).max), dtype=np.float32)
    return np.asarray(array, dtype=np.float32)


def _probability(array: NDArray[Any], path: Path) -> FloatArray:
    """Return a file's map from 0 to 1; a picture is scaled, whole numbers of NIfTI have no scale.

    Raises:
        InputError: If whole numbers of NIfTI are neither 0 and 1 nor bytes up to 255.
    """
    most = array.max(initial=0)
    known = most <= 1 or (array.dtype == np.uint8 and most == 255)
    if array.dtype.kind in "iu" and path.name.lower().endswith(nifti.SUFFIXES) and not known:
        raise InputError(f"expected probabilities between 0 and 1, got {most} in {path.name}")
    return as_probability(array)


def _lesions(
    array: NDArray[Any], threshold: float, numbers: bool
) -> tuple[Labels, FloatArray | None]:
    """Return numbered lesions, and the array itself where it was a probability map, cut.

    Args:
        array: As read, or what is left of it.
        threshold: Where a map is cut.
        numbers: Whether a single value is a lesion's number; else its pieces are lesions.
    """
    if np.issubdtype(array.dtype, np.floating):
        inside = array[(array > 0) & (array < 1)]
        if inside.size and array.max() <= 1:
            return ProbabilityMap(array).at(threshold), np.asarray(array, dtype=np.float32)
    return from_mask(array, numbers).labels, None


def without_rejected(labels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return the labels of a review without what its reader rejected; other files' as they are.

    A review outlines all that was judged, and its table beside it tells which is a microbleed.

    Raises:
        InputError: If a review is not complete, so that what it does not outline may be anything,
            or its table or sidecar is missing or does not say.
    """
    if "_desc-reviewed_" not in path.name:
        return labels
    labels = whole_numbers(labels, path.name)
    table = table_beside(path)
    if not table.is_file():
        raise InputError(f"expected the table {table.name} beside the review's label image")
    if not read_complete(table.with_suffix(".json")):
        raise InputError(f"expected a complete review, got an unfinished one in {path.name}")
    try:
        kept = [int(row["index"]) for row in read_tsv(table) if row["verdict"] != Verdict.REJECT]
    except (KeyError, ValueError) as error:
        raise InputError(f"expected index and verdict in {table.name}") from error
    return np.where(np.isin(labels, kept), labels, 0)


def without_uncounted(labels: NDArray[Any], path: Path, reference: Labels) -> NDArray[Any]:
    """Return predicted labels without those that are no microbleeds by their own table.

    Such are macrohaemorrhages that overlap no reference lesion; one that does is a lesion found.

    Args:
        labels: As read from the file.
        path: The file.
        reference: Label image of the same shape.
    """
    macrohaemorrhages = read_macrohaemorrhages(path)
    if not macrohaemorrhages:
        return labels
    labels = whole_numbers(labels, path.name)
    aside = np.setdiff1d(macrohaemorrhages, labels[reference > 0])
    return np.where(np.isin(labels, aside), 0, labels)


def _named_regions(files: CaseFiles, array: NDArray[Any], reference: Labels) -> dict[int, str]:
    """Return the regions by lesion number: a table goes by the value in the file."""
    listed = read_regions(files.reference)
    numbers, first = np.unique(reference.ravel(), return_index=True)
    values = array.ravel()[first]
    pairs = [(int(n), round(float(v))) for n, v in zip(numbers, values, strict=True) if n > 0]
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


def equivalent_diameter_mm(voxels: Labels, spacing_mm: Triple, across: int | None) -> FloatArray:
    """Return the diameter of the sphere of each volume; on a single slice, of the disc.

    Args:
        voxels: How many each lesion has.
        spacing_mm: Voxel size along each axis.
        across: Axis across a single slice; None of a volume.
    """
    if across is not None:
        in_plane = [mm for axis, mm in enumerate(spacing_mm) if axis != across]
        return np.asarray(2 * np.sqrt(voxels * np.prod(in_plane) / np.pi))
    return np.asarray(np.cbrt(6 * voxels * np.prod(spacing_mm) / np.pi))


def _uncounted(
    reference: Labels, truth: Volume, path: Path, min_diameter_mm: float | None
) -> BoolArray | None:
    """Return where reference lesions are macrohaemorrhages or too small; None where none can be.

    Args:
        reference: Label image.
        truth: As read from the file, without what a reader rejected.
        path: The file.
        min_diameter_mm: Of what counts; None counts any.
    """
    small = _small(reference, truth, min_diameter_mm)
    macrohaemorrhages = read_macrohaemorrhages(path)
    if not macrohaemorrhages:
        return small
    large = np.isin(whole_numbers(truth.array, path.name), macrohaemorrhages)
    return large if small is None else large | small


def _small(reference: Labels, truth: Volume, min_diameter_mm: float | None) -> BoolArray | None:
    if min_diameter_mm is None:
        return None
    axis = slice_axis(truth)
    across = axis if truth.shape[axis] == 1 else None
    ids, voxels = np.unique(reference, return_counts=True)
    mm = equivalent_diameter_mm(voxels, truth.spacing_mm, across)
    return np.isin(reference, ids[(ids != 0) & (mm < min_diameter_mm)])


def _aside(
    ignore: BoolArray | None, uncounted: BoolArray | None, labels: Labels, reference: Labels
) -> BoolArray | None:
    """Return where a label image is not scored, None where it is everywhere.

    Args:
        ignore: What masks leave out.
        uncounted: Reference lesions that do not count; what is predicted of them alone goes too,
            however much larger it is.
        labels: What is scored.
        reference: Of the same shape, without those.
    """
    if uncounted is not None:
        alone = np.setdiff1d(labels[uncounted], labels[reference != 0])
        uncounted = uncounted | np.isin(labels, alone[alone != 0])
        ignore = uncounted if ignore is None else ignore | uncounted
    return None if ignore is None else with_rims(ignore, labels, reference)


def read_case(
    files: CaseFiles,
    spacing_mm: float | None = None,
    threshold: float = MASK_THRESHOLD,
    min_diameter_mm: float | None = None,
) -> Case:
    """Read one scan's reference and prediction.

    Args:
        files: From `pair_files`.
        spacing_mm: Pixel size of pictures.
        threshold: Where a predicted probability map without lesions of its own is cut.
        min_diameter_mm: Reference lesions of a smaller equivalent diameter are left out, and
            what is predicted of them alone; None leaves out none.

    Raises:
        InputError: If there is no prediction, or it is not on the reference's grid.
    """
    if files.lesions is None and files.probability is None:
        raise InputError(f"no prediction for {files.name}")
    truth = read_image(files.reference, spacing_mm)
    numbers = are_numbers(truth.array, table_beside(files.reference))
    truth = truth.like(without_rejected(truth.array, files.reference))
    reference, _ = _lesions(truth.array, MASK_THRESHOLD, numbers)
    predicted, probability, from_map = _read_prediction(
        files, truth, reference, spacing_mm, threshold
    )
    candidates = _read_candidates(files, truth, reference, spacing_mm)
    warnings = _label_warnings(files, (reference, predicted), truth.spacing_mm)
    regions = _named_regions(files, truth.array, reference)
    left_out = _left_out(files, truth, spacing_mm)
    uncounted = _uncounted(reference, truth, files.reference, min_diameter_mm)
    if uncounted is not None:
        reference = np.where(uncounted, 0, reference)
    if candidates is not None:
        rims = _aside(left_out, uncounted, candidates.labels, reference)
        candidates = Instances(restrict(candidates.labels, rims), candidates.confidence)
    ignore = _aside(left_out, uncounted, predicted, reference)
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
        regions=regions,
        field_t=read_field_t(files.reference, files.name),
        thickness_mm=float("nan") if is_picture else truth.spacing_mm[axis],
        display=PICTURE_DISPLAY if is_picture else display_axes(truth.affine, axis),
        from_map=from_map,
        warnings=warnings,
    )


def _label_warnings(
    files: CaseFiles, labels: tuple[Labels, Labels], spacing_mm: Triple
) -> tuple[str, ...]:
    """Say where the numbers of a label image look like classes."""
    return tuple(
        f"expected one lesion a number, got pieces of one over {MAX_GAP_MM:g} mm apart in "
        f"{path.name}: if its numbers are classes, give a mask of 0 and 1"
        for path, array in zip((files.reference, files.lesions), labels, strict=True)
        if path is not None and is_scattered(array, spacing_mm, MAX_GAP_MM)
    )


def _read_candidates(
    files: CaseFiles, truth: Volume, reference: Labels, spacing_mm: float | None
) -> Instances | None:
    if files.candidates is None:
        return None
    labels = _on_grid(files.candidates, truth, spacing_mm)
    if files.lesions is not None:
        # A lesion and its candidate have one number.
        labels = without_uncounted(labels, files.lesions, reference)
    return read_candidates(labels, table_beside(files.candidates))


def _read_prediction(
    files: CaseFiles,
    truth: Volume,
    reference: Labels,
    spacing_mm: float | None,
    threshold: float,
) -> tuple[Labels, FloatArray | None, bool]:
    """Return the lesions, the map where there is one, and whether they were cut from it."""
    probability: FloatArray | None = None
    if files.probability is not None:
        array = _on_grid(files.probability, truth, spacing_mm)
        probability = _probability(array, files.probability)
    if files.lesions is not None:
        labels = _on_grid(files.lesions, truth, spacing_mm)
        numbers = are_numbers(labels, table_beside(files.lesions))
        labels = without_uncounted(labels, files.lesions, reference)
        predicted, own = _lesions(without_rejected(labels, files.lesions), threshold, numbers)
        return predicted, own if probability is None else probability, own is not None
    assert probability is not None  # a case has one or the other
    return ProbabilityMap(probability).at(threshold), probability, True
