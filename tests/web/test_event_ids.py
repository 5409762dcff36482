"""An event that is sent twice is taken once, and brings nothing along that nobody asked for."""

import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmocnet.web.store import VERSION, Store


def _numbers(desk) -> list[int]:
    return [row["number"] for row in desk.store.rows("SELECT number FROM events ORDER BY rowid")]


def test_an_event_sent_again_is_answered_as_the_first_time(desk):
    reader = desk.reader()
    desk.send(reader, 0, "verdict", finding="m2", verdict="accept")
    event = desk.event(reader, 1, "add", seed=[4, 20, 4])
    first = desk.send_again(event)
    assert desk.send_again(event).json() == first.json()
    # Another window has gone on; the page still asks with the revision that it knew.
    desk.send(reader, 2, "verdict", finding="m1", verdict="reject", reason="vein")
    later = desk.send_again(event)
    assert (later.status_code, later.json()) == (200, first.json())
    assert _numbers(desk) == [1, 2, 3]
    assert desk.reading(reader)["revision"] == 3
    # And the study another result, in which the event is not.
    with desk.store.transaction() as base:
        base.execute("UPDATE studies SET result = 'r1'")
    assert desk.send_again(event).json() == first.json()


def test_of_one_event_sent_many_times_at_once_one_is_taken(desk):
    reader = desk.reader()
    event = desk.event(reader, 0, "verdict", finding="m1", verdict="accept")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: desk.send_again(event), range(8)))
    assert {one.status_code for one in answers} == {200}
    assert len({one.text for one in answers}) == 1
    assert _numbers(desk) == [1]


def test_an_id_is_one_reader_s_own(desk):
    one, other = desk.reader("One"), desk.reader("Other")
    event = desk.event(one, 0, "verdict", finding="m1", verdict="accept")
    desk.send_again(event)
    answer = desk.send_again(event | {"reader": other})
    assert answer.json()["revision"] == 1
    assert [desk.reading(who)["revision"] for who in (one, other)] == [1, 1]


@pytest.mark.parametrize("given", [None, "", "a" * 31, "A" * 32, "g" * 32, "a" * 33, 7, ["a" * 32]])
def test_an_id_is_32_hex_digits(desk, given):
    event = desk.event(desk.reader(), 0, "verdict", finding="m1", verdict="accept")
    assert desk.send_again(event | {"id": given}).status_code == 400
    del event["id"]
    assert desk.send_again(event).status_code == 400
    assert _numbers(desk) == []


def test_an_event_is_not_replaced_by_one_of_the_same_id(desk):
    event = desk.event(desk.reader(), 0, "verdict", finding="m1", verdict="accept")
    desk.send_again(event)
    query = (
        "INSERT OR REPLACE INTO events SELECT study, result, reader, 9, time, kind, payload, id "
        "FROM events"
    )
    with pytest.raises(sqlite3.IntegrityError), desk.store.transaction() as base:
        base.execute(query)
    assert _numbers(desk) == [1]


EARLIER = """
CREATE TABLE studies (id TEXT PRIMARY KEY, name TEXT NOT NULL, source TEXT NOT NULL,
    origin TEXT NOT NULL, path BLOB UNIQUE, added TEXT NOT NULL, state TEXT NOT NULL, reason TEXT,
    needs TEXT, spacing_mm REAL, wanted TEXT, series TEXT, size TEXT, settings TEXT,
    imported INTEGER NOT NULL DEFAULT 0, phase BLOB, mask BLOB, result TEXT);
CREATE TABLE events (study TEXT NOT NULL, result TEXT NOT NULL, reader TEXT NOT NULL,
    number INTEGER NOT NULL, time TEXT NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL,
    PRIMARY KEY (study, result, reader, number));
CREATE TRIGGER events_once BEFORE INSERT ON events
WHEN EXISTS (SELECT 1 FROM events WHERE study = NEW.study AND result = NEW.result
    AND reader = NEW.reader AND number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'events are never replaced'); END;
INSERT INTO studies (id, name, source, origin, added, state)
    VALUES ('s','n','nifti','upload','','');
INSERT INTO events VALUES ('s','r0','a',1,'','verdict','{}'), ('s','r0','a',2,'','undo','{}');
PRAGMA user_version = 1;
"""


def test_a_room_of_an_earlier_version_keeps_its_events(tmp_path):
    path = tmp_path / "room.sqlite"
    base = sqlite3.connect(path)
    base.executescript(EARLIER)
    base.close()
    for _ in range(2):
        store = Store(path)
        rows = store.rows("SELECT number, kind, id FROM events ORDER BY number")
        assert [tuple(row) for row in rows] == [(1, "verdict", None), (2, "undo", None)]
        assert store.row("SELECT stamp FROM studies")["stamp"] is None
        assert store.row("PRAGMA user_version")[0] == VERSION
        store.close()
    store = Store(path)
    insert = "INSERT OR REPLACE INTO events VALUES ('s','r0','a',?,'','undo','{}',?)"
    with store.transaction() as base:
        base.execute(insert, (3, "a"))
    for number, name in ((3, "b"), (4, "a")):
        with pytest.raises(sqlite3.IntegrityError), store.transaction() as base:
            base.execute(insert, (number, name))
    store.close()


def test_a_change_of_the_tables_is_made_whole_or_not_at_all(tmp_path):
    path = tmp_path / "room.sqlite"
    base = sqlite3.connect(path)
    # Its change fails at the end: there is no such trigger to be dropped.
    base.executescript(EARLIER.replace("TRIGGER events_once", "TRIGGER events_twice"))
    base.close()
    shutil.copy(path, tmp_path / "before")
    with pytest.raises(Exception, match="cannot open"):
        Store(path)
    base = sqlite3.connect(path)
    assert base.execute("PRAGMA user_version").fetchone() == (1,)
    assert "stamp" not in [row[1] for row in base.execute("PRAGMA table_info(studies)")]
    base.close()


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("verdict", {"finding": "m1", "verdict": "accept", "note": "x" * 5_000_000}),
        ("verdict", {"finding": "m1", "verdict": "accept", "x": "\ud800"}),
        ("verdict", {"finding": "m1", "verdict": "accept", "\ud800": 1}),
        ("verdict", {"finding": "\ud800", "verdict": "accept"}),
        ("verdict", {"finding": "m1", "verdict": "\ud800"}),
        ("verdict", {"finding": "m1", "verdict": "reject", "reason": "\ud800"}),
        ("add", {"voxels": "AAAAAA==", "seed": "\ud800"}),
        ("add", {"voxels": "AAAAAA==", "seed": [1, 2, 3, {"x": "y"}]}),
        ("add", {"voxels": "\ud800"}),
        ("paint", {"finding": "m1", "voxels": "AAAAAA==", "erase": False, "how": "x"}),
        ("undo", {"of": 1}),
        ("complete", {"complete": True, "who": "Doe^John"}),
        ("reveal", {"on": True}),
        ("\ud800", {}),
    ],
)
def test_what_nobody_asks_for_is_refused_in_one_sentence(desk, kind, payload):
    reader = desk.reader()
    # As text in which each surrogate is an escape, as a page can send it.
    body = json.dumps(desk.event(reader, 0, kind, **payload))
    headers = {"Content-Type": "application/json"}
    path = f"/api/studies/{desk.study}/events"
    answer = desk.client.post(path, content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    said = answer.json()["error"]
    assert "Doe" not in said
    assert "\n" not in said
    assert len(said) < 300
    assert _numbers(desk) == []


def test_a_drawing_keeps_where_it_was_begun(desk):
    reader = desk.reader()
    assert desk.send(reader, 0, "add", voxels="AAAAAA==", seed=[0, 0, 0]).status_code == 200
    assert desk.send(reader, 1, "add", voxels="AQAAAA==").status_code == 200
    rows = desk.store.rows("SELECT payload FROM events ORDER BY number")
    assert [json.loads(row["payload"])["seed"] for row in rows] == [[0, 0, 0], None]


@pytest.mark.parametrize(
    "content", ['{"\\ud800": 1}', '{"name": "\\ud800"}', '{"name": "a", "b": 1}']
)
def test_a_name_that_is_no_text_is_one_sentence(desk, content):
    headers = {"Content-Type": "application/json"}
    answer = desk.client.post("/api/readers", content=content, headers=headers)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
