import os
import shutil

import numpy as np
import pytest

from mmocnet.volume import Volume
from mmocnet.web.work_list import scans_in


def _volume(seed: int) -> Volume:
    voxels = np.random.default_rng(seed).integers(1, 1500, (48, 40, 4)).astype(np.float32)
    return Volume(voxels, np.diag([-1.0, -1.0, 2.0, 1.0]), "scan")


def _names(root) -> dict[str, str]:
    return {one.name: one.source for one in scans_in(root)}


@pytest.fixture
def folder(tmp_path, head, write_dicom_series):
    root = tmp_path / "scans"
    (root / "a").mkdir(parents=True)
    shutil.copy(head, root / "a" / "one.nii.gz")
    for name in ("two.PNG", "three.zip", "notes.txt", "table.tsv", ".hidden.nii"):
        (root / "a" / name).write_bytes(b"content")
    for patient in (1, 2):
        for kind in ("swi", "phase"):
            place = root / "pacs" / f"p{patient}" / kind
            write_dicom_series(place, _volume(patient), kind=kind, patient_id=f"P{patient}")
    (root / "pacs" / "DICOMDIR").write_bytes(b"index")
    return root


def test_a_folder_is_listed_by_files_and_by_dicom_studies(folder):
    assert _names(folder) == {
        "a - one.nii.gz": "nifti",
        "a - two.PNG": "picture",
        "a - three.zip": "dicom",
        "pacs - p1": "dicom",
        "pacs - p2": "dicom",
    }


def test_what_is_no_file_is_not_opened(folder):
    said = b"no DICOM" * 50
    os.mkfifo(folder / "a" / "scan.nii")
    os.mkfifo(folder / "a" / "IM0001")
    pipe = os.open(folder / "a" / "IM0001", os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(pipe, said)
        assert "a - scan.nii" not in _names(folder)
        # Nobody has read from it.
        assert os.read(pipe, 2 * len(said)) == said
    finally:
        os.close(pipe)


def test_a_folder_that_is_one_study_is_listed_as_one(folder):
    assert list(_names(folder / "pacs" / "p1").values()) == ["dicom"]
    assert [one.path for one in scans_in(folder / "pacs" / "p1")] == [str(folder / "pacs" / "p1")]


def test_a_bids_dataset_is_listed_with_its_phase(tmp_path):
    anat = tmp_path / "sub-01" / "anat"
    anat.mkdir(parents=True)
    for name in ("sub-01_acq-swi_T2starw", "sub-01_part-phase_T2starw", "sub-01_T1w"):
        (anat / f"{name}.nii.gz").write_bytes(b"content")
    (one,) = scans_in(tmp_path)
    assert one.name == "sub-01_acq-swi_T2starw.nii.gz"
    assert one.phase == str(anat / "sub-01_part-phase_T2starw.nii.gz")


def test_a_folder_that_cannot_be_read_and_names_that_are_no_text_stop_nothing(
    serve, tmp_path, head
):
    root = tmp_path / "scans"
    (root / "closed").mkdir(parents=True)
    name = os.fsdecode(b"caf\xe9.nii.gz")
    shutil.copy(head, root / name)
    (root / "loop").symlink_to(root)
    (root / "closed").chmod(0)
    server = serve(str(root))
    (study,) = server.listed()
    (root / "closed").chmod(0o700)
    assert study["name"] == "caf.nii.gz"
    server.client.post("/api/studies/run", json={"ids": [study["id"]]})
    assert server.wait(study["id"])["state"] == "ready"
    assert server.client.get("/api/studies").json()["folder"]["state"] == "done"


def test_a_served_folder_is_listed_run_on_demand_and_never_written_to(serve, folder):
    before = {one: one.stat().st_mtime_ns for one in folder.rglob("*")}
    server = serve(str(folder))
    assert server.client.get("/api/room").json()["folder"]
    studies = server.listed(5)
    assert {one["state"] for one in studies} == {"new"}
    ids = {one["name"]: one["id"] for one in studies}
    answer = server.client.post("/api/studies/run", json={"ids": [ids["a - one.nii.gz"]]})
    assert answer.status_code == 200
    assert server.wait(ids["a - one.nii.gz"])["state"] == "ready"
    assert server.client.delete(f"/api/studies/{ids['pacs - p1']}").status_code == 400
    server.stop()
    # The same studies again, under the same ids; one that is gone is no longer listed.
    (folder / "a" / "three.zip").unlink()
    server = serve(str(folder))
    again = {one["name"]: one["id"] for one in server.listed(4)}
    del ids["a - three.zip"]
    assert again == ids
    after = {one: one.stat().st_mtime_ns for one in folder.rglob("*") if one.is_file()}
    assert after == {one: before[one] for one in after}
