"""Stack the slices of a series into a volume."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.errors import InputError
from mmocnet.io.dicom.frames import Slice
from mmocnet.io.dicom.guard import frames, read_all
from mmocnet.io.dicom.padding import fill_padding
from mmocnet.io.dicom.series import NAMES, DicomSeries
from mmocnet.io.dicom.source import DicomSource
from mmocnet.io.dicom.stack import affine_of, spacing_doubts, stacked
from mmocnet.io.dicom.uids import is_uid
from mmocnet.io.dicom.vendors import vendor_of
from mmocnet.volume import Volume

MAX_VOLUME_BYTES = 2 * 2**30


def read_series(series: DicomSeries) -> tuple[Volume, DicomSource, tuple[str, ...]]:
    """Read a series as a volume.

    Args:
        series: Of `find_series`.

    Returns:
        The volume, float32, rescaled, in the axes that `DicomSource` tells; where its slices came
        from; one sentence for each doubt.

    Raises:
        InputError: If slices are missing, unevenly spaced or of several orientations, pixels
            cannot be read, or different images have the same SOP Instance UID.
    """
    slices, warnings = stacked(series)
    affine = affine_of(slices, series.name)
    warnings += spacing_doubts(slices, affine, series.name)
    array, digests = _read_pixels(slices, series.name)
    _check_copies(slices, digests, series)
    if series.kind != "swi":
        warnings.append(_named_otherwise(series))
    unfit = _unfit(slices)
    if unfit:
        warnings.append(f"no DICOM objects are made from {series.name}: {unfit}")
    if any(one.lossy for one in slices):
        warnings.append(
            f"{series.name} was compressed with loss: small lesions may look otherwise or be gone"
        )
    paths = tuple(one.path for one in slices)
    one_file = slices[0].frames > 1 and len(set(paths)) == 1
    source = DicomSource(
        series_uid=series.uid,
        files=paths[:1] if one_file else paths,
        frames=tuple(one.frame for one in slices),
        numbers=_numbers(slices),
        vendor=vendor_of(str(slices[0].technique.get("Manufacturer", ""))),
        technique={**slices[0].technique, **_image_kind(series)},
        sha256=hashlib.sha256("".join(sorted(digests)).encode()).hexdigest(),
        unfit=unfit,
        date=slices[0].date,
        keep=series.keep,
    )
    return Volume(array, affine, series.name), source, (*series.warnings, *warnings)


def why_unfit(series: DicomSeries) -> str:
    """Return why no DICOM object can be made from a series, by its headers; "" where one can.

    Raises:
        InputError: As `read_series`, of slices that make no volume.
    """
    return _unfit(stacked(series)[0])


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
    if len({one.reference_uid for one in slices}) > 1:
        return "slices of several frames of reference"
    return ""


def _numbers(slices: Sequence[Slice]) -> tuple[int, ...]:
    numbers = tuple(one.number for one in slices)
    return numbers if len(set(numbers)) == len(numbers) else ()


def _image_kind(series: DicomSeries) -> dict[str, str]:
    return {} if series.kind == "other" else {"ImageKind": NAMES[series.kind]}


def _named_otherwise(series: DicomSeries) -> str:
    return (
        f"{series.name} is not named as SWI but taken as one: it is {NAMES[series.kind]} "
        f"by its header ({series.why})"
    )


def _read_pixels(slices: Sequence[Slice], name: str) -> tuple[NDArray[np.float32], list[str]]:
    """Return the rescaled values, shape (columns, rows, slices), and `_digest` of each slice.

    Padding becomes the lowest of the other values, or 0.
    """
    rows, columns = slices[0].shape
    if 4 * rows * columns * len(slices) > MAX_VOLUME_BYTES:
        raise InputError(f"expected up to {MAX_VOLUME_BYTES} bytes of voxels, {name} declares more")
    array = np.empty((columns, rows, len(slices)), dtype=np.float32)
    padded = np.zeros(array.shape, dtype=np.bool_)
    digests: list[str] = []
    for k, (one, pixels) in enumerate(_stored(slices, name)):
        array[:, :, k] = (pixels * one.slope + one.intercept).T
        if one.padding is not None:
            low, high = one.padding
            padded[:, :, k] = ((low <= pixels) & (pixels <= high)).T
        digests.append(_digest(one, pixels))
    fill_padding(array, padded)
    return array, digests


def _digest(one: Slice, pixels: NDArray[Any]) -> str:
    values = np.ascontiguousarray(pixels, dtype="<i4").tobytes()
    return f"{one.instance_uid} {one.frame} {hashlib.sha256(values).hexdigest()}\n"


def _check_copies(slices: Sequence[Slice], digests: Sequence[str], series: DicomSeries) -> None:
    """Refuse a series in which one that was left out is another image of a UID that was taken.

    It may be an older or a newer version: the volume would be a mixture of both.
    """
    named = {(one.instance_uid, one.frame) for one in slices if one.instance_uid}
    taken = {id(one) for one in slices}
    copies = [
        one
        for one in series.slices
        if (one.instance_uid, one.frame) in named and id(one) not in taken
    ]
    known = {(_scale(one), digest) for one, digest in zip(slices, digests, strict=True)}
    for one, pixels in _stored(copies, series.name):
        if (_scale(one), _digest(one, pixels)) not in known:
            raise InputError(
                "expected one image under each SOP Instance UID, got different ones under the "
                f"same in {series.name}"
            )


def _scale(one: Slice) -> tuple[object, ...]:
    return one.slope, one.intercept, one.padding


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
