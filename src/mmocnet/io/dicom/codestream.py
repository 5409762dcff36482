"""The size that a packed picture declares, read without decoding it."""

_JPEG2000 = b"\xff\x4f\xff\x51"
_JPEG = b"\xff\xd8"
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""Start of frame of JPEG, and of JPEG-LS; C4, C8 and CC begin tables."""


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Return rows and columns of a JPEG, JPEG-LS or JPEG 2000 stream; None for any other.

    >>> declared_size(bytes.fromhex("ffd8ffc3000b0c00100020011100"))
    (16, 32)

    Raises:
        ValueError: If the stream declares none.
    """
    if data.startswith(_JPEG2000):
        # Corner of the picture less its origin, after length and capabilities.
        right, bottom, left, top = (_integer(data, 8 + 4 * n, 4) for n in range(4))
        return bottom - top, right - left
    if data.startswith(_JPEG):
        return _jpeg_size(data)
    return None


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAME_MARKERS:
            return _integer(data, at + 5, 2), _integer(data, at + 7, 2)
        # Fill bytes are FF as often as a writer likes.
        at += 1 if marker == 0xFF else 2 + _integer(data, at + 2, 2)
    raise ValueError("no start of frame")


def _integer(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "big")
