import datetime
import resource
import sqlite3
import threading
from contextlib import closing

import pytest

from mmocnet.errors import InputError
from mmocnet.pacs.connection import Connection
from mmocnet.pacs.dicomweb import DicomWeb
from mmocnet.pacs.state import Look, Row, State
from mmocnet.pacs.watch import Watcher, WatchSettings

from .odd_archive import OddArchive, Series, TextMaker, served

OLD_TABLE = """CREATE TABLE series (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, instances INTEGER NOT NULL,
    counted REAL NOT NULL, attempts INTEGER NOT NULL, next_try REAL NOT NULL)"""


def _write_old(path, row):
    """A state as it was before faults and looks were in it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as base:
        base.execute("PRAGMA journal_mode=WAL")
        base.execute(OLD_TABLE)
        base.execute("INSERT INTO series VALUES (?, ?, ?, ?, ?, ?)", row)


def test_what_is_put_is_got(tmp_path):
    row = Row("a", "failed", 8, 1.5, 2, float("inf"), 1)
    looks = [Look(datetime.date(2026, 11, day), other) for day, other in ((27, None), (28, None))]
    looks[1] = Look(looks[1].day, datetime.date(2026, 11, 1))
    for _ in range(2):
        with closing(State(tmp_path / "state.sqlite")) as state:
            state.put(row)
            for look in looks:
                state.put_look("a", look)
                assert state.last_look("a") == look
            assert state.get("a") == row
            assert state.get("b") is None
            assert state.last_look("b") is None


def test_a_state_of_an_earlier_version_is_read_and_written(tmp_path):
    path = tmp_path / "state.sqlite"
    _write_old(path, ("a", "failed", 8, 1.5, 3, float("inf")))
    with closing(State(path)) as state:
        old = Row("a", "failed", 8, 1.5, 3, float("inf"), 0)
        assert state.get("a") == old
        state.put(Row("b", "done", 8, 1.5))
    with closing(State(path)) as state:
        assert state.get("a") == old
        assert state.get("b") == Row("b", "done", 8, 1.5)


def test_what_an_earlier_version_has_done_is_not_done_again(tmp_path):
    archive = OddArchive([Series(1, listed=8)])
    url, end = served(archive)
    settings = WatchSettings(settle_s=0, since=datetime.date(2024, 1, 1))
    client, maker = DicomWeb(Connection(url)), TextMaker()
    key = Watcher(client, maker, tmp_path, settings).key(client.series("1.3.1"))
    for one in tmp_path.iterdir():
        one.unlink()
    _write_old(tmp_path / "state.sqlite", (key, "done", 8, 1.5, 0, 0.0))
    watcher = Watcher(client, maker, tmp_path, settings)
    watcher.look(threading.Event())
    watcher.state.close()
    end()
    assert archive.fetched == 0
    assert maker.seen == []


def test_a_disk_that_takes_nothing_costs_no_state(tmp_path):
    path = tmp_path / "state.sqlite"
    _write_old(path, ("a", "failed", 8, 1.5, 3, float("inf")))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(InputError, match=r"cannot write state\.sqlite"):
            State(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with closing(State(path)) as state:
        assert state.get("a") is not None


def _filled(path):
    """A state of many pages, all of it in the file; return its rows."""
    rows = [Row(f"{number:064}", "done", 80, 1.5) for number in range(2000)]
    with closing(State(path)) as state:
        for row in rows:
            state.put(row)
    return rows


def _damage(path):
    """Write over the last pages, as a bad disk does."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 4096 // 2 * 4096].ljust(len(content), b"\xaa"))


def test_a_state_that_is_damaged_behind_its_first_row_is_made_again(tmp_path):
    rows = _filled(tmp_path / "state.sqlite")
    _damage(tmp_path / "state.sqlite")
    for _ in range(2):
        with closing(State(tmp_path / "state.sqlite")) as state:
            assert {state.get(row.key) for row in rows[1:]} == {None}
            state.put(rows[0])
            assert state.get(rows[0].key) == rows[0]


def test_a_state_that_is_damaged_while_it_is_open_is_made_again(tmp_path):
    rows = _filled(tmp_path / "state.sqlite")
    with closing(State(tmp_path / "state.sqlite")) as state:
        state._base.execute("PRAGMA shrink_memory")
        _damage(tmp_path / "state.sqlite")
        assert state.get(rows[-1].key) is None
        state.put(rows[0])
        assert state.get(rows[0].key) == rows[0]
    with closing(State(tmp_path / "state.sqlite")) as state:
        assert state.get(rows[0].key) == rows[0]


def test_no_file_of_a_state_is_for_others(tmp_path):
    with closing(State(tmp_path / "state.sqlite")) as state:
        state.put(Row("a", "done", 8, 1.5))
        modes = {one.name: one.stat().st_mode & 0o777 for one in tmp_path.iterdir()}
    assert modes == {f"state.sqlite{ending}": 0o600 for ending in ("", "-wal", "-shm")}
