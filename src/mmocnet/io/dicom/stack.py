"""Put the slices of a series in order in space, each place once."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mmocnet.errors import InputError
from mmocnet.io.dicom.frames import Slice
from mmocnet.io.dicom.series import DicomSeries, counted
from mmocnet.io.nifti import RIGHT_ANGLE
from mmocnet.types import FloatArray

SAME_PLACE_MM = 0.01
"""Slices nearer than this lie at the same place."""

UNEVEN = (0.02, 0.1)
"""Deviation of a slice from even spacing, of the step: from the first a warning, from the second
an error, as the volume would be bent."""

GAP = 1.5
"""Steps between neighbours from which a slice is missing."""

SAME_STEP = 0.02
"""Distances of slices within this share of each other are the same."""

MAX_ORIENTATIONS = 360
"""Orientations, pixel sizes and matrices that are told apart: projections that turn by a degree
have as many. Slices of further ones count as others, or time would grow with their square."""

ACQUISITIONS: tuple[Callable[[Slice], object], ...] = (
    lambda one: one.temporal,
    lambda one: one.stack,
    lambda one: one.acquisition,
    lambda one: one.acquired,
    lambda one: one.path.parent,
    lambda one: one.path,
)
"""What tells the slices of one acquisition from those of another: temporal position, stack, number,
time, folder, file."""

_PARALLEL = 1e-3


def stacked(series: DicomSeries) -> tuple[list[Slice], list[str]]:
    """Return the slices of the main orientation along their normal, each place once.

    Returns:
        The slices, all of one acquisition; one sentence for each doubt.

    Raises:
        InputError: If they are of several patients or studies, of several orientations, of rows
            and columns that are not at right angles, or of several acquisitions that nothing tells
            apart.
    """
    warnings: list[str] = []
    _check_owner(series)
    slices = main_orientation(series.slices)
    others = len(series.slices) - len(slices)
    if others >= len(slices):
        raise InputError(
            "expected slices of one orientation, pixel size and matrix, "
            f"got {len(slices)} of {len(series.slices)} alike in {series.name}"
        )
    if others:
        warnings.append(
            f"left out {counted(others, 'slice')} in {series.name} of another orientation, pixel "
            "size or matrix"
        )
    _check_right_angle(slices[0], series.name)
    places = places_of(slices)
    twice = len(slices) - len(places)
    if twice:
        warnings.append(
            f"left out {counted(twice, 'slice')} in {series.name} at the place of another"
        )
    if len(places) == 1 and np.isnan(_declared_mm(slices[0])):
        warnings.append(f"{series.name} gives no slice thickness: 1 mm is assumed")
    return _one_acquisition(places, series.name), warnings


def main_orientation(slices: Sequence[Slice]) -> list[Slice]:
    """Return the slices of that orientation, pixel size and matrix which most have."""
    looks = np.array(
        [(*one.shape, *one.along_row, *one.along_column, *one.spacing_mm) for one in slices]
    )
    main: list[int] = []
    left = np.arange(len(slices))
    for _ in range(MAX_ORIENTATIONS):
        if len(left) <= len(main):
            break
        alike = _parallel(looks[left], looks[left[0]])
        main = max(main, left[alike].tolist(), key=len)
        left = left[~alike]
    return [slices[k] for k in main]


def places_of(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Return parallel slices by their places along the normal; copies of an instance once."""
    normal = np.cross(slices[0].along_row, slices[0].along_column)
    along = {id(one): float(np.dot(one.position, normal)) for one in slices}
    places: list[list[Slice]] = []
    for one in sorted(slices, key=lambda one: along[id(one)]):
        if places and along[id(one)] - along[id(places[-1][0])] < SAME_PLACE_MM:
            places[-1].append(one)
        else:
            places.append([one])
    return [_without_copies(place) for place in places]


def affine_of(slices: Sequence[Slice], name: str) -> FloatArray:
    """Return voxel to world RAS mm for (column, row, slice), from slices sorted along their normal.

    Raises:
        InputError: If a slice is missing.
    """
    first = slices[0]
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.along_row) * first.spacing_mm[1]
    affine[:3, 1] = np.array(first.along_column) * first.spacing_mm[0]
    affine[:3, 2] = _step(slices, name)
    affine[:3, 3] = first.position
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def spacing_doubts(slices: Sequence[Slice], affine: FloatArray, name: str) -> list[str]:
    """Warn of, or refuse, slices that do not lie where even spacing puts them.

    Raises:
        InputError: If the volume would be bent.
    """
    flip = np.array([-1.0, -1.0, 1.0])
    even = affine[:3, 3] + np.arange(len(slices))[:, None] * affine[:3, 2]
    off = np.linalg.norm(np.array([one.position for one in slices]) * flip - even, axis=1).max()
    step = float(np.linalg.norm(affine[:3, 2]))
    doubtful, bent = UNEVEN
    if off <= doubtful * step:
        return []
    text = f"slices are unevenly spaced in {name}: up to {off:.2f} mm off, {step:.2f} mm apart"
    if off > bent * step:
        raise InputError(text)
    return [text]


def _check_owner(series: DicomSeries) -> None:
    """Refuse what would be filed under one of several patients. What is not stated is no other."""
    patients = {one.patient for one in series.slices if one.patient}
    studies = {one.study_uid for one in series.slices if one.study_uid}
    if len(patients) > 1 or len(studies) > 1:
        raise InputError(
            f"expected images of one patient and one study, got several in {series.name}"
        )


def _check_right_angle(one: Slice, name: str) -> None:
    cosine = float(np.dot(one.along_row, one.along_column))
    if abs(cosine) > RIGHT_ANGLE:
        raise InputError(
            "expected rows and columns at right angles by ImageOrientationPatient, "
            f"got {np.degrees(np.arccos(cosine)):.1f} degrees between them in {name}"
        )


def _parallel(looks: FloatArray, other: FloatArray) -> NDArray[np.bool_]:
    """Return which slices have matrix, directions and pixel size of another, a row each."""
    most = np.repeat([0.0, _PARALLEL, _PARALLEL * other[-2:].min()], [2, 6, 2])
    return np.asarray((np.abs(looks - other) <= most).all(axis=1))


def _without_copies(place: list[Slice]) -> list[Slice]:
    named = {(one.instance_uid or one.path, one.frame): one for one in place}
    return sorted(named.values(), key=lambda one: (one.number, one.acquired, one.path))


def _one_acquisition(places: list[list[Slice]], name: str) -> list[Slice]:
    """Return a slice of each place, never of two acquisitions in turn.

    Raises:
        InputError: If nothing tells which belong together.
    """
    left = places
    for told_by in ACQUISITIONS:
        left = _of_one_value(left, told_by)
    lowest = [place[0] for place in left]
    others = [one.number for place in left for one in place[1:]]
    # Numbers that go to and fro between places may be of several acquisitions in turn.
    apart = not others or max(one.number for one in lowest) < min(others)
    if apart and len({one.temporal for one in lowest}) == 1:
        return lowest
    raise InputError(
        f"expected one acquisition in {name}, got {sum(map(len, places))} slices at "
        f"{counted(len(places), 'place')}, and nothing tells which belong together"
    )


def _of_one_value(
    places: list[list[Slice]], told_by: Callable[[Slice], object]
) -> list[list[Slice]]:
    """Return the slices of that value which is equally often at every place; all if there is none.

    Of several such values the rarest is taken, and of those the lowest instance number's.
    """
    counts = [Counter(map(told_by, place)) for place in places]
    even = [
        value
        for value in counts[0]
        if value != "" and all(count[value] == counts[0][value] for count in counts)
    ]
    if not even:
        return places
    taken = min(even, key=lambda value: counts[0][value])
    return [[one for one in place if told_by(one) == taken] for place in places]


def _step(slices: Sequence[Slice], name: str) -> FloatArray:
    """Return the vector from slice to slice, LPS mm."""
    first = slices[0]
    normal = np.cross(first.along_row, first.along_column)
    if len(slices) == 1:
        declared_mm = _declared_mm(first)
        return normal * (1.0 if np.isnan(declared_mm) else declared_mm)
    along = np.array([np.dot(one.position, normal) for one in slices])
    steps = np.diff(along)
    typical = float(np.median(steps))
    wide = int(np.argmax(steps))
    if steps[wide] > GAP * typical:
        raise InputError(
            f"slices are missing in {name}: expected {typical:.2f} mm from slice to slice, "
            f"got {steps[wide]:.2f} mm between slices {wide + 1} and {wide + 2} of {len(slices)}"
        )
    _check_distance(first, typical, name)
    return np.subtract(slices[-1].position, first.position) / (len(slices) - 1)


def _declared_mm(one: Slice) -> float:
    """Return what a header says of the distance of slices, or else their thickness; or NaN."""
    return next((mm for mm in (one.distance_mm, one.thickness_mm) if mm > 0), np.nan)


def _check_distance(one: Slice, step_mm: float, name: str) -> None:
    """Refuse every second slice, or third, of a series, as far as the header tells."""
    declared_mm = one.distance_mm
    # What was resliced may still have the distance of its source.
    if not declared_mm > 0 or one.looks.is_resliced:
        return
    times = round(step_mm / declared_mm)
    # Some write the gap between slices there.
    gap = declared_mm < one.thickness_mm and _is_near(step_mm, declared_mm + one.thickness_mm)
    if times > 1 and _is_near(step_mm, times * declared_mm) and not gap:
        raise InputError(
            f"slices are missing in {name}: expected {declared_mm:.2f} mm from slice to slice by "
            f"the header, got {step_mm:.2f} mm"
        )


def _is_near(one_mm: float, other_mm: float) -> bool:
    return abs(one_mm - other_mm) <= SAME_STEP * other_mm
