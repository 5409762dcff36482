import io
import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from pydicom import config, dcmread

from mmocnet.errors import InputError
from mmocnet.io.dicom.archive import MAX_FILES, files_below, unpack
from mmocnet.io.dicom.codestream import declared_size
from mmocnet.io.dicom.find import choose_swi, find_series
from mmocnet.io.dicom.guard import pixels, read_all, read_header
from mmocnet.io.dicom.volume import read_series

DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_LS = "1.2.840.10008.1.2.4.80"


def _nested(levels: int, *, defined: bool) -> bytes:
    """Sequences in sequences, explicit VR: of a declared length, or up to a delimiter."""
    content = b""
    for _ in range(levels):
        if defined:
            item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content
            content = b"\x40\x00\x75\x02SQ\x00\x00" + struct.pack("<I", len(item)) + item
        else:
            item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + content
            item += b"\xfe\xff\x0d\xe0" + bytes(4) + b"\xfe\xff\xdd\xe0" + bytes(4)
            content = b"\x40\x00\x75\x02SQ\x00\x00\xff\xff\xff\xff" + item
    return content


@pytest.mark.parametrize("levels", [13, 3000])
@pytest.mark.parametrize("defined", [True, False])
def test_nested_sequences_are_refused(tmp_path, write_dicom_series, volume, levels, defined):
    path = write_dicom_series(tmp_path, volume)[0]
    start = path.read_bytes()
    pixels_at = start.index(b"\xe0\x7f\x10\x00")
    path.write_bytes(start[:pixels_at] + _nested(levels, defined=defined) + start[pixels_at:])
    with pytest.raises(InputError, match="nested too deep"):
        read_header(path)
    with pytest.raises(InputError, match="nested too deep"):
        read_all(path)


def test_a_few_sequences_are_read(tmp_path, write_dicom_series, volume):
    path = write_dicom_series(tmp_path, volume)[0]
    start = path.read_bytes()
    at = start.index(b"\xe0\x7f\x10\x00")
    path.write_bytes(start[:at] + _nested(8, defined=True) + start[at:])
    assert np.array_equal(pixels(path), volume.array[:, :, 0].T)


def _bomb(tmp_path, write_dicom_series, volume, extra: int, **tags):
    """A deflated file with `extra` zeros after its pixels."""
    path = write_dicom_series(tmp_path, volume, **tags)[0]
    plain = path.read_bytes()
    length = struct.unpack("<I", plain[140:144])[0]
    meta, content = plain[: 144 + length], plain[144 + length :]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(content) + packer.compress(bytes(extra)) + packer.flush()
    # One byte of padding less, as the longer UID needs.
    old = b"1.2.840.10008.1.2.1\x00"
    meta = meta.replace(b"UI\x14\x00" + old, b"UI\x16\x00" + DEFLATED.encode())
    path.write_bytes(meta[:140] + struct.pack("<I", length + 2) + meta[144:] + packed)
    return path


def test_a_deflated_bomb_takes_no_memory(tmp_path, write_dicom_series, volume):
    path = _bomb(tmp_path, write_dicom_series, volume, 100_000_000)
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    with pytest.raises(InputError, match="holds more than"):
        read_all(path)
    assert tracemalloc.get_traced_memory()[1] < 140_000_000
    tracemalloc.stop()


def test_an_image_that_declares_far_more_than_its_file_is_refused(
    tmp_path, write_dicom_series, volume
):
    path = _bomb(tmp_path, write_dicom_series, volume, 20_000_000, Rows=8192, Columns=8192)
    with pytest.raises(InputError, match="bytes declares an image of 134217728 bytes"):
        read_all(path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Rows": 60000}, "expected up to 8192 x 8192 pixels"),
        ({"Rows": 0}, "expected up to 8192 x 8192 pixels"),
        ({"SamplesPerPixel": 3}, "one grey value"),
        ({"Rows": None}, "without size or type"),
        ({"NumberOfFrames": 2_000_000_000}, "declares an image"),
    ],
)
def test_declared_sizes_are_checked(tmp_path, write_dicom_series, volume, tags, message):
    path = write_dicom_series(tmp_path, volume, **tags)[0]
    with pytest.raises(InputError, match=message):
        read_all(path)


@pytest.mark.parametrize("keep", [20, 140, 300, 1200, -500])
@pytest.mark.parametrize("multiframe", [False, True])
def test_truncated_files_give_one_sentence(tmp_path, write_dicom_series, volume, keep, multiframe):
    path = write_dicom_series(tmp_path, volume, multiframe=multiframe)[0]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"DICOM|series"):
        read_series(choose_swi(find_series(path)))


@pytest.mark.parametrize("syntax", [DEFLATED, JPEG_2000, JPEG_LS, "1.2.840.10008.1.2.5"])
def test_damaged_pixels_give_one_sentence_or_pixels(
    tmp_path, write_dicom_series, volume, syntax, rng
):
    path = write_dicom_series(tmp_path, volume, transfer_syntax=syntax)[0]
    intact = path.read_bytes()
    messages = []
    for _ in range(15):
        broken = bytearray(intact)
        for at in rng.integers(140, len(broken), 5):
            broken[at] = rng.integers(256)
        path.write_bytes(broken)
        try:
            assert pixels(path).ndim == 2
        except InputError as error:
            messages.append(str(error))
    assert messages
    assert not any("Fake" in message for message in messages)


def test_a_packed_picture_of_another_size_is_not_decoded(tmp_path, write_dicom_series, volume):
    for syntax in (JPEG_2000, JPEG_LS):
        path = write_dicom_series(tmp_path, volume, transfer_syntax=syntax)[0]
        dataset = dcmread(path)
        dataset.Rows = 39
        dataset.save_as(path)
        with pytest.raises(InputError, match="another size than its header"):
            pixels(path)


@pytest.mark.parametrize("data", [b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x10" + bytes(40)])
def test_a_picture_without_size_is_refused(data):
    with pytest.raises(ValueError, match="no start of frame"):
        declared_size(data)


def test_other_files_are_left_out_and_damaged_ones_counted(tmp_path, write_dicom_series, volume):
    paths = write_dicom_series(tmp_path, volume)
    (tmp_path / "notes.txt").write_text("a note")
    (tmp_path / "empty").touch()
    (tmp_path / "cut.dcm").write_bytes(paths[0].read_bytes()[:145])
    (series,) = find_series(tmp_path)
    assert len(series.slices) == 9
    assert series.warnings == (f"left out 1 damaged DICOM file in {tmp_path.name}",)


def test_links_stay_in_the_folder(tmp_path, write_dicom_series, volume):
    folder, other = tmp_path / "in", tmp_path / "out"
    paths = write_dicom_series(folder, volume)
    foreign = write_dicom_series(other, volume.like(volume.array + 1))
    (folder / "to-itself").symlink_to(folder)
    (folder / "away").symlink_to(foreign[0])
    (folder / "inside").symlink_to(paths[0])
    (folder / "nowhere").symlink_to(tmp_path / "missing")
    os.mkfifo(folder / "pipe")
    found, left_out = files_below(folder)
    assert set(found) == {*paths, folder / "inside"}
    assert left_out == 3
    assert "left out 3 links from in to elsewhere" in find_series(folder)[0].warnings


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(70_000_000))
    with pytest.raises(InputError, match="declares 70000000 unpacked: not read"):
        find_series(path)


def test_a_zip_that_lies_about_its_size_is_stopped(tmp_path):
    path = tmp_path / "liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(5_000_000))
    data = path.read_bytes().replace(struct.pack("<I", 5_000_000), struct.pack("<I", 5_000))
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged zip|more than it declares"):
        find_series(path)


@pytest.mark.parametrize("name", ["../outside.dcm", "/outside.dcm", "a/../../b", "..\\b"])
def test_names_that_lead_out_of_a_zip_are_refused(tmp_path, name):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"content")
    with pytest.raises(InputError, match=r"leads outside a\.zip"):
        unpack(path)
    assert sorted(tmp_path.iterdir()) == [path]


def test_links_in_a_zip_are_not_made(tmp_path, write_dicom_series, volume):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in write_dicom_series(tmp_path / "a", volume):
            archive.write(file, file.name)
        link = zipfile.ZipInfo("link.dcm")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert len(find_series(path)[0].files) == 9
    assert not any(file.is_symlink() for file in find_series(path)[0].files)


def test_text_called_zip_is_refused(tmp_path):
    (tmp_path / "a.zip").write_text("no zip")
    with pytest.raises(InputError, match=r"a\.zip is a damaged zip"):
        find_series(tmp_path / "a.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_damaged_anywhere_gives_one_sentence_or_its_files(tmp_path, rng, method):
    path, messages = tmp_path / "a.zip", set()
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.dcm", rng.bytes(300) + b"content" * 300)
    intact = path.read_bytes()
    for _ in range(150):
        broken = bytearray(intact)
        for at in rng.integers(len(intact), size=3):
            broken[at] = rng.integers(256)
        path.write_bytes(broken)
        try:
            unpack(path)
        except InputError as error:
            messages.add(str(error))
    assert "a.zip is a damaged zip, or one cut short" in messages


def test_a_zip_of_a_method_that_is_not_read_is_not_called_damaged(tmp_path):
    path, deflate64 = tmp_path / "a.zip", struct.pack("<H", 9)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", b"content")
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        place = data.index(signature) + at
        data[place : place + 2] = deflate64
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.zip is packed by a method that is not read, as Def"):
        unpack(path)


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    assert MAX_FILES >= 50_000
    monkeypatch.setattr("mmocnet.io.dicom.archive.MAX_FILES", 3)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(4):
            (tmp_path / f"{number}.txt").touch()
            archive.writestr(f"{number}", b"x")
    with pytest.raises(InputError, match="expected up to 3 files"):
        files_below(tmp_path)
    (tmp_path / "a.zip").write_bytes(packed.getvalue())
    with pytest.raises(InputError, match="expected up to 3 files"):
        unpack(tmp_path / "a.zip")


@pytest.mark.parametrize("limit", [2, 1000], ids=["zip64", "plain"])
@pytest.mark.parametrize("comment", [b"", b"a comment"])
def test_too_many_files_are_refused_before_their_list_is_read(
    tmp_path, monkeypatch, limit, comment
):
    monkeypatch.setattr("mmocnet.io.dicom.archive.MAX_FILES", 3)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", limit)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = comment
        for number in range(4):
            archive.writestr(f"{number}", b"x")
    assert (b"PK\6\6" in path.read_bytes()) == (limit == 2)
    monkeypatch.delattr(zipfile, "ZipFile")
    with pytest.raises(InputError, match=r"^expected up to 3 files, got more in a\.zip$"):
        unpack(path)


@pytest.mark.parametrize("names", [["1", "2", "3", "4"], ["a" * 2000]], ids=["many", "long"])
def test_a_zip_that_lies_about_its_number_of_files_is_refused(tmp_path, monkeypatch, names):
    monkeypatch.setattr("mmocnet.io.dicom.archive.MAX_FILES", 3)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    data = bytearray(path.read_bytes())
    data[-14:-10] = struct.pack("<HH", 1, 1)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"^expected up to 3 files, got (4|more) in a\.zip$"):
        unpack(path)


@pytest.mark.parametrize(
    "end", [b"PK\5\6", b"PK\5\6" + bytes(18), bytes(10) + b"PK\5\6" + bytes(17)]
)
def test_the_end_of_a_zip_alone_is_damaged(tmp_path, end):
    path = tmp_path / "a.zip"
    path.write_bytes(end)
    with pytest.raises(InputError, match=r"a\.zip is a damaged zip|found no"):
        find_series(path)


def test_values_of_a_patient_are_in_no_warning(tmp_path, write_dicom_series, volume, recwarn):
    long = "Fake^Patient^" + "x" * 80
    mode = config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.IGNORE
    try:
        path = write_dicom_series(tmp_path, volume, patient_id=long, AccessionNumber=long)[0]
    finally:
        config.settings.writing_validation_mode = mode
    recwarn.clear()
    read_series(choose_swi(find_series(path)))
    assert not list(recwarn)


@pytest.mark.parametrize(
    ("stated", "got"),
    [("MONOCHROME1", "MONOCHROME1"), ("FAKE PATIENT", "another kind"), (None, "none stated")],
)
def test_pixels_that_are_not_grey_are_told_apart(tmp_path, write_dicom_series, volume, stated, got):
    path = write_dicom_series(tmp_path, volume, PhotometricInterpretation=stated)[0]
    with pytest.raises(InputError, match=rf"\(MONOCHROME2\), got {got}$"):
        pixels(path)
