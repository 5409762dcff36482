import base64
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mmocnet.web.readings import Readings


def _voxels(*flat: int) -> str:
    return base64.b64encode(np.array(flat, "<u4").tobytes()).decode()


def _rows(desk) -> list:
    # Another connection sees what is committed, and nothing else.
    base = sqlite3.connect(desk.room.database)
    try:
        return base.execute("SELECT number, kind, payload FROM events ORDER BY number").fetchall()
    finally:
        base.close()


def test_a_reading_begins_with_the_machine_s_findings_by_confidence(desk):
    found = desk.reading(desk.reader())
    assert [one["id"] for one in found["findings"]] == ["m1", "m2"]
    assert found["findings"][0]["confidence"] == 0.9
    assert {key: found[key] for key in ("revision", "can_undo", "blind")} == {
        "revision": 0,
        "can_undo": 0,
        "blind": False,
    }


def test_an_event_is_on_the_disk_when_it_is_answered(desk):
    reader = desk.reader()
    answer = desk.send(reader, 0, "verdict", finding="m1", verdict="accept").json()
    assert (answer["revision"], answer["number"]) == (1, 1)
    assert [one["verdict"] for one in answer["changed"]] == ["accept"]
    assert [row[:2] for row in _rows(desk)] == [(1, "verdict")]


def test_a_second_window_cannot_overwrite_the_first(desk):
    reader = desk.reader()
    assert desk.send(reader, 0, "verdict", finding="m1", verdict="accept").status_code == 200
    late = desk.send(reader, 0, "verdict", finding="m1", verdict="reject")
    assert late.status_code == 409
    assert desk.send(reader, 7, "verdict", finding="m1", verdict="reject").status_code == 409
    assert desk.reading(reader)["findings"][0]["verdict"] == "accept"
    assert len(_rows(desk)) == 1


def test_of_many_at_once_one_is_taken(desk):
    reader = desk.reader()
    desk.reading(reader)
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda n: desk.send(reader, 0, "verdict", finding="m1", verdict="accept"), range(8)
            )
        )
    assert sorted(one.status_code for one in answers) == [200] + [409] * 7
    assert len(_rows(desk)) == 1


def test_events_are_never_changed_or_deleted(desk):
    desk.send(desk.reader(), 0, "verdict", finding="m1", verdict="accept")
    for query in (
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT * FROM events",
    ):
        with pytest.raises(sqlite3.IntegrityError), desk.store.transaction() as base:
            base.execute(query)
    assert len(_rows(desk)) == 1


def test_the_same_events_give_the_same_reading_in_a_new_process(desk):
    reader = desk.reader()
    desk.send(reader, 0, "verdict", finding="m2", verdict="reject", reason="vein")
    desk.send(reader, 1, "add", seed=[4, 20, 4])
    desk.send(reader, 2, "paint", finding="r1", voxels=_voxels(0, 1, 2), erase=False)
    desk.send(reader, 3, "undo")
    before = desk.reading(reader)
    assert Readings(desk.room, desk.store).state(desk.study, reader) == before
    assert [one["id"] for one in before["findings"]] == ["m1", "m2", "r1"]
    assert before["can_redo"] == 1


def test_undo_and_redo_go_over_many_levels(desk):
    reader = desk.reader()
    for number in range(6):
        verdict = "accept" if number % 2 else "reject"
        assert desk.send(reader, number, "verdict", finding="m1", verdict=verdict).is_success
    for number in range(6, 12):
        assert desk.send(reader, number, "undo").is_success
    assert desk.send(reader, 12, "undo").status_code == 400
    assert desk.reading(reader)["findings"][0]["verdict"] is None
    assert desk.send(reader, 12, "redo").json()["changed"][0]["verdict"] == "reject"


def test_a_click_outlines_what_is_dark_there(desk):
    reader = desk.reader()
    answer = desk.send(reader, 0, "add", seed=[4, 20, 4]).json()
    (made,) = answer["changed"]
    assert made["origin"] == "reader"
    voxels = np.frombuffer(base64.b64decode(made["voxels"]), "<u4")
    at = np.stack(np.unravel_index(voxels, (24, 28, 6)), axis=-1)
    # The dark box of the scan, and nothing of the bright tissue around it.
    assert {tuple(one) for one in at.tolist()} == {(i, j, 4) for i in (4, 5) for j in (20, 21)}


def test_a_click_on_nothing_is_refused_and_leaves_nothing(desk):
    reader = desk.reader()
    for payload in (
        {"seed": [12, 4, 0]},
        {"seed": [24, 0, 0]},
        {"seed": [-1, 0, 0]},
        {"seed": [True, 0, 0]},
        {"seed": "000"},
        {"seed": [0, 0]},
        {"voxels": "!"},
        {"voxels": _voxels()},
        {"voxels": _voxels(24 * 28 * 6)},
        {"voxels": _voxels(2, 1)},
        {},
    ):
        assert desk.send(reader, 0, "add", **payload).status_code == 400
    assert _rows(desk) == []
    assert desk.reading(reader)["revision"] == 0


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("verdict", {"finding": "m9", "verdict": "accept"}),
        ("verdict", {"finding": "m1", "verdict": "maybe"}),
        ("verdict", {"finding": "m1", "verdict": "reject", "reason": "boredom"}),
        ("remove", {"finding": "m1"}),
        ("paint", {"finding": "m1", "voxels": "AAAA", "erase": "no"}),
        ("redo", {}),
        ("reveal", {}),
        ("explode", {}),
    ],
)
def test_what_cannot_follow_is_refused_and_the_reading_goes_on(desk, kind, payload):
    reader = desk.reader()
    assert desk.send(reader, 0, kind, **payload).status_code == 400
    assert desk.send(reader, 0, "verdict", finding="m1", verdict="accept").status_code == 200


def test_blind_reading_hides_the_machine_on_the_server(desk):
    reader = desk.reader()
    answer = desk.send(reader, 0, "blind", on=True).json()
    assert answer["removed"] == ["m1", "m2"]
    assert desk.reading(reader)["findings"] == []
    # Nothing that the machine marked can be addressed, and no probability helps.
    assert desk.send(reader, 1, "verdict", finding="m1", verdict="accept").status_code == 400
    assert desk.agreement(reader, "machine").status_code == 400
    shown = desk.send(reader, 1, "reveal").json()
    assert {one["id"] for one in shown["changed"]} == {"m1", "m2"}
    assert desk.agreement(reader, "machine").is_success


def test_who_reads_blind_is_told_no_counts_and_no_doubts_of_the_networks(desk):
    reader, other = desk.reader("One"), desk.reader("Other")

    def told(who):
        (listed,) = desk.client.get("/api/studies", params={"reader": who}).json()["studies"]
        opened = desk.client.get(f"/api/studies/{desk.study}", params={"reader": who}).json()
        assert "warnings" not in opened
        assert opened["counts"] == listed["counts"]
        return listed["begun"], listed["counts"], desk.reading(who)["warnings"]

    counts, doubts = {"candidates": 2, "lesions": 2}, ["candidate 2 may be a vein"]
    assert told(reader) == (False, counts, doubts)
    desk.send(reader, 0, "blind", on=True)
    assert told(reader) == (True, None, [])
    assert told(other) == (False, counts, doubts)
    desk.send(reader, 1, "blind", on=False)
    assert told(reader) == (True, counts, doubts)
    desk.send(other, 0, "blind", on=True)
    desk.send(other, 1, "reveal")
    assert told(other) == (True, counts, doubts)


def test_readers_do_not_see_each_other_s_verdicts(desk):
    one, other = desk.reader("One"), desk.reader("Other")
    desk.send(one, 0, "verdict", finding="m1", verdict="accept")
    assert desk.reading(other)["findings"][0]["verdict"] is None
    assert desk.send(other, 0, "verdict", finding="m1", verdict="reject").status_code == 200
    found = desk.agreement(one, other).json()
    assert (found["n_first"], found["n_second"], found["matched"]) == (1, 0, 0)
    assert found["disagreements"][0]["id"] == "m1"
    assert found["voxel_dice"] == 0


def test_the_same_name_is_the_same_reader(desk):
    assert desk.reader("Ann  Lee ") == desk.reader("Ann Lee")
    assert desk.reader("Bea") != desk.reader("Ann Lee")


def test_who_has_read_is_in_the_work_list(desk):
    reader = desk.reader()
    desk.send(reader, 0, "complete", complete=True)
    (study,) = desk.client.get("/api/studies").json()["studies"]
    assert study["read_by"] == [reader]
    desk.send(reader, 1, "complete", complete=False)
    (study,) = desk.client.get("/api/studies").json()["studies"]
    assert study["read_by"] == []


def test_the_audit_has_every_event(desk):
    reader = desk.reader()
    desk.send(reader, 0, "verdict", finding="m1", verdict="accept")
    desk.send(reader, 1, "undo")
    answer = desk.client.get(f"/api/studies/{desk.study}/audit", params={"reader": reader})
    kinds = [(one["number"], one["kind"], one["payload"]) for one in answer.json()["events"]]
    assert [one[:2] for one in kinds] == [(1, "verdict"), (2, "undo")]
    assert kinds[1][2] == {"of": 1}


def test_nobody_reads_what_is_not_there(desk):
    reader = desk.reader()
    path = f"/api/studies/{desk.study}/reading"
    assert desk.client.get(path, params={"reader": "nobody"}).status_code == 404
    assert desk.client.get(path).status_code == 400
    assert desk.send("nobody", 0, "undo").status_code == 404
    with desk.store.transaction() as base:
        base.execute("UPDATE studies SET result = NULL")
    assert desk.client.get(path, params={"reader": reader}).status_code == 404


def test_a_deleted_study_takes_its_readings_with_it(desk):
    reader = desk.reader()
    desk.send(reader, 0, "verdict", finding="m1", verdict="accept")
    assert desk.client.delete(f"/api/studies/{desk.study}").status_code == 204
    assert _rows(desk) == []
    assert not desk.room.study(desk.study).exists()
    assert desk.client.get(f"/api/studies/{desk.study}").status_code == 404
    assert desk.client.delete(f"/api/studies/{desk.study}").status_code == 404
    assert desk.send(reader, 1, "undo").status_code == 404


def test_another_result_has_readings_of_its_own_and_the_older_ones_stay(desk):
    reader = desk.reader()
    desk.send(reader, 0, "verdict", finding="m1", verdict="accept")
    desk.room.result(desk.study, "r1").symlink_to(desk.room.result(desk.study, "r0"))
    for result, revision in (("r1", 0), ("r0", 1)):
        with desk.store.transaction() as base:
            base.execute("UPDATE studies SET result = ?", (result,))
        assert desk.reading(reader)["revision"] == revision


def test_a_failed_write_leaves_the_reading_as_it_was(desk, monkeypatch):
    reader = desk.reader()
    desk.reading(reader)

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("mmocnet.web.readings._write", full)
    assert desk.send(reader, 0, "verdict", finding="m1", verdict="accept").status_code == 503
    monkeypatch.undo()
    assert desk.reading(reader)["findings"][0]["verdict"] is None
    assert desk.send(reader, 0, "verdict", finding="m1", verdict="accept").status_code == 200


def test_the_image_is_sent_as_it_lies_on_the_disk(desk):
    path = f"/api/studies/{desk.study}/image.nii"
    answer = desk.client.get(path)
    assert answer.content == (desk.room.view(desk.study) / "image.nii").read_bytes()
    assert answer.headers["etag"]
    assert desk.client.head(path).headers["content-length"] == str(len(answer.content))
    part = desk.client.get(path, headers={"Range": "bytes=352-361"})
    assert (part.status_code, part.content) == (206, answer.content[352:362])
    assert desk.client.get(f"/api/studies/{desk.study}/phase.nii").status_code == 404


def test_a_study_is_opened_with_all_that_shows_it(desk):
    found = desk.client.get(f"/api/studies/{desk.study}").json()
    assert found["about"]["shape"] == [24, 28, 6]
    assert found["thresholds"] == {"screening": 0.3, "balanced": 0.5, "report": 0.7}
    assert found["threshold"] == 0.5
    assert found["model"]["name"] == "tiny"
    assert found["counts"] == {"candidates": 2, "lesions": 2}
