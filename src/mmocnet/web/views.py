"""The files that a browser and the web process read in place of a user's own.

The display copy is an uncompressed NIfTI of int16 on the scan's own voxel grid, so that it is
sent as it lies on the disk and mapped into memory without being read.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mmocnet.errors import InputError
from mmocnet.io.atomic import replacing
from mmocnet.io.nifti import set_affine
from mmocnet.types import FloatArray
from mmocnet.volume import Volume

SPAN = 10_000
"""Display values between the ends of the usual range; what is brighter has room up to 32767."""

USUAL = (0.1, 99.9)
"""Percentiles of the usual range."""

WINDOW = (1.0, 99.5)
"""Percentiles of what is not background, for the first look."""

OFFSET = 352
"""Bytes before the voxels."""

_SAMPLES = 2_000_000
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Scale:
    """From a scan's values to those of its display copy: (value - offset) * factor."""

    offset: float
    factor: float

    def apply(self, array: NDArray[np.float32]) -> NDArray[np.int16]:
        """Return display values, slice by slice, so that no second volume is made."""
        shown = np.empty(array.shape, dtype=np.int16, order="F")
        for k in range(array.shape[2]):
            values = (array[:, :, k] - np.float32(self.offset)) * np.float32(self.factor)
            shown[:, :, k] = np.clip(np.rint(values), _INT16.min, _INT16.max)
        return shown


def sample(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return at most two million of an array's values, evenly taken."""
    step = max(1, round((array.size / _SAMPLES) ** (1 / 3)))
    return array[:: step if array.shape[0] > 1 else 1, ::step, :: min(step, 2)].ravel()


def scale_of(array: NDArray[np.float32]) -> Scale:
    """Return the scale of a display copy; whole numbers that fit stay what they are."""
    values = sample(array)
    low, high = float(array.min()), float(array.max())
    whole = bool((values == np.rint(values)).all())
    if whole and low >= _INT16.min and high <= _INT16.max and high - low >= 100:
        return Scale(0.0, 1.0)
    usual = np.percentile(values, USUAL)
    if not usual[1] > usual[0]:
        usual = np.array([low, high])
    # A scan's zero is what surrounds a head: it stays 0.
    offset = 0.0 if low >= 0 else float(usual[0])
    return Scale(offset, SPAN / float(usual[1] - offset))


def window_of(shown: NDArray[np.int16]) -> tuple[int, int]:
    """Return the display values that are black and white at first."""
    values = sample(shown)  # type: ignore[arg-type]
    values = values[values != 0]
    if not values.size:
        return 0, 1
    low, high = np.percentile(values, WINDOW)
    low = min(float(low), 0.15 * float(high)) if low > 0 else float(low)
    return int(low), max(int(low) + 1, int(np.ceil(high)))


def write_view(path: Path, shown: NDArray[np.int16], affine: FloatArray) -> None:
    """Write a display copy, whole or not at all."""
    image = nib.Nifti1Image(shown, affine)
    image.header.set_xyzt_units("mm", "sec")
    set_affine(image, affine)
    image.header["scl_slope"], image.header["scl_inter"] = 1.0, 0.0
    image.header["vox_offset"] = OFFSET
    with replacing(path) as partial, partial.open("wb") as file:
        image.header.write_to(file)
        file.write(np.asfortranarray(shown).astype("<i2", copy=False).T.data)


def open_view(path: Path, shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """Return a display copy's voxels, mapped and not read.

    Raises:
        OSError: If it is not there.
        InputError: If it has not the size of such a grid.
    """
    size, wanted = path.stat().st_size, OFFSET + 2 * math.prod(shape)
    if size != wanted:
        raise InputError(f"expected {path.name} of {wanted} bytes for {shape}, got {size}")
    return np.memmap(path, dtype="<i2", mode="r", offset=OFFSET, shape=shape, order="F")


def view_of(volume: Volume, path: Path) -> tuple[int, int]:
    """Write a volume's display copy and return its first window."""
    array = np.asarray(volume.array, dtype=np.float32)
    shown = scale_of(array).apply(array)
    write_view(path, shown, volume.affine)
    return window_of(shown)
