"""A reading as a BIDS derivative, alone or with its scan as a data set to fine-tune a model on."""

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mmocnet import __version__
from mmocnet.errors import InputError
from mmocnet.io.dataset import BIDS_VERSION, IMAGE_SUFFIXES, entities, stem, write_json, write_text
from mmocnet.io.nifti import write_nifti
from mmocnet.io.phase import read_phase
from mmocnet.io.report import NOTICE
from mmocnet.io.reviewed import FOLDER, Judged, Review, Verdict, write_review
from mmocnet.predict.outputs import BIDS_NAME
from mmocnet.review.record import audit_text, write_zip
from mmocnet.review.rows import Row, label_array, taken_over
from mmocnet.review.study import Material
from mmocnet.volume import Volume, check_grid

REASONS = {"vein": "vessel", "calcium": "calcification"}
"""Reasons that the derivative calls otherwise."""
IGNORED = "*_audit.jsonl\n"
LABEL_LETTERS, HASH_LETTERS = 24, 8


def write_bids(material: Material, path: Path) -> Path:
    """Write a zip of a BIDS derivative: outlines, verdicts, how they came about, the log.

    Raises:
        InputError: If the scan cannot be read or the folder not be written to.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "derivatives" / FOLDER
        _write_review(material, Path(folder), bids_image(material))
        return write_zip(path, _files(root))


def write_training(material: Material, path: Path) -> Path:
    """Write a zip of a data set that `mmocnet finetune` takes: the scan and what was read in it.

    Several may be unpacked into one folder: files of two scans never have the same name there.

    Raises:
        InputError: If the reading is not complete, or the scan cannot be read.
    """
    reading = material.reading
    if not reading.complete:
        raise InputError(
            "expected a complete reading to learn from: look through all of the scan, then mark "
            "the reading complete"
        )
    left = reading.counts.not_judged
    if left:
        noun = "finding is" if left == 1 else "findings are"
        raise InputError(
            f"expected a verdict on each of the machine's findings: {left} {noun} open"
        )
    image = training_image(material)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_review(material, root, image)
        _write_scan(material, root, image)
        return write_zip(path, _files(root))


def bids_image(material: Material) -> Path:
    """Return where the scan lies in a data set: by its own BIDS name, else by one made for it."""
    name = Path(material.study.name).name
    match = BIDS_NAME.fullmatch(name)
    if match is None or not _is_scan(name):
        return training_image(material)
    return _visit(match["sub"], match["ses"]) / f"{name.split('.')[0]}.nii.gz"


def training_image(material: Material) -> Path:
    """Return where the scan lies in a training set: by subject, visit and a hash of the scan.

    Two scans of one name do not meet, and those of one subject are still told to be. What has no
    BIDS name is a subject of its own.
    """
    name = Path(material.study.name).name
    match = BIDS_NAME.fullmatch(name)
    digest = str(material.machine.provenance["Input"]["SHA256"])[:HASH_LETTERS]
    if match is None:
        label = re.sub(r"[^A-Za-z0-9]", "", stem(name))[:LABEL_LETTERS] + digest
        visit = _visit(label, None)
    else:
        visit = _visit(match["sub"], match["ses"])
    return visit / "_".join([*visit.parts[:-1], f"acq-swi{digest}", "T2starw.nii.gz"])


def _visit(subject: str, session: str | None) -> Path:
    """Return the folder of a visit's scans."""
    return Path(f"sub-{subject}", *([f"ses-{session}"] if session else []), "anat")


def _is_scan(name: str) -> bool:
    """Return whether a BIDS name is one that data sets are read by."""
    found = entities(name)
    plain = found.get("part", "mag") == "mag" and found.get("rec") != "minip"
    twin = found.get("acq", "").endswith("Twin")
    return found["suffix"] in IMAGE_SUFFIXES and plain and not twin and "desc" not in found


def review_of(material: Material) -> Review:
    """Return the reading as the derivative has it: what counts first, then what was rejected.

    What was not judged is not in it. The review is complete where the reader says so and no
    lesion of the machine is without a verdict.
    """
    rows = [row for row in material.rows if row.verdict != "not judged"]
    rows = [row for row in rows if not taken_over(row, material.rows, material.reading.grid)]
    drawn = [row for row in rows if row.finding.voxels.size]
    numbers = {row.finding.id: number for number, row in enumerate(drawn, 1)}
    labels = label_array(enumerate((row.finding for row in drawn), 1), material.reading.grid)
    return Review(
        labels=material.scan.volume.like(labels),
        rows=tuple(_judged(row, numbers.get(row.finding.id, 0), material) for row in rows),
        complete=material.reading.complete and not material.reading.counts.not_judged,
    )


def _judged(row: Row, index: int, material: Material) -> Judged:
    lesion = row.lesion
    reason = row.finding.reason
    by = {"machine": "model"}.get(row.certainty_by, row.certainty_by)
    return Judged(
        index=index,
        verdict=Verdict(row.verdict),
        centre_mm=lesion.centre_mm,
        reader=re.sub(r"\s+", " ", material.reader),
        source=row.source,
        reason="n/a" if reason is None else REASONS.get(reason, reason),
        confidence=lesion.confidence,
        name=lesion.name,
        certainty=lesion.certainty.value if row.counted else "n/a",
        certainty_by=by if row.counted else "n/a",
        id=row.finding.id,
    )


def _write_review(material: Material, dataset: Path, image: Path) -> None:
    root = dataset / "derivatives" / FOLDER
    _write_root(root, "Reviewed microbleeds", "derivative")
    about: dict[str, Any] = {
        "Description": f"Microbleeds and mimics, each its index in the table. {NOTICE}",
        "Sources": [image.name],
        "SpatialReference": "orig",
        "Provenance": material.record,
    }
    path = write_review(dataset, dataset / image, review_of(material), about)
    log = path.with_name(f"{stem(image.name)}_desc-reviewed_audit.jsonl")
    write_text(log, audit_text(material.record, material.reading))


def _write_root(root: Path, name: str, kind: str) -> None:
    made = {"Name": "mmocnet", "Version": __version__, "Description": f"mmocnet serve. {NOTICE}"}
    description = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": kind,
        "License": "n/a: as the raw data",
        "Authors": ["The mmocnet developers", "The mmocnet software"],
        "GeneratedBy": [made],
    }
    readme = (
        f"# {name}\n\nRead in mmocnet {__version__}, from susceptibility-weighted MRI. {NOTICE}\n\n"
        "- `*_desc-reviewed_dseg`: outlines, the verdict on each, and how they came about.\n"
        "- `*_desc-reviewed_audit.jsonl`: the log of the reader's edits.\n"
    )
    write_json(root / "dataset_description.json", description)
    write_text(root / "README.md", readme)
    write_text(root / ".bidsignore", IGNORED)


def _write_scan(material: Material, dataset: Path, image: Path) -> None:
    """Write the scan, what is known of its acquisition, and its phase where there is one."""
    _write_root(dataset, "Scans to fine-tune mmocnet on", "raw")
    name = image.name.removesuffix(".nii.gz")
    folder = dataset / image.parent
    comment = f"Read in mmocnet; SHA-256 of the scan {material.scan.sha256}"
    volume = material.scan.volume
    write_nifti(dataset / image, volume, _number_type(volume), comment)
    acquisition = material.machine.provenance["Input"].get("Acquisition", {})
    write_json(folder / f"{name}.json", dict(acquisition))
    phase = _phase(material)
    if phase is not None:
        base, _, suffix = name.rpartition("_")
        called = f"{base}_part-phase_{suffix}"
        write_nifti(folder / f"{called}.nii.gz", phase, np.float32)
        # As in the file that it came from: the unit is found where phase is read.
        write_json(folder / f"{called}.json", {"Units": "arbitrary"})


def _number_type(volume: Volume) -> type[np.number[Any]]:
    """Return the smaller type where it holds every value, as it does of most scanners' images."""
    array, limits = volume.array, np.iinfo(np.int16)
    whole = array.min() >= limits.min and array.max() <= limits.max
    return np.int16 if whole and bool((array == np.rint(array)).all()) else np.float32


def _phase(material: Material) -> Volume | None:
    if material.study.phase is not None:
        return read_phase(material.study.phase, material.scan).volume
    found = None if material.scan.dicom is None else material.scan.dicom.phase
    if found is None:
        return None
    from mmocnet.io.dicom.volume import read_series

    try:
        phase, _, _ = read_series(found)
        check_grid(phase, material.scan.volume, "phase")
    except InputError:
        # The scan is learned from without its phase all the same.
        return None
    return phase


def _files(root: Path) -> dict[str, Path | bytes]:
    found = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): path for path in found}
