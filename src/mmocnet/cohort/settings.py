"""How a cohort is run."""

import re
from dataclasses import dataclass

from mmocnet.config.checked import Checked
from mmocnet.errors import InputError

_SHARE = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True)
class CohortSettings(Checked):
    """Where a cohort's scans are segmented, and which of them."""

    phase: bool = True
    """Whether the phase of a BIDS scan's own acquisition is read, where the model reads phase and
    it can be used."""
    workers: int | None = None
    """Processes; None takes as many as the machine has cores and memory for."""
    threads: int | None = None
    """Threads of each process; None shares the cores out."""
    dask: str | None = None
    """Address of a Dask scheduler whose workers segment, in place of processes here."""
    share: str | None = None
    """K/N: only every N-th scan, from the K-th on, as a batch system's array of N tasks needs."""
    overwrite: bool = False
    """Whether results of other files, settings or versions are replaced."""

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: If one is impossible.
        """
        super().__post_init__()
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be 1 or more, got {value}")
        if self.dask is not None and (self.workers is not None or self.threads is not None):
            raise InputError("expected dask without workers and threads, which its workers have")
        share_of(self.share)


def share_of(share: str | None) -> slice:
    """Return which scans a share is.

    Raises:
        InputError: If it is not K/N with 1 <= K <= N.

    >>> list(range(10))[share_of("2/4")]
    [1, 5, 9]
    """
    if share is None:
        return slice(None)
    found = _SHARE.fullmatch(share)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"share must be K/N, such as 3/50 with K from 1 to N, got {share!r}")
    return slice(int(found[1]) - 1, None, int(found[2]))
