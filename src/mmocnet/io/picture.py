"""Read and write single slices as PNG or TIFF pictures.

A picture is shown anterior up. Its columns become the first voxel axis (left to right) and its
rows, from bottom to top, the second; whether its left is the patient's left cannot be known.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mmocnet.errors import InputError
from mmocnet.io.atomic import replacing
from mmocnet.volume import Volume

SUFFIXES = (".png", ".tif", ".tiff")

MAX_PIXELS = 2**26
"""Largest picture that is read: 8192 x 8192 pixels."""

THICKNESS_MM = 1.0
"""Voxel size across a picture, so that a volume in mm3 is the area in mm2."""

_DIRECT_MODES = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L")


def read_picture(path: Path, spacing_mm: float) -> Volume:
    """Read a grey PNG or TIFF as a volume of one slice.

    Args:
        path: The picture.
        spacing_mm: Pixel size.

    Returns:
        Shape (columns, rows, 1) in the stored type, see the module.

    Raises:
        InputError: If it is missing, damaged, too large, coloured, or has several pages.
    """
    name = path.name
    if not (np.isfinite(spacing_mm) and spacing_mm > 0):
        raise InputError(f"spacing_mm must be positive, got {spacing_mm} for {name}")
    try:
        with warnings.catch_warnings():
            # Pillow warns above its own limit; ours is lower and refuses.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "TIFF")) as image:
                _check_header(image, name)
                pixels = _grey(image, name)
    except FileNotFoundError as error:
        raise InputError(f"no such file: {name}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"expected a PNG or TIFF picture, got other content in {name}") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"expected at most {MAX_PIXELS} pixels in {name}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{name} is damaged or cut short") from error
    affine = np.diag([spacing_mm, spacing_mm, THICKNESS_MM, 1.0])
    return Volume(np.ascontiguousarray(pixels[::-1].T[:, :, None]), affine, name)


def picture_array(volume: Volume) -> NDArray[Any]:
    """Return a slice as a picture shows it: the inverse of `read_picture`.

    Args:
        volume: Shape (columns, rows, 1).

    Returns:
        Shape (rows, columns), the first row on top (anterior).

    Raises:
        InputError: If the volume has more than one slice.
    """
    if volume.shape[2] != 1:
        raise InputError(f"expected one slice, got shape {volume.shape} in {volume.name}")
    return np.ascontiguousarray(volume.array[:, :, 0].T[::-1])


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture, whole or not at all.

    Args:
        path: Ends in `.png`, `.tif` or `.tiff`.
        pixels: Shape (rows, columns) grey or (rows, columns, 3) RGB, 8 bit.

    Raises:
        InputError: If the name ends otherwise.
    """
    if not path.name.lower().endswith(SUFFIXES):
        raise InputError(f"expected a name ending in .png or .tiff, got {path.name}")
    with replacing(path) as partial:
        Image.fromarray(pixels).save(partial)


def _check_header(image: Image.Image, name: str) -> None:
    columns, rows = image.size
    if columns * rows > MAX_PIXELS:
        raise InputError(f"expected at most {MAX_PIXELS} pixels, got {columns} x {rows} in {name}")
    pages = getattr(image, "n_frames", 1)
    if pages != 1:
        raise InputError(f"expected one slice, got {pages} pages in {name}")


def _grey(image: Image.Image, name: str) -> NDArray[Any]:
    if image.mode in _DIRECT_MODES:
        pixels = np.asarray(image)
        return pixels.astype(np.uint8) if pixels.dtype == bool else pixels
    colours = np.asarray(image.convert("RGB"))
    # Many programs save grey slices as RGB with three equal channels.
    if (colours != colours[..., :1]).any():
        raise InputError(f"expected grey values, got colours in {name}")
    return colours[..., 0]
