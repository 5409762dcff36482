"""Uploads: streamed to disk under names of ours, counted while they arrive.

A file's own name is never a path: its ending tells the kind of file, and what can be read of the
rest is shown.
"""

import math
import secrets
import shutil
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from mmocnet.errors import InputError
from mmocnet.web.problems import TooLargeError

MAX_FILES = 20_000
"""Of one request; a DICOM study has hundreds."""
MAX_FIELDS = 32
MAX_FIELD_BYTES = 4096
MAX_HEADER_BYTES = 16_384
"""Of one part."""
MAX_NAME = 120
BATCH_BYTES = 2**20


@dataclass(frozen=True)
class UploadedFile:
    """A file that came in.

    Attributes:
        role: Name of its form field: files, phase or mask.
        name: As the browser gave it, with folders perhaps; for looking at only.
        path: Where it lies.
    """

    role: str
    name: str
    path: Path


@dataclass
class Upload:
    """What a request held.

    Attributes:
        folder: Where its files lie; removed by `discard`.
        files: In their order.
        fields: The other fields of the form.
    """

    folder: Path
    files: list[UploadedFile] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)

    def discard(self) -> None:
        """Remove what was not moved away."""
        shutil.rmtree(self.folder, ignore_errors=True)


def boundary_of(content_type: str) -> bytes:
    """Return the boundary between the parts of a form.

    Raises:
        InputError: If it is no form with files.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary or len(boundary) > 200:
        raise InputError("expected a form with files (multipart/form-data)")
    return boundary


async def receive_upload(
    chunks: AsyncIterator[bytes],
    content_type: str,
    incoming: Path,
    limit_bytes: int,
    declared_bytes: int = 0,
) -> Upload:
    """Write a request's files to a new folder below `incoming`.

    Args:
        chunks: The request's body.
        content_type: Of the request.
        incoming: A folder of ours.
        limit_bytes: Largest body.
        declared_bytes: How large it will be, as far as the request says: too much is refused
            before the rest of it is sent.

    Raises:
        InputError: If it is no form with files, or damaged.
        TooLargeError: As soon as there is too much of it.
    """
    boundary = boundary_of(content_type)
    folder = incoming / secrets.token_hex(8)
    folder.mkdir(mode=0o700)
    upload = Upload(folder)
    form = _Form(upload)
    parser = MultipartParser(boundary, form.callbacks(), max_size=float("inf"))
    try:
        async for batch in _batches(chunks, limit_bytes, declared_bytes):
            await run_in_threadpool(parser.write, batch)
        parser.finalize()
        form.check_complete()
    except FormParserError as error:
        form.close()
        upload.discard()
        raise InputError("the form with the files is damaged or cut short") from error
    except BaseException:
        form.close()
        upload.discard()
        raise
    return upload


async def _batches(
    chunks: AsyncIterator[bytes], limit_bytes: int, declared_bytes: int
) -> AsyncIterator[bytes]:
    """Give a body in parts that are worth a write each.

    Raises:
        TooLargeError: As soon as there is too much of it.
    """
    size, batch = 0, bytearray()
    async for chunk in chunks:
        size += len(chunk)
        if max(size, declared_bytes) > limit_bytes:
            raise TooLargeError(_too_large(limit_bytes, declared_bytes))
        batch += chunk
        if len(batch) >= BATCH_BYTES:
            yield bytes(batch)
            batch.clear()
    yield bytes(batch)


def _too_large(limit_bytes: int, declared_bytes: int) -> str:
    # Rounded up: one that is just too large is not called as large as the limit.
    got = f"{math.ceil(declared_bytes / 1e5) / 10:g} MB" if declared_bytes else "more"
    return (
        f"expected an upload of up to {limit_bytes / 1e6:g} MB, got {got}: use --upload-mb, or "
        "serve the folder that the files are in"
    )


class _Form:
    """Callbacks of the parser: one part after the other, each to its file or field."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._file: BinaryIO | None = None
        self._field = ""
        self._text: bytearray | None = None
        self._header, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._fields = 0
        self._ended = False

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._open,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def check_complete(self) -> None:
        if not self._ended:
            raise InputError("the form with the files is damaged or cut short")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._check_header()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._header) + len(self._value) > MAX_HEADER_BYTES:
            raise TooLargeError("a file's name is too long")

    def _header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        name = options.get(b"filename")
        if name is None:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise TooLargeError(f"a form may have {MAX_FIELDS} fields")
            self._text = bytearray()
            return
        number = len(self._upload.files) + 1
        if number > MAX_FILES:
            raise TooLargeError(f"an upload may have {MAX_FILES} files: use a zip")
        path = self._upload.folder / f"{number:06d}"
        self._upload.files.append(UploadedFile(self._field, name.decode("utf-8", "replace"), path))
        self._file = path.open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])
        elif self._text is not None:
            self._text += data[start:end]
            if len(self._text) > MAX_FIELD_BYTES:
                raise TooLargeError(f"a field may have {MAX_FIELD_BYTES} bytes")

    def _end(self) -> None:
        self.close()
        if self._text is not None:
            self._upload.fields[self._field] = self._text.decode("utf-8", "replace")
            self._text = None

    def _finish(self) -> None:
        self._ended = True


def last_part(name: str) -> str:
    r"""Return a name without the folders before it.

    >>> last_part("../../etc/passwd"), last_part("C:\\scans\\brain.nii")
    ('passwd', 'brain.nii')
    """
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2]


def shown_name(name: str) -> str:
    r"""Return a name as it can be shown: on one line, without what turns writing round.

    >>> shown_name("a\u202egpj.exe\x00\n")
    'agpj.exe'
    """
    text = unicodedata.normalize("NFC", last_part(name))
    kept = "".join(one for one in text if unicodedata.category(one)[0] not in "CZ" or one == " ")
    return kept.strip()[:MAX_NAME] or "unnamed"
