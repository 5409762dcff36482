"""What a DICOM scan leaves beside the other files: Segmentation, Structured Report, PDF."""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmocnet.errors import InputError
from mmocnet.io.covered import covered
from mmocnet.io.dicom.objects import Findings
from mmocnet.io.dicom.pdf import write_pdf
from mmocnet.io.dicom.seg import write_seg
from mmocnet.io.dicom.source import DicomSource
from mmocnet.io.dicom.sr import write_sr
from mmocnet.io.report import SIMULATED, part_text
from mmocnet.nets.card import simulated_only
from mmocnet.predict.identity import result_settings, series_phase
from mmocnet.predict.reporting import phase_was_read
from mmocnet.predict.segmentation import Segmentation

SEG, SR, PDF = "seg.dcm", "sr.dcm", "report.dcm"


def write_dicom(result: Segmentation, source: DicomSource, pdf: bytes, folder: Path) -> str:
    """Write `seg.dcm` (not without a lesion), `sr.dcm` and `report.dcm`, or none of them.

    Args:
        result: What was found.
        source: The series that it was found in.
        pdf: The report.
        folder: Where to; made where it is missing.

    Returns:
        Why the source's headers do not allow it, "" where they do.

    Raises:
        OSError: If the folder cannot be written to.
    """
    record = result.provenance
    findings = Findings(
        source=source,
        lesions=result.lesions,
        labels=result.labels,
        weights_sha256=record["Model"]["SHA256"],
        settings=machine_settings(record),
        made=_made(record),
        model=record["Model"]["Name"],
        version=record["Version"],
        made_with=made_with(record),
        limits=count_limits(record, result.warnings),
    )
    try:
        write_seg(findings, folder / SEG)
        write_sr(findings, folder / SR)
        write_pdf(findings, pdf, folder / PDF)
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            # The disk's refusal, not the headers'.
            raise error.__cause__ from None
        shutil.rmtree(folder, ignore_errors=True)
        return str(error)
    return ""


def machine_settings(record: dict[str, Any]) -> dict[str, Any]:
    """Return all that changes a result beside its series and the weights.

    Args:
        record: The result's provenance.
    """
    return result_settings(record) | _given(record["Input"])


def made_with(record: dict[str, Any]) -> dict[str, str]:
    """Return what a DICOM object says of how a result was made, beside model and weights.

    Args:
        record: The result's provenance.
    """
    source = record["Input"]
    return {
        "Operating point": record["OperatingPoint"],
        "Confidence threshold": f"{record['Threshold']:.6g}",
        # As the UIDs have it: the engines but one give the same result.
        "Engine": result_settings(record)["Engine"],
        "Phase": "used" if phase_was_read(record) else "not used",
        "Brain mask": "given" if "Mask" in source else "made by this software",
        "SHA-256 of the input": source["SHA256"],
    }


def count_limits(record: dict[str, Any], warnings: Sequence[str]) -> tuple[str, ...]:
    """Return the limits of the number of microbleeds: part of the brain, doubts, training.

    Args:
        record: The result's provenance.
        warnings: Of the result.
    """
    part = part_text(*covered(record))
    where = [f"counted{part.removeprefix(',')}"] if part else []
    simulated = [SIMULATED] if simulated_only(record["Model"]["Card"]) else []
    return (*where, *warnings, *simulated)


def _given(source: dict[str, Any]) -> dict[str, Any]:
    """Return what was given beside the scan and changes the result: mask and phase."""
    given: dict[str, Any] = {
        part: {key: value for key, value in source[part].items() if key != "Name"}
        for part in ("Mask", "Phase")
        if part in source
    }
    phase = given.get("Phase", {})
    if "SeriesInstanceUID" in phase:
        return given | series_phase(phase["SeriesInstanceUID"], phase["Sign"])
    return given


def _made(record: dict[str, Any]) -> datetime:
    """Return when the result was begun; now for one that was not made from a file."""
    return datetime.fromisoformat(record["Started"]) if "Started" in record else datetime.now(UTC)
