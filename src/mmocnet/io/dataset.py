"""BIDS datasets: names, tables, sidecars, and the scans that a dataset holds.

Reference: the Brain Imaging Data Structure 1.10, bids-specification.readthedocs.io.
"""

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmocnet.errors import InputError
from mmocnet.io.atomic import replacing

BIDS_VERSION = "1.10.0"
IMAGE_SUFFIXES = ("T2starw", "swi")
NIFTI_ENDINGS = (".nii.gz", ".nii")
SUFFIX = re.compile("[A-Za-z][A-Za-z0-9]*")
"""What the last part of a BIDS name is; others end in an entity, a date or a number."""


@dataclass(frozen=True)
class DatasetScan:
    """One scan of a dataset and what belongs to it.

    Attributes:
        subject: BIDS subject label without "sub-"; data are split by it, always.
        session: BIDS session label without "ses-", or None.
        image: SWI, or the magnitude where a dataset has no SWI.
        twin: The same scan without microbleeds, or None.
        labels: Reference instances on the image's grid, or None.
        table: Reference table beside the labels, or None.
        brain: Brain mask on the image's grid, or None.
        phase: Phase of the same acquisition, or None where it is not known which.
    """

    subject: str
    session: str | None
    image: Path
    twin: Path | None = None
    labels: Path | None = None
    table: Path | None = None
    brain: Path | None = None
    phase: Path | None = None


def entities(name: str) -> dict[str, str]:
    """Return the entities of a BIDS file name, with its last part as "suffix".

    >>> entities("sub-01_acq-swi_T2starw.nii.gz")
    {'sub': '01', 'acq': 'swi', 'suffix': 'T2starw'}
    """
    *pairs, suffix = name.split(".", 1)[0].split("_")
    parts = (pair.partition("-") for pair in pairs)
    return {key: value for key, _, value in parts} | {"suffix": suffix}


def scan_entities(name: str) -> dict[str, str]:
    """Return the entities that say which scan a file is of; desc and label say what it holds.

    >>> scan_entities("sub-01_run-2_desc-cmb_dseg.nii.gz")
    {'sub': '01', 'run': '2'}
    """
    return {k: v for k, v in entities(name).items() if k not in ("desc", "label", "suffix")}


def nifti_ending(name: str) -> str:
    """Return a NIfTI file name's ending as it is written, "" of another file.

    >>> nifti_ending("brain.NII.GZ"), nifti_ending("brain.png")
    ('.NII.GZ', '')
    """
    ending = next((one for one in NIFTI_ENDINGS if name.lower().endswith(one)), "")
    return name[len(name) - len(ending) :]


def stem(name: str) -> str:
    """Return a BIDS file name's entities without suffix, or another name without its ending.

    What ends in an entity or a date has no suffix: without its last part, visits share a name.

    >>> stem("sub-01_acq-swi_T2starw.nii.gz"), stem("brain scan.nii"), stem("sub-01_ses-1.nii")
    ('sub-01_acq-swi', 'brain scan', 'sub-01_ses-1')
    """
    ending = nifti_ending(name)
    base = name.removesuffix(ending) if ending else Path(name).stem
    pairs, _, suffix = base.rpartition("_")
    return pairs if pairs.startswith("sub-") and SUFFIX.fullmatch(suffix) else base


def _is_image(path: Path) -> bool:
    found = entities(path.name)
    return (
        nifti_ending(path.name) != ""
        and found["suffix"] in IMAGE_SUFFIXES
        and found.get("part", "mag") == "mag"
        and found.get("rec") != "minip"
        and not found.get("acq", "").endswith("Twin")
    )


def _is_swi(path: Path) -> bool:
    found = entities(path.name)
    return found["suffix"] == "swi" or "swi" in found.get("acq", "").lower()


def _images(anat: Path) -> list[Path]:
    """Return the scans to read of one visit: its SWI, or without any its magnitudes."""
    images = sorted(path for path in anat.iterdir() if _is_image(path))
    return [path for path in images if _is_swi(path)] or images


def _existing(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _nifti(folder: Path, name: str) -> Path | None:
    """Return the image of a name without its ending, the packed one of two."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    endings = {path: nifti_ending(path.name) for path in files if path.is_file()}
    found = [path for path, ending in endings.items() if ending and path.name == name + ending]
    return max(found, key=lambda path: len(endings[path]), default=None)


def _twin(image: Path) -> Path | None:
    acquisition = entities(image.name).get("acq")
    if acquisition is None:
        return None
    name = image.name.replace(f"_acq-{acquisition}_", f"_acq-{acquisition}Twin_")
    return _existing(image.with_name(name))


def _labels(folder: Path, image: Path, alone: bool) -> Path | None:
    """Return the reference of an image; a visit's only image takes the only one that fits.

    It may say less of its scan than the image, but not another subject, run or acquisition.
    """
    exact = _nifti(folder, f"{stem(image.name)}_desc-cmb_dseg")
    if exact is not None or not alone or not folder.is_dir():
        return exact
    own = scan_entities(image.name).items()
    others = [
        path
        for path in sorted(folder.glob("*_desc-cmb_dseg.[nN][iI][iI]*"))
        if scan_entities(path.name).items() <= own
    ]
    return others[0] if len(others) == 1 else None


def _acquired(name: str) -> dict[str, str]:
    """Return the entities that the parts of one acquisition share."""
    return {k: v for k, v in entities(name).items() if k not in ("part", "rec", "suffix")}


def _phase(anat: Path, image: Path, alone: bool) -> Path | None:
    """Return an image's phase; a visit's only image takes its only phase, but not another run's."""
    found = [
        path
        for path in anat.iterdir()
        if nifti_ending(path.name) and entities(path.name).get("part") == "phase"
    ]
    own = [path for path in found if _acquired(path.name) == _acquired(image.name)]
    if not own and alone:
        runs = {entities(path.name).get("run") for path in (*found, image)} - {None}
        own = found if len(runs) < 2 else []
    return own[0] if len(own) == 1 else None


def phase_beside(image: Path) -> Path | None:
    """Return the phase in a BIDS scan's folder, as `read_dataset` takes it; None without one."""
    if "sub" not in entities(image.name) or image not in (images := _images(image.parent)):
        return None
    return _phase(image.parent, image, len(images) == 1)


def _scans(folder: Path, reference: Path, anat: Path) -> list[DatasetScan]:
    images = _images(anat)
    beside = reference / anat.relative_to(folder)
    found = []
    for image in images:
        names = entities(image.name)
        if "sub" not in names:
            place = image.relative_to(folder).as_posix()
            raise InputError(f"expected a name that begins with sub-, got {place}")
        labels = _labels(beside, image, len(images) == 1)
        table = (
            None
            if labels is None
            else _existing(labels.with_name(labels.name.split(".")[0] + ".tsv"))
        )
        found.append(
            DatasetScan(
                subject=names["sub"],
                session=names.get("ses"),
                image=image,
                twin=_twin(image),
                labels=labels,
                table=table,
                brain=_nifti(beside, f"{stem(image.name)}_desc-brain_mask"),
                phase=_phase(anat, image, len(images) == 1),
            )
        )
    return found


def read_dataset(folder: Path, reference: Path | None = None) -> tuple[DatasetScan, ...]:
    """Return the scans of a BIDS dataset, by subject, session and name.

    A visit's SWI are `*_swi` or `acq-*swi*_T2starw`; a visit without any gives its T2*
    magnitudes. Phase, minimum intensity projections and twins are no scans of their own.

    Args:
        folder: Root of the dataset.
        reference: Derivative with the references; None takes `derivatives/reference`.

    Raises:
        InputError: If there is no such folder, it holds no scan or one that is not named after
            its subject, or a folder in it may not be looked into.
    """
    if not folder.is_dir():
        raise InputError(f"expected a BIDS dataset's folder, got {folder.name!r}, which is none")
    reference = folder / "derivatives" / "reference" if reference is None else reference
    try:
        subjects = (path for path in folder.glob("sub-*") if path.is_dir())
        visits = [
            anat
            for subject in sorted(subjects)
            for anat in (subject / "anat", *sorted(subject.glob("ses-*/anat")))
            if anat.is_dir()
        ]
        scans = [scan for anat in visits for scan in _scans(folder, reference, anat)]
    except OSError as error:
        place = Path(error.filename or folder).name
        raise InputError(f"cannot look into {place} of {folder.name}: {error.strerror}") from error
    if not scans:
        raise InputError(
            f"expected sub-*/[ses-*/]anat/*_swi.nii.gz or *_T2starw.nii.gz, got none in "
            f"{folder.name}"
        )
    return tuple(scans)


def makers_of(folder: Path) -> list[str]:
    """Return what a BIDS folder says that it was made by, in words; empty where it does not."""
    try:
        text = (folder / "dataset_description.json").read_text(encoding="utf-8")
        return [str(one["Description"]) for one in json.loads(text)["GeneratedBy"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def plain(value: Any) -> Any:
    """Return a value that JSON can hold: NaN and infinity are null."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_text(path: Path, text: str) -> None:
    """Write a text file; a reader sees all of it or none."""
    with replacing(path) as partial:
        # Names of files can hold bytes that are no UTF-8.
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a sidecar; NaN becomes null."""
    write_text(path, json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def write_tsv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table; NaN and missing cells become n/a."""
    lines = ["\t".join(columns)]
    lines += ["\t".join(_cell(row.get(column)) for column in columns) for row in rows]
    write_text(path, "\n".join(lines) + "\n")


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a BIDS table, every cell as text ("n/a" where undefined).

    Raises:
        InputError: If it cannot be read as UTF-8, or a row that is not empty has more or fewer
            cells than the header.
    """
    return _read_rows(path, delimiter="\t", quoting=csv.QUOTE_NONE)


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a user's table: `.csv` with commas or semicolons, else a BIDS one.

    Raises:
        InputError: As `read_tsv`.
    """
    if path.suffix.lower() != ".csv":
        return read_tsv(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = lines.readline()
    except (OSError, UnicodeDecodeError):
        # Said in the words of the reader below.
        header = ""
    return _read_rows(path, delimiter=";" if header.count(";") > header.count(",") else ",")


def _read_rows(path: Path, **dialect: Any) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header, *rows = list(csv.reader(lines, **dialect)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"expected a table in UTF-8, got other content in {path.name}") from error
    except OSError as error:
        raise InputError(f"cannot read {path.name}: {error.strerror}") from error
    for number, row in enumerate(rows, 2):
        if row and len(row) != len(header):
            raise InputError(
                f"expected {len(header)} cells, got {len(row)} in line {number} of {path.name}"
            )
    return [dict(zip(header, row, strict=True)) for row in rows if row]
