"""Two figures that say how much small dark structure an image holds.

Real and simulated images are measured by the same lines, slice by slice at one pixel size, so
that a simulator that is too clean shows up as a number.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.prepare.brain import brain_mask, is_stripped
from mmocnet.prepare.geometry import slice_axis
from mmocnet.types import FloatArray
from mmocnet.volume import Volume

PIXEL_MM = 0.5
"""Pixel at which every image is measured."""
LOCAL_SIGMA_MM = 3.0
"""Standard deviation of the Gaussian that makes the local mean."""
DARK_FRACTION = 0.8
"""A pixel is dark under this fraction of its local mean."""
EROSION_MM = 3.0
"""How far the brain's rim is left out, where the mean would see the edge."""


@dataclass(frozen=True)
class Realism:
    """The two figures of one image.

    Attributes:
        dark_share: Share of pixels under 0.8 of the local mean.
        local_variation: Mean over pixels of the local SD over the local mean.
        pixels: How many pixels were measured; both figures are NaN where there are none.
    """

    dark_share: float
    local_variation: float
    pixels: int


@dataclass(frozen=True)
class Range:
    """Smallest, middle and largest value over images that have one."""

    low: float
    median: float
    high: float


def brain_of_stripped(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the brain of a skull-stripped slice: the largest piece above 0, holes filled."""
    labels, count = ndimage.label(image > 0)
    if count == 0:
        return np.zeros(image.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())[1:]
    return np.asarray(ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes))))


def slice_realism(
    image: NDArray[Any], brain: NDArray[np.bool_] | None = None, pixel_mm: float = PIXEL_MM
) -> Realism:
    """Measure one slice.

    The local mean and SD are Gaussian averages (sigma 3 mm) taken inside the brain only:
    sums of weighted values over sums of weights, so that the outside does not darken the rim.

    Args:
        image: Shape (R, C), any intensity scale with air at 0.
        brain: Shape (R, C); None takes what is above 0, for a skull-stripped slice.
        pixel_mm: Side of a pixel.

    Raises:
        InputError: If the shapes differ or the pixel is not positive.

    >>> slice_realism(np.full((64, 64), 7.0))
    Realism(dark_share=0.0, local_variation=0.0, pixels=2704)
    """
    brain = brain_of_stripped(image) if brain is None else brain.astype(bool)
    if image.ndim != 2 or brain.shape != image.shape:
        raise InputError(f"expected a slice and its brain, got {image.shape} and {brain.shape}")
    if not pixel_mm > 0:
        raise InputError(f"pixel_mm must be positive, got {pixel_mm}")
    # The image's edge bounds the brain like any other rim.
    distance = ndimage.distance_transform_edt(np.pad(brain, 1))[1:-1, 1:-1] * pixel_mm
    inside = distance > EROSION_MM
    if not inside.any():
        return Realism(float("nan"), float("nan"), 0)
    mean, deviation = _local_moments(np.asarray(image, dtype=np.float64), brain, pixel_mm)
    positive = inside & (mean > 0)
    ratio = image[positive] / mean[positive]
    return Realism(
        dark_share=float(np.mean(ratio < DARK_FRACTION)),
        local_variation=float(np.mean(deviation[positive] / mean[positive])),
        pixels=int(positive.sum()),
    )


def _local_moments(
    image: FloatArray, brain: NDArray[np.bool_], pixel_mm: float
) -> tuple[FloatArray, FloatArray]:
    def smooth(values: FloatArray) -> FloatArray:
        return np.asarray(
            ndimage.gaussian_filter(values, LOCAL_SIGMA_MM / pixel_mm, mode="constant")
        )

    # Centring first: the variance is a small difference of large numbers otherwise.
    middle = float(image[brain].mean())
    centred = np.where(brain, image - middle, 0.0)
    weight = np.maximum(smooth(brain.astype(np.float64)), 1e-12)
    mean = smooth(centred) / weight
    variance = smooth(centred**2) / weight - mean**2
    return mean + middle, np.sqrt(np.maximum(variance, 0.0))


def volume_realism(
    volume: Volume, brain: NDArray[np.bool_] | None = None, min_pixels: int = 2000
) -> list[Realism]:
    """Measure a volume slice by slice, each resampled in-plane to 0.5 mm (linear).

    Slices are cut across the thickest voxel axis (isotropic: the one nearest to
    inferior-superior), and those with little brain left after erosion are dropped.

    Args:
        volume: The scan.
        brain: Shape of the scan; None takes what is above 0 where the scan is skull-stripped,
            else it is looked for.
        min_pixels: Fewest measured 0.5 mm pixels a slice needs (2000 are 5 cm2).

    Returns:
        One entry a slice that has enough brain, from the first slice to the last.
    """
    axis = slice_axis(volume)
    zoom = [s / PIXEL_MM for i, s in enumerate(volume.spacing_mm) if i != axis]
    if brain is None and not is_stripped(volume):
        brain = brain_mask(volume)
    mask = volume.array > 0 if brain is None else brain
    measured = []
    for index in range(volume.shape[axis]):
        inside = np.take(mask, index, axis).astype(np.float32)
        if not inside.any():
            continue
        image = np.take(volume.array, index, axis).astype(np.float32)
        image = _resample(image, zoom)
        if brain is None:
            measured.append(slice_realism(image))
        else:
            measured.append(slice_realism(image, _resample(inside, zoom) > 0.5))
    return [figures for figures in measured if figures.pixels >= min_pixels]


def _resample(image: FloatArray, zoom: list[float]) -> FloatArray:
    return np.asarray(ndimage.zoom(image, zoom, order=1, grid_mode=True, mode="nearest"))


def ranges(figures: Iterable[Realism]) -> dict[str, Range]:
    """Return the range of each of the two figures over images; NaN where there is no image."""
    table = np.array([(f.dark_share, f.local_variation) for f in figures]).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    if not len(table):
        table = np.full((1, 2), np.nan)
    names = ("dark_share", "local_variation")
    return {
        name: Range(float(v.min()), float(np.median(v)), float(v.max()))
        for name, v in zip(names, table.T, strict=True)
    }
