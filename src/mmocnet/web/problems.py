"""What goes wrong on purpose, and the one table from exception to HTTP status."""

import sqlite3

from mmocnet.errors import FULL_DISK, DependencyError, InputError, MmocnetError, ModelError


class NotFoundError(MmocnetError):
    """There is no such study, reader, result or job."""


class StaleError(MmocnetError):
    """Another window has gone on since."""


class BusyError(MmocnetError):
    """The study's state does not allow it now."""


class DamagedError(MmocnetError):
    """A file that a run left in the room is missing or cut short."""


class TooLargeError(MmocnetError):
    """An upload is over its limit."""


STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotFoundError, 404),
    (StaleError, 409),
    (BusyError, 409),
    # Not 409: loading the page again does not help.
    (DamagedError, 410),
    (TooLargeError, 413),
    (InputError, 400),
    (ModelError, 400),
    (DependencyError, 400),
    (MmocnetError, 400),
)
"""The first that fits."""

OTHER_RESULT = "the study has another result by now than the one on the page: open it again"
DISK_FULL = "the disk is full: nothing was saved"
DATABASE_BUSY = "the room's database cannot be written to now: nothing was saved"


def answer_to(error: Exception) -> tuple[int, str]:
    """Return the status and the sentence of an exception; nothing of an unexpected one's text.

    >>> answer_to(NotFoundError("no such study"))
    (404, 'no such study')
    >>> answer_to(ZeroDivisionError("secret"))
    (500, 'unexpected ZeroDivisionError: see the server for where')
    """
    for kind, status in STATUS:
        if isinstance(error, kind):
            return status, str(error)
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return 507, DISK_FULL
    if isinstance(error, sqlite3.OperationalError):
        return 503, DATABASE_BUSY
    return 500, f"unexpected {type(error).__name__}: see the server for where"
