"""Processes that work for this one: how many threads they take, and that they end with it."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PR_SET_PDEATHSIG = 1


@contextmanager
def threads_each(threads: int) -> Iterator[None]:
    """Let processes that start inside read the number of threads before they import torch."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def start_child(threads: int, parent: int) -> None:
    """Begin a child's life: its parent alone decides when it ends, and it ends with its parent.

    Args:
        threads: That torch may take.
        parent: Process id of what started it.
    """
    # Ctrl-C goes to the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent)
    import torch

    torch.set_num_threads(threads)


def die_with_parent(parent: int) -> None:
    """End this process when its parent ends, however that ends.

    Args:
        parent: The parent's process id.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # It may have ended before.
    if is_orphan(parent):
        os._exit(1)


def is_orphan(parent: int) -> bool:
    """Return whether the parent is gone; where the system does not tell, it is asked for."""
    return os.getppid() != parent
