"""The outlines of a reading as an image: each accepted and added finding its number."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from mmocnet.io.atomic import replacing
from mmocnet.io.nifti import write_nifti
from mmocnet.io.picture import picture_array
from mmocnet.review.rows import label_array
from mmocnet.review.study import Material
from mmocnet.volume import Volume


def reviewed_labels(material: Material) -> Volume:
    """Return the outlines of what counts, on the scan's grid, int32."""
    numbered = [(row.lesion.index, row.finding) for row in material.counted]
    return material.scan.volume.like(label_array(numbered, material.reading.grid))


def write_image(material: Material, path: Path) -> Path:
    """Write the outlines as NIfTI on exactly the scan's grid, of a picture as PNG.

    How they came about is in a NIfTI extension, in a PNG in a text of its own.

    Raises:
        InputError: If the scan cannot be read or the folder not be written to.
    """
    labels = reviewed_labels(material)
    text = json.dumps(material.record, ensure_ascii=False, separators=(",", ":"))
    if path.suffix == ".png":
        return _write_png(labels, text, path)
    number_type = np.int16 if len(material.counted) <= np.iinfo(np.int16).max else np.int32
    write_nifti(path, labels, number_type, text)
    return path


def _write_png(labels: Volume, text: str, path: Path) -> Path:
    array = picture_array(labels)
    said = PngImagePlugin.PngInfo()
    said.add_itxt("mmocnet", text)
    with replacing(path) as partial:
        pixels = array.astype(np.uint8 if int(array.max()) <= 255 else np.uint16)
        Image.fromarray(pixels).save(partial, pnginfo=said)
    return path
