"""Exports of a reading: each kind is one file, whole or not there, with how it came about."""

from collections.abc import Callable
from pathlib import Path

from mmocnet.errors import InputError
from mmocnet.io.dataset import write_text
from mmocnet.io.picture import SUFFIXES as PICTURE_SUFFIXES
from mmocnet.review.candidates import MachineResult, read_candidates
from mmocnet.review.export_bids import write_bids, write_training
from mmocnet.review.export_dicom import write_dicom_zip
from mmocnet.review.export_images import write_image
from mmocnet.review.export_report import write_report
from mmocnet.review.export_tables import write_table
from mmocnet.review.reading import Reading
from mmocnet.review.record import audit_text
from mmocnet.review.study import Material, ReviewedStudy

__all__ = ["EXPORT_KINDS", "MachineResult", "ReviewedStudy", "export", "export_name"]

ENDINGS = {
    "nifti": "_desc-reviewed_dseg.nii.gz",
    "csv": "_desc-reviewed_dseg.csv",
    "tsv": "_desc-reviewed_dseg.tsv",
    "html": "_desc-reviewed_report.html",
    "pdf": "_desc-reviewed_report.pdf",
    "bids": "_desc-reviewed_bids.zip",
    "training": "_training.zip",
    "dicom": "_desc-reviewed_dicom.zip",
    "audit": "_desc-reviewed_audit.jsonl",
}
EXPORT_KINDS = tuple(ENDINGS)


def export_name(kind: str, study: ReviewedStudy) -> str:
    """Return the name of an export's file.

    Raises:
        InputError: If there is no such kind.

    >>> export_name("csv", ReviewedStudy(Path("000.nii.gz"), Path("result"), "brain 1.nii.gz"))
    'brain_1_desc-reviewed_dseg.csv'
    """
    if kind not in ENDINGS:
        raise InputError(f"expected one of {', '.join(EXPORT_KINDS)} to export, got {kind[:20]!r}")
    ending = ENDINGS[kind]
    if kind == "nifti" and study.scan.name.lower().endswith(PICTURE_SUFFIXES):
        ending = ending.replace(".nii.gz", ".png")
    return f"{study.stem}{ending}"


def export(kind: str, study: ReviewedStudy, reading: Reading, reader: str, out: Path) -> Path:
    """Write one export of a reading; the same reading up to the same event gives the same bytes.

    Args:
        kind: One of `EXPORT_KINDS`. "nifti" is a PNG where the scan is a picture; "dicom" is
            there for studies that came as DICOM alone, "training" for complete readings.
        study: Where its files are.
        reading: What the reader made of it.
        reader: Pseudonym, as reports name it.
        out: Folder; made where it is missing.

    Returns:
        The file; its name is `export_name`.

    Raises:
        InputError: If the kind does not fit the study or the reading, a file of the study cannot
            be read, or the folder not be written to.
    """
    path = out / export_name(kind, study)
    material = Material(study, read_candidates(study.result), reading, reader)
    writers: dict[str, Callable[[Material, Path], Path]] = {
        "nifti": write_image,
        "csv": write_table,
        "tsv": write_table,
        "html": write_report,
        "pdf": write_report,
        "bids": write_bids,
        "training": write_training,
        "dicom": write_dicom_zip,
        "audit": _write_audit,
    }
    return writers[kind](material, path)


def _write_audit(material: Material, path: Path) -> Path:
    write_text(path, audit_text(material.record, material.reading))
    return path
