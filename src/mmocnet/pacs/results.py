"""From a folder of DICOM files to the objects that go back: SEG, PDF, SR."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from mmocnet.config import SegmentSettings
from mmocnet.io.dicom.find import find_series
from mmocnet.io.dicom.uids import derived_uid
from mmocnet.nets.checkpoint import Cascade
from mmocnet.pacs.errors import ServerError
from mmocnet.predict.identity import result_settings
from mmocnet.predict.pipeline import segment_file


class ResultMaker:
    """A model and its settings; makes the objects of one series after another."""

    def __init__(self, cascade: Cascade, settings: SegmentSettings, *, pdf: bool = False) -> None:
        """Keep what is the same for every series.

        Args:
            cascade: The model.
            settings: Operating point, device, engine.
            pdf: Whether the report is made as a PDF too.
        """
        self.cascade, self.settings, self.pdf = cascade, settings, pdf
        given = settings.threshold is not None
        self._identity = result_settings(
            {
                "Settings": asdict(cascade.settings),
                "OperatingPoint": "given" if given else settings.operating_point,
                "Threshold": settings.threshold,
                "Engine": settings.engine,
            }
        )

    def result_uid(self, series_uid: str) -> str:
        """Return the UID of the SR of a series: it is stored last."""
        return derived_uid(series_uid, self.cascade.sha256, self._identity, "sr")

    def make(self, series_uid: str, folder: Path, out: Path) -> Mapping[str, Path] | None:
        """Segment a series.

        Args:
            series_uid: The series that was asked for.
            folder: Its files.
            out: Folder of the results, private.

        Returns:
            The file of each object's UID, None for a series that is no SWI.

        Raises:
            InputError: If the series cannot be segmented.
            ServerError: If the files are of another series.
        """
        found = find_series(folder)
        if [one.uid for one in found] != [series_uid]:
            raise ServerError(
                f"expected the one series asked for, got {len(found)} series or another"
            )
        if found[0].kind != "swi":
            return None
        segment_file(folder, out, self.settings, cascade=self.cascade)
        names = ("seg.dcm", "report.dcm", "sr.dcm") if self.pdf else ("seg.dcm", "sr.dcm")
        files = [path for name in names for path in sorted(out.rglob(name))]
        return {_uid(path): path for path in files}


def _uid(path: Path) -> str:
    import pydicom

    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
    return str(header.SOPInstanceUID)
