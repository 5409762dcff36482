"""Stack the slices of a series into a volume."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.errors import InputError
from mmocnet.io.dicom.find import NAMES, DicomSeries, counted
from mmocnet.io.dicom.frames import Slice
from mmocnet.io.dicom.guard import frames, read_all
from mmocnet.io.dicom.source import DicomSource
from mmocnet.io.dicom.uids import is_uid
from mmocnet.io.dicom.vendors import vendor_of
from mmocnet.types import FloatArray
from mmocnet.volume import Volume

MAX_VOLUME_BYTES = 2 * 2**30

SAME_PLACE_MM = 0.01
"""Slices nearer than this lie at the same place."""

UNEVEN = (0.02, 0.1)
"""Deviation of a slice from even spacing, of the step: from the first a warning, from the second
an error, as the volume would be bent."""

GAP = 1.5
"""Steps between neighbours from which a slice is missing."""

_PARALLEL = 1e-3


def read_series(series: DicomSeries) -> tuple[Volume, DicomSource, tuple[str, ...]]:
    """Read a series as a volume.

    Args:
        series: Of `find_series`.

    Returns:
        The volume, float32, rescaled, in the axes that `DicomSource` tells; where its slices came
        from; one sentence for each doubt.

    Raises:
        InputError: If slices are missing, unevenly spaced or of several orientations, or pixels
            cannot be read.
    """
    slices, warnings = _stack(series)
    affine = affine_of(slices, series.name)
    warnings += _spacing_doubts(slices, affine, series.name)
    array, sha256 = _read_pixels(slices, series.name)
    if series.kind != "swi":
        warnings.append(_named_otherwise(series))
    unfit = _unfit(slices)
    if unfit:
        warnings.append(f"no DICOM objects are made from {series.name}: {unfit}")
    paths = tuple(one.path for one in slices)
    one_file = slices[0].frames > 1 and len(set(paths)) == 1
    source = DicomSource(
        series_uid=series.uid,
        files=paths[:1] if one_file else paths,
        frames=tuple(one.frame for one in slices),
        vendor=vendor_of(str(slices[0].technique.get("Manufacturer", ""))),
        technique=slices[0].technique,
        sha256=sha256,
        unfit=unfit,
        date=slices[0].date,
        keep=series.keep,
    )
    return Volume(array, affine, series.name), source, (*series.warnings, *warnings)


def affine_of(slices: Sequence[Slice], name: str) -> FloatArray:
    """Return voxel to world RAS mm for (column, row, slice), from slices sorted along their normal.

    Raises:
        InputError: If a slice is missing or the spacing uneven.
    """
    first = slices[0]
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.along_row) * first.spacing_mm[1]
    affine[:3, 1] = np.array(first.along_column) * first.spacing_mm[0]
    affine[:3, 2] = _step(slices, name)
    affine[:3, 3] = first.position
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _unfit(slices: Sequence[Slice]) -> str:
    """Return why no DICOM object can refer to slices, "" where one can."""
    for name, uids in (
        ("Study Instance UID", {one.study_uid for one in slices}),
        ("Series Instance UID", {one.series_uid for one in slices}),
        ("SOP Instance UID", {one.instance_uid for one in slices}),
    ):
        if not all(is_uid(uid) for uid in uids):
            return f"no valid {name} in a header"
    if len({(one.instance_uid, one.frame) for one in slices}) < len(slices):
        return "several slices with the same SOP Instance UID"
    return ""


def _named_otherwise(series: DicomSeries) -> str:
    return (
        f"{series.name} is not named as SWI but taken as one: it is {NAMES[series.kind]} "
        f"by its header ({series.why})"
    )


def _stack(series: DicomSeries) -> tuple[list[Slice], list[str]]:
    """Return the slices of the main orientation along their normal, each place once."""
    warnings: list[str] = []
    slices = _main_orientation(series, warnings)
    normal = np.cross(slices[0].along_row, slices[0].along_column)
    slices.sort(key=lambda one: float(np.dot(one.position, normal)))
    places: list[list[Slice]] = []
    for one in slices:
        last = places[-1][0].position if places else None
        if last is not None and np.dot(np.subtract(one.position, last), normal) < SAME_PLACE_MM:
            places[-1].append(one)
        else:
            places.append([one])
    twice = len(slices) - len(places)
    if twice:
        warnings.append(
            f"left out {counted(twice, 'slice')} in {series.name} at the place of another"
        )
    if len(places) == 1 and np.isnan(slices[0].thickness_mm):
        warnings.append(f"{series.name} gives no slice thickness: 1 mm is assumed")
    return [min(place, key=lambda one: one.number) for place in places], warnings


def _main_orientation(series: DicomSeries, warnings: list[str]) -> list[Slice]:
    groups: list[list[Slice]] = []
    for one in series.slices:
        for group in groups:
            if _parallel(one, group[0]):
                group.append(one)
                break
        else:
            groups.append([one])
    main = max(groups, key=len)
    others = len(series.slices) - len(main)
    if others >= len(main):
        raise InputError(
            f"expected slices of one orientation and pixel size, got {len(groups)} in {series.name}"
        )
    if others:
        warnings.append(
            f"left out {counted(others, 'slice')} in {series.name} of another orientation or pixel "
            "size"
        )
    return main


def _parallel(one: Slice, other: Slice) -> bool:
    return (
        bool(np.allclose(one.along_row, other.along_row, atol=_PARALLEL))
        and bool(np.allclose(one.along_column, other.along_column, atol=_PARALLEL))
        and bool(np.allclose(one.spacing_mm, other.spacing_mm, rtol=1e-3))
    )


def _step(slices: Sequence[Slice], name: str) -> FloatArray:
    """Return the vector from slice to slice, LPS mm."""
    first = slices[0]
    normal = np.cross(first.along_row, first.along_column)
    if len(slices) == 1:
        thickness = first.thickness_mm
        return normal * (thickness if thickness > 0 else 1.0)
    along = np.array([np.dot(one.position, normal) for one in slices])
    steps = np.diff(along)
    typical = float(np.median(steps))
    wide = int(np.argmax(steps))
    if steps[wide] > GAP * typical:
        raise InputError(
            f"slices are missing in {name}: expected {typical:.2f} mm from slice to slice, "
            f"got {steps[wide]:.2f} mm between slices {wide + 1} and {wide + 2} of {len(slices)}"
        )
    return np.subtract(slices[-1].position, first.position) / (len(slices) - 1)


def _spacing_doubts(slices: Sequence[Slice], affine: FloatArray, name: str) -> list[str]:
    """Warn of, or refuse, slices that do not lie where even spacing puts them."""
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


def _read_pixels(slices: Sequence[Slice], name: str) -> tuple[NDArray[np.float32], str]:
    """Return the rescaled values, shape (columns, rows, slices), and the hash of `DicomSource`."""
    rows, columns = slices[0].shape
    if 4 * rows * columns * len(slices) > MAX_VOLUME_BYTES:
        raise InputError(f"expected up to {MAX_VOLUME_BYTES} bytes of voxels, {name} declares more")
    array = np.empty((columns, rows, len(slices)), dtype=np.float32)
    digests: list[str] = []
    for k, (one, pixels) in enumerate(_stored(slices, name)):
        array[:, :, k] = (pixels * one.slope + one.intercept).T
        values = np.ascontiguousarray(pixels, dtype="<i4").tobytes()
        digests.append(f"{one.instance_uid} {one.frame} {hashlib.sha256(values).hexdigest()}\n")
    return array, hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _stored(slices: Sequence[Slice], name: str) -> Iterator[tuple[Slice, NDArray[Any]]]:
    """Yield each slice with its stored values, shape (rows, columns); a file is read once."""
    for path, group in groupby(slices, key=lambda one: one.path):
        wanted = list(group)
        try:
            dataset = read_all(path)
            yield from zip(wanted, frames(dataset, [one.frame for one in wanted]), strict=True)
        except InputError as error:
            raise InputError(f"{error}, in {name}") from error
        except OSError as error:
            raise InputError(f"cannot read a file of {name}: {error.strerror}") from error
