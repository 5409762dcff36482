"""Pictures of a scan and its lesions, as a radiologist expects them.

Radiological display: the patient's right is on the viewer's left, front or head on top. A scan
that came as a picture keeps its own left, whose side is not known.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from mmocnet.io.letters import draw_letters
from mmocnet.io.report import LesionPictures
from mmocnet.lesion import Certainty, Lesion
from mmocnet.predict.segmentation import Segmentation
from mmocnet.prepare.geometry import display_axes, side_letters
from mmocnet.prepare.slice_numbers import DICOM_AXIS, slice_words
from mmocnet.types import FloatArray

Colour = tuple[int, int, int]
Extent = tuple[float, float, float, float]

COLOURS: dict[Certainty, Colour] = {
    Certainty.DEFINITE: (240, 150, 40),
    Certainty.POSSIBLE: (86, 180, 233),
    Certainty.MACROHAEMORRHAGE: (222, 120, 190),
}
"""Orange, sky blue, purple: told apart by every kind of colour vision (Okabe and Ito 2008)."""
EDGE = (0, 0, 0)
"""Round numbers, which stand on bright tissue."""
NO_LETTERS = ("", "", "", "")
CROP_MM = 24.0
CROP_PX = 240
TILES = 24
TILE_COLUMNS = 6


@dataclass(frozen=True)
class Display:
    """A segmentation turned to how it is shown.

    Attributes:
        grey: Slices, shape (S, rows, columns), uint8, contrast set.
        labels: Lesion numbers, same shape.
        pixel_mm: Height and width of a pixel.
        letters: For left, right, top, bottom; empty where the side is not known.
        colours: Of each lesion by its number.
        cuts: Slice that cuts each lesion largest, and its centre there in pixel edges.
        slice_axis: The scan's axis across which slices are cut.
        images: Of each slice of a DICOM series its image number in words; else empty.
    """

    grey: NDArray[np.uint8]
    labels: NDArray[np.int32]
    pixel_mm: tuple[float, float]
    letters: tuple[str, str, str, str]
    colours: dict[int, Colour]
    cuts: dict[int, tuple[int, float, float]]
    slice_axis: int
    images: tuple[str, ...] = ()


def make_display(result: Segmentation) -> Display:
    """Return a segmentation turned for display, its contrast set once for all pictures."""
    (down, across), steps = display_axes(result.image.affine, result.slice_axis)
    # A picture has its own left.
    is_picture = result.source == "picture"
    steps = (steps[0], 1 if is_picture else steps[1])
    axes = (result.slice_axis, down, across)

    def turned(array: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.transpose(array, axes)[:, :: steps[0], :: steps[1]]

    labels = turned(result.labels.array).astype(np.int32)
    spacing = result.image.spacing_mm
    return Display(
        grey=turned(_windowed(np.asarray(result.image.array))).astype(np.uint8),
        labels=labels,
        pixel_mm=(spacing[down], spacing[across]),
        letters=NO_LETTERS if is_picture else side_letters(result.image.affine, result.slice_axis),
        colours={one.index: COLOURS[one.certainty] for one in result.lesions},
        cuts=_largest_cuts(labels),
        slice_axis=result.slice_axis,
        images=_images(result),
    )


def _images(result: Segmentation) -> tuple[str, ...]:
    image, axis = result.image, result.slice_axis
    numbers = () if result.dicom is None or axis != DICOM_AXIS else result.dicom.numbers
    return tuple(slice_words(image, axis, k, numbers) for k in range(len(numbers)))


def _windowed(array: FloatArray) -> NDArray[np.uint8]:
    """Return grey values from the tissue's 1st to its 99.7th percentile."""
    sample = array.ravel()[:: max(1, array.size // 1_000_000)]
    tissue = sample[sample > sample.min()]
    low, high = np.percentile(tissue if tissue.size else sample, (1.0, 99.7))
    low = min(low, 0.0) if low < 0 else low * 0.5
    scaled = (array - low) / max(high - low, 1e-12)
    return np.asarray(np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def lesion_pictures(display: Display, lesion: Lesion) -> LesionPictures:
    """Return a lesion's slice zoomed, plain and outlined, and where in the slice it is.

    The slice is the one that cuts the lesion largest.
    """
    index, row, col = display.cuts[lesion.index]
    side_mm = max(CROP_MM, 2.5 * lesion.diameter_mm)
    half_row, half_col = (side_mm / 2 / mm for mm in display.pixel_mm)
    extent = (col - half_col, row - half_row, col + half_col, row + half_row)
    plain = _crop(display.grey[index], extent, (CROP_PX, CROP_PX))
    outlined = _outlined(display, index, extent, (CROP_PX, CROP_PX))
    return LesionPictures(
        plain=png(plain),
        outlined=png(outlined),
        locator=png(_locator(display, index, extent, display.colours[lesion.index])),
        slice_index=index,
        slice_count=len(display.grey),
        centre_index=lesion.centre_voxel[display.slice_axis],
        width_mm=side_mm,
        image=display.images[index] if display.images else "",
    )


def _largest_cuts(labels: NDArray[np.int32]) -> dict[int, tuple[int, float, float]]:
    """Return the slice that cuts each lesion largest and its centre there, in pixel edges."""
    cuts = {}
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        inside = labels[box] == number
        areas = inside.sum(axis=(1, 2))
        largest = np.flatnonzero(areas == areas.max())
        best = int(largest[len(largest) // 2])
        row, col = np.argwhere(inside[best]).mean(axis=0) + 0.5
        first, top, left = (part.start for part in box)
        cuts[number] = (first + best, top + float(row), left + float(col))
    return cuts


def _crop(plane: NDArray[np.uint8], extent: Extent, size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(plane))
    return image.transform(size, Image.Transform.EXTENT, extent, resample=Image.Resampling.BICUBIC)


def _outlined(display: Display, index: int, extent: Extent, size: tuple[int, int]) -> Image.Image:
    """Return a crop with every lesion in it outlined along its voxels' edges, from outside."""
    pixels = np.array(_crop(display.grey[index], extent, size).convert("RGB"))
    left, top, right, bottom = extent
    rows = np.floor(top + (np.arange(size[1]) + 0.5) * (bottom - top) / size[1]).astype(int)
    cols = np.floor(left + (np.arange(size[0]) + 0.5) * (right - left) / size[0]).astype(int)
    plane = np.pad(display.labels[index], 1)
    rows, cols = (
        np.clip(at + 1, 0, count - 1) for at, count in zip((rows, cols), plane.shape, strict=True)
    )
    labels = plane[np.ix_(rows, cols)]
    for number in np.unique(labels[labels > 0]):
        inside = labels == number
        ring = ndimage.binary_dilation(inside, iterations=2) & ~inside
        pixels[ring] = display.colours[int(number)]
    return Image.fromarray(pixels)


def _whole(display: Display, height_px: int) -> tuple[Extent, tuple[int, int], float]:
    """Return the extent that holds all tissue, its size in pixels, and pixels a mm."""
    tissue = np.any(display.grey > 25, axis=0)
    spans = []
    for axis in (1, 0):
        at = np.flatnonzero(np.any(tissue, axis=axis))
        first, last = (int(at[0]), int(at[-1]) + 1) if len(at) else (0, tissue.shape[1 - axis])
        margin = 0.06 * (last - first)
        spans.append((first - margin, last + margin))
    (top, bottom), (left, right) = spans
    scale = height_px / ((bottom - top) * display.pixel_mm[0])
    width = max(1, round((right - left) * display.pixel_mm[1] * scale))
    return (left, top, right, bottom), (width, height_px), scale


def _locator(display: Display, index: int, box: Extent, colour: Colour) -> Image.Image:
    extent, size, _ = _whole(display, CROP_PX)
    image = _slice_image(display, index, extent, size)
    draw = ImageDraw.Draw(image)
    corners = _on_picture((box[0], box[1]), extent, size) + _on_picture(
        (box[2], box[3]), extent, size
    )
    draw.rectangle(corners, outline=colour, width=2)
    return image


def _slice_image(
    display: Display, index: int, extent: Extent, size: tuple[int, int]
) -> Image.Image:
    """Return a whole slice with its letters; averaged where it is made smaller."""
    shrink = max(1, round((extent[2] - extent[0]) / size[0] * 2))
    large = _crop(display.grey[index], extent, (size[0] * shrink, size[1] * shrink))
    image = large.resize(size, Image.Resampling.BOX).convert("RGB")
    draw_letters(image, display.letters)
    return image


def _on_picture(
    point: tuple[float, float], extent: Extent, size: tuple[int, int]
) -> tuple[float, float]:
    left, top, right, bottom = extent
    return (
        (point[0] - left) / (right - left) * size[0],
        (point[1] - top) / (bottom - top) * size[1],
    )


def overview(display: Display, lesions: Sequence[Lesion]) -> Image.Image:
    """Return slices from end to end with a ring round each lesion, on the slice nearest to it.

    A single slice is shown large, its lesions outlined.
    """
    if len(display.grey) == 1:
        return single_slice(display)
    shown = _shown_slices(display.grey)
    extent, size, scale = _whole(display, 190)
    rows = -(-len(shown) // TILE_COLUMNS)
    columns = min(TILE_COLUMNS, len(shown))
    sheet = Image.new("RGB", (columns * (size[0] + 2), rows * (size[1] + 2)))
    centres = [(one, *display.cuts[one.index]) for one in lesions]
    owner = [int(np.argmin(np.abs(shown - index))) for _, index, _, _ in centres]
    for tile, index in enumerate(shown.tolist()):
        image = _slice_image(display, index, extent, size)
        draw = ImageDraw.Draw(image)
        font = ImageFont.load_default(12)
        draw.text((4, 3), str(index + 1), fill=(170, 170, 170), font=font)
        for (lesion, _, row, col), home in zip(centres, owner, strict=True):
            if home == tile:
                radius = max(6.0, lesion.diameter_mm / 2 * scale + 3)
                at = _on_picture((col, row), extent, size)
                _ring(draw, at, radius, str(lesion.index), display.colours[lesion.index])
        place = (tile % TILE_COLUMNS * (size[0] + 2), tile // TILE_COLUMNS * (size[1] + 2))
        sheet.paste(image, place)
    return sheet


def _ring(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], radius: float, text: str, colour: Colour
) -> None:
    x, y = at
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=2)
    font = ImageFont.load_default(12)
    # Below and to the right: letters and slice number stand elsewhere.
    at = (x + radius * 0.8, y + radius * 0.6)
    draw.text(at, text, fill=colour, font=font, stroke_width=2, stroke_fill=EDGE)


def _shown_slices(grey: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return up to 24 slices with tissue, evenly from the first to the last."""
    share = (grey > 25).mean(axis=(1, 2))
    filled = np.flatnonzero(share > 0.1 * share.max()) if share.max() > 0 else np.arange(len(grey))
    count = min(TILES, len(filled))
    return filled[np.rint(np.linspace(0, len(filled) - 1, count)).astype(np.intp)]


def single_slice(display: Display) -> Image.Image:
    """Return the only slice, enlarged by a whole number, with its lesions outlined and numbered."""
    height, width = display.grey.shape[1:]
    tall = height * display.pixel_mm[0] / display.pixel_mm[1]
    factor = max(1, round(800 / max(tall, width)))
    size = (width * factor, max(1, round(tall * factor)))
    extent = (0.0, 0.0, float(width), float(height))
    image = _outlined(display, 0, extent, size)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    for number, (_, row, col) in display.cuts.items():
        x, y = _on_picture((col, row), extent, size)
        reach = 5.0 + np.sqrt((display.labels[0] == number).sum() / np.pi) * factor
        draw.text(
            (x + reach, y),
            str(number),
            fill=display.colours[number],
            font=font,
            anchor="lm",
            stroke_width=2,
            stroke_fill=EDGE,
        )
    draw_letters(image, display.letters)
    return image


def png(image: Image.Image) -> bytes:
    """Return a picture as PNG; colour pictures in 256 colours, which halves them."""
    stream = io.BytesIO()
    if image.mode == "RGB":
        image = image.quantize(256, dither=Image.Dither.NONE)
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
