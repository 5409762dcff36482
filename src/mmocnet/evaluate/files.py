"""Which prediction belongs to which reference, by the files' names."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmocnet.errors import InputError
from mmocnet.io.dataset import entities, scan_entities

ENDINGS = (".nii.gz", ".nii", ".png", ".tiff", ".tif")
IMAGE_SUFFIXES = (
    "T1w", "T2w", "T2star", "T2starw", "PDw", "PDT2", "FLAIR", "UNIT1", "MEGRE", "swi", "minIP",
    "angio", "bold", "sbref", "cbv", "dwi", "epi", "asl", "m0scan", "fieldmap", "phase", "phase1",
    "phase2", "phasediff", "magnitude", "magnitude1", "magnitude2", "T1map", "T2map", "T2starmap",
    "R1map", "R2map", "R2starmap", "S0map", "Chimap",
)  # fmt: skip
"""Of BIDS names of scans and maps, which are no masks."""
Role = Literal["lesions", "candidates", "probability"]
# What a name may end in, and what the file then holds; the first that fits counts.
_ROLES: tuple[tuple[str, Role | None], ...] = (
    ("_desc-candidates_dseg", "candidates"),
    ("_label-CMB_probseg", "probability"),
    ("_probseg", "probability"),
    ("_desc-cmb_dseg", "lesions"),
    ("_desc-reviewed_dseg", "lesions"),
    ("_desc-source_dseg", None),
    ("_desc-brain_mask", None),
    ("_desc-ignore_mask", None),
    ("_desc-window_mask", None),
    ("_desc-cmb_mask", None),
    ("_overlay", None),
    *((f"_{suffix}", None) for suffix in IMAGE_SUFFIXES),
    ("_dseg", "lesions"),
    ("_mask", "lesions"),
    ("", "lesions"),
)


@dataclass(frozen=True)
class CaseFiles:
    """The files of one scan.

    Attributes:
        name: What the files' names have in common.
        subject: BIDS subject, else the name: intervals are drawn over it.
        reference: Masks or numbered lesions.
        lesions: Predicted mask or numbered lesions, or None.
        candidates: Predicted candidates, numbered, with a table beside them, or None.
        probability: Predicted probability of each voxel, or None.
        ignore: Mask of what is left out, or None.
        window: Mask of where the reference is complete, or None.
    """

    name: str
    subject: str
    reference: Path
    lesions: Path | None = None
    candidates: Path | None = None
    probability: Path | None = None
    ignore: Path | None = None
    window: Path | None = None


def split_ending(path: Path) -> tuple[str, str] | None:
    """Return a file's name and its ending; None for what is no image."""
    for ending in ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)], ending
    return None


def key_and_role(path: Path) -> tuple[str, Role | None] | None:
    """Return what a file is called and what it holds; None for what is no image.

    >>> key_and_role(Path("sub-01_acq-swi_desc-cmb_dseg.nii.gz"))
    ('sub-01_acq-swi', 'lesions')
    >>> key_and_role(Path("scan7.png"))
    ('scan7', 'lesions')
    """
    parts = split_ending(path)
    if parts is None:
        return None
    name, _ = parts
    ending, role = next((e, r) for e, r in _ROLES if name.endswith(e))
    return name[: len(name) - len(ending)], role


def _files_under(folder: Path) -> list[Path]:
    """Return all files in a folder, through links to folders too, each folder once, in order."""
    found, seen = [], set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        found += [Path(root, name) for name in names]
    return sorted(path for path in found if path.is_file())


def _named(folder: Path) -> list[tuple[str, Role | None, Path]]:
    """Return the images in a folder, or the file itself, each with its name and what it holds."""
    if folder.is_file():
        files = [folder]
    elif folder.is_dir():
        # Hidden folders hold what an interrupted `segment` had not finished.
        files = [
            path
            for path in _files_under(folder)
            if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        ]
    else:
        raise InputError(f"expected a file or folder, got {folder.name!r}, which is none")
    named = ((key_and_role(path), path) for path in files)
    return [(*name, path) for name, path in named if name is not None]


def _index(folder: Path) -> dict[str, dict[Role, Path]]:
    found: dict[str, dict[Role, Path]] = {}
    for key, role, path in _named(folder):
        if role is None:
            continue
        if role in found.setdefault(key, {}):
            raise InputError(
                f"expected one file of {role} for {key}, got "
                f"{found[key][role].relative_to(folder)} and {path.relative_to(folder)}"
            )
        found[key][role] = path
    return found


def _is_visit(key: str, wanted: Mapping[str, str]) -> bool:
    found = scan_entities(key + "_x")
    return all(found.get(name) == wanted.get(name) for name in ("sub", "ses"))


def _same_visit(key: str, references: Iterable[str], predictions: Iterable[str]) -> str | None:
    """Return the only prediction of a visit with one reference, where it is named otherwise.

    It may say less of the scan than the reference or more, but no other run or acquisition.
    """
    wanted = scan_entities(key + "_x")
    if "sub" not in wanted or sum(_is_visit(one, wanted) for one in references) > 1:
        return None
    found = {other: scan_entities(other + "_x") for other in predictions}
    alike = [
        other
        for other, said in found.items()
        if _is_visit(other, wanted)
        and all(wanted.get(name, value) == value for name, value in said.items())
        and not said.get("acq", "").endswith("Twin")
    ]
    return alike[0] if len(alike) == 1 else None


def pair_files(
    predictions: Path, references: Path, ignore: Path | None = None, window: Path | None = None
) -> tuple[list[CaseFiles], tuple[str, ...]]:
    """Find the prediction of each reference, by name.

    Args:
        predictions: Folder (searched to its depth) or file: what `segment` wrote, or masks,
            numbered lesions or probability maps of any origin.
        references: Folder or file of masks or numbered lesions.
        ignore: Folder or file of masks of what is left out, named as the references.
        window: Folder or file of masks of where the reference is complete, one a reference.

    Returns:
        One entry a reference, its predictions None where there are none, and the names of
        predictions without a reference.

    Raises:
        InputError: If there is no reference, two files claim the same name, there is no ignore
            mask at all, or a window is missing.
    """
    truth = {k: v["lesions"] for k, v in _index(references).items() if "lesions" in v}
    if not truth:
        raise InputError(f"expected reference masks (.nii.gz or .png) in {references.name}")
    found = _index(predictions)
    if predictions.is_file() and references.is_file() and len(found) == 1:
        found = dict(zip(truth, found.values(), strict=True))
    left_out = {} if ignore is None else _masks(ignore, "ignore", truth)
    windows = {} if window is None else _masks(window, "window", truth)
    # Without its window a scan would be scored where nobody looked.
    bare = [key for key in truth if key not in windows] if window is not None else []
    if bare:
        raise InputError(f"expected a window for each reference, got none for {bare[0]}")
    cases, used = [], set()
    for key, path in truth.items():
        other = key if key in found else _same_visit(key, truth, found)
        roles = {} if other is None else found[other]
        used.add(other)
        cases.append(
            CaseFiles(
                name=key,
                subject=entities(key + "_x").get("sub", key),
                reference=path,
                lesions=roles.get("lesions"),
                candidates=roles.get("candidates"),
                probability=roles.get("probability"),
                ignore=left_out.get(key),
                window=windows.get(key),
            )
        )
    return cases, tuple(sorted(set(found) - used))


def _masks(
    folder: Path, kind: Literal["ignore", "window"], references: Iterable[str]
) -> dict[str, Path]:
    """Return the mask of each reference that has one, by its name.

    Masks may be named as the references are. Where one is named as a mask of its kind, what is
    not is something else.
    """
    named = [(key, path) for key, _, path in _named(folder)]
    own = [(key, path) for key, path in named if f"_desc-{kind}_mask." in path.name]
    found: dict[str, Path] = {}
    for key, path in own or named:
        if key in found:
            raise InputError(
                f"expected one {kind} mask for {key}, got {found[key].name} and {path.name}"
            )
        found[key] = path
    if not any(key in found for key in references):
        raise InputError(
            f"expected {kind} masks named as the references, got none in {folder.name}"
        )
    return found
