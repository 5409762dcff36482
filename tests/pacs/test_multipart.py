import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmocnet.pacs.errors import ServerError
from mmocnet.pacs.multipart import write_parts


def _message(parts, boundary=b"B", preamble=b""):
    body = preamble
    for part in parts:
        body += b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n"
    return body + b"--" + boundary + b"--\r\n"


def _cut(message, sizes):
    at = 0
    for size in sizes:
        yield message[at : at + size]
        at += size
    yield message[at:]


TRICKY = st.lists(st.sampled_from([b"\r\n", b"--", b"B", b"\r\n--", b"-", b"\x00", b"ab"])).map(
    b"".join
)


@given(
    parts=st.lists(
        TRICKY.filter(lambda one: b"\r\n--B" not in b"\r\n" + one + b"\r\n"), max_size=4
    ),
    sizes=st.lists(st.integers(0, 7), max_size=60),
    preamble=st.sampled_from([b"", b"\r\n", b"said before\r\n"]),
)
def test_parts_come_out_as_they_went_in_however_they_are_cut(
    tmp_path_factory, parts, sizes, preamble
):
    folder = tmp_path_factory.mktemp("parts")
    paths = write_parts(_cut(_message(parts, preamble=preamble), sizes), "B", folder, 4)
    assert [path.read_bytes() for path in paths] == parts


@pytest.mark.parametrize("cut", [1, 5, 30, 60])
def test_a_message_without_its_end_is_refused(tmp_path, cut):
    with pytest.raises(ServerError, match="ended before"):
        write_parts([_message([b"0123456789" * 3])[: -cut - 3]], "B", tmp_path, 4)


def test_more_parts_than_allowed_are_refused(tmp_path):
    with pytest.raises(ServerError, match="at most 2"):
        write_parts([_message([b"a", b"b", b"c"])], "B", tmp_path, 2)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_header_without_an_end_is_refused(tmp_path):
    with pytest.raises(ServerError, match="without an end"):
        write_parts([b"--B\r\n", b"x" * 20_000], "B", tmp_path, 2)


def test_memory_does_not_grow_with_the_message(tmp_path):
    chunks = [b"--B\r\n\r\n", *([bytes(2**16)] * 400), b"\r\n--B--"]
    tracemalloc.start()
    (path,) = write_parts(chunks, "B", tmp_path, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size == 400 * 2**16
    assert peak < 2**20
