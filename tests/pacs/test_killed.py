"""A series that gets the process killed, as by the kernel when memory is short."""

import signal
import subprocess
import sys

import pytest

from .odd_archive import OddArchive, Series, served

CODE = """
import datetime, logging, os, sys, threading
from pathlib import Path
from mmocnet.pacs.connection import Connection
from mmocnet.pacs.dicomweb import DicomWeb
from mmocnet.pacs.watch import Watcher, WatchSettings
from tests.pacs.odd_archive import TextMaker

url, folder, backoff_s = sys.argv[1:]
logging.basicConfig(format="%(message)s")
kill = lambda uid: os.kill(os.getpid(), 9) if uid == "1.3.1" else None
settings = WatchSettings(
    settle_s=0, since=datetime.date(2024, 1, 1), backoff_s=float(backoff_s), attempts=3
)
watcher = Watcher(DicomWeb(Connection(url)), TextMaker(kill), Path(folder), settings)
watcher.look(threading.Event())
"""


@pytest.fixture
def start(tmp_path, request):
    """Start a watch with two series in the archive, the first of which kills it."""
    archive = OddArchive([Series(1, listed=8), Series(2, listed=8)])
    url, end = served(archive)

    def run(backoff_s):
        words = [sys.executable, "-c", CODE, url, str(tmp_path), str(backoff_s)]
        root = request.config.rootpath
        return subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)

    yield archive, run
    end()


def test_what_kills_the_watch_keeps_no_other_series_from_its_result(start):
    archive, run = start
    assert run(60).returncode == -signal.SIGKILL
    assert archive.stored == []
    # Not its turn.
    assert run(60).returncode == 0
    assert archive.fetched == 2
    assert len(archive.stored) == 2


def test_what_kills_the_watch_is_tried_last_and_not_for_ever(start):
    archive, run = start
    for tries in (1, 2, 3):
        done = run(0)
        assert done.returncode == -signal.SIGKILL, done.stderr
        # The other one had its turn before, at the second start.
        assert archive.fetched == tries + (tries > 1)
    for _ in range(2):
        done = run(0)
        assert done.returncode == 0, done.stderr
    assert archive.fetched == 4
    assert len(archive.stored) == 2


def test_why_it_is_left_is_said(start):
    _, run = start
    for _ in range(3):
        run(0)
    assert "ended the watch at its last try; not tried again" in run(0).stderr
    assert run(0).stderr == ""
