"""The scans of a cohort: of a BIDS dataset, of a folder of NIfTI or DICOM, or of a table."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from mmocnet.errors import InputError
from mmocnet.io.dataset import entities, nifti_ending, read_dataset, read_table
from mmocnet.io.dicom.find import USUAL_ECHO_MS
from mmocnet.io.dicom.guard import is_dicom, read_header
from mmocnet.io.dicom.series import counted
from mmocnet.io.dicom.vendors import MINIP_WORDS, PHASE_WORDS, SWI_WORDS
from mmocnet.io.sidecar import read_acquisition
from mmocnet.predict.outputs import OutputFiles, output_files
from mmocnet.predict.provenance import FileOptions

TABLES = (".tsv", ".csv")
COLUMNS = ("scan", "participant_id", "session_id", "phase", "mask", "series", "spacing_mm")
"""Of a table of scans; only the first must be there."""

RESULTS = "cohort_scans.tsv"
"""In a folder of results of this command."""
NAMED = 5
"""Names that a sentence lists."""

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
"""A participant or a session; it names a folder."""
_NO_SCAN = re.compile(r"mask|dseg|probseg|(^|[-_.])(roi|seg|labels?)([-_.]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class CohortScan:
    """One scan of a cohort.

    Attributes:
        key: What tables call it: its place below the dataset, or as its table has it.
        path: As `segment_file` takes it.
        out: Folder of its results, as `segment_file` takes it.
        participant: "n/a" where it is not known.
        session: Likewise.
        options: Phase, mask and the like.
    """

    key: str
    path: Path
    out: Path
    participant: str = "n/a"
    session: str = "n/a"
    options: FileOptions = field(default_factory=FileOptions)

    @property
    def files(self) -> OutputFiles:
        """Where its results are."""
        return output_files(self.path, self.out)


@dataclass(frozen=True)
class Cohort:
    """The scans of a cohort.

    Attributes:
        scans: In the order of the tables.
        left_out: One sentence for each kind of image that is no scan of the cohort's.
    """

    scans: tuple[CohortScan, ...]
    left_out: tuple[str, ...] = ()


def find_scans(dataset: Path, out: Path, *, phase: bool = True) -> Cohort:
    """Return the scans of a cohort.

    Args:
        dataset: A BIDS folder; another folder, of which every NIfTI file is a scan and every DICOM
            study; or a table, `.tsv` or `.csv`, with a column `scan` and any of `COLUMNS`.
        out: Folder of the results; what is in it is no scan.
        phase: Whether a BIDS scan's phase is read with it.

    Raises:
        InputError: If there is no scan, the table cannot be read, or two scans would write the
            same files.
    """
    if dataset.is_file():
        found = _of_table(dataset, out)
    elif not dataset.is_dir():
        raise InputError(
            f"expected a folder or a table of scans, got {dataset.name!r}, which is none"
        )
    elif _is_bids(dataset):
        found = _of_bids(dataset, out, phase=phase)
    else:
        found = _of_folder(dataset, out)
    _check_apart(found.scans)
    return found


def _is_bids(dataset: Path) -> bool:
    return any(any(dataset.glob(f"sub-*/{place}")) for place in ("anat", "ses-*/anat"))


def _check_apart(scans: Sequence[CohortScan]) -> None:
    owners: dict[Path, CohortScan] = {}
    for scan in scans:
        other = owners.setdefault(scan.files.summary, scan)
        if other is not scan:
            raise InputError(
                f"{other.key} and {scan.key} would write the same files, named {scan.files.stem}: "
                "give them other names, or a table with a participant_id and session_id for each"
            )


def _of_bids(dataset: Path, out: Path, *, phase: bool) -> Cohort:
    scans = [
        CohortScan(
            key=one.image.relative_to(dataset).as_posix(),
            path=one.image,
            out=out,
            participant=f"sub-{one.subject}",
            session="n/a" if one.session is None else f"ses-{one.session}",
            options=FileOptions(phase=one.phase if phase else None, phase_must_fit=False),
        )
        for one in read_dataset(dataset)
    ]
    taken, told = _one_echo_each(scans)
    have = {(scan.participant, scan.session) for scan in scans}
    visits = [
        (subject.name, session)
        for subject in sorted(path for path in dataset.glob("sub-*") if path.is_dir())
        for session in sorted(one.name for one in subject.glob("ses-*")) or ["n/a"]
    ]
    empty = ["/".join(visit).removesuffix("/n/a") for visit in visits if visit not in have]
    return Cohort(
        tuple(taken), (*told, *_named(empty, "visit", "without SWI or T2*-weighted images"))
    )


def _named(places: Sequence[str], noun: str, why: str) -> tuple[str, ...]:
    """Return a sentence on what is left out, with the first names; none of nothing."""
    if not places:
        return ()
    rest = ", ..." if len(places) > NAMED else ""
    names = ", ".join(places[:NAMED])
    return (f"left out {counted(len(places), noun)} {why}: {names}{rest}",)


def _one_echo_each(scans: Sequence[CohortScan]) -> tuple[list[CohortScan], tuple[str, ...]]:
    """Return of each acquisition's echoes the one nearest to the usual, and what is told of them.

    Where the times of all echoes are not stated, all are taken.
    """
    groups: dict[tuple[Path, tuple[tuple[str, str], ...]], list[CohortScan]] = {}
    for scan in scans:
        names = entities(scan.path.name)
        rest = tuple(sorted((key, value) for key, value in names.items() if key != "echo"))
        groups.setdefault((scan.path.parent, rest), []).append(scan)
    taken, unknown = [], 0
    for same in groups.values():
        times = [read_acquisition(one.path).get("EchoTime") for one in same]
        known = [1000 * time for time in times if isinstance(time, int | float)]
        if len(same) > 1 and len(known) == len(same):
            nearest = min(range(len(same)), key=lambda at: abs(known[at] - USUAL_ECHO_MS))
            taken.append(same[nearest])
        else:
            taken += same
            unknown += len(same) > 1
    more = len(scans) - len(taken)
    told = [f"left out {counted(more, 'image')} of other echoes"] if more else []
    if unknown:
        told.append(
            f"all echoes of {counted(unknown, 'acquisition')} are taken, as their times are not "
            "stated"
        )
    return taken, tuple(told)


def _of_folder(dataset: Path, out: Path) -> Cohort:
    images: dict[Path, list[Path]] = {}
    studies: dict[str, list[Path]] = {}
    zips: list[Path] = []
    closed: list[str] = []
    for folder, files in _walk(dataset, out, closed):
        images[folder] = [path for path in files if nifti_ending(path.name)]
        zips += [path for path in files if path.suffix.lower() == ".zip"]
        study = _study_of(files)
        if study is not None:
            studies.setdefault(study, []).append(folder)
    folders = _study_folders(studies)
    taken = [
        path
        for folder, some in images.items()
        if not any(one in (folder, *folder.parents) for one in folders)
        for path in _scans_among(some)
    ]
    left_out = sum(map(len, images.values())) - len(taken)
    places = sorted([*taken, *zips, *folders])
    if not places:
        raise InputError(
            f"found no scan in {dataset.name}: no NIfTI, zip or DICOM image (pictures need a "
            "table of scans, with their spacing_mm)"
        )
    scans = tuple(
        CohortScan(place.relative_to(dataset).as_posix(), place, out / _below(dataset, place))
        for place in places
    )
    told = f"left out {counted(left_out, 'image')}: by name no SWI, or beside one, or beside DICOM"
    return Cohort(
        scans,
        ((told,) if left_out else ()) + _named(closed, "folder", "that cannot be looked into"),
    )


def _below(dataset: Path, place: Path) -> Path:
    """Return where a scan lies below a dataset, without the folders that its BIDS name gives."""
    inside = place.relative_to(dataset)
    raw = output_files(place, Path()).raw
    if raw is not None and raw.is_relative_to(dataset):
        return raw.relative_to(dataset)
    return inside.parent


def _walk(dataset: Path, out: Path, closed: list[str]) -> Iterable[tuple[Path, list[Path]]]:
    """Yield each folder with its files; not hidden ones, derivatives and results.

    Args:
        dataset: Where to begin; links to folders are followed, each folder once.
        out: Folder of results.
        closed: Gets the names of folders that cannot be looked into.
    """
    seen = {out.resolve()}

    def tell(error: OSError) -> None:
        closed.append(Path(error.filename).relative_to(dataset).as_posix())

    for place, folders, names in os.walk(dataset, onerror=tell, followlinks=True):
        folder = Path(place)
        if folder != dataset and (folder.resolve() in seen or RESULTS in names):
            folders.clear()
            continue
        seen.add(folder.resolve())
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name != "derivatives" and not name.endswith("_dicom")
        )
        files = sorted(folder / name for name in names if not name.startswith("."))
        # Who opens a pipe waits for ever; of a link to nothing it is to be told.
        yield folder, [path for path in files if path.is_file() or not path.exists()]


def _scans_among(images: Sequence[Path]) -> list[Path]:
    """Return the scans of a folder: those named as SWI, or without any all that may be."""
    able = [
        path
        for path in images
        if not any(words.search(path.name) for words in (PHASE_WORDS, MINIP_WORDS, _NO_SCAN))
    ]
    return [path for path in able if SWI_WORDS.search(path.name)] or able


def _study_of(files: Sequence[Path]) -> str | None:
    """Return the study of the first DICOM file, None where there is none."""
    for path in files:
        try:
            if is_dicom(path):
                study = read_header(path, tags=("StudyInstanceUID",)).get("StudyInstanceUID")
                # A DICOMDIR has none.
                if study:
                    return str(study)
        except (InputError, OSError):
            continue
    return None


def _study_folders(studies: dict[str, list[Path]]) -> list[Path]:
    """Return a folder for each study: the one around all of its series."""
    around = [Path(os.path.commonpath(folders)) for folders in studies.values()]
    for folder in around:
        if around.count(folder) > 1:
            raise InputError(
                f"expected a folder for each study, got {around.count(folder)} studies in "
                f"{folder.name!r}: give a table of scans with a series for each"
            )
    inside = [one for one in around if any(other in one.parents for other in around)]
    if inside:
        raise InputError(
            f"expected a folder for each study, got the study in {inside[0].name!r} within the "
            "folder of another"
        )
    return around


def _of_table(table: Path, out: Path) -> Cohort:
    if table.suffix.lower() not in TABLES:
        raise InputError(f"expected a folder, or a table .tsv or .csv, got {table.name}")
    # Spreadsheets leave empty rows at the end.
    rows = [row for row in read_table(table) if any(cell.strip() for cell in row.values())]
    if not rows or "scan" not in rows[0]:
        raise InputError(f"expected a column 'scan' and a row for each scan in {table.name}")
    unknown = [name for name in rows[0] if name not in COLUMNS]
    scans = [_of_row(row, number, table) for number, row in enumerate(rows, 1)]
    common = Path(os.path.commonpath([scan.path.parent for scan in scans]))
    placed = tuple(replace(one, out=_place(one, common, out)) for one in scans)
    names = ", ".join(unknown)
    return Cohort(placed, (f"columns of {table.name} that are not used: {names}",) if names else ())


def _of_row(row: dict[str, str], number: int, table: Path) -> CohortScan:
    given = {name: "" if row.get(name) == "n/a" else row.get(name, "").strip() for name in COLUMNS}
    if not given["scan"]:
        raise InputError(f"expected a scan in row {number} of {table.name}, got none")
    for name in ("participant_id", "session_id"):
        if given[name] and not _LABEL.fullmatch(given[name]):
            raise InputError(
                f"expected letters, digits and . _ + - as {name} in row {number} of {table.name}, "
                f"got {given[name]!r}"
            )

    def beside(name: str) -> Path | None:
        return _absolute(table.parent, given[name]) if given[name] else None

    try:
        spacing_mm = float(given["spacing_mm"]) if given["spacing_mm"] else None
    except ValueError as error:
        raise InputError(
            f"expected a number as spacing_mm in row {number} of {table.name}, got "
            f"{given['spacing_mm']!r}"
        ) from error
    return CohortScan(
        # One folder can hold several scans' series.
        key=PurePath(given["scan"]).as_posix() + (f" {given['series']}" if given["series"] else ""),
        path=_absolute(table.parent, given["scan"]),
        out=Path(),
        participant=given["participant_id"] or "n/a",
        session=given["session_id"] or "n/a",
        options=FileOptions(
            spacing_mm, beside("mask"), phase=beside("phase"), series=given["series"] or None
        ),
    )


def _absolute(folder: Path, given: str) -> Path:
    # Without "..": what a scan's folder is below is its results' place.
    return Path(os.path.abspath(folder / given))


def _place(scan: CohortScan, common: Path, out: Path) -> Path:
    """Return where a table's scan's results go: by participant and session, else by its folder."""
    if scan.participant != "n/a":
        return out / scan.participant / ("" if scan.session == "n/a" else scan.session)
    return out if scan.files.raw is not None else out / scan.path.parent.relative_to(common)
