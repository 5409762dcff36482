"""Find the series in a folder, a zip or a file, tell their kinds, and choose the SWI."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from mmocnet.errors import InputError
from mmocnet.io.dicom.archive import files_below, unpack
from mmocnet.io.dicom.frames import TAGS, Slice, slices_of
from mmocnet.io.dicom.guard import is_dicom, read_header
from mmocnet.io.dicom.parts import parts_of
from mmocnet.io.dicom.quiet import UNREADABLE, quiet
from mmocnet.io.dicom.series import DicomSeries, counted
from mmocnet.io.dicom.vendors import BESIDE_SWI, Kind
from mmocnet.io.nifti import SUFFIXES as NIFTI_SUFFIXES

MR_IMAGES = (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
"""SOP classes of grey MR images: no spectroscopy, no colours."""

KINDS: tuple[Kind, ...] = ("swi", "magnitude", "other", "minip")
"""In the order in which they are taken; the last two only of a series alone, or asked for."""

USUAL_ECHO_MS = 20.0
"""Of SWI at 3 T; of several echoes the nearest is taken."""

MAX_LISTED = 40
"""Series that an error lists."""


def find_series(path: Path) -> list[DicomSeries]:
    """Find all image series.

    Args:
        path: A folder, also of folders and other files, a zip, or one DICOM file.

    Returns:
        Sorted by series number.

    Raises:
        InputError: If there is no image in it, or it cannot be read.
    """
    files, keep, links = _files(path)
    slices, damaged, closed = _slices(files, alone=files == [path])
    if not slices:
        raise InputError(_nothing(path, files, damaged, closed))
    warnings = []
    if damaged:
        what = counted(damaged, "damaged DICOM file")
        warnings.append(f"left out {what} in {path.name}")
    if closed:
        what = counted(closed, "file")
        warnings.append(f"left out {what} in {path.name} that cannot be opened")
    if links:
        what = counted(links, "link")
        warnings.append(f"left out {what} from {path.name} to elsewhere")
    groups: dict[str, list[Slice]] = {}
    for one in slices:
        groups.setdefault(one.series_uid, []).append(one)
    found = [
        replace(part, warnings=tuple(warnings), keep=keep)
        for same in groups.values()
        for part in parts_of(same)
    ]
    return sorted(found, key=lambda one: (one.number is None, one.number or 0, one.uid, one.kind))


def choose_swi(series: Sequence[DicomSeries], wanted: str | None = None) -> DicomSeries:
    """Choose the series to be segmented.

    SWI comes before T2*-weighted magnitude, and what the scanner reconstructed before what was
    resliced from it. A series alone is taken whatever it is called, unless it is phase.

    Args:
        series: All that were found.
        wanted: Series number or Series Instance UID; None leaves the choice to the names.

    Raises:
        InputError: If none or several could be it; the text lists all series. If none is of MR, or
            images of several types lie at the same places and none or several are SWI by theirs.
    """
    left = _of_mr(series if wanted is None else _wanted(series, wanted))
    images = [one for one in left if one.kind != "phase"]
    alone = wanted is not None or len({one.uid for one in series}) == 1
    for kind in KINDS if alone else KINDS[:2]:
        same = [one for one in images if one.kind == kind and _is_fit(one, wanted)]
        first_hand = [one for one in same if not one.slices[0].looks.is_resliced]
        taken = _one_echo_each(first_hand or same)
        if len(taken) == 1:
            _check_types(taken[0], same)
            return _said_beside(taken[0], series)
        if taken:
            raise InputError(f"found {len(taken)} series that could be the SWI, {_listed(series)}")
    if left and not images:
        raise InputError(f"expected SWI or magnitude, got phase only, {_listed(series)}")
    raise InputError(f"found no series that is named as SWI, {_listed(series)}")


def _files(path: Path) -> tuple[list[Path], object, int]:
    if path.is_dir():
        files, links = files_below(path)
        return files, None, links
    if path.suffix.lower() == ".zip":
        files, keep = unpack(path)
        return files, keep, 0
    return [path], None, 0


def _nothing(path: Path, files: Sequence[Path], damaged: int, closed: int) -> str:
    """Return a sentence on what was found in place of images."""
    text = f"found no DICOM image among {counted(len(files), 'file')} in {path.name}"
    if any(one.name.lower().endswith(NIFTI_SUFFIXES) for one in files):
        return f"{text}: it holds NIfTI files: give the files themselves"
    if damaged:
        text += f": {damaged} damaged, or without position, orientation or pixel spacing"
    if closed:
        text += f": {closed} cannot be opened"
    return text


def _slices(files: Sequence[Path], *, alone: bool) -> tuple[list[Slice], int, int]:
    """Return the slices in files; how many are DICOM but damaged, how many cannot be opened."""
    slices: list[Slice] = []
    damaged = closed = 0
    for file in files:
        try:
            if not alone and not is_dicom(file):
                continue
            header = read_header(file, tags=TAGS)
            found = slices_of(file, header)
            slices += found
            damaged += not found and _should_be_image(header)
        except InputError as error:
            if alone:
                raise InputError(f"{error}: {file.name}") from error
            damaged += 1
        except OSError:
            closed += 1
    return slices, damaged, closed


def _should_be_image(header: Dataset) -> bool:
    """Return whether a file without a slice is an MR image, or so damaged that it is nothing."""
    with quiet():
        try:
            kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
        except UNREADABLE:
            return True
    return not kind or str(kind) in MR_IMAGES


def _wanted(series: Sequence[DicomSeries], wanted: str) -> list[DicomSeries]:
    left = [one for one in series if wanted in (one.uid, str(one.number))]
    if not left:
        raise InputError(f"found no series {wanted}, {_listed(series)}")
    if len({one.uid for one in left}) > 1:
        raise InputError(
            f"series {wanted} is there more than once: give its UID, {_listed(series)}"
        )
    return left


def _of_mr(series: Sequence[DicomSeries]) -> list[DicomSeries]:
    left = [one for one in series if one.slices[0].looks.modality in ("MR", "")]
    if not left:
        found = {one.slices[0].looks.modality for one in series}
        # A damaged header may have anything there.
        known = sorted(one for one in found if re.fullmatch("[A-Z]{2,4}", one))
        raise InputError(f"expected MR images, got {', '.join(known) or 'others'}")
    return left


def _listed(series: Sequence[DicomSeries]) -> str:
    shown = series[:MAX_LISTED]
    more = [f"and {len(series) - len(shown)} more"] if len(series) > len(shown) else []
    uids = {
        one.number: {other.uid for other in series if other.number == one.number} for one in shown
    }
    rows = [
        one.description + (f" UID {one.uid}" if len(uids[one.number]) > 1 else "") for one in shown
    ]
    return "choose one with --series: " + "; ".join(rows + more)


def _is_fit(series: DicomSeries, wanted: str | None) -> bool:
    """Return whether a series may be taken: dynamics, as of perfusion, only where asked for."""
    return wanted is not None or series.kind == "swi" or series.repeats == 1


def _check_types(chosen: DicomSeries, series: Sequence[DicomSeries]) -> None:
    """Refuse one of several image types at the same places: no number tells which to take."""
    if chosen.types > 1:
        rows = [one.description for one in series if one.uid == chosen.uid and one.types > 1]
        raise InputError(
            f"expected images of one ImageType at each place of {chosen.name}, got "
            f"{chosen.types}, and nothing tells which is the SWI: give the files of one alone; "
            f"there are {'; '.join(rows)}"
        )


def _said_beside(swi: DicomSeries, series: Sequence[DicomSeries]) -> DicomSeries:
    """Return the SWI, with a warning where its series has images that are none by their type."""
    beside = [
        image
        for one in series
        if one.uid == swi.uid and one.why.startswith(BESIDE_SWI)
        for image in one.slices
    ]
    if not beside:
        return swi
    types = ", ".join(sorted({one.looks.said_type for one in beside}))
    text = (
        f"left out {counted(len(beside), 'slice')} in {swi.name} of ImageType {types}: that of the "
        "others is SWI"
    )
    return replace(swi, warnings=(*swi.warnings, text))


def _one_echo_each(series: Sequence[DicomSeries]) -> list[DicomSeries]:
    """Return one echo of each series, with a warning where it has several."""
    echoes: dict[str, list[DicomSeries]] = {}
    for one in series:
        echoes.setdefault(one.uid, []).append(one)
    return [_usual_echo(same) for same in echoes.values()]


def _usual_echo(echoes: Sequence[DicomSeries]) -> DicomSeries:
    best = min(echoes, key=lambda one: abs(np.nan_to_num(one.echo_ms, nan=np.inf) - USUAL_ECHO_MS))
    if len(echoes) == 1:
        return best
    text = f"{best.name} has {len(echoes)} echoes: that at {best.echo_ms:g} ms is taken"
    return replace(best, warnings=(*best.warnings, text))
