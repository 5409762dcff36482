"""Run a cohort's jobs on a Dask cluster that is there already."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from uuid import uuid4

from mmocnet import __version__
from mmocnet.cohort.job import Job, lost, run_job
from mmocnet.cohort.record import Outcome
from mmocnet.errors import DependencyError, InputError, MmocnetError

CONNECT_S = 20
"""After which nobody answers."""


def run_on_dask(jobs: Sequence[Job], address: str) -> Iterator[Outcome]:
    """Do jobs on a cluster's workers and yield what became of each as it ends.

    Workers see the scans and the results under the same paths as this process, and have the same
    version of this package. Each takes one job at a time, whatever threads it has. A job whose
    worker is lost is done by another, some times.

    Args:
        jobs: In the order in which they are begun.
        address: Of the scheduler, such as "tcp://node1:8786".

    Raises:
        DependencyError: If `distributed` is not installed.
        InputError: If nobody answers there, there is no worker, or one that has not this version.
        MmocnetError: If the scheduler is lost.
    """
    try:
        import distributed
    except ImportError as error:
        raise DependencyError(
            "a Dask cluster needs distributed: pip install 'mmocnet[dask]'"
        ) from error
    try:
        client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"expected a Dask scheduler at {address!r}, nobody answers") from error
    with client:
        _check_workers(client.run(_version), address)
        futures = {
            # A key of its own: others may have the same scan done on the same cluster.
            client.submit(run_job, job, key=f"mmocnet-{uuid4().hex}"): job
            for job in jobs
        }
        try:
            for future in distributed.as_completed(list(futures), loop=client.loop):
                failure = future.exception()
                if failure is None:
                    yield future.result()
                elif isinstance(failure, distributed.KilledWorker):
                    yield lost(futures[future], "the workers that had it were lost")
                else:
                    raise failure
                future.release()
        except (asyncio.CancelledError, CancelledError, OSError) as error:
            raise MmocnetError(f"the Dask scheduler at {address!r} was lost: run again") from error
        finally:
            # The scheduler may be gone.
            with suppress(Exception):
                client.cancel(list(futures))


def _version() -> str:
    return __version__


def _check_workers(versions: dict[str, str], address: str) -> None:
    if not versions:
        raise InputError(f"expected workers at {address!r}, the scheduler has none")
    others = sorted(set(versions.values()) - {__version__})
    if others:
        raise InputError(
            f"expected workers with mmocnet {__version__}, got {', '.join(others)} at {address!r}"
        )
