"""Who may ask: every request passes here first, and nothing of a patient goes into the log.

A page of another site can make a browser send requests to this machine: the token, the Host and
Origin checks and the header that only a page of ours can set keep those out.
"""

import hmac
import json
import logging
import secrets
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmocnet.errors import MmocnetError
from mmocnet.web.problems import answer_to

LOG = logging.getLogger("mmocnet.web")

COOKIE = "mmocnet_session"
HEADER = b"x-mmocnet"

MAX_BODY_BYTES = 16 * 2**20
"""Of a request that is no upload; the largest is a drawing of two million voxels."""

CONTENT_POLICY = "; ".join(
    [
        "default-src 'none'",
        # NiiVue is WebAssembly in part.
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' blob: data:",
        "worker-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = (
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
SIGN_IN = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>mmocnet</title>"
    "<h1>This reading room is closed to this browser</h1>"
    "<p>Open the address that <code>mmocnet serve</code> printed: it has the key in it.</p></html>"
)
ENTER = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>mmocnet</title>"
    '<meta http-equiv=refresh content="0; url=/"><p><a href="/">Enter the reading room</a></html>'
)


@dataclass(frozen=True)
class Access:
    """Who may come in.

    Attributes:
        hosts: Values of the Host header that are this server, as "127.0.0.1:8765".
        port: Where it listens: cookies know no ports, so the cookie's name has it.
        token: What the printed address has.
        ticket: What the address has that a browser is started with; it lets in once.
        session: What a browser that came with the token is given.
    """

    hosts: tuple[str, ...]
    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    ticket: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    session: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def cookie(self) -> str:
        """Name of the cookie."""
        return f"{COOKIE}_{self.port}"


class Guard:
    """ASGI middleware that lets in, turns away, and adds the headers of every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Stand before an app."""
        self._app = app
        self._access = access
        self._ticket = access.ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] != "http":
            # There are no websockets here.
            return
        answer = self._turned_away(scope)
        if answer is not None:
            await answer(_with_headers(send, scope["path"]))
            return
        await self._pass(scope, receive if is_upload(scope) else _counted(receive), send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in; what it does not expect to go wrong is said in one sentence."""
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await with_headers(message)

        with_headers = _with_headers(send, scope["path"])
        try:
            await self._app(scope, receive, noting)
        except ClientDisconnect:
            # Nobody is there any more to be answered.
            return
        except Exception as error:
            if not isinstance(error, MmocnetError):
                _log_unexpected(error, scope)
            # One that has begun is cut short, or was an answer about the error already.
            if not started:
                await _json(*answer_to(error))(with_headers)

    def _turned_away(self, scope: Scope) -> "_Answer | None":
        headers = dict(scope["headers"])
        method = scope["method"]
        if headers.get(b"host", b"").decode("latin-1").lower() not in self._access.hosts:
            return _json(403, "expected this server's own address in the Host header")
        if method not in ("GET", "HEAD"):
            origin = headers.get(b"origin")
            if origin is not None and not self._is_ours(origin.decode("latin-1")):
                return _json(403, "expected a request of this server's own page")
        if scope["path"] == "/" and method == "GET":
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
            if len(given) == 1 and self._opens(given[0]):
                return _sign_in(self._access, headers.get(b"sec-fetch-site", b""))
        if not self._knows(headers):
            return _page(401) if scope["path"] == "/" else _json(401, "expected the access token")
        if method not in ("GET", "HEAD") and HEADER not in headers:
            return _json(403, "expected the header X-Mmocnet: 1")
        return None

    def _opens(self, given: str) -> bool:
        if self._ticket and _same(given, self._ticket):
            self._ticket = ""
            return True
        return _same(given, self._access.token)

    def _is_ours(self, origin: str) -> bool:
        scheme, _, host = origin.partition("://")
        return scheme == "http" and host.lower() in self._access.hosts

    def _knows(self, headers: dict[bytes, bytes]) -> bool:
        word, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if word.lower() == "bearer" and _same(given.strip(), self._access.token):
            return True
        # One by one: other servers on this machine have cookies that are no business of ours.
        for one in headers.get(b"cookie", b"").decode("latin-1").split(";"):
            name, _, value = one.partition("=")
            if name.strip() == self._access.cookie and _same(value.strip(), self._access.session):
                return True
        return False


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]

    async def __call__(self, send: Any) -> None:
        length = (b"content-length", str(len(self.body)).encode())
        headers = [*self.headers, length]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def is_upload(scope: Scope) -> bool:
    """Return whether a request brings files, which are counted where they are written."""
    path = str(scope["path"])
    return path == "/api/studies" or (path.startswith("/api/studies/") and path.endswith("/files"))


def _counted(receive: Receive) -> Receive:
    """Stop reading a request that is too large."""
    left = MAX_BODY_BYTES

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413)
        return message

    return counted


def _json(status: int, text: str) -> _Answer:
    body = json.dumps({"error": text}).encode()
    return _Answer(status, body, ((b"content-type", b"application/json"),))


def _page(status: int) -> _Answer:
    return _Answer(status, SIGN_IN.encode(), ((b"content-type", b"text/html; charset=utf-8"),))


def _sign_in(access: Access, site: bytes) -> _Answer:
    """Give a browser its cookie and send it to the page."""
    cookie = f"{access.cookie}={access.session}; HttpOnly; SameSite=Strict; Path=/"
    given = (b"set-cookie", cookie.encode())
    if site == b"cross-site":
        # It came from another page, as the one that opens the browser: on a redirect it would
        # not send the cookie, on a new start from this page it does.
        kind = (b"content-type", b"text/html; charset=utf-8")
        return _Answer(200, ENTER.encode(), (given, kind))
    return _Answer(303, b"", (given, (b"location", b"/")))


def _with_headers(send: Send, path: str) -> Send:
    """Add the headers of every answer."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", []))
            message["headers"] = [*given, *HEADERS, *_caching(path, given)]
        await send(message)

    return with_headers


def _same(given: str, expected: str) -> bool:
    """Compare in a time that does not tell how much was right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def _caching(path: str, headers: list[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    if any(name == b"cache-control" for name, _ in headers):
        return ()
    # What is in the package changes with its version only, and is asked about each time.
    value = b"no-cache" if path.startswith("/static/") else b"no-store"
    return ((b"cache-control", value),)


def _log_unexpected(error: Exception, scope: Scope) -> None:
    """Log where an error came from; never its text, which may quote a file or a name."""
    route = getattr(scope.get("route"), "path", "?")
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    LOG.error("unexpected %s at %s in %s %s", type(error).__name__, where, scope["method"], route)
