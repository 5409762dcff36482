"""What follows from a try in vain: whether there is another, and when."""

from collections.abc import Iterator
from dataclasses import replace
from time import time
from typing import TYPE_CHECKING

from mmocnet.errors import FULL_DISK, MmocnetError
from mmocnet.pacs.errors import ServerError
from mmocnet.pacs.state import Row

if TYPE_CHECKING:
    from mmocnet.pacs.watch import WatchSettings

NEVER = float("inf")


def after_failure(row: Row, error: Exception, settings: "WatchSettings") -> Row:
    """Return what is known of a series after a try that failed.

    A server that fails and a full disk are not the series' fault, however long it takes. An error
    of the system may pass, too, but has no more than `settings.attempts` tries. What is wrong
    with the series itself is wrong at the next try.
    """
    codes = tuple(_system_errors(error))
    fault = not isinstance(error, ServerError) and not any(code in FULL_DISK for code in codes)
    row = after_try(row, settings, fault=fault)
    may_pass = not isinstance(error, MmocnetError) or bool(codes)
    if fault and not (may_pass and row.faults < settings.attempts):
        return replace(row, next_try=NEVER)
    return row


def after_try(row: Row, settings: "WatchSettings", *, fault: bool) -> Row:
    """Return what is known of a series after one more try in vain, to be tried again.

    Args:
        row: What was known.
        settings: How long to wait.
        fault: Whether the series may be to blame.
    """
    wait_s = min(settings.backoff_s * 2.0 ** min(row.attempts, 30), settings.backoff_most_s)
    return replace(
        row,
        state="failed",
        attempts=row.attempts + 1,
        next_try=time() + wait_s,
        faults=row.faults + fault,
    )


def reason(error: Exception) -> str:
    """Return what may be logged: the text of a stranger's may hold what is in the files."""
    return str(error) if isinstance(error, MmocnetError) else type(error).__name__


def _system_errors(error: BaseException | None) -> Iterator[int]:
    """Give the code of each error of the system that led to one."""
    while error is not None:
        # A decoder's OSError has no code, and comes again.
        if isinstance(error, OSError) and error.errno is not None:
            yield error.errno
        error = error.__cause__
