"""What a child process may take: memory, time, and no life after its server."""

import ctypes
import os
import resource
import signal
import sys
from dataclasses import dataclass

from mmocnet.web.queue import Kind

GIB = 2**30
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Limit:
    """Of one kind of job.

    Attributes:
        data_bytes: Memory of its own that it may ask for; its libraries' code does not count.
        seconds: After which it is ended.
        file_bytes: Largest file that it may write.
    """

    data_bytes: int
    seconds: float
    file_bytes: int = 8 * GIB


LIMITS: dict[Kind, Limit] = {
    "list": Limit(GIB, 1800),
    "import": Limit(5 * GIB // 2, 600),
    "segment": Limit(4 * GIB, 12 * 3600),
    "export": Limit(4 * GIB, 1800),
}


def limit_this_process(kind: Kind) -> None:
    """Hold this process to the limits of its kind of job."""
    limit = LIMITS[kind]
    # Not RLIMIT_AS: libraries reserve far more addresses than they ever use.
    for what, most in (
        (resource.RLIMIT_DATA, limit.data_bytes),
        (resource.RLIMIT_FSIZE, limit.file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))
    # The page stays quick while a scan is segmented.
    os.nice(5)


def die_with_parent(parent: int) -> None:
    """End this process when its server ends, however that ends.

    Args:
        parent: The server's process id.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # It may have ended before.
    if is_orphan(parent):
        os._exit(1)


def is_orphan(parent: int) -> bool:
    """Return whether the server is gone; where the system does not tell, it is asked for."""
    return os.getppid() != parent
