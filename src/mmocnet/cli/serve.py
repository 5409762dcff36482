"""`mmocnet serve`: open the reading room in the browser."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mmocnet.cli.own_log import log_to_stderr
from mmocnet.errors import DependencyError, InputError


@dataclass(frozen=True)
class Serve:
    """Open the reading room: segment scans, read them and report, in the browser.

    Listens on this machine only and lets in who has the key that is in the printed address.
    Nothing leaves the machine. Ctrl-C ends it; what was read and what waits is kept.
    Research use only - not a medical device.
    """

    folder: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[FOLDER]")] = None
    """BIDS dataset, or folder of NIfTI, PNG, TIFF, zip and DICOM; it is never written to. Without
    one, scans are dropped into the browser."""
    port: int | None = None
    """Where to listen; 0 takes a free port, none 8765, or a free one where that is taken."""
    host: str = "127.0.0.1"
    """Address to listen at; another than this machine's own is reached by others, without
    encryption."""
    state: Path | None = None
    """Private folder of uploads, results and readings; none takes one below ~/.local/state."""
    browser: Annotated[bool, tyro.conf.arg(help="Whether to open the browser.")] = True
    model: tuple[str, ...] = ()
    """Models to choose from besides those that ship, the preferred one first: names, or folders
    that training wrote."""
    threads: int | None = None
    """Threads of the networks; none takes one for each core."""
    upload_mb: float = 2000.0
    """Largest upload, MB."""

    def run(self) -> None:
        """Serve until a signal ends it."""
        self._check()
        try:
            from mmocnet.web.serving import LOOPBACK, ServeSettings, serve
        except ModuleNotFoundError as error:
            if error.name and error.name.startswith("mmocnet"):
                raise
            raise DependencyError(
                f"the reading room needs {error.name}: pip install 'mmocnet[web]'"
            ) from error
        from mmocnet.web.room import default_root

        if self.host not in LOOPBACK:
            print(
                f"mmocnet serve: warning: {self.host} can be reached by others, and images and "
                "the key go over the network unencrypted (plain http)",
                file=sys.stderr,
            )
        root = default_root(os.environ, self.folder) if self.state is None else self.state
        settings = ServeSettings(
            # Jobs run in folders of their own, where a relative path would be another.
            root=root.resolve(),
            folder=self.folder,
            host=self.host,
            port=self.port,
            models=self.model,
            threads=self.threads,
            upload_mb=self.upload_mb,
        )
        with log_to_stderr("mmocnet.web"):
            serve(settings, _say, browser=self.browser)

    def _check(self) -> None:
        if self.folder is not None and not self.folder.is_dir():
            raise InputError(f"expected a folder, got {self.folder.name!r}, which is none")
        if self.port is not None and not 0 <= self.port <= 65535:
            raise InputError(f"--port must be 0 to 65535, got {self.port}")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"--threads must be 1 or more, got {self.threads}")
        # Not "smaller than": NaN is no size either.
        if not 0 < self.upload_mb <= 1e6:
            raise InputError(f"--upload-mb must be above 0, got {self.upload_mb}")


def _say(address: str) -> None:
    print(f"The reading room is open at {address}", flush=True)
    print("Research use only - not a medical device. Ctrl-C closes it.", flush=True)
