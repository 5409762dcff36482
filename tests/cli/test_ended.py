"""What a signal leaves behind: nothing, whichever command it ends."""

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CODE = """
import time
from mmocnet.cli import run
from mmocnet.cli.segment import Segment
from mmocnet.io.dicom.archive import unpack

def work(self):
    kept = unpack(self.inputs[0])
    print("unpacked", flush=True)
    time.sleep(60)

Segment.run = work
run()
"""

CHILD = """
    from multiprocessing import get_context
    get_context("spawn").Process(target=time.sleep, args=(60,)).start()
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """Where the processes unpack."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def start(tmp_path: Path, left: Path) -> Iterator[Start]:
    """Start a command that has unpacked a zip and works on it, and wait until it does."""
    study = tmp_path / "study.zip"
    with zipfile.ZipFile(study, "w") as archive:
        archive.writestr("1.dcm", b"content")
    started = []

    def run(*before: str, code: str = CODE) -> "subprocess.Popen[str]":
        words = [sys.executable, "-c", code, "segment", str(study), "-o", str(tmp_path / "out")]
        one = subprocess.Popen(
            [*before, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(left)},
        )
        started.append(one)
        assert one.stdout is not None
        assert one.stdout.readline() == "unpacked\n"
        return one

    yield run
    for one in started:
        one.kill()
        one.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_of_a_patient(start: Start, left: Path, number: int) -> None:
    process = start()
    assert len(list(left.rglob("*.dcm"))) == 1
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 128 + number
    assert list(left.iterdir()) == []


def test_a_process_that_is_ended_does_not_wait_for_those_that_it_started(start: Start) -> None:
    process = start(code=CODE.replace("    print", f"{CHILD}    print"))
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM


def test_the_next_start_removes_what_a_killed_process_left_and_no_other(
    start: Start, left: Path
) -> None:
    working, killed = start(), start()
    (left / "mmocnet-results").mkdir()
    killed.kill()
    killed.wait(30)
    assert len(list(left.rglob("*.dcm"))) == 2
    words = [sys.executable, "-m", "mmocnet", "--version"]
    subprocess.run(words, check=True, capture_output=True, env=os.environ | {"TMPDIR": str(left)})
    assert len(list(left.rglob("*.dcm"))) == 1
    assert (left / "mmocnet-results").is_dir()
    working.terminate()
    working.wait(30)
    assert [one.name for one in left.iterdir()] == ["mmocnet-results"]


def test_what_nohup_ignores_stays_ignored(start: Start, left: Path) -> None:
    process = start("nohup")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    assert list(left.iterdir()) == []
