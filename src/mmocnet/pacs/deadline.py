"""An end to every answer, also of a server that sends a byte now and then for ever.

The timeouts of requests count from one byte to the next. So a thread watches the clock meanwhile,
and cuts the connection off.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from mmocnet.pacs.errors import ServerError

TICK_S = 0.1
"""Between two looks at the clock."""


class Wire(HTTPAdapter):
    """HTTP that can be cut off from another thread, whatever it waits for."""

    _newest: socket.socket | None = None
    """The one in use: there is one question at a time."""

    def init_poolmanager(self, *words: Any, **options: Any) -> None:
        """Let connections say which socket is theirs, which an answer itself does not tell."""
        super().init_poolmanager(*words, **options)
        wire = self

        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                wire._newest = self.sock

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                wire._newest = self.sock

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    def cut(self) -> None:
        """End what is being sent or read, as if the server had gone."""
        if self._newest is not None:
            # It may be closed already.
            with suppress(OSError):
                # TLS has a shutdown of its own, which would take away what another thread reads.
                socket.socket.shutdown(self._newest, socket.SHUT_RDWR)


class Session(requests.Session):
    """A session over a wire; where it is sent to is for us to judge."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire()
        for scheme in ("http://", "https://"):
            self.mount(scheme, self.wire)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Say none: requests would read all of the answer and believe the address, unasked."""


class Deadline:
    """How long an answer may take, from the call to its last byte."""

    def __init__(self, wire: Wire, whole_s: float, stopped_s: float) -> None:
        """Keep what holds for each answer.

        Args:
            wire: What is cut off.
            whole_s: For an answer.
            stopped_s: For the waits of all answers together, once we are told to stop.
        """
        self._wire = wire
        self._whole_s, self._stopped_s = whole_s, stopped_s
        self._left_s = stopped_s

    @contextmanager
    def kept(self, stop: threading.Event) -> Iterator[None]:
        """Cut off an answer that takes too long.

        Args:
            stop: Set when we are told to stop.

        Raises:
            ServerError: If it did.
        """
        done, late = threading.Event(), threading.Event()
        clock = threading.Thread(target=self._watch, args=(stop, done, late), daemon=True)
        clock.start()
        try:
            yield
        except Exception:
            # Whatever the cut looks like from here.
            if not late.is_set():
                raise
        finally:
            done.set()
            clock.join()
        # An answer without a length looks whole when it is cut.
        if late.is_set():
            raise ServerError(
                f"expected the whole answer within {self._whole_s:.0f} s, "
                f"or {self._stopped_s:.0f} s after a stop"
            )

    def _watch(self, stop: threading.Event, done: threading.Event, late: threading.Event) -> None:
        end = time.monotonic() + self._whole_s
        while not done.wait(TICK_S):
            if stop.is_set():
                self._left_s -= TICK_S
            # Again and again: the connection may only just be there.
            if time.monotonic() > end or self._left_s < 0:
                late.set()
                self._wire.cut()
