"""Files that change: what is shown and marked is always of the same scan."""

import json
import os
import shutil
import sqlite3

import nibabel as nib
import numpy as np
import pytest

from mmocnet.io.nifti import read_nifti
from mmocnet.web.work_import import stamp_of


@pytest.fixture
def scan(tmp_path, head):
    """A scan in a folder to be served."""
    path = tmp_path / "scans" / "one.nii.gz"
    path.parent.mkdir()
    shutil.copy(head, path)
    return path


def _run(server, study: str, **settings):
    answer = server.client.post("/api/studies/run", json={"ids": [study], **settings})
    assert answer.status_code == 200, answer.text
    return server.wait(study)


def _findings(server, found):
    folder = server.state / "studies" / found["id"] / "result" / found["result"]
    return json.loads((folder / "findings.json").read_text())


def _noise(path, shape):
    voxels = np.random.default_rng(4).uniform(-1, 1, shape).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2, 4, 1])), path)
    return path


def _attach(server, study: str, role: str, path) -> None:
    files = {role: (path.name, path.read_bytes())}
    answer = server.client.post(f"/api/studies/{study}/files", files=files)
    assert answer.status_code == 200, answer.text


def test_a_scan_that_was_replaced_is_shown_as_it_is_marked(serve, scan):
    server = serve(str(scan.parent))
    (study,) = server.listed()
    first = _run(server, study["id"])
    image = nib.load(scan)
    other = np.ascontiguousarray(np.asarray(image.dataobj)[::-1, :-8, :])
    nib.save(nib.Nifti1Image(other, np.diag([-2.0, 2, 4, 1])), scan)
    second = _run(server, study["id"])
    assert second["state"] == "ready", second
    assert second["result"] != first["result"]
    assert second["about"]["shape"] == second["size"] == [72, 80, 32]
    made = _findings(server, second)
    assert made["Shape"] == second["about"]["shape"]
    assert made["Affine"] == second["about"]["affine"]
    content = server.client.get(f"/api/studies/{study['id']}/image.nii").content
    shown = nib.Nifti1Image.from_bytes(content)
    assert np.array_equal(np.asarray(shown.dataobj), other)
    assert server.send(study["id"], server.reader(), 0, "add", seed=[41, 40, 16]).is_success


def test_a_scan_of_the_same_size_and_time_is_told_by_its_content(serve, tmp_path, head):
    root = tmp_path / "scans"
    root.mkdir()
    path = root / "one.nii"
    image = nib.load(head)
    nib.save(image, path)
    server = serve(str(root))
    (study,) = server.listed()
    first = _run(server, study["id"])
    before = path.stat()
    other = np.asarray(image.dataobj)[::-1].copy()
    nib.save(nib.Nifti1Image(other, image.affine), path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    second = _run(server, study["id"], point="report")
    assert second["state"] == "ready", second
    assert second["about"]["sha256"] == second["model"]["input_sha256"]
    assert second["about"]["sha256"] != first["about"]["sha256"]
    assert _run(server, study["id"], point="balanced")["result"] != first["result"]


def test_a_result_of_what_was_replaced_is_not_shown_on_what_is_there_now(
    serve, scan, head, tmp_path
):
    server = serve(str(scan.parent))
    (study,) = server.listed()
    first = _run(server, study["id"])
    event = {"id": "0" * 32, "reader": server.reader(), "result": first["result"], "revision": 0}
    event |= {"kind": "add", "payload": {"seed": [30, 40, 16]}}
    image = nib.load(scan)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1].copy(), image.affine), scan)
    # The import ends well, and the segmentation does not.
    _attach(server, study["id"], "mask", _noise(tmp_path / "mask.nii.gz", (8, 8, 8)))
    failed = _run(server, study["id"])
    assert (failed["state"], failed["result"]) == ("failed", None)
    assert failed["about"]["sha256"] != first["about"]["sha256"]
    # A page that shows the earlier one is told so.
    answer = server.client.post(f"/api/studies/{study['id']}/events", json=event)
    assert answer.status_code == 409
    # With the scan of before its result is there again.
    shutil.copy(head, scan)
    assert server.client.delete(f"/api/studies/{study['id']}/files/mask").status_code == 204
    assert _run(server, study["id"])["result"] == first["result"]


def test_a_dicom_folder_that_grew_is_segmented_anew(serve, tmp_path, head, write_dicom_series):
    root, hold = tmp_path / "scans" / "p1", tmp_path / "hold"
    hold.mkdir()
    files = write_dicom_series(root, read_nifti(head))
    for path in files[16:]:
        shutil.move(path, hold / path.name)
    server = serve(str(root.parent))
    (study,) = server.listed()
    first = _run(server, study["id"])
    assert first["size"] == [72, 88, 16]
    for path in sorted(hold.iterdir()):
        shutil.move(path, root / path.name)
    second = _run(server, study["id"])
    assert second["state"] == "ready", second
    assert second["size"] == second["about"]["shape"] == [72, 88, 32]
    assert second["result"] != first["result"]
    # The same files again are the same result.
    (root / ".DS_Store").write_bytes(b"content")
    assert _run(server, study["id"])["result"] == second["result"]


def test_a_folder_s_stamp_is_of_names_sizes_and_times(tmp_path):
    folder = tmp_path / "study"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1").write_bytes(b"12")
    (folder / "2").write_bytes(b"34")
    seen = [stamp_of(folder)]

    def changed() -> None:
        seen.append(stamp_of(folder))
        assert len(set(map(str, seen))) == len(seen)

    assert stamp_of(folder) == seen[0]
    (folder / "3").write_bytes(b"")
    changed()
    (folder / "3").rename(folder / "a" / "3")
    changed()
    (folder / "2").write_bytes(b"345")
    changed()
    assert stamp_of(tmp_path / "nothing") is None
    assert stamp_of(None) is None


def test_a_scan_that_never_stays_the_same_is_given_up(serve, tmp_path, head):
    root = tmp_path / "scans"
    root.mkdir()
    shutil.copy(head, root / "one.nii.gz")
    server = serve(str(root))
    (study,) = server.listed()
    _run(server, study["id"])
    # As if it had changed each time that it was read.
    base = sqlite3.connect(server.state / "room.sqlite")
    base.execute(
        "CREATE TRIGGER moving AFTER UPDATE OF stamp ON studies WHEN NEW.stamp <> 'x' "
        "BEGIN UPDATE studies SET stamp = 'x'; END"
    )
    base.execute("UPDATE studies SET stamp = 'y'")
    base.commit()
    base.close()
    found = _run(server, study["id"])
    assert found["state"] == "failed"
    assert "changed 3 times" in found["reason"]
    # What was there is there.
    assert found["about"] is not None
    assert found["result"] is not None


def test_a_study_with_a_phase_that_was_added_can_be_opened_all_the_time(serve, tmp_path, head):
    server = serve()
    (study,) = server.upload(head)
    before = server.wait(study["id"])
    path = f"/api/studies/{study['id']}"
    image = server.client.get(f"{path}/image.nii").content
    _attach(server, study["id"], "phase", _noise(tmp_path / "phase.nii.gz", (8, 8, 8)))
    added = server.study(study["id"])
    assert (added["about"], added["result"]) == (before["about"], before["result"])
    assert added["attached"] == {"phase": True, "mask": False}
    # It does not fit: what was shown before stays.
    failed = _run(server, study["id"])
    assert failed["state"] == "failed"
    assert (failed["about"], failed["result"]) == (before["about"], before["result"])
    assert server.client.get(f"{path}/image.nii").content == image
    assert server.send(study["id"], server.reader(), 0, "add", seed=[30, 40, 16]).is_success
    # So does it where the import is cancelled.
    answer = server.client.post("/api/studies/run", json={"ids": [study["id"]]})
    assert answer.is_success
    if server.client.post(f"{path}/cancel").is_success:
        assert server.study(study["id"])["about"] == before["about"]
    server.wait(study["id"])
    # Without it, all is as it was.
    assert server.client.delete(f"{path}/files/phase").status_code == 204
    after = _run(server, study["id"])
    assert (after["state"], after["result"]) == ("ready", before["result"])
    assert after["about"] == before["about"]
    names = [one.name for one in (server.state / "studies" / study["id"] / "view").iterdir()]
    assert sorted(names) == ["about.json", "image.nii"]


def test_a_mask_that_does_not_fit_can_be_taken_off(serve, tmp_path, head):
    server = serve()
    (study,) = server.upload(head)
    first = server.wait(study["id"])
    path = f"/api/studies/{study['id']}"
    _attach(server, study["id"], "mask", _noise(tmp_path / "mask.nii.gz", (8, 8, 8)))
    assert _run(server, study["id"])["state"] == "failed"
    assert server.client.delete(f"{path}/files/mask").status_code == 204
    found = _run(server, study["id"])
    assert (found["state"], found["result"]) == ("ready", first["result"])


def test_a_file_is_taken_off_once_and_not_while_the_study_runs(desk):
    path = f"/api/studies/{desk.study}/files"
    assert desk.client.delete(f"{path}/phase").status_code == 404
    files = {"phase": ("p.nii", b"1"), "mask": ("m.nii", b"1")}
    desk.client.post(path, files=files)
    desk.client.post("/api/studies/run", json={"ids": [desk.study]})
    assert desk.client.delete(f"{path}/phase").status_code == 409
    desk.client.post(f"/api/studies/{desk.study}/cancel")
    assert desk.client.delete(f"{path}/phase").status_code == 204
    assert [one.name[:4] for one in desk.room.input(desk.study).iterdir()] == ["mask"]
    assert desk.client.delete(f"{path}/phase").status_code == 404
    assert desk.client.delete(f"{path}/scan").status_code == 400
    assert desk.client.delete("/api/studies/nobody/files/mask").status_code == 404
    (study,) = desk.client.get("/api/studies").json()["studies"]
    assert study["attached"] == {"phase": False, "mask": True}


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Authorization": ""}, {"X-Mmocnet": None}]
)
def test_only_our_page_takes_a_file_off(desk, headers):
    path = f"/api/studies/{desk.study}/files"
    desk.client.post(path, files={"mask": ("m.nii", b"1")})
    given = {"Authorization": f"Bearer {desk.access.token}", "X-Mmocnet": "1"} | headers
    client = desk.fresh_client(**{key: value for key, value in given.items() if value is not None})
    assert client.delete(f"{path}/mask").status_code in (401, 403)
    assert desk.client.delete(f"{path}/mask").status_code == 204


def test_a_file_of_the_served_folder_is_left_out_and_stays(desk, tmp_path):
    phase = tmp_path / "sub-01_part-phase_T2starw.nii.gz"
    phase.write_bytes(b"content")
    with desk.store.transaction() as base:
        base.execute("UPDATE studies SET phase = ?", (str(phase).encode(),))
    path = f"/api/studies/{desk.study}/files/phase"
    assert desk.client.delete(path).status_code == 204
    assert phase.read_bytes() == b"content"


def test_the_images_of_another_scan_are_not_shown_under_a_result(desk):
    """As an earlier version left it where the scan had been replaced."""
    place = desk.room.view(desk.study) / "about.json"
    about = json.loads(place.read_text())
    for change in ({"shape": [24, 20, 6]}, {"affine": np.eye(4).tolist()}, {"sha256": "1" * 64}):
        place.write_text(json.dumps(about | change))
        assert desk.client.get(f"/api/studies/{desk.study}").json()["about"] is None
    place.write_text(json.dumps(about))
    assert desk.client.get(f"/api/studies/{desk.study}").json()["about"] == about
