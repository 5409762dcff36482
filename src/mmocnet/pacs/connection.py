"""HTTP to one archive: verified, bounded in time and size, never led to another host.

dicomweb-client would keep each instance in memory, parse it unguarded and follow redirects,
so that requests is used by itself.
"""

import ipaddress
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

from mmocnet.errors import DependencyError, InputError
from mmocnet.pacs.credentials import Credentials
from mmocnet.pacs.errors import AccessError, ServerError

if TYPE_CHECKING:
    import requests

REDIRECTS = 3
CHUNK_BYTES = 2**18
DICOM_JSON = "application/dicom+json"


@dataclass(frozen=True)
class Limits:
    """What an answer may take."""

    connect_s: float = 10.0
    """Until the server answers the call."""
    read_s: float = 120.0
    """Between two pieces of an answer."""
    whole_s: float = 3600.0
    """For a whole answer, from the call to its last byte."""
    stopped_s: float = 30.0
    """For all that is still waited for once we are told to stop."""
    json_bytes: int = 2**26
    """Of a list."""
    series_bytes: int = 2**32
    """Of a series."""
    instances: int = 5000
    """Of a series."""


def check_url(url: str, insecure_http: bool = False) -> str:
    """Return the root of a DICOMweb server without a final slash.

    Raises:
        InputError: If it is none, holds a password, or would send in the clear.

    >>> check_url("https://pacs.example/dicom-web/")
    'https://pacs.example/dicom-web'
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError("expected --url https://HOST/PATH, got no address") from error
    if parts.scheme not in ("http", "https") or not host:
        raise InputError("expected --url https://HOST/PATH, got no such address")
    # The address itself is not repeated: it may hold a secret.
    if parts.username is not None or parts.password is not None:
        raise InputError(
            "expected --url without a user or password: give them in the environment or a file"
        )
    if parts.query or parts.fragment:
        raise InputError("expected --url without ? or #: a secret there would be logged")
    if parts.scheme == "http" and not insecure_http and not _is_loopback(host):
        raise InputError(
            f"expected https, got http to {host}: "
            "--insecure-http sends images and passwords in the clear"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Connection:
    """A server and what it is told of us.

    Attributes:
        url: Root of the server.
        host: What it is called in logs.
        limits: Seconds and bytes.
        stop: Set when we are told to stop: then answers are no longer waited for as long.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        ca: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            url: Root of the DICOMweb server, from `check_url`.
            credentials: What the server asks for.
            ca: Certificates of the authorities trusted, PEM; None takes certifi's.
            limits: Seconds and bytes.

        Raises:
            InputError: If `ca` is no file.
            DependencyError: If requests is missing.
        """
        try:
            from mmocnet.pacs.deadline import Deadline, Session
        except ImportError as error:
            raise DependencyError("an archive needs: pip install 'mmocnet[pacs]'") from error
        if ca is not None and not ca.is_file():
            raise InputError(f"expected certificates in --ca, got no file {ca.name}")
        self.url, self.limits = url, limits or Limits()
        self.host = urlsplit(url).netloc
        self.stop = threading.Event()
        self._session = Session()
        self._deadline = Deadline(self._session.wire, self.limits.whole_s, self.limits.stopped_s)
        # Neither .netrc nor a proxy's variable may change who hears what.
        self._session.trust_env = False
        self._session.verify = True if ca is None else str(ca)
        self._session.headers["Accept-Encoding"] = "identity"
        if credentials is not None:
            self._session.headers["Authorization"] = credentials.header

    def list(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        """Return the records that a search found, none where the server has none.

        Raises:
            ServerError: If the server cannot be reached, refuses, or answers something else.
        """
        with self.stream(path, DICOM_JSON, query) as (status, _, chunks):
            content = b"".join(_capped(chunks, self.limits.json_bytes))
        records = [] if status == 204 or not content.strip() else _json(content)
        if not isinstance(records, list) or not all(isinstance(one, dict) for one in records):
            raise ServerError("expected a list of DICOM records from the server, got another")
        return records

    @contextmanager
    def stream(
        self, path: str, accept: str, query: dict[str, str] | None = None
    ) -> Iterator[tuple[int, str, Iterator[bytes]]]:
        """Give status, content type and the pieces of an answer as they arrive.

        Raises:
            ServerError: If the server cannot be reached, refuses, or stops.
        """
        with self._as_server_errors():
            response = self._get(path, accept, query)
            with response:
                self._check(response)
                kind = response.headers.get("Content-Type", "")
                yield response.status_code, kind, response.iter_content(CHUNK_BYTES)

    def post(self, path: str, body: bytes, kind: str) -> tuple[int, dict[str, Any]]:
        """Send something; return status and the server's record of it, empty where it sends none.

        A conflict (409) is an answer too: the record says why.

        Raises:
            ServerError: If the server cannot be reached, refuses, or answers something else.
        """
        with self._as_server_errors():
            response = self._session.post(
                self.url + path,
                data=body,
                headers={"Content-Type": kind, "Accept": DICOM_JSON},
                timeout=(self.limits.connect_s, self.limits.read_s),
                allow_redirects=False,
                stream=True,
            )
            with response:
                if response.status_code != 409:
                    self._check(response)
                chunks = response.iter_content(CHUNK_BYTES)
                content = b"".join(_capped(chunks, self.limits.json_bytes))
        record = _json(content) if content.strip() else {}
        if not isinstance(record, dict):
            raise ServerError("expected the server's record of what it stored, got another")
        return response.status_code, record

    def _get(self, path: str, accept: str, query: dict[str, str] | None) -> "requests.Response":
        """Ask, and follow where the same server sends us."""
        url = self.url + path
        for _ in range(REDIRECTS + 1):
            response = self._session.get(
                url,
                params=query,
                headers={"Accept": accept},
                timeout=(self.limits.connect_s, self.limits.read_s),
                allow_redirects=False,
                stream=True,
            )
            if not response.is_redirect:
                return response
            response.close()
            url, query = self._target(url, response.headers["Location"]), None
        raise ServerError(f"{self.host} sends us round in circles")

    def _target(self, url: str, location: str) -> str:
        try:
            target = urljoin(url, location)
            same = _origin(urlsplit(target)) == _origin(urlsplit(url))
        except ValueError:
            raise ServerError(f"{self.host} sends us to an address that is none") from None
        if not same:
            raise ServerError(f"{self.host} sends us to another host, which is refused")
        return target

    def _check(self, response: "requests.Response") -> None:
        status = response.status_code
        if status in (401, 403):
            raise AccessError(
                f"{self.host} does not let us in ({status}): expected a valid user and password "
                "or token in the environment or with --credentials"
            )
        if response.is_redirect or not 200 <= status < 300:
            raise ServerError(f"{self.host} answered {status} where 200 was expected")

    @contextmanager
    def _as_server_errors(self) -> Iterator[None]:
        """Keep the time; turn what requests raises into a sentence without UIDs of an address."""
        import requests

        try:
            with self._deadline.kept(self.stop):
                yield
        except requests.exceptions.SSLError:
            raise ServerError(
                f"the certificate of {self.host} could not be verified: "
                "give its authority with --ca"
            ) from None
        except requests.exceptions.Timeout:
            raise ServerError(f"{self.host} did not answer in time") from None
        except requests.exceptions.RequestException:
            raise ServerError(f"cannot reach {self.host}, or it broke off") from None


def bounded(chunks: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
    """Pass on the pieces of a series, until it is larger than allowed.

    Raises:
        ServerError: If it is.
    """
    return _capped(chunks, limits.series_bytes)


def _capped(chunks: Iterator[bytes], most: int) -> Iterator[bytes]:
    count = 0
    for chunk in chunks:
        count += len(chunk)
        if count > most:
            raise ServerError(f"expected at most {most / 1e6:.0f} MB from the server, got more")
        yield chunk


def _json(content: bytes) -> object:
    import json

    try:
        parsed: object = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ServerError("expected DICOM JSON from the server, got another") from error
    return parsed


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port
