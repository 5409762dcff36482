"""What commands that run for long say while they do: our own lines alone, on standard error."""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def log_to_stderr(name: str, others: Sequence[str] = ()) -> Iterator[None]:
    """Say our own lines, and none of the libraries': theirs quote what is in files.

    Args:
        name: Logger of ours.
        others: Loggers of libraries that are kept silent.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ours, theirs = logging.getLogger(name), [logging.getLogger(one) for one in others]
    levels = [one.level for one in (ours, *theirs)]
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    for one in theirs:
        one.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ours.removeHandler(handler)
        for one, level in zip((ours, *theirs), levels, strict=True):
            one.setLevel(level)
