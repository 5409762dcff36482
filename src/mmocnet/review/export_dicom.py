"""A reading as DICOM: Segmentation and Structured Report of what counts, unverified."""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from mmocnet.errors import InputError
from mmocnet.io.dicom.objects import Findings, ReadBy
from mmocnet.io.dicom.seg import write_seg
from mmocnet.io.dicom.sr import write_sr
from mmocnet.predict.dicom_files import SEG, SR, count_limits, machine_settings, made_with
from mmocnet.review.export_images import reviewed_labels
from mmocnet.review.export_report import count_words
from mmocnet.review.record import audit_text, read_on, write_zip
from mmocnet.review.study import Material


def write_dicom_zip(material: Material, path: Path) -> Path:
    """Write `seg.dcm` (not without a microbleed) and `sr.dcm` in a zip, with record and log.

    The same reading up to the same event gives the same objects, other ones than the machine's.

    Raises:
        InputError: If the study did not come as DICOM, or its headers do not allow it.
    """
    findings = reviewed_findings(material)
    with tempfile.TemporaryDirectory() as folder:
        made = [write_seg(findings, Path(folder) / SEG), write_sr(findings, Path(folder) / SR)]
        objects: dict[str, Path | bytes] = {one.name: one for one in made if one is not None}
        record = json.dumps(material.record, indent=2, ensure_ascii=False) + "\n"
        log = audit_text(material.record, material.reading)
        texts = {"provenance.json": record.encode(), "audit.jsonl": log.encode()}
        return write_zip(path, objects | texts)


def reviewed_findings(material: Material) -> Findings:
    """Return what counts as the writers of DICOM take it.

    Raises:
        InputError: If the study did not come as DICOM, or its headers identify nothing.
    """
    source, made = material.scan.dicom, material.machine.provenance
    if source is None:
        raise InputError("expected a study that came as DICOM: there is no series to refer to")
    if source.unfit:
        raise InputError(f"no DICOM can be made from this series: {source.unfit}")
    reading = material.reading
    read = {"Reader": material.reader, "LastEvent": reading.last_event}
    log = {"EventsSHA256": material.record["EventsSHA256"]}
    return Findings(
        source=source,
        lesions=[row.lesion for row in material.counted],
        labels=reviewed_labels(material),
        weights_sha256=made["Model"]["SHA256"],
        settings=machine_settings(made) | {"Reading": read | log},
        made=_made(material),
        model=made["Model"]["Name"],
        version=made["Version"],
        made_with=made_with(made),
        limits=count_limits(made, material.machine.warnings),
        reading=ReadBy(
            reader=material.reader,
            outlines={row.lesion.index: row.source.value for row in material.counted},
            remark=f"{count_words(reading.counts)}; what was not judged is not counted",
        ),
    )


def _made(material: Material) -> datetime:
    """Return when the reading was last changed; before its first event, when it was segmented."""
    text = read_on(material.reading) or material.machine.provenance.get("Started")
    if text is None:
        return datetime(1970, 1, 1, tzinfo=UTC)
    when = datetime.fromisoformat(text)
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
