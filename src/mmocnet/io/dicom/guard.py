"""Read one DICOM file, trusting nothing that it declares.

A dataset is never printed or turned into text: nested sequences of a few kilobytes can exhaust
memory there. Errors say what is wrong and never which patient: no value of a tag, no file name.
"""

import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.pixels.utils import iter_pixels
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from mmocnet.errors import InputError
from mmocnet.io.dicom.codestream import declared_size
from mmocnet.io.dicom.quiet import UNREADABLE, quiet

MAX_FILE_BYTES = 2 * 2**30
"""Largest file, and largest image in a file."""

MAX_HEADER_BYTES = 32 * 2**20
"""Of a deflated file, what is inflated to find where the image begins."""

MAX_DEPTH = 12
"""Sequences in sequences; an Enhanced MR image has 4."""

MAX_ELEMENTS = 2_000_000
"""Of all sequences together; an Enhanced MR image of 500 frames has 100,000."""

MAX_SIDE = 8192
"""Pixels along a side."""

MAX_RATIO = 200
"""Images of more than `_SMALL_BYTES` that are packed tighter than this are bombs."""

GREY = "MONOCHROME2"
"""What Photometric Interpretation is of the pixels that are read."""

# Other words of the standard may be said; free text could name a patient.
_OTHER_PIXELS = (
    "MONOCHROME1", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT",
)  # fmt: skip
_SMALL_BYTES = 64 * 2**20
_PREFIX = 132
_GROUPS = (b"\x02\x00", b"\x08\x00")


def is_dicom(path: Path) -> bool:
    """Return whether a file begins as DICOM does, with a preamble or with its first tag."""
    with path.open("rb") as file:
        start = file.read(_PREFIX)
    # Old files have no preamble: they begin with a low element of the first groups.
    old = len(start) > 8 and start[:2] in _GROUPS and start[3] == 0
    return start[128:] == b"DICM" or old


def read_header(
    path: Path, max_bytes: int = MAX_FILE_BYTES, tags: Sequence[str | int] | None = None
) -> Dataset:
    """Read a DICOM file up to its pixels.

    Args:
        path: The file.
        max_bytes: Largest file that is read.
        tags: Keywords or numbers of what is wanted; None takes all.

    Returns:
        The dataset with its file meta information; of a deflated file as if it were not.

    Raises:
        InputError: If it is no DICOM, damaged, too large, or its sequences are nested too deep.
    """
    return _read(path, max_bytes, tags, stop_before_pixels=True)


def read_all(path: Path, max_bytes: int = MAX_FILE_BYTES) -> Dataset:
    """Read a DICOM file with its pixels, still encoded, after checking their declared size.

    Raises:
        InputError: As `read_header`, or if the pixels cannot be what is declared.
    """
    header = read_header(path, max_bytes)
    with quiet():
        declared = image_bytes(header)
    size = path.stat().st_size
    if declared > MAX_FILE_BYTES or (declared > _SMALL_BYTES and declared > MAX_RATIO * size):
        raise InputError(f"a DICOM file of {size} bytes declares an image of {declared} bytes")
    return _read(path, max_bytes, None, limit=declared + MAX_HEADER_BYTES)


def pixels(path: Path, frame: int = 1) -> NDArray[Any]:
    """Return the stored values of one frame, shape (rows, columns), before any rescaling.

    Args:
        path: A DICOM file.
        frame: From 1.

    Raises:
        InputError: If it cannot be read or decoded, or has no such frame.
    """
    return next(iter(frames(read_all(path), (frame,))))


def frames(dataset: Dataset, numbers: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Yield the stored values of frames of a dataset from `read_all`.

    Args:
        dataset: With its pixels.
        numbers: Frames, from 1.

    Yields:
        Shape (rows, columns), an integer type.

    Raises:
        InputError: If they cannot be decoded.
    """
    with quiet():
        image_bytes(dataset)
        try:
            shape, count = (int(dataset.Rows), int(dataset.Columns)), frame_count(dataset)
            syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
            kind = dataset.get("PhotometricInterpretation")
        except UNREADABLE as error:
            raise InputError("a DICOM file is damaged or cut short") from error
        _check_codestreams(dataset, syntax, shape)
    if kind != GREY:
        got = kind if kind in _OTHER_PIXELS else "another kind" if kind else "none stated"
        raise InputError(f"expected grey pixels that are brighter where more ({GREY}), got {got}")
    if max(numbers) > count:
        raise InputError(f"expected {max(numbers)} frames in a DICOM file, got {count}")
    arrays = iter_pixels(dataset, raw=True, indices=[number - 1 for number in numbers])
    for _ in numbers:
        try:
            with quiet():
                array = next(arrays)
            if array.shape != shape:
                raise ValueError("another shape than declared")
        except (*UNREADABLE, StopIteration) as error:
            raise InputError(
                f"cannot decode the pixels of a DICOM file ({syntax.name}): it is damaged, cut "
                "short, or packed in a way that is not read"
            ) from error
        yield array


def frame_count(dataset: Dataset) -> int:
    """Return the number of frames, 1 where none is given."""
    return int(dataset.get("NumberOfFrames") or 1)


def image_bytes(header: Dataset) -> int:
    """Return how many bytes the decoded pixels take, from the header.

    Raises:
        InputError: If size or type are missing or of no grey-scale image.
    """
    try:
        rows, columns = int(header.Rows), int(header.Columns)
        bits, samples = int(header.BitsAllocated), int(header.get("SamplesPerPixel", 1))
        count = frame_count(header)
    except UNREADABLE as error:
        raise InputError("expected an image, got a DICOM file without size or type") from error
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE and count > 0):
        raise InputError(
            f"expected up to {MAX_SIDE} x {MAX_SIDE} pixels, "
            f"got {columns} x {rows} x {count} in a DICOM file"
        )
    if bits not in (8, 16, 32) or samples != 1:
        raise InputError(
            f"expected one grey value of 8, 16 or 32 bits a pixel, got {samples} of {bits} bits"
        )
    return rows * columns * count * (bits // 8)


def _read(
    path: Path,
    max_bytes: int,
    tags: Sequence[str | int] | None,
    *,
    stop_before_pixels: bool = False,
    limit: int = MAX_HEADER_BYTES,
) -> Dataset:
    size = path.stat().st_size
    if size > max_bytes:
        raise InputError(f"expected a DICOM file of up to {max_bytes} bytes, got {size}")
    if not is_dicom(path):
        raise InputError("expected DICOM, got a file that is none")
    try:
        with quiet():
            source = _inflated(path, limit, cut=stop_before_pixels)
            dataset = dcmread(
                source,
                stop_before_pixels=stop_before_pixels,
                force=True,
                specific_tags=None if tags is None else [Tag(tag) for tag in tags],
            )
            _check_nesting(dataset)
            _state_syntax(dataset)
    except RecursionError as error:
        raise InputError("the sequences in a DICOM file are nested too deep") from error
    except UNREADABLE as error:
        raise InputError("a DICOM file is damaged or cut short") from error
    return dataset


def _state_syntax(dataset: Dataset) -> None:
    """Name how a file without file meta information turned out to be written: decoders ask."""
    implicit, little = dataset.original_encoding
    if little and not dataset.file_meta.get("TransferSyntaxUID"):
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax


def _inflated(path: Path, limit: int, *, cut: bool) -> Path | io.BytesIO:
    """Return the file, or what it holds where it is deflated: pydicom would inflate any amount.

    Args:
        path: A DICOM file.
        limit: Most bytes that are inflated.
        cut: Whether what comes after them is left out; else it is an error.
    """
    with path.open("rb") as file:
        if file.read(_PREFIX)[128:] != b"DICM":
            return path
        meta = read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return path
        file.seek(_PREFIX + 12 + int(meta.FileMetaInformationGroupLength))
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        content = unpacker.decompress(file.read(), limit)
    if unpacker.unconsumed_tail and not cut:
        raise InputError(
            f"a deflated DICOM file holds more than the {limit} bytes that it declares"
        )
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    start = DicomBytesIO()
    write_file_meta_info(start, meta, enforce_standard=False)
    return io.BytesIO(bytes(128) + b"DICM" + start.getvalue() + content)


def _check_nesting(dataset: Dataset) -> None:
    """Refuse sequences nested deeper than `MAX_DEPTH`; pydicom parses a level when it is asked."""
    todo, seen = [(dataset, 0)], 0
    while todo:
        one, depth = todo.pop()
        seen += len(one)
        if depth > MAX_DEPTH or seen > MAX_ELEMENTS:
            raise RecursionError
        for tag in list(one.keys()):
            if _is_sequence(one, tag):
                value = one[tag].value
                todo += [(item, depth + 1) for item in value if isinstance(item, Dataset)]


def _is_sequence(dataset: Dataset, tag: BaseTag) -> bool:
    stored = dataset.get_item(tag).VR
    if stored in (None, "UN") and not tag.is_private:
        try:
            return dictionary_VR(tag) == "SQ"
        except KeyError:
            return False
    return stored == "SQ"


def _check_codestreams(dataset: Dataset, syntax: UID, shape: tuple[int, int]) -> None:
    """Refuse packed frames that declare another size than the header: decoders believe them."""
    if not syntax.is_transfer_syntax or not syntax.is_encapsulated:
        return
    from pydicom.encaps import generate_frames

    try:
        sizes = {
            declared_size(data)
            for data in generate_frames(dataset.PixelData, number_of_frames=frame_count(dataset))
        }
    except UNREADABLE as error:
        raise InputError("the packed pixels of a DICOM file are damaged or cut short") from error
    if sizes - {shape, None}:
        raise InputError("the packed pixels of a DICOM file have another size than its header")
