"""What one result is made from: a series and those of its study that may be its phase."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmocnet.io.dicom.vendors import named_as_phase
from mmocnet.pacs.dicomweb import DicomWeb, FoundSeries
from mmocnet.pacs.errors import ServerError, StillArrivingError
from mmocnet.pacs.state import Row

LOG = logging.getLogger("mmocnet.pacs")

MOST_PHASES = 4
"""Phase series that are fetched with one of SWI, the nearest in number: a study has one for each
time that it was acquired."""
PHASE_TRIES = 3
"""After so many a series is segmented without the phase that could not be fetched."""


@dataclass(frozen=True)
class Sources:
    """The series of an archive, each with its phase.

    Attributes:
        archive: The server.
        reads_phase: Whether phase is of use.
    """

    archive: DicomWeb
    reads_phase: bool

    def phases(
        self, found: FoundSeries, listed: Sequence[FoundSeries] | None = None
    ) -> list[FoundSeries]:
        """Return the other series of a study that are named as phase; none where of no use.

        Args:
            found: A series of the study.
            listed: Series of the archive; None asks for those of the study.

        Raises:
            ServerError: If the server cannot be reached or answers something else.
        """
        if not self.reads_phase or named_as_phase(found.description):
            return []
        listed = self.archive.series_of(found.study_uid) if listed is None else listed
        same = [one for one in listed if one.study_uid == found.study_uid and one.uid != found.uid]
        return [self.archive.counted(one) for one in same if named_as_phase(one.description)]

    def count(self, found: FoundSeries, listed: Sequence[FoundSeries] | None = None) -> int:
        """Return how many instances a series has with those that may be its phase.

        Raises:
            ServerError: If the server cannot be reached or answers something else.
        """
        return found.instances + sum(one.instances for one in self.phases(found, listed))

    def fetch(
        self, found: FoundSeries, phases: Sequence[FoundSeries], row: Row, folder: Path
    ) -> None:
        """Fetch a series and what may be its phase, each into a folder of its own.

        Args:
            found: The series.
            phases: Series of its study that are named as phase.
            row: What was known of it before this try.
            folder: Where to.

        Raises:
            ServerError: If the series cannot be fetched whole, or a phase at one of the first
                tries.
            StillArrivingError: If there are more instances now.
        """
        LOG.info("series %s: fetching %d instances", found.name, found.instances)
        (folder / "series").mkdir()
        self.archive.fetch(found, folder / "series")
        for number, phase in enumerate(fitting(phases, found), 1):
            LOG.info("series %s: fetching phase, %d instances", found.name, phase.instances)
            place = folder / f"phase-{number}"
            place.mkdir()
            try:
                self.archive.fetch(phase, place)
            except ServerError as error:
                if row.attempts + 1 < PHASE_TRIES:
                    raise
                LOG.warning("series %s: its phase is not used: %s", found.name, error)
                shutil.rmtree(place)
        self._check_same(found, row.instances)

    def _check_same(self, found: FoundSeries, instances: int) -> None:
        now = self.archive.series(found.uid)
        if now is None:
            raise ServerError("expected the series in the archive once fetched, got none")
        count = self.count(now)
        if now.instances > found.instances or count > instances:
            raise StillArrivingError("instances came while the series was fetched")
        if count < instances:
            raise ServerError(
                f"expected {instances} instances with those of phase, the archive has {count} now"
            )


def fitting(phases: Sequence[FoundSeries], found: FoundSeries) -> list[FoundSeries]:
    """Return those that may lie on the grid of a series, the nearest in number first."""
    # Several echoes in one series are as many times as many.
    same = [one for one in phases if found.instances and one.instances % found.instances == 0]
    here = found.number or 0
    return sorted(same, key=lambda one: (abs((one.number or 0) - here), one.uid))[:MOST_PHASES]
