"""What a child process may take: memory and time."""

import os
import resource
from dataclasses import dataclass

from mmocnet.web.queue import Kind

GIB = 2**30


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
