"""What a page does on the result that it shows never reaches another result."""

import shutil
from dataclasses import replace

import pytest

from mmocnet.review.candidates import MachineResult, read_candidates, write_candidates
from mmocnet.web import readings


def _run_again(desk) -> None:
    """Make a result whose first two candidates have changed places, as another run may."""
    first, second = desk.room.result(desk.study, "r0"), desk.room.result(desk.study, "r1")
    shutil.copytree(first, second)
    old = read_candidates(first)
    one, other = old.findings
    assert one.machine is not None
    assert other.machine is not None
    swapped = (
        replace(other, id="m1", machine=replace(other.machine, index=1)),
        replace(one, id="m2", machine=replace(one.machine, index=2)),
    )
    write_candidates(second, MachineResult(old.grid, swapped, old.provenance))
    with desk.store.transaction() as base:
        base.execute("UPDATE studies SET result = 'r1'")


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("verdict", {"finding": "m1", "verdict": "reject", "reason": "vein"}),
        ("add", {"seed": [4, 20, 4]}),
        ("paint", {"finding": "m1", "voxels": "AAAAAA==", "erase": False}),
        ("undo", {}),
        ("blind", {"on": True}),
        ("reveal", {}),
        ("complete", {"complete": True}),
    ],
)
def test_an_event_of_a_page_on_an_older_result_is_refused(desk, kind, payload):
    reader = desk.reader()
    assert desk.reading(reader)["result"] == "r0"
    _run_again(desk)
    answer = desk.send(reader, 0, kind, **payload)
    assert answer.status_code == 409
    assert "another result" in answer.json()["error"]
    assert desk.store.rows("SELECT * FROM events") == []
    assert desk.store.rows("SELECT * FROM completed") == []
    # Opened again, the page knows the other one.
    desk.result = desk.client.get(f"/api/studies/{desk.study}").json()["result"]
    assert desk.send(reader, 0, "complete", complete=True).status_code == 200


def test_exports_and_agreement_of_an_older_result_are_refused(desk):
    reader = desk.reader()
    desk.send(reader, 0, "verdict", finding="m1", verdict="accept")
    _run_again(desk)
    body = {"reader": reader, "kind": "html", "result": "r0"}
    asked = desk.client.post(f"/api/studies/{desk.study}/export", json=body)
    for answer in (asked, desk.agreement(reader, "machine")):
        assert answer.status_code == 409
        assert "another result" in answer.json()["error"]
    assert desk.store.rows("SELECT * FROM jobs") == []


def test_the_result_on_the_page_must_be_told(desk):
    reader = desk.reader()
    event = desk.event(reader, 0, "complete", complete=True)
    path = f"/api/studies/{desk.study}"
    without = {key: value for key, value in event.items() if key != "result"}
    export = {"reader": reader, "kind": "csv"}
    for answer in (
        desk.client.post(f"{path}/events", json=without),
        desk.client.post(f"{path}/export", json=export),
        desk.client.get(f"{path}/agreement", params={"first": reader, "second": "machine"}),
    ):
        assert answer.status_code == 400
        assert "result" in answer.json()["error"]


def test_a_result_that_comes_while_an_event_is_applied_does_not_get_it(desk, monkeypatch):
    reader = desk.reader()
    write = readings._write

    def late(*given):
        given[0].execute("UPDATE studies SET result = 'r1'")
        write(*given)

    monkeypatch.setattr(readings, "_write", late)
    answer = desk.send(reader, 0, "verdict", finding="m1", verdict="accept")
    assert answer.status_code == 409
    assert desk.store.rows("SELECT * FROM events") == []
