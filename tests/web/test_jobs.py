import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mmocnet.web.jobs import Supervisor
from mmocnet.web.limits import LIMITS
from mmocnet.web.queue import MAX_ATTEMPTS, add_job, claim, extend, fail, release_all
from mmocnet.web.views import open_view
from mmocnet.web.worker import reason_of


def _wait_for_child(server, kind: str, seconds: float = 60) -> int:
    """Return the process id of the child that works on a kind of job."""
    base = sqlite3.connect(server.state / "room.sqlite")
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            row = base.execute(
                "SELECT id FROM jobs WHERE kind = ? AND state = 'running'", (kind,)
            ).fetchone()
            for child in server.children() if row else ():
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                if row[0].encode() in words:
                    return child
            time.sleep(0.02)
    finally:
        base.close()
    raise AssertionError(server.log())


def _alive(child: int) -> bool:
    try:
        state = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def _gone(child: int, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while _alive(child) and time.monotonic() < end:
        time.sleep(0.02)
    return not _alive(child)


def _results(server) -> list[Path]:
    return sorted(server.state.glob("studies/*/result/*"))


def test_a_scan_goes_from_upload_to_reading(serve, head):
    server = serve()
    (study,) = server.upload(head)
    assert study["settings"] == {
        "model": "tiny",
        "point": "balanced",
        "threshold": None,
        "phase": False,
        "mask": False,
    }
    found = server.wait(study["id"])
    assert found["state"] == "ready", found
    assert found["counts"] == {"candidates": 0, "lesions": 0}
    assert found["size"] == [72, 88, 32]
    assert found["model"]["name"] == "tiny"
    folder = server.state / "studies" / study["id"]
    assert _results(server) == [folder / "result" / found["result"]]
    assert {one.name for one in (folder / "input").iterdir()} == {"scan.nii.gz"}
    # The display copy has the scan's own values, grid and place.
    image = nib.load(head)
    content = server.client.get(f"/api/studies/{study['id']}/image.nii").content
    shown = nib.Nifti1Image.from_bytes(content)
    assert np.array_equal(np.asarray(shown.dataobj), np.asarray(image.dataobj))
    assert np.array_equal(shown.affine, image.affine)
    assert np.allclose(shown.get_qform(), image.affine)
    mapped = open_view(folder / "view" / "image.nii", (72, 88, 32))
    assert np.array_equal(mapped, np.asarray(image.dataobj))
    # What a click there outlines is dark in the scan.
    reader = server.reader()
    made = server.send(study["id"], reader, 0, "add", seed=[30, 40, 16]).json()
    assert made["changed"][0]["centre_voxel"] == [30, 40, 16]
    assert server.stop() == 0
    assert list((server.state / "work").iterdir()) == []


def test_an_upload_is_checked_by_the_name_that_its_user_has_for_it(serve, head):
    server = serve()
    content = head.read_bytes()
    (phase,) = server.upload(("part-phase-scan.nii.gz", content))
    (minip,) = server.upload(("sub-02_acq-swi_rec-minip_T2starw.nii.gz", content))
    refused = server.wait(phase["id"])
    assert refused["state"] == "failed"
    told = "expected SWI or magnitude, got phase by its name in part-phase-scan.nii.gz"
    assert refused["reason"] == told
    assert server.wait(minip["id"])["state"] == "ready"
    (folder,) = _results(server)
    said = json.loads((folder / "scan_desc-cmb_dseg.json").read_text())
    (doubt,) = [one for one in said["Summary"]["Warnings"] if "projection" in one]
    assert doubt.startswith("sub-02_acq-swi_rec-minip_T2starw.nii.gz is a minimum intensity")
    assert said["Provenance"]["Input"]["Acquisition"] == {"ImageKind": "SWI"}


def test_a_terminal_that_closes_ends_the_server_and_what_it_works_on(serve, head):
    server = serve()
    server.upload(head)
    child = _wait_for_child(server, "segment")
    assert server.stop(signal.SIGHUP) == 128 + signal.SIGHUP
    assert _gone(child)
    assert server.log().count("Traceback") == 0


def test_no_name_of_a_user_is_in_a_log_a_path_or_an_address(serve, head):
    server = serve()
    (study,) = server.upload(head)
    server.reader("Nightingale")
    bad = server.upload(("Roe_Jane.nii", b"no image"))[0]
    server.wait(study["id"])
    server.wait(bad["id"])
    server.client.get(f"/api/studies/{study['id']}/reading", params={"reader": "nobody"})
    said = server.log()
    assert study["id"] in said
    paths = "\n".join(one.relative_to(server.state).as_posix() for one in server.state.rglob("*"))
    for name in ("Doe", "John", "Roe", "Jane", "19420203", "Nightingale", server.token):
        assert name not in said
        assert name not in paths


def test_a_killed_server_takes_its_child_along_and_the_next_one_finishes_the_job(serve, head):
    server = serve()
    (study,) = server.upload(head)
    child = _wait_for_child(server, "segment")
    time.sleep(0.5)
    server.kill()
    assert _gone(child)
    server = serve()
    found = server.wait(study["id"])
    assert found["state"] == "ready", found
    assert [one.name for one in _results(server)] == [found["result"]]
    base = sqlite3.connect(server.state / "room.sqlite")
    assert base.execute("SELECT COUNT(*) FROM results").fetchone() == (1,)
    base.close()


def test_an_event_that_was_answered_survives_the_death_of_the_server(serve, head):
    server = serve()
    (study,) = server.upload(head)
    server.wait(study["id"])
    reader, path = server.reader(), f"/api/studies/{study['id']}"
    for revision, seed in enumerate(([30, 40, 16], [45, 50, 12])):
        assert server.send(study["id"], reader, revision, "add", seed=seed).status_code == 200
    before = server.client.get(f"{path}/reading", params={"reader": reader}).json()
    server.kill()
    server = serve()
    after = server.client.get(f"{path}/reading", params={"reader": reader}).json()
    assert after == before
    assert [one["id"] for one in after["findings"]] == ["r1", "r2"]


def test_a_job_is_cancelled_and_can_be_run_again(serve, head):
    server = serve()
    (study,) = server.upload(head)
    child = _wait_for_child(server, "segment")
    path = f"/api/studies/{study['id']}/cancel"
    assert server.client.post(path).json()["state"] == "cancelled"
    assert _gone(child)
    assert server.client.post(path).status_code == 409
    assert server.study(study["id"])["result"] is None
    assert _results(server) == []
    again = server.client.post("/api/studies/run", json={"ids": [study["id"]]}).json()["studies"]
    assert [one["id"] for one in again] == [study["id"]]
    assert server.wait(study["id"])["state"] == "ready"


def test_a_killed_child_fails_its_job_in_one_sentence_and_no_other(serve, head):
    server = serve()
    (study,) = server.upload(head)
    os.kill(_wait_for_child(server, "segment"), signal.SIGKILL)
    found = server.wait(study["id"])
    assert found["state"] == "failed"
    assert "SIGKILL" in found["reason"]
    (other,) = server.upload(head)
    assert server.wait(other["id"])["state"] == "ready"


def test_a_study_that_is_deleted_while_it_runs_leaves_nothing(serve, head):
    server = serve()
    (study,) = server.upload(head)
    child = _wait_for_child(server, "segment")
    assert server.client.delete(f"/api/studies/{study['id']}").status_code == 204
    assert _gone(child)
    end = time.monotonic() + 20
    folder = server.state / "studies" / study["id"]
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not folder.exists()
    assert server.client.get("/api/studies").json()["studies"] == []


def test_another_run_makes_another_result_and_keeps_the_older_readings(serve, head):
    server = serve()
    (study,) = server.upload(head)
    first = server.wait(study["id"])["result"]
    reader, path = server.reader(), f"/api/studies/{study['id']}"
    server.send(study["id"], reader, 0, "add", seed=[30, 40, 16])

    def run(**settings) -> str:
        body = {"ids": [study["id"]], **settings}
        assert server.client.post("/api/studies/run", json=body).status_code == 200
        found: str = server.wait(study["id"])["result"]
        return found

    def revision() -> int:
        found = server.client.get(f"{path}/reading", params={"reader": reader}).json()
        number: int = found["revision"]
        return number

    second = run(point="report")
    assert second != first
    assert revision() == 0
    assert len(_results(server)) == 2
    assert run(point="balanced") == first
    assert revision() == 1
    assert len(_results(server)) == 2


def test_a_threshold_of_one_s_own_is_no_operating_point(serve, head):
    server = serve()
    (study,) = server.upload(head, threshold="0.8", point="report")
    chosen = {"model": "tiny", "point": None, "threshold": 0.8}
    assert study["settings"] == chosen | {"phase": False, "mask": False}
    found = server.wait(study["id"])
    assert found["state"] == "ready", found
    assert found["settings"] == study["settings"]
    assert found["threshold"] == 0.8
    assert found["model"]["operating_point"] == "given"


def test_an_earlier_version_s_point_beside_a_threshold_is_not_told(desk):
    used = {"model": "m", "point": "balanced", "threshold": 0.8, "phase": False, "mask": False}
    with desk.store.transaction() as base:
        base.execute("UPDATE results SET settings = ?", (json.dumps(used),))
    (study,) = desk.client.get("/api/studies").json()["studies"]
    assert study["settings"] == used | {"point": None}


def test_a_picture_asks_for_its_spacing(serve, tmp_path):
    from PIL import Image

    at = np.stack(np.meshgrid(np.arange(96), np.arange(96), indexing="ij"), -1)
    inside = (((at - 48) / [40, 45]) ** 2).sum(-1) < 1
    noise = np.random.default_rng(1).normal(120, 8, (96, 96))
    Image.fromarray((noise * inside).astype(np.uint8)).save(tmp_path / "slice.png")
    server = serve()
    (study,) = server.upload(tmp_path / "slice.png")
    found = server.wait(study["id"])
    assert (found["state"], found["needs"]) == ("new", "spacing")
    body = {"ids": [study["id"]], "spacing_mm": 2.0}
    assert server.client.post("/api/studies/run", json=body).status_code == 200
    found = server.wait(study["id"])
    assert found["state"] == "ready", found
    assert found["about"]["spacing_mm"] == [2, 2, 1]
    wrong = {"ids": [study["id"]], "series": "3"}
    assert server.client.post("/api/studies/run", json=wrong).status_code == 400


def test_several_series_are_asked_about_and_one_is_chosen(
    serve, tmp_path, head, write_dicom_series
):
    from mmocnet.io.nifti import read_nifti

    volume = read_nifti(head)
    for number in (3, 7):
        tags = {"SeriesNumber": number, "SeriesInstanceUID": f"2.25.{number}"}
        write_dicom_series(tmp_path / "study" / str(number), volume, **tags)
    files = [
        (f"study/{one.parent.name}/{one.name}", one.read_bytes())
        for one in sorted((tmp_path / "study").rglob("*.dcm"))
    ]
    server = serve()
    (study,) = server.upload(*files)
    found = server.wait(study["id"])
    assert (found["state"], found["needs"]) == ("new", "series")
    assert [one["number"] for one in found["series"]] == ["3", "7"]
    assert not any(one["chosen"] for one in found["series"])
    assert "Fake" not in json.dumps(found)
    server.client.post("/api/studies/run", json={"ids": [study["id"]], "series": "7"})
    found = server.wait(study["id"])
    assert found["state"] == "ready", found
    assert [one["number"] for one in found["series"] if one["chosen"]] == ["7"]
    assert found["about"]["source"] == "dicom"
    assert ["MagneticFieldStrength", 3.0] in found["about"]["technique"]


def test_a_lease_that_ended_is_anybody_s_and_its_first_owner_can_write_no_more(desk):
    store = desk.store
    with store.transaction() as base:
        add_job(base, "segment", desk.study, {})
    job = claim(store, ("segment",), "one")
    assert job is not None
    assert claim(store, ("segment",), "other") is None
    assert extend(store, job)
    with store.transaction() as base:
        base.execute("UPDATE jobs SET lease = 0")
    later = claim(store, ("segment",), "other")
    assert later is not None
    assert (later.id, later.attempts) == (job.id, 2)
    assert not extend(store, job)
    assert not fail(store, job, "late")
    assert extend(store, later)


def test_a_job_that_never_ends_well_is_given_up(desk):
    with desk.store.transaction() as base:
        add_job(base, "segment", desk.study, {})
    for _ in range(MAX_ATTEMPTS):
        assert claim(desk.store, ("segment",), "one") is not None
        release_all(desk.store)
    assert claim(desk.store, ("segment",), "one") is None
    (study,) = desk.client.get("/api/studies").json()["studies"]
    assert study["state"] == "failed"
    assert "interrupted" in study["reason"]


def test_a_server_that_ends_well_is_no_fault_of_a_job(desk):
    with desk.store.transaction() as base:
        add_job(base, "segment", desk.study, {})
    for _ in range(MAX_ATTEMPTS + 2):
        assert claim(desk.store, ("segment",), "one") is not None
        release_all(desk.store, in_peace=True)
    assert claim(desk.store, ("segment",), "one") is not None


def test_a_child_that_takes_too_long_is_ended(desk, monkeypatch):
    from mmocnet.web.limits import Limit

    monkeypatch.setitem(LIMITS, "import", Limit(2**30, 0.0))
    supervisor = Supervisor(desk.room, desk.store)
    with desk.store.transaction() as base:
        base.execute("UPDATE studies SET state = 'waiting'")
        add_job(base, "import", desk.study, {})
    supervisor.start()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        (study,) = desk.client.get("/api/studies").json()["studies"]
        if study["state"] == "failed":
            break
        time.sleep(0.05)
    supervisor.stop()
    assert "minutes" in study["reason"]


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (MemoryError(), "2.5 GB"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "2.5 GB"),
        (OSError(2, "No such file or directory", "/secret/Doe.nii"), "No such file"),
        (ValueError("Doe^John"), "unexpected ValueError"),
    ],
)
def test_a_failure_is_told_without_what_is_in_the_file(error, part):
    said = reason_of(error, "import")
    assert part in said
    assert "Doe" not in said


def test_progress_tells_the_time_that_slices_take(desk):
    with desk.store.transaction() as base:
        job = add_job(base, "segment", desk.study, desk.context.run_settings(None, None, None))
        base.execute(
            "UPDATE jobs SET state = 'running', done = 11, total = 31, started = ? WHERE id = ?",
            (time.time() - 5, job),
        )
    (study,) = desk.client.get("/api/studies").json()["studies"]
    assert (study["progress"]["done"], study["progress"]["total"]) == (11, 31)
    # Ten slices since the first one took five seconds.
    assert study["progress"]["seconds_left"] == pytest.approx(10, abs=0.5)
