import gzip
import sqlite3

import nibabel as nib
import numpy as np

from mmocnet.io.nifti import read_nifti


def test_an_export_is_the_reading_as_it_was_when_it_was_asked_for(serve, head):
    server = serve()
    (study,) = server.upload(head)
    server.wait(study["id"])
    reader, path = server.reader(), f"/api/studies/{study['id']}"
    server.send(study["id"], reader, 0, "add", seed=[30, 40, 16])
    job, state = server.export(study["id"], reader, "nifti")
    assert state["state"] == "done", state
    assert state["name"] == "Doe_John_19420203_desc-reviewed_dseg.nii.gz"
    answer = server.client.get(f"/api/exports/{job}/file")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert len(answer.content) == state["bytes"]
    labels = nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))
    scan = read_nifti(head)
    assert np.array_equal(labels.affine, scan.affine)
    marked = np.asarray(labels.dataobj) > 0
    assert marked[30, 40, 16]
    assert (scan.array[marked] < 300).all()
    _, log = server.export(study["id"], reader, "audit")
    assert log["state"] == "done", log
    # With its study it is gone.
    assert server.client.delete(path).status_code == 204
    assert server.client.get(f"/api/exports/{job}/file").status_code == 404
    assert list((server.state / "exports").iterdir()) == []


def test_nothing_of_a_deleted_study_is_left_in_the_room(serve, head):
    server = serve()
    (study,) = server.upload(head)
    server.wait(study["id"])
    reader = server.reader()
    job, state = server.export(study["id"], reader, "csv")
    assert state["state"] == "done", state
    _, failed = server.export(study["id"], reader, "training")
    assert failed["state"] == "failed"
    assert server.client.delete(f"/api/studies/{study['id']}").status_code == 204
    assert server.client.get(f"/api/exports/{job}").status_code == 404
    server.stop()
    base = sqlite3.connect(server.state / "room.sqlite")
    assert base.execute("SELECT * FROM jobs").fetchall() == []
    base.close()
    for path in server.state.rglob("*"):
        if path.is_file():
            assert b"Doe_John" not in path.read_bytes(), path.name


def test_what_cannot_be_exported_says_why(serve, head):
    server = serve()
    (study,) = server.upload(head)
    reader, path = server.reader(), f"/api/studies/{study['id']}/export"
    body = {"reader": reader, "kind": "csv", "result": "none"}
    assert server.client.post(path, json=body).status_code == 404
    result = server.wait(study["id"])["result"]
    for body, status in (
        ({"reader": reader, "kind": "docx"}, 400),
        ({"reader": reader, "kind": "dicom"}, 400),
        ({"reader": "nobody", "kind": "csv"}, 404),
    ):
        answer = server.client.post(path, json=body | {"result": result})
        assert answer.status_code == status
        assert set(answer.json()) == {"error"}
    # A training set is made of complete readings only: the job says so.
    _, state = server.export(study["id"], reader, "training")
    assert state["state"] == "failed"
    assert state["reason"]
    assert server.client.get("/api/exports/nobody").status_code == 404
