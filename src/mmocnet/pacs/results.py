"""From a folder of DICOM files to the objects that go back: SEG, PDF, SR."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from mmocnet import __version__
from mmocnet.config import SegmentSettings
from mmocnet.errors import InputError
from mmocnet.io.dicom.find import choose_swi, find_series
from mmocnet.io.dicom.uids import derived_uid
from mmocnet.io.dicom.volume import why_unfit
from mmocnet.locate.register import has_simpleitk
from mmocnet.nets.checkpoint import Cascade
from mmocnet.pacs.dicomweb import FoundSeries
from mmocnet.pacs.errors import ServerError
from mmocnet.predict.dicom_files import PDF, SEG, SR
from mmocnet.predict.identity import result_settings, series_phase
from mmocnet.predict.pipeline import segment_file
from mmocnet.predict.provenance import FileOptions

UNFIT = "the headers of the series do not allow DICOM objects to be made from it: {}"


class ResultMaker:
    """A model and its settings; makes the objects of one series after another."""

    def __init__(self, cascade: Cascade, settings: SegmentSettings, *, pdf: bool = False) -> None:
        """Keep what is the same for every series.

        Args:
            cascade: The model.
            settings: Operating point, device, engine.
            pdf: Whether the report is stored as a PDF too.
        """
        self.cascade, self.settings, self.pdf = cascade, settings, pdf
        given = settings.threshold is not None
        self._identity = result_settings(
            {
                "Version": __version__,
                "Settings": asdict(cascade.settings),
                "OperatingPoint": "given" if given else settings.operating_point,
                "Threshold": settings.threshold,
                "Engine": settings.engine,
                "LocationTried": settings.location and has_simpleitk(),
            }
        )

    @property
    def reads_phase(self) -> bool:
        """Whether the model makes use of phase."""
        return self.cascade.settings.reads_phase

    def result_uid(self, series_uid: str, phase_uid: str | None = None) -> str:
        """Return the UID of the SR of a series: it is stored last.

        Args:
            series_uid: The series.
            phase_uid: The series that its phase was taken from; None for a result without phase.
        """
        phase = {} if phase_uid is None else series_phase(phase_uid, self.settings.phase_sign)
        return derived_uid(series_uid, self.cascade.sha256, self._identity | phase, "sr")

    def make(
        self, series: FoundSeries, folder: Path, out: Path, *, named: bool
    ) -> Mapping[str, Path] | None:
        """Segment a series.

        Args:
            series: The series that was asked for.
            folder: Its files, and those of series that may be its phase.
            out: Folder of the results, private.
            named: Whether a person has named the series: then it need not look like SWI.

        Returns:
            The file of each object's UID, the SR last; None for a series that is no SWI.

        Raises:
            InputError: If the series cannot be segmented.
            ServerError: If the files are of another series, or some of another study.
        """
        found = find_series(folder)
        asked = [one for one in found if one.uid == series.uid]
        if not asked:
            raise ServerError("expected the images of the series asked for, got others")
        # Of phase too: what is of another study may be of another patient.
        if {image.study_uid for one in found for image in one.slices} != {series.study_uid}:
            raise ServerError("expected images of the study asked for, got some of another")
        if not named and all(one.kind != "swi" for one in asked):
            return None
        # What is wrong with the series is said of it alone: other series bring UIDs into the text.
        unfit = why_unfit(choose_swi(asked, series.uid))
        if unfit:
            raise InputError(UNFIT.format(unfit))
        options = FileOptions(series=series.uid)
        done = segment_file(folder, out, self.settings, options=options, cascade=self.cascade)
        names = (SEG, PDF, SR) if self.pdf else (SEG, SR)
        if not (done.files.dicom / SR).exists():
            assert done.result is not None
            assert done.result.dicom is not None
            raise InputError(UNFIT.format(done.result.dicom.unfit))
        files = [done.files.dicom / name for name in names]
        return {_uid(path): path for path in files if path.exists()}


def _uid(path: Path) -> str:
    import pydicom

    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
    return str(header.SOPInstanceUID)
