"""`mmocnet pacs`: watch a DICOMweb archive and give SWI series a segmentation and a report."""

import datetime
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmocnet.cli.own_log import log_to_stderr
from mmocnet.config import EngineName, OperatingPoint, SegmentSettings, Thresholds
from mmocnet.errors import InputError

if TYPE_CHECKING:
    import threading

    from mmocnet.pacs.dicomweb import DicomWeb
    from mmocnet.pacs.watch import Maker, WatchSettings


@dataclass(frozen=True)
class Pacs:
    """Watch a DICOMweb archive: new SWI series get a segmentation (SEG) and a report (SR) back.

    Who we are comes from the environment: MMOCNET_PACS_USER and MMOCNET_PACS_PASSWORD, or
    MMOCNET_PACS_TOKEN; or from a file of such lines. A series that has its results is left alone.
    SIGTERM ends the watch after the series at hand.
    Research use only - not a medical device.
    """

    url: str
    """Root of the DICOMweb server, as https://pacs.example/dicom-web."""
    series: str | None = None
    """Series Instance UID of one series to work on; none watches for new ones."""
    once: bool = False
    """Work on what is there, then end."""
    every: float = 60.0
    """Seconds between two looks."""
    settle: float = 30.0
    """Seconds for which a series' number of instances must not change: it may still arrive."""
    since: str = "2"
    """Studies from a day on (YYYY-MM-DD), or from so many days before each look."""
    descriptions: tuple[str, ...] = ("*swi*", "*swan*", "*suscept*", "*ven*bold*", "*fsbb*")
    """Series descriptions that may be SWI; * stands for anything, case does not matter. What is
    SWI is then told from the headers."""
    pdf: bool = False
    """Store the report as a PDF too."""
    credentials: Path | None = None
    """File of lines NAME=VALUE with the names above, in place of the environment; mode 0600."""
    ca: Path | None = None
    """Certificates (PEM) of the authorities to trust, for a private one."""
    insecure_http: bool = False
    """Allow http:// to another machine: images and passwords go in the clear."""
    state: Path | None = None
    """Private folder of what was seen and of work; none takes one below ~/.local/state."""
    max_mb: float = 4000.0
    """Larger series are not taken, MB."""
    model: str | None = None
    """compact, standard, paper, or a folder that training wrote; none takes the best there is."""
    operating_point: OperatingPoint = "balanced"
    """screening: sensitivity first. balanced: best lesion F1 with few false calls. report:
    precision first."""
    threshold: float | None = None
    """Confidence from which a candidate is a lesion, in place of the operating point's."""
    location: bool = True
    """Whether each lesion gets a region and a side; needs: pip install 'mmocnet[location]'."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the networks run."""
    engine: EngineName = "torch"
    """What runs them, as of `mmocnet segment`."""
    threads: int | None = None
    """Threads of the networks; none takes one for each core."""

    def run(self) -> None:
        """Watch, or work on what is there; what fails is said and goes no further."""
        from mmocnet.pacs.folder import default_folder, private_folder
        from mmocnet.pacs.watch import LOG, Watcher

        settings, archive = self._watch_settings(), self._archive()
        folder = default_folder(os.environ) if self.state is None else self.state
        logs = log_to_stderr("mmocnet.pacs", ("pydicom", "highdicom", "urllib3"))
        with logs, private_folder(folder) as private, _ended_by_signals() as stop:
            archive.connection.stop = stop
            # Before the weights: a wrong password is said at once.
            archive.check()
            watcher = Watcher(archive, self._maker(), private, settings)
            LOG.info("watching; research use only - not a medical device")
            if self.series is not None:
                watcher.run_series(self.series)
            elif self.once:
                watcher.run_once(stop)
            else:
                watcher.run(stop)

    def _watch_settings(self) -> "WatchSettings":
        from mmocnet.pacs.watch import WatchSettings
        from mmocnet.predict.provenance import operating_threshold

        for name, least in (("every", 0.1), ("settle", 0.0), ("max_mb", 0.001)):
            # Not "smaller than": NaN is no number of seconds either.
            if not least <= getattr(self, name) < 1e9:
                option = name.replace("_", "-")
                raise InputError(f"--{option} must be {least} or more, got {getattr(self, name)}")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"--threads must be 1 or more, got {self.threads}")
        operating_threshold(SegmentSettings(threshold=self.threshold), Thresholds())
        return WatchSettings(
            every_s=self.every,
            settle_s=self.settle,
            since=_since(self.since),
            descriptions=self.descriptions,
        )

    def _archive(self) -> "DicomWeb":
        from mmocnet.pacs.connection import Connection, Limits, check_url
        from mmocnet.pacs.credentials import read_credentials
        from mmocnet.pacs.dicomweb import DicomWeb

        url = check_url(self.url, self.insecure_http)
        credentials = read_credentials(self.credentials, os.environ)
        limits = Limits(series_bytes=round(self.max_mb * 1e6))
        return DicomWeb(Connection(url, credentials, self.ca, limits))

    def _maker(self) -> "Maker":
        from mmocnet.nets.card import default_model
        from mmocnet.nets.checkpoint import load_cascade
        from mmocnet.pacs.results import ResultMaker

        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)
        cascade = load_cascade(self.model or default_model(), self.device)
        settings = SegmentSettings(
            model=self.model,
            operating_point=self.operating_point,
            threshold=self.threshold,
            location=self.location,
            device=self.device,
            engine=self.engine,
        )
        return ResultMaker(cascade, settings, pdf=self.pdf)


def _since(text: str) -> datetime.date | int:
    if re.fullmatch("[0-9]{1,5}", text):
        return int(text)
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"expected --since YYYY-MM-DD or a number of days, got {text!r}"
        ) from error


@contextmanager
def _ended_by_signals() -> "Iterator[threading.Event]":
    """Give an event that SIGTERM or the first SIGINT sets; the second SIGINT interrupts."""
    import signal
    import threading
    from types import FrameType

    stop = threading.Event()

    def end(number: int, _: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {one: signal.signal(one, end) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
