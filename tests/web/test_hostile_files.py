"""Each file that hurts a parser gives a failed study with one sentence, and no more."""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mmocnet.volume import Volume

DEFLATED = b"1.2.840.10008.1.2.1.99"


def _tiny_that_declares_gigabytes() -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape((1300, 1300, 1300))
    return gzip.compress(bytes(header.binaryblock) + bytes(4))


def _header(shape: tuple[int, int, int], affine: np.ndarray) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"] = 352
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        header[name] = affine[row]
    return bytes(header.binaryblock) + bytes(4)


def _gzip_bomb() -> bytes:
    """A header of a true size, and a gigabyte of zeros in a megabyte."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9) as file:
        file.write(_header((800, 800, 800), np.eye(4)))
        for _ in range(1024):
            file.write(bytes(2**20))
    return packed.getvalue()


def _nan_affine() -> bytes:
    affine = np.eye(4)
    affine[0, 0] = np.nan
    voxels = np.random.default_rng(0).integers(0, 900, (32, 32, 8), dtype=np.int16)
    return _header((32, 32, 8), affine) + voxels.tobytes()


def _zip(*entries: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return packed.getvalue()


def _nested(start: bytes, levels: int) -> bytes:
    content = b""
    for _ in range(levels):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content
        content = b"\x40\x00\x75\x02SQ\x00\x00" + struct.pack("<I", len(item)) + item
    at = start.index(b"\xe0\x7f\x10\x00")
    return start[:at] + content + start[at:]


def _deflate_bomb(plain: bytes) -> bytes:
    length = struct.unpack("<I", plain[140:144])[0]
    meta, content = plain[: 144 + length], plain[144 + length :]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(content) + packer.compress(bytes(300_000_000)) + packer.flush()
    old = b"1.2.840.10008.1.2.1\x00"
    meta = meta.replace(b"UI\x14\x00" + old, b"UI\x16\x00" + DEFLATED)
    return meta[:140] + struct.pack("<I", length + 2) + meta[144:] + packed


@pytest.fixture
def dicom(tmp_path, write_dicom_series) -> bytes:
    voxels = np.random.default_rng(5).integers(1, 1500, (48, 40, 1)).astype(np.float32)
    volume = Volume(voxels, np.diag([-1.0, -1.0, 2.0, 1.0]), "slice")
    (path,) = write_dicom_series(tmp_path / "dicom", volume)
    content: bytes = path.read_bytes()
    return content


def _hostile(dicom: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Give name, content, and a part of what is said of it."""
    yield "declares.nii.gz", _tiny_that_declares_gigabytes(), "GiB"
    yield "bomb.nii.gz", _gzip_bomb(), "same value everywhere"
    yield "nan.nii", _nan_affine(), "finite affine"
    yield "short.nii.gz", _tiny_that_declares_gigabytes()[:40], "cut short"
    yield "text.nii", b"no image", ""
    yield "empty.nii", b"", "empty"
    yield "nested.dcm", _nested(dicom, 3000), ""
    yield "deflated.dcm", _deflate_bomb(dicom), ""
    yield "bomb.zip", _zip(("zeros", bytes(300_000_000))), "declares 300000000 unpacked"
    yield "slip.zip", _zip(("../../../outside.dcm", dicom)), "leads outside"
    yield "root.zip", _zip(("/tmp/mmocnet-outside.dcm", dicom)), "leads outside"
    yield "text.zip", b"no zip", "damaged zip"
    yield "nothing.zip", _zip(("a.txt", b"no image")), "no DICOM image"
    yield "colours.png", b"\x89PNG\r\n\x1a\n" + bytes(40), ""


def test_hostile_files_fail_alone_and_cost_the_web_process_nothing(serve, tmp_path, head, dicom):
    server = serve()
    before = _files(tmp_path, server.state)
    # Once through, so that what is loaded at the first upload is not counted.
    assert server.wait(server.upload(head)[0]["id"])["state"] == "ready"
    start = server.memory_mb("VmRSS")
    expected = {}
    for name, content, part in _hostile(dicom):
        (study,) = server.upload((name, content), spacing_mm="1")
        expected[study["id"]] = (name, part)
    for study, (name, part) in expected.items():
        found = server.wait(study, seconds=120)
        assert found["state"] == "failed", (name, found)
        assert part in found["reason"], (name, found["reason"])
        assert "\n" not in found["reason"]
        # A file is called as the user calls it.
        ours = ("scan.nii", "slice.png", "study.zip", "in dicom")
        assert not any(one in found["reason"] for one in ours), found["reason"]
        assert "unexpected" not in found["reason"], (name, found["reason"])
        assert found["about"] is None
    assert server.memory_mb() - start < 100
    assert _files(tmp_path, server.state) == before
    assert not Path("/tmp/mmocnet-outside.dcm").exists()
    # It still works.
    assert server.wait(server.upload(head)[0]["id"])["state"] == "ready"
    assert server.stop() == 0
    assert list((server.state / "work").iterdir()) == []


def test_a_phase_that_cannot_be_read_is_called_the_phase(serve, head):
    server = serve()
    files = [("files", (head.name, head.read_bytes())), ("phase", ("Roe_Jane.nii.gz", b"none"))]
    (study,) = server.client.post("/api/studies", files=files).json()["studies"]
    found = server.wait(study["id"])
    assert found["state"] == "failed"
    assert "the phase" in found["reason"]
    assert not any(one in found["reason"] for one in ("phase-", ".nii", "Roe")), found["reason"]


def _files(tmp_path: Path, state: Path) -> set[Path]:
    """Return the files around the room that are not in it."""
    return {one for one in tmp_path.rglob("*") if one != state and state not in one.parents}


def test_an_upload_of_any_size_costs_no_memory(serve):
    server = serve("--upload-mb", "400")
    server.client.get("/api/room")
    start = server.memory_mb("VmRSS")

    def content():
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.nii"\r\n\r\n'
        for _ in range(300):
            yield bytes(2**20)
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = server.client.post("/api/studies", content=content(), headers=headers)
    assert answer.status_code == 201
    assert server.memory_mb() - start < 100
    study = answer.json()["studies"][0]["id"]
    assert server.wait(study)["state"] == "failed"


def test_a_child_that_asks_for_too_much_memory_fails_in_one_sentence(tmp_path):
    import subprocess
    import sys

    code = (
        "from mmocnet.web.limits import limit_this_process\n"
        "from mmocnet.web.worker import reason_of\n"
        "limit_this_process('import')\n"
        "try:\n    held = bytearray(3 * 2**30)\n"
        "except BaseException as error:\n    print(reason_of(error, 'import'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "more than the 2.5 GB" in done.stdout
