import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.ports import free_ports

ORTHANC = shutil.which("Orthanc", path=os.environ.get("PATH", "") + ":/usr/sbin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "watcher", "open-sesame-7"


class Orthanc:
    """A real archive on the loopback, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, dicom_port = free_ports(2)
        self.root = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.root}/dicom-web"
        self.process: subprocess.Popen | None = None
        folder.mkdir(parents=True)
        settings = {
            "Name": "test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": self.port,
            "HttpBindAddresses": ["127.0.0.1"],
            "DicomPort": dicom_port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Ssl": False},
            "StableAge": 1,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))

    def start(self) -> None:
        log = (self.folder / "orthanc.log").open("ab")
        self.process = subprocess.Popen(
            [ORTHANC, str(self.folder / "orthanc.json")], stdout=log, stderr=log
        )
        log.close()
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.ask("/system")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        raise RuntimeError(f"Orthanc did not start:\n{(self.folder / 'orthanc.log').read_text()}")

    def kill(self) -> None:
        """As a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ask(self, path: str, content: bytes | None = None, method: str | None = None) -> bytes:
        request = urllib.request.Request(self.root + path, data=content, method=method)
        login = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def upload(self, files: list[Path]) -> None:
        for file in files:
            self.ask("/instances", file.read_bytes())

    def empty(self) -> None:
        for patient in json.loads(self.ask("/patients")):
            self.ask(f"/patients/{patient}", method="DELETE")

    def stored(self, modality: str) -> list[bytes]:
        """Each object of a modality, as Orthanc's own interface gives it."""
        query = {"Level": "Instance", "Query": {"Modality": modality}}
        found = json.loads(self.ask("/tools/find", json.dumps(query).encode()))
        return [self.ask(f"/instances/{one}/file") for one in sorted(found)]


@pytest.fixture(scope="session")
def _archive(tmp_path_factory) -> Iterator[Orthanc]:
    if ORTHANC is None or not PLUGIN.exists():
        why = "Debian's orthanc and orthanc-dicomweb are not installed: scripts/apt.sh"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    archive = Orthanc(tmp_path_factory.mktemp("archive") / "orthanc")
    archive.start()
    yield archive
    archive.kill()


@pytest.fixture
def orthanc(_archive: Orthanc) -> Orthanc:
    """A running archive with nothing in it."""
    if _archive.process is None:
        _archive.start()
    _archive.empty()
    return _archive


@pytest.fixture
def login(monkeypatch) -> None:
    monkeypatch.setenv("MMOCNET_PACS_USER", USER)
    monkeypatch.setenv("MMOCNET_PACS_PASSWORD", PASSWORD)


@pytest.fixture
def write_small(write_dicom_series, rng) -> Callable[..., list[Path]]:
    """Write a series of eight small slices."""
    import numpy as np

    from mmocnet.volume import Volume

    def write(folder: Path, **tags) -> list[Path]:
        array = rng.integers(1, 500, (24, 20, 8)).astype(np.float32)
        return write_dicom_series(folder, Volume(array, np.diag([2.0, 2.0, 3.0, 1.0])), **tags)

    return write
