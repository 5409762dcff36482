"""Another pixel size or series is the study's own only when it has been segmented."""

import gzip
import io
import json
import sqlite3
import zipfile

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from mmocnet.io.nifti import read_nifti


@pytest.fixture
def picture(tmp_path):
    """A slice as PNG."""
    at = np.stack(np.meshgrid(np.arange(96), np.arange(96), indexing="ij"), -1)
    inside = (((at - 48) / [40, 45]) ** 2).sum(-1) < 1
    noise = np.random.default_rng(1).normal(120, 8, (96, 96))
    noise[46:50, 46:50] = 20
    path = tmp_path / "slice.png"
    Image.fromarray((noise * inside).astype(np.uint8)).save(path)
    return path


def _run(server, study: str, **settings):
    answer = server.client.post("/api/studies/run", json={"ids": [study], **settings})
    assert answer.status_code == 200, answer.text
    return server.wait(study)


def _spoil(server, study: str) -> None:
    """Give a study a mask that does not fit, so that its next segmentation fails."""
    mask = nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), np.eye(4))
    files = {"mask": ("mask.nii", mask.to_bytes())}
    answer = server.client.post(f"/api/studies/{study}/files", files=files)
    assert answer.status_code == 200, answer.text


def _mend(server, study: str) -> None:
    assert server.client.delete(f"/api/studies/{study}/files/mask").status_code == 204


def _told(found):
    """Return what is told of a study, but for how its last run ended."""
    return {key: found[key] for key in ("result", "about", "spacing_mm", "series", "size")}


def _change(server, **values) -> None:
    """Have something else in the study's row, as an earlier version left it."""
    base = sqlite3.connect(server.state / "room.sqlite")
    for name, value in values.items():
        base.execute(f"UPDATE studies SET {name} = ?", (value,))
    base.commit()
    base.close()


def _export(server, study: str, reader: str, kind: str) -> bytes:
    job, state = server.export(study, reader, kind)
    assert state["state"] == "done", state
    content: bytes = server.client.get(f"/api/exports/{job}/file").content
    return content


def test_a_pixel_size_is_the_study_s_when_it_is_segmented(serve, picture):
    server = serve()
    (study,) = server.upload(picture, spacing_mm="0.5")
    ident = study["id"]
    first = server.wait(ident)
    assert (first["state"], first["spacing_mm"]) == ("ready", 0.5)
    _spoil(server, ident)
    failed = _run(server, ident, spacing_mm=0.7)
    assert failed["state"] == "failed"
    assert _told(failed) == _told(first)
    _mend(server, ident)
    # The next run is with what the study has.
    assert _run(server, ident)["result"] == first["result"]
    other = _run(server, ident, spacing_mm=0.7)
    assert (other["state"], other["spacing_mm"]) == ("ready", 0.7)
    assert other["about"]["spacing_mm"][:2] == [0.7, 0.7]
    assert other["result"] != first["result"]
    assert _told(_run(server, ident, spacing_mm=0.5)) == _told(first)
    folder = server.state / "studies" / ident
    assert sorted(one.name for one in folder.iterdir()) == ["input", "result", "view"]


def test_a_series_is_the_study_s_when_it_is_segmented(serve, tmp_path, head, write_dicom_series):
    for number in (3, 7):
        tags = {"SeriesNumber": number, "SeriesInstanceUID": f"2.25.{number}"}
        write_dicom_series(tmp_path / "study" / str(number), read_nifti(head), **tags)
    files = [
        (f"study/{one.parent.name}/{one.name}", one.read_bytes())
        for one in sorted((tmp_path / "study").rglob("*.dcm"))
    ]
    server = serve()
    (study,) = server.upload(*files)
    ident = study["id"]
    assert server.wait(ident)["needs"] == "series"
    first = _run(server, ident, series="3")
    assert [one["chosen"] for one in first["series"]] == [True, False]
    _spoil(server, ident)
    failed = _run(server, ident, series="7")
    assert failed["state"] == "failed"
    assert _told(failed) == _told(first)
    _change(server, wanted="7")
    assert _export(server, ident, server.reader(), "html").startswith(b"<!doctype html>")
    _change(server, wanted="3")
    _mend(server, ident)
    other = _run(server, ident, series="7")
    assert [one["chosen"] for one in other["series"]] == [False, True]
    assert other["result"] != first["result"]


def test_an_export_has_the_pixel_size_that_was_read(serve, picture):
    server = serve()
    (study,) = server.upload(picture, spacing_mm="0.5")
    ident, reader = study["id"], server.reader()
    server.wait(ident)
    assert server.send(ident, reader, 0, "add", seed=[47, 47, 0]).is_success
    assert server.send(ident, reader, 1, "complete", complete=True).is_success
    _change(server, spacing_mm=5.0)
    content = _export(server, ident, reader, "training")
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        images = [packed.read(name) for name in packed.namelist() if name.endswith(".nii.gz")]
    assert images
    for image in images:
        sides = nib.Nifti1Image.from_bytes(gzip.decompress(image)).header.get_zooms()
        assert sides[:2] == (0.5, 0.5)


@pytest.mark.parametrize("asked", [{"spacing_mm": 0.7}, {"series": "6"}])
def test_what_a_cancelled_run_was_asked_for_is_not_run_next(desk, asked):
    source = "picture" if "spacing_mm" in asked else "dicom"
    with desk.store.transaction() as base:
        base.execute("UPDATE studies SET source = ?, spacing_mm = 0.58, wanted = '5'", (source,))
    before = _told(desk.client.get(f"/api/studies/{desk.study}").json())
    path = f"/api/studies/{desk.study}/cancel"
    assert desk.client.post("/api/studies/run", json={"ids": [desk.study], **asked}).is_success
    assert desk.client.post(path).is_success
    assert _told(desk.client.get(f"/api/studies/{desk.study}").json()) == before
    desk.client.post("/api/studies/run", json={"ids": [desk.study]})
    jobs = desk.store.rows("SELECT kind, settings FROM jobs ORDER BY rowid")
    assert [job["kind"] for job in jobs] == ["import", "segment"]
    given = json.loads(jobs[1]["settings"])
    assert (given["spacing_mm"], given["series"]) == (None, None)
    row = desk.store.row("SELECT spacing_mm, wanted FROM studies")
    assert tuple(row) == (0.58, "5")


def test_all_that_waits_is_cancelled_and_nothing_that_runs(desk):
    desk.client.post("/api/studies/run", json={"ids": [desk.study]})
    with desk.store.transaction() as base:
        base.execute(
            "INSERT INTO studies (id, name, source, origin, added, state) "
            "VALUES ('other', 'x', 'nifti', 'upload', '', 'running')"
        )
        base.execute(
            "INSERT INTO jobs (id, study, kind, state, settings, created) "
            "VALUES ('y', 'other', 'import', 'running', '{}', 0)"
        )
    answer = desk.client.post("/api/studies/cancel")
    assert [one["id"] for one in answer.json()["studies"]] == [desk.study]
    rows = desk.store.rows("SELECT id, state FROM studies ORDER BY id")
    assert [tuple(row) for row in rows] == [(desk.study, "cancelled"), ("other", "running")]
    assert [row["state"] for row in desk.store.rows("SELECT state FROM jobs ORDER BY rowid")] == [
        "cancelled",
        "running",
    ]
