import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmocnet.errors import InputError
from mmocnet.web import uploads
from mmocnet.web.problems import TooLargeError

KIND = "multipart/form-data; boundary=b"


def _part(name: str, content: bytes, filename: str | None = None) -> bytes:
    more = "" if filename is None else f'; filename="{filename}"'
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def _receive(folder: Path, body: bytes, *, limit: int = 10_000_000, step: int = 7):
    async def chunks():
        for at in range(0, len(body), step):
            yield body[at : at + step]

    folder.mkdir(exist_ok=True)
    return _run(chunks(), folder, limit)


def _run(chunks, folder: Path, limit: int):
    # In a thread: a browser's tests leave a loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(
            lambda: asyncio.run(uploads.receive_upload(chunks, KIND, folder, limit))
        ).result()


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_files_and_fields_come_in_whole_however_they_are_cut(tmp_path, step):
    content = bytes(range(256)) * 3 + b"\r\n--c\r\n"
    body = _part("model", b"standard") + _part("files", content, "a/b.nii") + b"--b--\r\n"
    found = _receive(tmp_path / "in", body, step=step)
    assert found.fields == {"model": "standard"}
    assert [(one.role, one.name, one.path.read_bytes()) for one in found.files] == [
        ("files", "a/b.nii", content)
    ]
    assert found.files[0].path.name == "000001"
    found.discard()
    assert list((tmp_path / "in").iterdir()) == []


def test_more_than_the_limit_is_refused_while_it_comes_in(tmp_path):
    taken = 0

    async def endless():
        nonlocal taken
        yield _part("files", b"", "a.nii")[:-2]
        while True:
            taken += 65536
            yield bytes(65536)

    with pytest.raises(TooLargeError, match="up to 3 MB, got more"):
        _run(endless(), tmp_path, 3_000_000)
    assert taken < 3_200_000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("MAX_FILES", _part("files", b"1", "a") * 4),
        ("MAX_FIELDS", _part("f", b"1") * 4),
        ("MAX_FIELD_BYTES", _part("f", b"1" * 100)),
        ("MAX_HEADER_BYTES", _part("files", b"1", "a" * 1000)),
    ],
)
def test_each_count_has_a_limit(tmp_path, monkeypatch, what, body):
    monkeypatch.setattr(uploads, what, 3 if "BYTES" not in what else 90)
    with pytest.raises(TooLargeError):
        _receive(tmp_path / "in", body + b"--b--\r\n")
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize(
    "body", [b"", b"--b\r\n", b"no form", _part("files", b"abc", "a.nii"), b"--b\r\nX\r\n\r\n--b--"]
)
def test_a_damaged_form_leaves_nothing(tmp_path, body):
    with pytest.raises(InputError, match="damaged"):
        _receive(tmp_path / "in", body)
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/form-data", "multipart/mixed"])
def test_another_type_is_no_form(tmp_path, kind):
    with pytest.raises(InputError, match="form"):
        uploads.boundary_of(kind)


NAMES = [
    "../../../etc/passwd.nii",
    "/etc/cron.d/x.nii",
    "..\\..\\x.nii",
    "C:\\x.nii",
    "a\u0000b.nii",
    "x" * 3000 + ".nii",
    "\u202egpj.\u0007\u8133.nii",
    "e\u0301.nii",
    "CON.nii",
    "~/x.nii",
    "%2e%2e%2fx.nii",
    "-rf.nii",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_is_a_path(desk, tmp_path, name):
    before = _outside(tmp_path)
    body = _part("files", b"no image", name) + b"--b--\r\n"
    answer = desk.client.post("/api/studies", content=body, headers={"Content-Type": KIND})
    assert answer.status_code == 201, answer.text
    (study,) = answer.json()["studies"]
    assert study["state"] == "waiting"
    assert len(study["name"]) <= uploads.MAX_NAME
    assert study["name"].isprintable()
    assert not {"/", "\\"} & set(study["name"])
    kept = [one.name for one in desk.room.input(study["id"]).iterdir()]
    assert kept == ["scan.nii"]
    assert _outside(tmp_path) == before


def _outside(tmp_path: Path) -> set[Path]:
    return {one for one in tmp_path.rglob("*") if (tmp_path / "room") not in one.parents}


def _send(desk, *parts: tuple[str, str, bytes], **fields: str):
    files = [(role, (name, content)) for role, name, content in parts]
    return desk.client.post("/api/studies", files=files, data=fields)


def _inputs(desk, study: str) -> set[str]:
    folder = desk.room.input(study)
    return {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}


def test_what_is_dropped_together_is_told_apart(desk):
    answer = _send(
        desk,
        ("files", "d/a.nii.gz", b"1"),
        ("files", "d/a.json", b"{}"),
        ("files", "d/b.PNG", b"2"),
        ("files", "d/c.zip", b"3"),
        ("files", "d/IM0001", b"4"),
        ("files", "d/IM0002", b"5"),
        ("files", "d/readme.txt", b"6"),
        ("files", "d/.DS_Store", b"7"),
        ("files", "d/DICOMDIR", b"8"),
        spacing_mm="0.5",
    )
    found = {one["name"]: one for one in answer.json()["studies"]}
    kinds = {name: one["source"] for name, one in found.items()}
    assert kinds == {"a.nii.gz": "nifti", "b.PNG": "picture", "c.zip": "dicom", "d": "dicom"}
    assert _inputs(desk, found["a.nii.gz"]["id"]) == {"scan.nii.gz", "scan.json"}
    assert _inputs(desk, found["d"]["id"]) == {"dicom/000001.dcm", "dicom/000002.dcm"}


def test_phase_and_mask_belong_to_one_study(desk):
    scan, phase = ("files", "a.nii", b"1"), ("phase", "p.nii.gz", b"2")
    (study,) = _send(desk, scan, phase, ("mask", "m.nii", b"3")).json()["studies"]
    names = _inputs(desk, study["id"])
    assert {name.split("-")[0] for name in names} == {"scan.nii", "phase", "mask"}
    assert _send(desk, scan, ("files", "b.nii", b"1"), phase).status_code == 400
    assert _send(desk, scan, phase, phase).status_code == 400
    assert _send(desk, scan, ("phase", "p.dcm", b"2")).status_code == 400
    assert _send(desk, phase).status_code == 400


def test_phase_can_come_later_and_is_looked_at_with_the_next_run(desk):
    path = f"/api/studies/{desk.study}/files"
    answer = desk.client.post(path, files={"phase": ("p.nii", b"1")})
    assert answer.status_code == 200, answer.text
    assert len(_inputs(desk, desk.study)) == 1
    queued = desk.client.post("/api/studies/run", json={"ids": [desk.study]})
    assert queued.json()["studies"][0]["settings"]["phase"]
    job = desk.store.row("SELECT kind FROM jobs WHERE study = ?", (desk.study,))
    assert job["kind"] == "import"
    assert desk.client.post(path, files={"mask": ("m.nii", b"1")}).status_code == 409
    assert desk.client.post(path, files={"other": ("m.nii", b"1")}).status_code == 400


def test_an_upload_over_the_room_s_limit_is_refused(desk):
    answer = _send(desk, ("files", "a.nii", bytes(1_100_000)))
    assert answer.status_code == 413
    assert "up to 1 MB, got 1.2 MB: use --upload-mb" in answer.json()["error"]
    assert list(desk.room.incoming.iterdir()) == []
    assert len(desk.client.get("/api/studies").json()["studies"]) == 1


@pytest.mark.parametrize(
    "fields",
    [{"model": "../x"}, {"point": "best"}, {"threshold": "7"}, {"spacing_mm": "nan"}, {"run": "x"}],
)
def test_a_wrong_field_keeps_no_file(desk, fields):
    answer = _send(desk, ("files", "a.nii", b"1"), **fields)
    assert answer.status_code == 400
    assert list(desk.room.incoming.iterdir()) == []
    assert len(list((desk.room.root / "studies").iterdir())) == 1


def test_thousands_of_files_are_one_study(desk):
    body = b"".join(_part("files", b"x", f"s/{n}") for n in range(3000)) + b"--b--\r\n"
    answer = desk.client.post("/api/studies", content=body, headers={"Content-Type": KIND})
    (study,) = answer.json()["studies"]
    assert (study["name"], study["source"]) == ("s", "dicom")
    assert len(_inputs(desk, study["id"])) == 3000


def test_an_upload_that_breaks_off_leaves_nothing(desk, caplog):
    start = _part("files", b"x" * 1000, "a.nii")
    with socket.create_connection(("127.0.0.1", desk.access.port)) as line:
        head = (
            f"POST /api/studies HTTP/1.1\r\nHost: 127.0.0.1:{desk.access.port}\r\n"
            f"Authorization: Bearer {desk.access.token}\r\nX-Mmocnet: 1\r\n"
            f"Content-Type: {KIND}\r\nContent-Length: 500000\r\n\r\n"
        )
        line.sendall(head.encode() + start)
        _until(lambda: list(desk.room.incoming.iterdir()) != [])
    _until(lambda: list(desk.room.incoming.iterdir()) == [])
    assert len(desk.client.get("/api/studies").json()["studies"]) == 1
    assert caplog.text == ""


def _until(true) -> None:
    end = time.monotonic() + 10
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    assert true()
