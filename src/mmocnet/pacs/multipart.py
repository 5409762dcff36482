"""Taking a multipart/related answer apart while it arrives: each part goes straight to a file."""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from mmocnet.pacs.errors import ServerError

HEADER_BYTES = 2**14
"""More than any server sends before a part's content."""


def write_parts(chunks: Iterable[bytes], boundary: str, folder: Path, most: int) -> list[Path]:
    """Write each part of a message to a file of its own: 00001.dcm, 00002.dcm, ...

    Args:
        chunks: The message as it arrives; never more of it in memory than one chunk.
        boundary: What stands between parts, from the message's content type.
        folder: Where the files go.
        most: Parts that are taken.

    Returns:
        The files, in order of arrival.

    Raises:
        ServerError: If the message is no such message, ends early or has more parts.
    """
    writer = _Writer(boundary.encode(), folder, most)
    try:
        for chunk in chunks:
            writer.feed(chunk)
            if writer.ended:
                break
    finally:
        writer.close()
    if not writer.ended:
        raise ServerError("the server's answer ended before its end")
    return writer.paths


class _Writer:
    """A message that comes in chunks; `paths` are its parts so far."""

    def __init__(self, boundary: bytes, folder: Path, most: int) -> None:
        self.paths: list[Path] = []
        self.ended = False
        self._delimiter = b"\r\n--" + boundary
        self._folder, self._most = folder, most
        # The first boundary may begin the message: with this it looks like the others.
        self._buffer = b"\r\n"
        self._in_header = False
        self._file: BinaryIO | None = None

    def feed(self, chunk: bytes) -> None:
        self._buffer += chunk
        while not self.ended and (self._take_header() if self._in_header else self._take_body()):
            pass

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take_body(self) -> bool:
        """Write what is known to be content; return whether a boundary was met."""
        at = self._buffer.find(self._delimiter)
        found = at >= 0
        # A boundary may be cut by the end of the chunk.
        known = at if found else max(0, len(self._buffer) - len(self._delimiter))
        if self._file is not None:
            self._file.write(self._buffer[:known])
        self._buffer = self._buffer[known + len(self._delimiter) if found else known :]
        if found:
            self.close()
            self._in_header = True
        return found

    def _take_header(self) -> bool:
        """Skip a part's header and open its file; return whether it has arrived whole."""
        if self._buffer.startswith(b"--"):
            self.ended = True
            return False
        at = self._buffer.find(b"\r\n\r\n")
        if at < 0:
            if len(self._buffer) > HEADER_BYTES:
                raise ServerError("expected a multipart answer, got a part without an end")
            return False
        if len(self.paths) == self._most:
            raise ServerError(f"expected at most {self._most} instances, got more")
        self._buffer = self._buffer[at + 4 :]
        path = self._folder / f"{len(self.paths) + 1:05}.dcm"
        self._file = path.open("xb")
        self.paths.append(path)
        self._in_header = False
        return True
