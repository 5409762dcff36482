"""DICOM Encapsulated PDF: the report for people, beside the series that it is about."""

from pathlib import Path
from typing import Any

from mmocnet.errors import InputError
from mmocnet.io.dicom.codes import MEASUREMENT_REPORT
from mmocnet.io.dicom.objects import (
    NOTICE,
    Findings,
    concept,
    making,
    nameless,
    reference,
    save,
    series_arguments,
)

PDF_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"


def write_pdf(findings: Findings, pdf: bytes, path: Path) -> Path:
    """Write a report in PDF as a DICOM document.

    Args:
        findings: What the report is about.
        pdf: The report; it names no patient.
        path: Where to.

    Raises:
        InputError: If `pdf` is none, the source's headers do not allow it, or the folder cannot
            be written to.
    """
    if not pdf.startswith(b"%PDF-"):
        raise InputError(f"expected a PDF, got {len(pdf)} bytes of something else")
    instances = findings.images.instances
    with making("PDF", findings):
        return save(_document(findings, nameless(instances), pdf), findings, path)


def _document(findings: Findings, instances: list[Any], pdf: bytes) -> Any:
    from highdicom.base import SOPClass
    from pydicom.uid import ExplicitVRLittleEndian

    first = instances[0]
    dataset = SOPClass(
        study_instance_uid=first.StudyInstanceUID,
        sop_class_uid=PDF_CLASS,
        modality="DOC",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id=first.PatientID,
        patient_name="",
        patient_birth_date=first.PatientBirthDate,
        patient_sex=first.PatientSex,
        accession_number=first.AccessionNumber,
        study_id=first.StudyID,
        study_date=first.StudyDate or None,
        study_time=first.StudyTime or None,
        referring_physician_name=first.ReferringPhysicianName,
        **series_arguments(findings, "PDF"),
    )
    dataset.copy_patient_and_study_information(first)
    dataset.ConversionType = "WSD"
    dataset.AcquisitionDateTime = ""
    dataset.BurnedInAnnotation = "NO"
    dataset.DocumentTitle = f"Cerebral microbleeds. {NOTICE}."
    dataset.ConceptNameCodeSequence = [concept(MEASUREMENT_REPORT)]
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.SourceInstanceSequence = [reference(one) for one in instances]
    dataset.EncapsulatedDocumentLength = len(pdf)
    # A DICOM value has an even number of bytes; the length above says how many are the PDF's.
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return dataset
