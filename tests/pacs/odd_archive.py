"""A small real DICOMweb server on the loopback that does what Orthanc does not."""

import http.server
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from mmocnet.pacs.dicomweb import FoundSeries

MULTIPART = 'multipart/related; type="application/dicom"; boundary=B'


@dataclass
class Series:
    """What an archive has of a series, and what it says of it."""

    number: int
    sent: int = 8
    """How many instances it has and sends."""
    listed: int | None = None
    """How many it lists; None does not say."""
    date: str = "20240101"
    modality: str = "MR"
    description: str = "SWI"
    uid: str = ""
    more: dict[str, object] = field(default_factory=dict)
    """Values of further tags."""

    def record(self) -> dict[str, object]:
        said = {
            "0020000D": self.study_uid,
            "0020000E": self.series_uid,
            "00080060": self.modality,
            "0008103E": self.description,
            **self.more,
        }
        record: dict[str, object] = {tag: {"Value": [value]} for tag, value in said.items()}
        return record | ({} if self.listed is None else {"00201209": {"Value": [self.listed]}})

    @property
    def study_uid(self) -> str:
        return f"1.2.{self.number}"

    @property
    def series_uid(self) -> str:
        return self.uid or f"1.3.{self.number}"


@dataclass
class OddArchive:
    """What it holds, how it answers and what it was asked."""

    series: list[Series] = field(default_factory=list)
    page: int = 10**6
    """Records that it sends at once, whatever is asked for."""
    pages: bool = True
    """Whether it knows an offset."""
    endless: bool = False
    """Whether every page has something new."""
    fetched: int = 0
    stored: list[bytes] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)

    def get(self, path: str, query: dict[str, str]) -> tuple[bytes, str]:
        self.heard.append(path)
        if path.endswith("/instances"):
            return self._list(
                [{"00080018": {"Value": [uid]}} for uid in self._instances(path, query)], query
            )
        if path.startswith("/studies/"):
            self.fetched += 1
            (one,) = (one for one in self.series if path.endswith(f"/{one.series_uid}"))
            parts = (
                b"--B\r\nContent-Type: application/dicom\r\n\r\nslice %d\r\n" % number
                for number in range(one.sent)
            )
            return b"".join(parts) + b"--B--\r\n", MULTIPART
        if self.endless:
            number = len(self.heard)
            return self._list([Series(number).record()], {})
        day = query.get("StudyDate", "").rstrip("-")
        wanted = (query.get("SeriesInstanceUID"), query.get("StudyInstanceUID"))
        found = [
            one.record()
            for one in self.series
            if one.date >= day
            and wanted[0] in (None, one.series_uid)
            and wanted[1] in (None, one.study_uid)
        ]
        return self._list(found, query)

    def _instances(self, path: str, query: dict[str, str]) -> list[str]:
        if "SOPInstanceUID" in query:
            return []
        (one,) = (one for one in self.series if f"/series/{one.series_uid}/" in path)
        return [f"{one.series_uid}.{number}" for number in range(one.sent)]

    def _list(self, records: list, query: dict[str, str]) -> tuple[bytes, str]:
        first = int(query.get("offset", 0)) if self.pages else 0
        many = min(int(query.get("limit", self.page)), self.page)
        return json.dumps(records[first : first + many]).encode(), "application/dicom+json"


def served(archive: OddArchive) -> tuple[str, Callable[[], None]]:
    """Start an archive; return its address and what ends it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self._send(*archive.get(parts.path, query))

        def do_POST(self) -> None:
            archive.stored.append(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(b"{}", "application/dicom+json")

        def _send(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return f"http://127.0.0.1:{server.server_port}", end


@dataclass
class TextMaker:
    """Makes two texts of a series: no DICOM."""

    before: Callable[[str], object] = lambda _: None
    seen: list[tuple[str, int]] = field(default_factory=list)
    reads_phase: bool = False

    def result_uid(self, series_uid: str, phase_uid: str | None = None) -> str:
        return f"{series_uid}.9"

    def make(self, series: FoundSeries, folder: Path, out: Path, *, named: bool) -> dict[str, Path]:
        self.seen.append((series.uid, len(list(folder.glob("*/*")))))
        self.before(series.uid)
        out.mkdir()
        (out / "seg").write_bytes(b"SEG")
        (out / "sr").write_bytes(b"SR")
        return {f"{series.uid}.8": out / "seg", f"{series.uid}.9": out / "sr"}
