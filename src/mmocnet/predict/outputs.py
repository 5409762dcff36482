"""The files of one segmented scan: names, contents, and all of them or none.

Everything is first written into a hidden folder beside its place and moved when complete; the
summary is moved last and lists the others: a scan with a summary and all that it lists is done.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmocnet.errors import InputError
from mmocnet.io.burden import LEAST_BRAIN_ML, rad_element_baseline
from mmocnet.io.dataset import SUFFIX, stem, write_json, write_tsv
from mmocnet.io.nifti import write_nifti
from mmocnet.io.picture import SUFFIXES as PICTURE_SUFFIXES
from mmocnet.io.picture import picture_array, write_picture
from mmocnet.io.report import NOTICE, counted
from mmocnet.io.tables import CANDIDATE_COLUMNS, LESION_COLUMNS, candidate_rows, lesion_row
from mmocnet.io.together import alone_in, hidden_folder, move_files
from mmocnet.lesion import Certainty
from mmocnet.predict.derivative import raw_name, write_root
from mmocnet.predict.dicom_files import PDF, SEG, SR
from mmocnet.predict.pictures import make_display, single_slice
from mmocnet.predict.reports import write_reports
from mmocnet.predict.segmentation import Segmentation
from mmocnet.volume import Volume

BIDS_NAME = re.compile(
    r"sub-(?P<sub>[A-Za-z0-9]+)(_ses-(?P<ses>[A-Za-z0-9]+))?(_[a-z]+-[A-Za-z0-9+]+)*"
    rf"_{SUFFIX.pattern}(?i:\.nii(\.gz)?)"
)


@dataclass(frozen=True)
class OutputFiles:
    """Where the files of one scan go.

    Attributes:
        root: The folder that was asked for.
        folder: Where the scan's files are: `root`, or below it for a BIDS name.
        stem: What their names begin with.
        image: Ending of the images, ".nii.gz" or ".png".
        source: Where the scan is, as a sidecar may say: a BIDS URI, or its name.
        raw: Root of the dataset that the BIDS URI is below.
    """

    root: Path
    folder: Path
    stem: str
    image: str
    source: str
    raw: Path | None = None

    @property
    def labels(self) -> Path:
        """Each lesion its number."""
        return self.folder / f"{self.stem}_desc-cmb_dseg{self.image}"

    @property
    def table(self) -> Path:
        """A row a lesion."""
        return self.folder / f"{self.stem}_desc-cmb_dseg.tsv"

    @property
    def summary(self) -> Path:
        """Summary and provenance; there when all is there."""
        return self.folder / f"{self.stem}_desc-cmb_dseg.json"

    @property
    def report(self) -> Path:
        """For people."""
        return self.folder / f"{self.stem}_report.html"

    @property
    def pdf(self) -> Path:
        """The same for print."""
        return self.folder / f"{self.stem}_report.pdf"

    @property
    def dicom(self) -> Path:
        """Folder of what goes back to where a DICOM scan came from; never that scan's own."""
        return self.folder / f"{self.stem}_dicom"


def output_files(source: Path, out: Path) -> OutputFiles:
    """Return where the files of a scan go.

    >>> files = output_files(Path("raw/sub-01/anat/sub-01_acq-swi_T2starw.nii.gz"), Path("out"))
    >>> files.table.as_posix()
    'out/sub-01/anat/sub-01_acq-swi_desc-cmb_dseg.tsv'
    >>> output_files(Path("brain.png"), Path("out")).labels.as_posix()
    'out/brain_desc-cmb_dseg.png'
    """
    if source.is_dir():
        # A folder's name has no ending, and "." has none at all.
        name = source.resolve().name
        return OutputFiles(out, out, name, ".nii.gz", name)
    image = ".png" if source.name.lower().endswith(PICTURE_SUFFIXES) else ".nii.gz"
    match = BIDS_NAME.fullmatch(source.name)
    if match is None:
        return OutputFiles(out, out, stem(source.name), image, source.name)
    session = [f"ses-{match['ses']}"] if match["ses"] else []
    place = Path(f"sub-{match['sub']}", *session, "anat")
    # What is written has a description of its own.
    name = re.sub(r"_(desc|label)-[A-Za-z0-9+]+", "", stem(source.name))
    inside = source.absolute().parent.parts[-len(place.parts) :] == place.parts
    raw = source.absolute().parents[len(place.parts) if inside else 0]
    uri = f"bids:raw:{(place / source.name if inside else Path(source.name)).as_posix()}"
    return OutputFiles(out, out / place, name, image, uri, raw)


def read_summary(files: OutputFiles) -> dict[str, Any] | None:
    """Return the provenance of a scan that is done, None where it is not.

    Raises:
        InputError: If the file is not what this package writes.
    """
    return read_part(files, "Provenance")


def read_warnings(files: OutputFiles) -> tuple[str, ...]:
    """Return the warnings of a scan that is done; none where it is not.

    Raises:
        InputError: If the file is not what this package writes.
    """
    summary = read_part(files, "Summary") or {}
    return tuple(str(text) for text in summary.get("Warnings", ()))


def all_there(files: OutputFiles) -> bool:
    """Return whether a scan has a summary, and every file that it lists is there and not empty.

    Raises:
        InputError: If the summary is not what this package writes.
    """
    summary = read_part(files, "Summary")
    if summary is None:
        return False
    listed = [files.folder / name for name in summary.get("Files", ())]
    return all(path.is_file() and path.stat().st_size > 0 for path in listed)


def read_part(files: OutputFiles, part: Literal["Summary", "Provenance"]) -> dict[str, Any] | None:
    """Return a part of a done scan's summary, None where there is none.

    Raises:
        InputError: If the file is not what this package writes.
    """
    if not files.summary.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(files.summary.read_text(encoding="utf-8"))
        return dict(content[part])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"expected a summary written by mmocnet in {files.summary.name}: "
            "choose another folder, or overwrite"
        ) from error


def write_outputs(
    result: Segmentation, files: OutputFiles, done: Callable[[], bool] = lambda: False
) -> Segmentation | None:
    """Write all files of a scan, or none.

    Args:
        result: What was found.
        files: Where they go.
        done: Asked when everything is written and nobody else can move files there: where it says
            that this scan's are there by now, they stay; what it raises leaves them too.

    Returns:
        The result, with a warning where the headers of a DICOM scan allow no objects; None where
        it was there.

    Raises:
        InputError: If the folder cannot be written to.
    """
    with hidden_folder(files.folder, files.stem) as folder:
        place = OutputFiles(folder, folder, files.stem, files.image, files.source)
        _write_images(result, place)
        _write_tables(result, place)
        result = write_reports(result, files.stem, place.report, place.pdf, place.dicom)
        with alone_in(files.root):
            if done():
                return None
            if files.raw is not None:
                named = f"bids:{raw_name(files.root, files.raw)}:"
                place = replace(place, source=files.source.replace("bids:raw:", named, 1))
            _write_sidecars(result, place)
            _remove_before(files)
            move_files(folder, files.folder, last=files.summary.name)
            if files.raw is not None:
                write_root(files.root, files.raw)
    return result


def _remove_before(files: OutputFiles) -> None:
    """Remove what an earlier result says that it is done, and objects this one may not have."""
    files.summary.unlink(missing_ok=True)
    for name in (SEG, SR, PDF):
        (files.dicom / name).unlink(missing_ok=True)


def _write_images(result: Segmentation, files: OutputFiles) -> None:
    candidates = files.folder / f"{files.stem}_desc-candidates_dseg{files.image}"
    probability = files.folder / f"{files.stem}_label-CMB_probseg{files.image}"
    if files.image == ".nii.gz":
        write_nifti(files.labels, result.labels, _label_type(result.labels))
        write_nifti(candidates, result.candidate_labels, _label_type(result.candidate_labels))
        write_nifti(probability, result.probability, np.float32)
        return
    write_picture(files.labels, _label_picture(result.labels))
    write_picture(candidates, _label_picture(result.candidate_labels))
    write_picture(probability, np.rint(picture_array(result.probability) * 255).astype(np.uint8))
    mask = np.where(picture_array(result.labels) > 0, 255, 0).astype(np.uint8)
    write_picture(files.folder / f"{files.stem}_desc-cmb_mask.png", mask)
    overlay = np.asarray(single_slice(make_display(result)), dtype=np.uint8)
    write_picture(files.folder / f"{files.stem}_overlay.png", overlay)


def _label_type(labels: Volume) -> type[np.integer[Any]]:
    return np.int16 if int(labels.array.max()) <= np.iinfo(np.int16).max else np.int32


def _label_picture(labels: Volume) -> Any:
    """Return numbers as grey values, in 8 bits where they fit, else in 16."""
    array = picture_array(labels)
    return array.astype(np.uint8 if int(array.max()) <= 255 else np.uint16)


def _write_tables(result: Segmentation, files: OutputFiles) -> None:
    write_tsv(files.table, list(LESION_COLUMNS), [lesion_row(one) for one in result.lesions])
    rows = candidate_rows(
        result.candidates,
        [one.index for one in result.lesions],
        result.siderosis,
        result.vessels,
    )
    path = files.folder / f"{files.stem}_desc-candidates_dseg.tsv"
    write_tsv(path, list(CANDIDATE_COLUMNS), rows)


def _write_sidecars(result: Segmentation, files: OutputFiles) -> None:
    about = {"Sources": [files.source], "SpatialReference": "orig"}
    number = counted(result.lesions)
    summary = {
        "Microbleeds": number[Certainty.DEFINITE] + number[Certainty.POSSIBLE],
        "Definite": number[Certainty.DEFINITE],
        "Possible": number[Certainty.POSSIBLE],
        "Macrohaemorrhages": number[Certainty.MACROHAEMORRHAGE],
        "Candidates": len(result.candidates),
        "PossibleSiderosis": list(result.siderosis),
        "PossibleVessels": list(result.vessels),
        "Warnings": list(result.warnings),
    }
    acquired = result.provenance["Input"].get("Acquisition", {})
    seen = result.provenance.get("BrainMl")
    if not result.is_slice and (seen is None or seen >= LEAST_BRAIN_ML):
        # The set is of a whole brain.
        summary |= {"RadElement": rad_element_baseline(result.lesions, acquired)}
    about_candidates = (
        "Every candidate to which stage 2 gives a probability of 0.05 or more, each its index; its "
        f"confidence may be lower. {NOTICE}"
    )
    candidates = {"Description": about_candidates}
    path = files.folder / f"{files.stem}_desc-candidates_dseg.json"
    write_json(path, candidates | about | CANDIDATE_COLUMNS)
    unit = " 255 is probability 1." if files.image == ".png" else ""
    probability = {
        "Description": "Probability of a microbleed. Of a model that judges candidates by more "
        "than stage 2, the highest of each candidate is its confidence, and it is 0 where no "
        f"candidate is.{unit} {NOTICE}"
    }
    write_json(files.folder / f"{files.stem}_label-CMB_probseg.json", probability | about)
    found = [path for path in files.folder.rglob("*") if path.is_file()]
    summary |= {"Files": sorted(path.relative_to(files.folder).as_posix() for path in found)}
    lesions = {"Description": f"Cerebral microbleeds, each its index in the table. {NOTICE}"}
    write_json(
        files.summary,
        lesions | about | LESION_COLUMNS | {"Summary": summary, "Provenance": result.provenance},
    )
