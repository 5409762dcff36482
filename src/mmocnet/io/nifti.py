"""Read and write NIfTI files, trusting nothing that a header declares."""

import gzip
import io
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from numpy.typing import DTypeLike, NDArray

from mmocnet.errors import InputError
from mmocnet.io.atomic import replacing
from mmocnet.io.nifti_affine import affine_of
from mmocnet.types import FloatArray
from mmocnet.volume import Volume

SUFFIXES = (".nii", ".nii.gz")

MAX_VOLUME_BYTES = 2 * 2**30
"""Largest volume that is read, its voxels counted as float32 or as stored if that is more."""

MAX_GZIP_RATIO = 1040
"""Deflate cannot pack more than 1032:1, so a header that declares more than this is false."""

MAX_HEADER_BYTES = 2**26
"""Farthest that voxels may begin: header extensions of 64 MiB."""

RIGHT_ANGLE = 1e-3
"""Cosine of the angle between two axes up to which they are at right angles: headers round."""

_CHUNK_BYTES = 2**20
_HEADER_BYTES = {348: (nib.Nifti1Header, 348), 540: (nib.Nifti2Header, 540)}


@dataclass(frozen=True)
class _Layout:
    """What a header declares, checked.

    Attributes:
        shape: Voxels along each of three axes.
        dtype: Stored type, byte order included.
        offset: First byte of the voxels.
        slope: Scale of the stored values, 1 where none.
        inter: Offset of the stored values, 0 where none.
        affine: Voxel to world RAS+ mm.
        warnings: Sentences for the user.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    affine: FloatArray
    warnings: tuple[str, ...]


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI volume, image or labels.

    Args:
        path: A `.nii` or `.nii.gz` file.

    Returns:
        The volume, in the stored type where the file does not scale its values and in float32
        where it does. One or two trailing dimensions of 1 are dropped; a 2D image gets a third.

    Raises:
        InputError: If it is missing, damaged, too large, not 3D, or of a type that is no image.
    """
    return read_nifti_warned(path)[0]


def read_nifti_warned(path: Path) -> tuple[Volume, tuple[str, ...]]:
    """Read a NIfTI volume and what is doubtful about it.

    Args:
        path: As in `read_nifti`.

    Returns:
        The volume, and one sentence for each doubt about its geometry.

    Raises:
        InputError: As `read_nifti`.
    """
    name = path.name
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream: BinaryIO = gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[assignment]
            layout = _read_layout(stream, name)
            _check_size(layout, size, packed, name)
            array = _read_array(stream, layout, name)
    except FileNotFoundError as error:
        raise InputError(f"no such file: {name}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{name} is {_packing_fault(error)}") from error
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from error
    return Volume(array, layout.affine, name), layout.warnings


def _packing_fault(error: Exception) -> str:
    """Return what is wrong with a gzip file, by what reading it raised."""
    if isinstance(error, EOFError):
        return "damaged or cut short: its compressed data ends early"
    if isinstance(error, zlib.error):
        return "damaged: its compressed data cannot be unpacked"
    # The first bytes were those of a gzip file: others come after the end of one.
    if str(error).startswith("Not a gzipped file"):
        return "damaged: bytes that are no compressed data come after its end"
    return "damaged: its content does not have the checksum or length that is stored with it"


def write_nifti(path: Path, volume: Volume, dtype: DTypeLike, comment: str = "") -> None:
    """Write a volume as NIfTI, whole or not at all; the same input gives the same bytes.

    Args:
        path: Ends in `.nii` or `.nii.gz`.
        volume: What to write, on its own grid.
        dtype: Stored type: an integer one for masks and labels, float32 for probabilities.
        comment: Text that the file carries in an extension, as where it came from.

    Raises:
        InputError: If the name ends otherwise, or values do not fit the type.
    """
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"expected a name ending in .nii or .nii.gz, got {path.name}")
    image = nib.Nifti1Image(_fit(volume, np.dtype(dtype)), volume.affine)
    image.header.set_xyzt_units("mm", "sec")
    set_affine(image, volume.affine)
    if comment:
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", comment.encode()))
    with replacing(path) as partial, partial.open("wb") as file:
        if path.name.endswith(".gz"):
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
                packed.write(image.to_bytes())
        else:
            file.write(image.to_bytes())


def set_affine(image: nib.Nifti1Image, affine: FloatArray) -> None:
    """Write how an image lies, as a scanner's coordinates.

    Some viewers read the sform and some the qform: both say the same. A qform cannot say that axes
    are not at right angles, and is marked as unset there.
    """
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=int(largest_cosine(affine) <= RIGHT_ANGLE))


def largest_cosine(affine: FloatArray) -> float:
    """Return the cosine between those two axes of an affine that are farthest from right angles.

    >>> largest_cosine(np.diag([-1.0, 2.0, 3.0, 1.0]))
    0.0
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max())


def _fit(volume: Volume, dtype: np.dtype[Any]) -> NDArray[Any]:
    array = volume.array
    if np.issubdtype(dtype, np.integer) and array.size:
        limits = np.iinfo(dtype)
        low, high = array.min(), array.max()
        # The negation also catches NaN.
        if not (low >= limits.min and high <= limits.max):
            raise InputError(f"values {low} to {high} do not fit {dtype} in {volume.name}")
    return array.astype(dtype)


def _read_layout(stream: BinaryIO, name: str) -> _Layout:
    start = stream.read(4)
    if len(start) < 4:
        raise InputError(f"{name} is damaged or cut short: its header ends early")
    length = min(int.from_bytes(start, "little"), int.from_bytes(start, "big"))
    if length not in _HEADER_BYTES:
        raise InputError(f"expected a NIfTI file, got other content in {name}")
    kind, length = _HEADER_BYTES[length]
    block = start + stream.read(length - 4)
    if len(block) < length:
        raise InputError(f"{name} is damaged or cut short: its header ends early")
    try:
        header = kind.from_fileobj(io.BytesIO(block), check=False)
        dtype = header.get_data_dtype()
        slope, inter = header.get_slope_inter()
    except (HeaderDataError, HeaderTypeError, KeyError, ValueError) as error:
        raise InputError(f"the NIfTI header is not valid in {name}") from error
    if bytes(header["magic"]).rstrip(b"\0")[:2] != b"n+":
        raise InputError(
            f"expected a single .nii file with its voxels, got a header only in {name}"
        )
    affine, warnings = affine_of(header, name)
    return _Layout(
        shape=_three_axes(header, name),
        dtype=_image_type(dtype, name),
        offset=_offset(float(header["vox_offset"]), length, name),
        slope=1.0 if slope is None else float(slope),
        inter=0.0 if inter is None else float(inter),
        affine=affine,
        warnings=warnings,
    )


def _offset(declared: float, header_bytes: int, name: str) -> int:
    # Some writers leave it 0 and mean the byte after the header's four extension bytes.
    place = declared if declared != 0 else float(header_bytes + 4)
    if not math.isfinite(place) or not header_bytes <= place <= MAX_HEADER_BYTES:
        raise InputError(f"expected voxels to begin after the header, got byte {place:g} in {name}")
    return int(place)


def _three_axes(header: Any, name: str) -> tuple[int, int, int]:
    count = int(header["dim"][0])
    dims = [int(n) for n in header["dim"][1 : 1 + max(0, count)]]
    if not 2 <= count <= 7 or min(dims) < 1:
        raise InputError(f"expected 3 dimensions of 1 or more, got {dims} in {name}")
    if any(n != 1 for n in dims[3:]):
        raise InputError(f"expected one 3D volume, got {len(dims)} dimensions {dims} in {name}")
    first, second, third = [*dims, 1][:3]
    return first, second, third


def _image_type(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    if dtype.names is not None:
        raise InputError(f"expected grey values, got RGB colours in {name}")
    if dtype.kind not in "iuf":
        raise InputError(f"expected real numbers, got {dtype} in {name}")
    if dtype.itemsize > 8:
        raise InputError(f"expected at most 64 bits a voxel, got {dtype} in {name}")
    return dtype


def _check_size(layout: _Layout, file_bytes: int, packed: bool, name: str) -> None:
    voxels = math.prod(layout.shape)
    declared = voxels * layout.dtype.itemsize
    memory = voxels * max(4, layout.dtype.itemsize)
    if memory > MAX_VOLUME_BYTES:
        raise InputError(
            f"expected at most {MAX_VOLUME_BYTES / 2**30:g} GiB of voxels, "
            f"got {memory / 2**30:.1f} GiB declared in {name}"
        )
    if declared + layout.offset > file_bytes * (MAX_GZIP_RATIO if packed else 1):
        raise InputError(
            f"{name} is damaged or cut short: it declares {declared} bytes of voxels "
            f"and has {file_bytes} bytes"
        )


def _read_array(stream: BinaryIO, layout: _Layout, name: str) -> NDArray[Any]:
    stream.seek(layout.offset)
    data = np.empty(math.prod(layout.shape) * layout.dtype.itemsize, dtype=np.uint8)
    view, filled = data.data, 0
    while filled < len(view):
        # In pieces, so that a stream which ends early has touched little memory.
        chunk = stream.read(min(_CHUNK_BYTES, len(view) - filled))
        if not chunk:
            raise InputError(f"{name} is damaged or cut short: its voxels end early")
        view[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    stream.read(1)  # At the end of a gzip stream this checks its CRC.
    array = data.view(layout.dtype).reshape(layout.shape, order="F")
    if not layout.dtype.isnative:
        array = array.astype(layout.dtype.newbyteorder("="))
    if layout.slope in (0.0, 1.0) and layout.inter == 0.0:
        return array
    return array.astype(np.float32) * np.float32(layout.slope) + np.float32(layout.inter)
