"""From a folder and settings to a running server and back."""

import ipaddress
import logging
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EADDRINUSE
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from mmocnet.errors import InputError
from mmocnet.web.app import create_app
from mmocnet.web.context import Context
from mmocnet.web.jobs import Supervisor
from mmocnet.web.models import find_models
from mmocnet.web.queue import add_job
from mmocnet.web.readings import Readings
from mmocnet.web.room import open_room
from mmocnet.web.security import Access
from mmocnet.web.store import Store

LOOPBACK = ("127.0.0.1", "localhost", "::1")
USUAL_PORT = 8765
HTTP_PORT = 80
EVERYWHERE = "expected --host as one address of this machine, got {!r}, which is all of them"


@dataclass(frozen=True)
class ServeSettings:
    """How a room is served.

    Attributes:
        root: The room's private folder.
        folder: What is served besides uploads; None for nothing.
        host: Address to listen at.
        port: None takes the usual one, or a free one where that is taken; 0 a free one.
        models: Names and folders, the preferred one first.
        threads: Threads of the networks; None leaves it to them.
        upload_mb: Largest upload.
    """

    root: Path
    folder: Path | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    models: tuple[str, ...] = ()
    threads: int | None = None
    upload_mb: float = 2000.0


def serve(settings: ServeSettings, say: Callable[[str], None], *, browser: bool) -> None:
    """Serve a room until a signal ends it.

    Args:
        settings: What and where.
        say: Told the address, once it can be opened.
        browser: Whether to open it.

    Raises:
        InputError: If the port is taken, the room is in use, or its folder cannot be used.
        ModelError: If a model cannot be read.
    """
    models = find_models(settings.models)
    with open_room(settings.root) as room, listening(settings.host, settings.port) as sock:
        store = Store(room.database)
        supervisor = Supervisor(room, store, settings.threads)
        context = Context(
            room=room,
            store=store,
            supervisor=supervisor,
            models=models,
            readings=Readings(room, store),
            folder=settings.folder is not None,
            upload_mb=settings.upload_mb,
        )
        _list_folder(store, settings.folder)
        port = sock.getsockname()[1]
        access = Access(hosts_of(settings.host, port), port)
        address = f"http://{_in_url(settings.host)}:{port}/?token="
        server = http_server(create_app(context, access))
        supervisor.start()
        try:
            with _ended_by_signals(server):
                say(address + access.token)
                if browser:
                    # On a command line others can read it: it opens once only.
                    _open_browser(address + access.ticket)
                server.run(sockets=[sock])
        finally:
            supervisor.stop()
            store.close()


def _list_folder(store: Store, folder: Path | None) -> None:
    """Queue a look at the folder; one that waits from before may be of another."""
    with store.transaction() as base:
        base.execute("DELETE FROM jobs WHERE kind = 'list'")
        if folder is not None:
            add_job(base, "list", None, {"folder": str(folder.resolve())})


def _open_browser(address: str) -> None:
    # A browser in the terminal would hold this thread.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def listening(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens.

    Raises:
        InputError: If the port is taken, or the address is not this machine's, or all of them.
    """
    if not host:
        raise InputError(EVERYWHERE.format(host))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tries = (USUAL_PORT, 0) if port is None else (port,)
    for one in tries:
        try:
            sock.bind((host, one))
        except OSError as error:
            if one == tries[-1]:
                sock.close()
                taken = "; --port 0 takes a free one" if error.errno == EADDRINUSE else ""
                raise InputError(
                    f"cannot listen at {host} port {one}: {error.strerror}{taken}"
                ) from error
        else:
            break
    # Asked of the socket: there are many ways to write the address that means all.
    if _is_everywhere(sock.getsockname()[0]):
        sock.close()
        raise InputError(EVERYWHERE.format(host))
    sock.listen(128)
    sock.set_inheritable(False)
    return sock


def _is_everywhere(address: str) -> bool:
    found = ipaddress.ip_address(address)
    inside = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (inside or found).is_unspecified


def hosts_of(host: str, port: int) -> tuple[str, ...]:
    """Return what a browser may call this server.

    >>> hosts_of("127.0.0.1", 8765)
    ('127.0.0.1:8765', 'localhost:8765', '[::1]:8765')
    """
    names = [*LOOPBACK] if host in LOOPBACK else [host, *LOOPBACK]
    # Browsers leave the usual port of http out.
    endings = (f":{port}", "") if port == HTTP_PORT else (f":{port}",)
    return tuple(f"{_in_url(name)}{ending}".lower() for name in names for ending in endings)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def http_server(app: ASGIApp) -> uvicorn.Server:
    """Return what speaks HTTP for an app, and says nothing of what it is asked."""
    # Its lines have addresses and errors' texts in them; ours have neither.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        # Longer than the page waits between two looks.
        timeout_keep_alive=60,
        timeout_graceful_shutdown=3,
    )
    return uvicorn.Server(config)


@contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGTERM and SIGINT end a server well, also before it has begun.

    While it runs, uvicorn ends at the first signal by itself, and then raises it once more for us.
    """

    def end(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    before = {one: signal.signal(one, end) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
