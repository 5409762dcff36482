"""Find the series in a folder, a zip or a file, tell their kinds, and choose the SWI."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from mmocnet.errors import InputError
from mmocnet.io.dicom.archive import files_below, unpack
from mmocnet.io.dicom.frames import TAGS, Slice, slices_of
from mmocnet.io.dicom.guard import is_dicom, read_header
from mmocnet.io.dicom.quiet import UNREADABLE, quiet
from mmocnet.io.dicom.vendors import Kind, kind_of

NAMES: dict[Kind, str] = {
    "swi": "SWI",
    "magnitude": "magnitude",
    "phase": "phase",
    "minip": "minimum intensity projection",
    "other": "other",
}

MR_IMAGES = "1.2.840.10008.5.1.4.1.1.4"
"""What the SOP classes of MR images begin with, the multi-frame ones too."""

USUAL_ECHO_MS = 20.0
"""Of SWI at 3 T; of several echoes the nearest is taken."""

MAX_LISTED = 40
"""Series that an error lists."""


@dataclass(frozen=True)
class DicomSeries:
    """Slices of one series that are of one kind, echo and size.

    Attributes:
        uid: Series Instance UID.
        number: Series number; None where it has none.
        kind: What the images are.
        why: What told the kind.
        slices: In the order of their files; `read_series` sorts them in space.
        echo_ms: Echo time; NaN where none is given.
        warnings: One sentence for each doubt about the files they were found among.
        keep: Holds files that were unpacked from a zip.
    """

    uid: str
    number: int | None
    kind: Kind
    why: str
    slices: tuple[Slice, ...]
    echo_ms: float = float("nan")
    warnings: tuple[str, ...] = ()
    keep: object = field(default=None, repr=False, compare=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the slices are in, each once."""
        return tuple(dict.fromkeys(one.path for one in self.slices))

    @property
    def name(self) -> str:
        """What errors and results call it; nothing of a patient."""
        return "the series" if self.number is None else f"series {self.number}"

    @property
    def description(self) -> str:
        """Kind and size in words, for lists of series."""
        echo = "" if np.isnan(self.echo_ms) else f", TE {self.echo_ms:g} ms"
        return f"{self.name}: {NAMES[self.kind]}, {len(self.slices)} slices{echo} ({self.why})"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "file"), counted(0, "file")
    ('1 file', '0 files')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


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
    slices, damaged = _slices(files, alone=files == [path])
    if not slices:
        text = f"found no DICOM image among {counted(len(files), 'file')} in {path.name}"
        why = f"{damaged} damaged, or without position, orientation or pixel spacing"
        raise InputError(f"{text}: {why}" if damaged else text)
    warnings = []
    if damaged:
        what = counted(damaged, "damaged DICOM file")
        warnings.append(f"left out {what} in {path.name}")
    if links:
        what = counted(links, "link")
        warnings.append(f"left out {what} from {path.name} to elsewhere")
    groups: dict[tuple[object, ...], list[Slice]] = {}
    for one in slices:
        kind, _ = kind_of(one.looks)
        echo = "" if np.isnan(one.looks.echo_ms) else f"{one.looks.echo_ms:.2f}"
        groups.setdefault((one.series_uid, kind, one.shape, echo), []).append(one)
    found = [
        DicomSeries(
            uid=group[0].series_uid,
            number=group[0].series_number,
            kind=kind_of(group[0].looks)[0],
            why=kind_of(group[0].looks)[1],
            slices=tuple(group),
            echo_ms=group[0].looks.echo_ms,
            warnings=tuple(warnings),
            keep=keep,
        )
        for group in groups.values()
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
        InputError: If none or several could be it; the text lists all series. If none is of MR.
    """
    left = _of_mr(series if wanted is None else _wanted(series, wanted))
    images = [one for one in left if one.kind != "phase"]
    for kind in ("swi", "magnitude"):
        same = [one for one in images if one.kind == kind]
        first_hand = [one for one in same if not _is_resliced(one)]
        same = _one_echo(first_hand or same)
        if len(same) == 1:
            return same[0]
        if same:
            raise InputError(f"found {len(same)} series that could be the SWI, {_listed(series)}")
    if len(images) == 1 and (wanted is not None or len(series) == 1):
        return images[0]
    if left and not images:
        raise InputError(f"expected SWI or magnitude, got phase only, {_listed(series)}")
    raise InputError(f"found no series that is named as SWI, {_listed(series)}")


def matching_phase(series: Sequence[DicomSeries], swi: DicomSeries) -> DicomSeries | None:
    """Return the phase series that lies on the grid of the SWI, the nearest in number; or None."""
    places = _places(swi)
    same = [one for one in series if one.kind == "phase" and _fits(one, swi, places)]
    here = swi.number or 0
    return min(
        same, key=lambda one: (one.uid != swi.uid, abs((one.number or 0) - here)), default=None
    )


def _files(path: Path) -> tuple[list[Path], object, int]:
    if path.is_dir():
        files, links = files_below(path)
        return files, None, links
    if path.suffix.lower() == ".zip":
        files, keep = unpack(path)
        return files, keep, 0
    return [path], None, 0


def _slices(files: Sequence[Path], *, alone: bool) -> tuple[list[Slice], int]:
    """Return the slices in files, and how many files are DICOM but cannot be read."""
    slices: list[Slice] = []
    damaged = 0
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
            damaged += 1
    return slices, damaged


def _should_be_image(header: Dataset) -> bool:
    """Return whether a file without a slice is an MR image, or so damaged that it is nothing."""
    with quiet():
        try:
            kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
        except UNREADABLE:
            return True
    return not kind or str(kind).startswith(MR_IMAGES)


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


def _one_echo(series: list[DicomSeries]) -> list[DicomSeries]:
    """Return one echo of a series that has several, with a warning; else what was given."""
    if len({one.uid for one in series}) != 1 or len({one.echo_ms for one in series}) == 1:
        return series
    best = min(series, key=lambda one: abs(one.echo_ms - USUAL_ECHO_MS))
    text = f"{best.name} has {len(series)} echoes: that at {best.echo_ms:g} ms is taken"
    return [replace(best, warnings=(*best.warnings, text))]


def _is_resliced(series: DicomSeries) -> bool:
    types = series.slices[0].looks.image_type
    return bool({"MPR", "REFORMATTED", "RESAMPLED"} & set(types)) or types[:2] == (
        "DERIVED",
        "SECONDARY",
    )


def _places(series: DicomSeries) -> NDArray[np.float64]:
    """Return the positions of the slices, each once, along the first one's normal: (n, 3), mm."""
    normal = np.cross(series.slices[0].along_row, series.slices[0].along_column)
    along = {round(float(np.dot(one.position, normal)), 2): one.position for one in series.slices}
    return np.array([along[at] for at in sorted(along)])


def _fits(phase: DicomSeries, swi: DicomSeries, places: NDArray[np.float64]) -> bool:
    one, other = phase.slices[0], swi.slices[0]
    if (one.shape, one.study_uid, one.reference_uid) != (
        other.shape,
        other.study_uid,
        other.reference_uid,
    ):
        return False
    mine = _places(phase)
    return (
        mine.shape == places.shape
        and bool(np.allclose(mine, places, atol=0.05))
        and bool(np.allclose(one.along_row, other.along_row, atol=1e-3))
        and bool(np.allclose(one.along_column, other.along_column, atol=1e-3))
        and bool(np.allclose(one.spacing_mm, other.spacing_mm, rtol=1e-3))
    )
