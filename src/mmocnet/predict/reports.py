"""The report of a scan for screen and print, and what goes with it into an archive."""

from dataclasses import replace
from pathlib import Path

from mmocnet.io.dataset import write_text
from mmocnet.io.report_html import render_report
from mmocnet.io.report_pdf import render_pdf
from mmocnet.predict.dicom_files import write_dicom
from mmocnet.predict.reporting import make_report
from mmocnet.predict.segmentation import Segmentation


def write_reports(
    result: Segmentation, stem: str, html: Path, pdf: Path, dicom: Path
) -> Segmentation:
    """Write the report as HTML and PDF, and the objects of a DICOM scan.

    Args:
        result: What was found.
        stem: What the files are named after.
        html: File of the report.
        pdf: The same for print.
        dicom: Folder of the objects.

    Returns:
        The result; with a warning where the scan's headers allow no objects.
    """
    report = make_report(result, stem)
    printed = render_pdf(report)
    if result.dicom is not None and not result.dicom.unfit:
        unfit = write_dicom(result, result.dicom, printed, dicom)
        if unfit:
            # Masks and tables are worth having all the same; the report has to tell.
            told = f"no DICOM objects are made from {result.image.name}: {unfit}"
            source = replace(result.dicom, unfit=unfit)
            without = replace(result, dicom=source, warnings=(*result.warnings, told))
            return write_reports(without, stem, html, pdf, dicom)
    write_text(html, render_report(report))
    pdf.write_bytes(printed)
    return result
