import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.ports import free_ports

SHAPE = (72, 88, 16)
SPACING_MM = np.array([2.0, 2.0, 4.0])
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "squeue")


def _write_head(path: Path, seed: int = 0, **sidecar: object) -> Path:
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    radius = ((grid - (np.array(SHAPE) - 1) / 2) * SPACING_MM / [62.0, 75.0, 55.0]) ** 2
    grain = 30 * np.random.default_rng(seed).standard_normal(SHAPE)
    image = (500 + grain) * (radius.sum(axis=-1) < 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image.astype(np.int16), np.diag([*SPACING_MM, 1.0])), path)
    if sidecar:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    return path


@pytest.fixture
def write_head() -> Callable[..., Path]:
    """Write a stripped head, and a sidecar of what is named."""
    return _write_head


@pytest.fixture
def dataset(tmp_path) -> Path:
    """A BIDS dataset of three heads and a file that is none."""
    folder = tmp_path / "dataset"
    for number in (1, 2, 3):
        _write_head(folder / f"sub-0{number}" / "anat" / f"sub-0{number}_swi.nii.gz", number)
    bad = folder / "sub-04" / "anat" / "sub-04_swi.nii.gz"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"no image")
    return folder


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[dict[str, str]]:
    """A SLURM cluster of this machine alone; its environment variables."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        why = f"SLURM needs root and Debian's munge, slurmctld, slurmd, slurm-client: {missing}"
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(why)
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("slurm")
    for place in (folder, *folder.parents[: len(folder.parents) - 1]):
        # munged wants every folder above its socket to be passable.
        if place.is_relative_to(tmp_path_factory.getbasetemp().parent):
            place.chmod(0o755)
    environ = {"SLURM_CONF": str(folder / "slurm.conf")}
    running = _start(folder, environ)
    yield environ
    for process in reversed(running):
        process.terminate()
    for process in running:
        process.wait(timeout=30)


def _start(folder: Path, environ: dict[str, str]) -> list["subprocess.Popen[bytes]"]:
    key, lock = folder / "munge.key", folder / "munge.socket"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    host = socket.gethostname().split(".")[0]
    first, second = free_ports(2)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(
        f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={first}
SlurmdPort={second}
AuthType=auth/munge
AuthInfo=socket={lock}
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
    )
    files = {name: f"--{name}-file={folder}/munge.{name}" for name in ("log", "pid", "seed")}
    running = [
        _quietly(
            "munged", "-F", "--force", f"--socket={lock}", f"--key-file={key}", *files.values()
        )
    ]
    _until(lock.exists)
    running += [_quietly(name, "-D", **environ) for name in ("slurmctld", "slurmd")]

    def idle() -> bool:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            capture_output=True, text=True, check=False, env=os.environ | environ,
        )  # fmt: skip
        return "idle" in done.stdout

    _until(idle)
    return running


def _quietly(*words: str, **environ: str) -> "subprocess.Popen[bytes]":
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(words, stdout=nowhere, stderr=nowhere, env=os.environ | environ)


def _until(ready: Callable[[], bool]) -> None:
    for _ in range(300):
        if ready():
            return
        time.sleep(0.1)
    raise AssertionError("SLURM did not start")
