"""A room that lost a file says so, and makes it anew with the next run."""

import json
import os
import time

import pytest

from mmocnet.errors import InputError
from mmocnet.web.results import to_disk
from mmocnet.web.views import open_view


def _cut(path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
@pytest.mark.parametrize("name", ["probability.npy", "image.nii"])
def test_an_event_that_needs_a_lost_file_says_what_to_do(desk, damage, name):
    folder = desk.room.view(desk.study)
    if name == "probability.npy":
        folder = desk.room.result(desk.study, "r0")
    path = folder / name
    if damage == "missing":
        path.unlink()
    else:
        _cut(path, 0 if damage == "empty" else 3000)
    reader = desk.reader()
    answer = desk.send(reader, 0, "add", seed=[4, 20, 4])
    assert answer.status_code == 410, answer.text
    assert "run the study again" in answer.json()["error"]
    # What does not need it goes on.
    assert desk.send(reader, 0, "verdict", finding="m1", verdict="accept").status_code == 200


@pytest.mark.parametrize("name", ["findings.json", "findings.npz"])
def test_a_damaged_result_says_what_to_do(desk, name):
    _cut(desk.room.result(desk.study, "r0") / name, 0)
    reader = desk.reader()
    path = f"/api/studies/{desk.study}"
    for answer in (
        desk.client.get(path),
        desk.client.get(f"{path}/reading", params={"reader": reader}),
        desk.send(reader, 0, "complete", complete=True),
    ):
        assert answer.status_code == 410
        assert "run the study again" in answer.json()["error"]


def test_an_image_of_another_grid_is_not_marked_on(desk):
    path = desk.room.view(desk.study) / "image.nii"
    with pytest.raises(InputError, match=r"expected image\.nii of"):
        open_view(path, (24, 20, 6))
    path.write_bytes(path.read_bytes() + bytes(24 * 2))
    answer = desk.send(desk.reader(), 0, "add", seed=[4, 20, 4])
    assert answer.status_code == 410


@pytest.mark.parametrize(
    "name", ["findings.json", "findings.npz", "probability.npy", "image.nii", "about.json"]
)
def test_what_was_lost_is_made_anew_by_the_next_run(serve, head, name):
    server = serve()
    (study,) = server.upload(head)
    before = server.wait(study["id"])
    reader = server.reader()
    assert server.send(study["id"], reader, 0, "add", seed=[30, 40, 16]).is_success
    folder = server.state / "studies" / study["id"]
    (path,) = folder.glob(f"*/**/{name}")
    content = path.read_bytes()
    path.write_bytes(b"")
    # In memory it may be whole still.
    server.stop()
    server = serve()
    _run(server, study["id"])
    after = server.wait(study["id"])
    assert after["state"] == "ready"
    assert after["result"] == before["result"]
    assert after["about"] == before["about"]
    # findings.json says when and for how long, in words of any length.
    if name == "findings.json":
        assert _without_time(path.read_bytes()) == _without_time(content)
    else:
        assert path.stat().st_size == len(content)
    # The readings of before are of the same result.
    ask = {"reader": reader}
    found = server.client.get(f"/api/studies/{study['id']}/reading", params=ask).json()
    assert found["revision"] == 1


def _without_time(content: bytes) -> dict:
    about = json.loads(content)
    for key in ("Started", "Seconds"):
        del about["Provenance"][key]
    return about


def _run(server, study: str) -> None:
    """Run a study and wait until all of its jobs have ended; a damaged one cannot be opened."""
    answer = server.client.post("/api/studies/run", json={"ids": [study]})
    assert answer.status_code == 200, answer.text
    end = time.monotonic() + 120
    while time.monotonic() < end:
        (found,) = server.client.get("/api/studies").json()["studies"]
        if found["state"] not in ("waiting", "running"):
            return
        time.sleep(0.05)
    raise AssertionError((found, server.log()))


def test_all_files_of_a_result_are_put_on_the_disk(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    files = [tmp_path / "a" / "1", tmp_path / "2"]
    for one in files:
        one.write_bytes(b"content")
    put = []
    monkeypatch.setattr(os, "fsync", lambda handle: put.append(os.fstat(handle).st_ino))
    to_disk(tmp_path)
    wanted = [one.stat().st_ino for one in (*files, tmp_path / "a", tmp_path)]
    assert sorted(put) == sorted(wanted)
    # The folder itself when what is in it is there.
    assert put[-1] == tmp_path.stat().st_ino
