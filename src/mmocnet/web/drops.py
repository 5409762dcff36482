"""What was dropped: which files make a study, and where they are kept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmocnet.errors import InputError
from mmocnet.web.room import Room
from mmocnet.web.studies import NewStudy, Source, new_id
from mmocnet.web.uploads import Upload, UploadedFile, last_part, shown_name

ENDINGS: tuple[tuple[str, Source, str], ...] = (
    (".nii.gz", "nifti", "scan.nii.gz"),
    (".nii", "nifti", "scan.nii"),
    (".png", "picture", "slice.png"),
    (".tif", "picture", "slice.tif"),
    (".tiff", "picture", "slice.tiff"),
    (".zip", "dicom", "study.zip"),
)
"""Ending, kind, and the name that such a file gets."""

IGNORED = (".json", ".tsv", ".csv", ".txt", ".md", ".pdf", ".html", ".bval", ".bvec", ".xml")
"""What lies beside scans and is none."""

EXTRA = ("phase", "mask")
"""Files that belong to another one."""


@dataclass(frozen=True)
class Drop:
    """The files of one study.

    Attributes:
        study: As it will be listed.
        files: Each with its name in the study's folder.
    """

    study: NewStudy
    files: tuple[tuple[UploadedFile, str], ...]


def studies_in(upload: Upload, spacing_mm: float | None) -> list[Drop]:
    """Tell the studies apart: a volume, a picture or a zip each; all other files are one's DICOM.

    Raises:
        InputError: If there is none, or phase or mask belong to more than one.
    """
    scans = [one for one in upload.files if one.role not in EXTRA and _is_visible(one)]
    drops = [drop for one in scans if (drop := _alone(one, scans, spacing_mm)) is not None]
    rest = [one for one in scans if kind_of(one.name) is None]
    dicom = [one for one in rest if not one.name.lower().endswith(IGNORED)]
    if dicom or (rest and not drops):
        drops.append(_dicom(dicom or rest))
    if not drops:
        raise InputError("expected at least one file of a scan, got none")
    extra = [one for one in upload.files if one.role in EXTRA]
    if extra:
        if len(drops) != 1:
            raise InputError(f"phase and mask belong to one study, got {len(drops)} studies")
        drops = [with_extra(drops[0], extra)]
    return drops


def with_extra(drop: Drop, extra: Sequence[UploadedFile]) -> Drop:
    """Add phase and mask to a study.

    Raises:
        InputError: If there are two of a kind, or one is of no kind that is read.
    """
    study, files = drop.study, list(drop.files)
    for role in EXTRA:
        found = [one for one in extra if one.role == role]
        if len(found) > 1:
            raise InputError(f"expected one {role} file, got {len(found)}")
        for one in found:
            name = extra_name(one)
            study = replace(study, phase=name) if role == "phase" else replace(study, mask=name)
            files.append((one, name))
    return Drop(study, tuple(files))


def extra_name(one: UploadedFile) -> str:
    """Return the name that a phase or mask file gets: another each time, as it may be replaced.

    Raises:
        InputError: If its kind is not read.
    """
    kind = kind_of(one.name)
    if kind is None or kind[1] == "dicom" or (one.role == "phase" and kind[1] == "picture"):
        wanted = ".nii or .nii.gz" if one.role == "phase" else ".nii, .nii.gz, .png or .tif"
        raise InputError(f"expected the {one.role} as {wanted}, got another kind of file")
    return f"{one.role}-{new_id()}{kind[0]}"


def keep_files(room: Room, drop: Drop) -> None:
    """Move a study's files from the upload to its folder."""
    folder = room.input(drop.study.id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for one, name in drop.files:
        target = folder / name
        target.parent.mkdir(mode=0o700, exist_ok=True)
        one.path.rename(target)


def _alone(
    one: UploadedFile, scans: Sequence[UploadedFile], spacing_mm: float | None
) -> Drop | None:
    kind = kind_of(one.name)
    if kind is None:
        return None
    ending, source, name = kind
    study = NewStudy(
        id=new_id(),
        name=shown_name(one.name),
        source=source,
        origin="upload",
        spacing_mm=spacing_mm if source == "picture" else None,
    )
    files = [(one, name)]
    if source == "nifti":
        # Its sidecar tells how it was acquired.
        sidecar = one.name[: -len(ending)] + ".json"
        files += [(other, "scan.json") for other in scans if other.name == sidecar][:1]
    return Drop(study, tuple(files))


def _dicom(files: Sequence[UploadedFile]) -> Drop:
    study = NewStudy(id=new_id(), name=_folder_name(files), source="dicom", origin="upload")
    named = tuple((one, f"dicom/{number:06d}.dcm") for number, one in enumerate(files, 1))
    return Drop(study, named)


def _folder_name(files: Sequence[UploadedFile]) -> str:
    """Return the name of the folder that all files are in, else the only one's, else a count."""
    first = files[0].name.replace("\\", "/").lstrip("/").split("/")
    top = first[0] if len(first) > 1 else ""
    if top and all(one.name.replace("\\", "/").lstrip("/").startswith(f"{top}/") for one in files):
        return shown_name(top)
    return shown_name(files[0].name) if len(files) == 1 else f"DICOM, {len(files)} files"


def _is_visible(one: UploadedFile) -> bool:
    name = last_part(one.name)
    return bool(name) and not name.startswith(".") and name.upper() != "DICOMDIR"


def kind_of(name: str) -> tuple[str, Source, str] | None:
    """Return ending, kind and name of ours of a file that is a study by itself, else None."""
    return next((kind for kind in ENDINGS if name.lower().endswith(kind[0])), None)
