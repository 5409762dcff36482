import io

import pydicom
import pypdfium2
import pytest
from reportlab.pdfgen.canvas import Canvas

from mmocnet.errors import InputError
from mmocnet.io.dicom.pdf import write_pdf


def page(text):
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    canvas.drawString(72, 720, text)
    canvas.save()
    return buffer.getvalue()


@pytest.mark.parametrize("text", ["even", "an odd one"])
def test_the_pdf_comes_out_as_it_went_in(written, tmp_path, text):
    pdf = page(text)
    dataset = pydicom.dcmread(write_pdf(written(), pdf, tmp_path / "report.dcm"))
    read = dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength]
    assert read == pdf
    document = pypdfium2.PdfDocument(read)
    assert text in document[0].get_textpage().get_text_range()
    document.close()


def test_it_belongs_to_the_patient_and_points_to_the_series(written, tmp_path):
    findings = written()
    dataset = pydicom.dcmread(write_pdf(findings, page("x"), tmp_path / "report.dcm"))
    source = pydicom.dcmread(findings.source.files[0])
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber"):
        assert dataset[keyword].value == source[keyword].value
    uids = [one.ReferencedSOPInstanceUID for one in dataset.SourceInstanceSequence]
    assert uids == [pydicom.dcmread(one).SOPInstanceUID for one in findings.source.files]
    assert "Research use only - not a medical device" in dataset.SeriesDescription
    assert "Research use only - not a medical device" in dataset.DocumentTitle
    assert dataset.VerificationFlag == "UNVERIFIED"


def test_what_is_no_pdf_is_refused(written, tmp_path):
    with pytest.raises(InputError, match="expected a PDF"):
        write_pdf(written(), b"<html>", tmp_path / "report.dcm")
