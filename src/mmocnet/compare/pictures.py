"""Pictures of a lesion at both visits, side by side, in the planes of the first.

Radiological display: the patient's right is on the viewer's left, front or head on top.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from mmocnet.compare.comparison import Comparison
from mmocnet.compare.match import Change
from mmocnet.compare.visit import Visit
from mmocnet.io.letters import draw_letters
from mmocnet.prepare.geometry import display_axes, side_letters, slice_axis
from mmocnet.types import FloatArray
from mmocnet.volume import Volume

WIDTH_MM, WIDTH_PX = 30.0, 240
COLOUR = (240, 150, 40)


@dataclass(frozen=True)
class ChangePictures:
    """Four PNG pictures of one place.

    Attributes:
        baseline: The first visit.
        follow_up: The second, brought to the first.
        baseline_outlined: With the outlines of lesions.
        follow_up_outlined: Likewise.
        width_mm: What they span.
    """

    baseline: bytes
    follow_up: bytes
    baseline_outlined: bytes
    follow_up_outlined: bytes
    width_mm: float


def change_pictures(comparison: Comparison, changes: Sequence[Change]) -> dict[int, ChangePictures]:
    """Return the place of each lesion at both visits, by its number in the table."""
    visits = (comparison.baseline, comparison.follow_up)
    windows = _windows(visits)
    back = np.linalg.inv(comparison.alignment.matrix)
    image = comparison.baseline.image
    letters = side_letters(image.affine, slice_axis(image))
    found = {}
    for change in changes:
        width = max(WIDTH_MM, 2.5 * change.lesion.diameter_mm)
        places = _plane(image, np.asarray(change.centre_mm), width)
        moved = places @ back[:3, :3].T + back[:3, 3]
        (first, first_outlined), (second, second_outlined) = (
            _both(visit, at, window, letters)
            for visit, at, window in zip(visits, (places, moved), windows, strict=True)
        )
        found[change.index] = ChangePictures(first, second, first_outlined, second_outlined, width)
    return found


def _plane(image: Volume, centre_mm: FloatArray, width_mm: float) -> FloatArray:
    """Return the world mm of a square in the image's slices, shape (rows, columns, 3)."""
    axes, signs = display_axes(image.affine, slice_axis(image))
    steps = [
        image.affine[:3, axis] / image.spacing_mm[axis] * sign
        for axis, sign in zip(axes, signs, strict=True)
    ]
    offsets = ((np.arange(WIDTH_PX) + 0.5) / WIDTH_PX - 0.5) * width_mm
    return np.asarray(
        centre_mm + offsets[None, :, None] * steps[1] + offsets[:, None, None] * steps[0]
    )


def _both(
    visit: Visit,
    places_mm: FloatArray,
    window: tuple[float, float],
    letters: tuple[str, str, str, str],
) -> tuple[bytes, bytes]:
    """Return a visit at those places as PNG, plain and with outlines; black outside the scan."""
    at = np.moveaxis(visit.image.voxel(places_mm), -1, 0)
    last = np.array(visit.image.shape).reshape(3, 1, 1) - 1
    # Voxels reach half a voxel beyond their centres: a lesion on the last slice is seen.
    inside = ((at >= -0.5) & (at <= last + 0.5)).all(axis=0)
    at = np.clip(at, 0, last)
    low, high = window
    values = ndimage.map_coordinates(
        np.asarray(visit.image.array, np.float32), at, order=1, output=np.float32
    )
    grey = (np.clip((values - low) / (high - low), 0, 1) * 255 * inside).astype(np.uint8)
    labels = ndimage.map_coordinates(np.asarray(visit.labels.array, np.int32), at, order=0)
    outlined = _outlined(grey, labels * inside)
    return _png(grey, letters), _png(outlined, letters)


def _windows(visits: Sequence[Visit]) -> list[tuple[float, float]]:
    """Return black and white of each visit, in which the same tissue is as grey in both.

    From half of the brain's 1st percentile to its 99.7th, both over its median; of the visits, the
    wider.
    """
    levels = []
    for visit in visits:
        brain = visit.image.array[visit.brain][::7]
        low, middle, high = (float(value) for value in np.percentile(brain, (1.0, 50.0, 99.7)))
        levels.append((low if low < 0 else 0.5 * low, max(middle, 1e-6), high))
    lowest = min(low / middle for low, middle, _ in levels)
    highest = max(*(high / middle for _, middle, high in levels), lowest + 1e-6)
    return [(lowest * middle, highest * middle) for _, middle, _ in levels]


def _outlined(grey: NDArray[np.uint8], labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    pixels = np.repeat(grey[..., None], 3, axis=2)
    for number in np.unique(labels[labels > 0]):
        inside = labels == number
        pixels[ndimage.binary_dilation(inside, iterations=2) & ~inside] = COLOUR
    return pixels


def _png(pixels: NDArray[np.uint8], letters: tuple[str, str, str, str]) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(pixels).convert("RGB")
    draw_letters(image, letters)
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
