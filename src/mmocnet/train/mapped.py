"""Arrays on the disk that training looks into, each of which holds a file open."""

import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

if sys.platform != "win32":
    import resource

MANY = (65536, 10240)
"""Open files that are asked for where the system names no limit; macOS gives the second."""


def mapped(path: Path) -> NDArray[Any]:
    """Return the array of an `.npy` file, read where it is looked at.

    A cohort has more of them than a process may hold open at first, so as many as it may have
    are asked for.
    """
    _open_many()
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


@cache
def _open_many() -> None:
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited:
        return
    for number in MANY if hard == unlimited else (hard,):
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number), hard))
            return
