"""The classical reference: a multi-scale Hessian blob filter, which any network has to beat."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.evaluate.instances import Instances
from mmocnet.evaluate.matching import Labels
from mmocnet.evaluate.planes import ReferencePlane
from mmocnet.evaluate.realism import brain_of_stripped
from mmocnet.types import FloatArray

SIGMAS_MM = (0.7, 1.0)
"""Scales: a disc of diameter d answers most at d / sqrt(8), so these are 2.0 and 2.8 mm, the
lower half of real microbleeds; larger ones, whose centres are flat and black, still answer. They
were the best of five sets on real planes, so scores on those planes flatter the baseline."""
MIN_RESPONSE = 0.05
"""Weakest blob that is kept; in units of the brain's median intensity."""
OUTLINE_SHARE = 0.5
"""A blob is outlined at this share of the way from its surround down to its darkest voxel."""


def blob_candidates(
    image: NDArray[Any], mask: NDArray[np.bool_], spacing_mm: tuple[float, ...]
) -> Instances:
    """Find dark blobs in a slice or a volume.

    The response is the smallest eigenvalue of the scale-normalised Hessian, largest over scales:
    positive only where the image is a valley in every direction, so a vein's length damps it.

    Args:
        image: 2D or 3D, any intensity scale with dark blobs.
        mask: The brain, the same shape.
        spacing_mm: Voxel size along each axis.

    Returns:
        Outlined blobs; the confidence is r / (1 + r) with r = 4 x response, a monotonic map to
        0 to 1 without a meaning of its own.

    Raises:
        InputError: If the shapes differ or the mask is empty.
    """
    if mask.shape != image.shape or len(spacing_mm) != image.ndim:
        raise InputError(f"expected a mask of {image.shape} and its spacing, got {mask.shape}")
    if not mask.any():
        raise InputError("expected a brain mask with voxels, got an empty one")
    middle = float(np.median(image[mask]))
    # Outside is set to the brain's median: the rim would else be the strongest edge of all.
    flat = np.where(mask, np.asarray(image, dtype=np.float64) / middle, 1.0)
    response, scale = _strongest(flat, spacing_mm)
    response[~mask] = 0.0
    peaks = response == ndimage.maximum_filter(response, size=3)
    peaks &= response > MIN_RESPONSE
    return _outline_all(flat, peaks & mask, response, scale, spacing_mm)


def plane_candidates(plane: ReferencePlane) -> Instances:
    """Find dark blobs on a skull-stripped plane."""
    return blob_candidates(
        plane.image, brain_of_stripped(plane.image), (plane.pixel_mm, plane.pixel_mm)
    )


def _strongest(image: FloatArray, spacing_mm: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    best = np.full(image.shape, -np.inf)
    scale = np.zeros(image.shape)
    for sigma in SIGMAS_MM:
        answer = sigma**2 * _smallest_curvature(image, sigma, spacing_mm)
        better = answer > best
        best[better] = answer[better]
        scale[better] = sigma
    return best, scale


def _smallest_curvature(
    image: FloatArray, sigma_mm: float, spacing_mm: tuple[float, ...]
) -> FloatArray:
    dims = image.ndim
    sigmas = [sigma_mm / mm for mm in spacing_mm]
    hessian = np.empty((*image.shape, dims, dims))
    for a, b in itertools.combinations_with_replacement(range(dims), 2):
        order = [int(axis == a) + int(axis == b) for axis in range(dims)]
        second = ndimage.gaussian_filter(image, sigmas, order=order, mode="nearest")
        hessian[..., a, b] = hessian[..., b, a] = second / (spacing_mm[a] * spacing_mm[b])
    return np.asarray(np.linalg.eigvalsh(hessian)[..., 0])


def _outline_all(
    image: FloatArray,
    peaks: NDArray[np.bool_],
    response: FloatArray,
    scale: FloatArray,
    spacing_mm: tuple[float, ...],
) -> Instances:
    labels: Labels = np.zeros(image.shape, dtype=np.int32)
    places = np.argwhere(peaks)
    confidence: list[float] = []
    # Strongest first: a weaker peak inside an outline already drawn is the same blob.
    for place in places[np.argsort(-response[peaks], kind="stable")]:
        centre = tuple(int(p) for p in place)
        if labels[centre]:
            continue
        box, blob = _outline(image, centre, float(scale[centre]), spacing_mm)
        confidence.append(float(4 * response[centre] / (1 + 4 * response[centre])))
        free = blob & (labels[box] == 0)
        labels[box][free] = len(confidence)
    return Instances(labels, np.array(confidence))


def _outline(
    image: FloatArray, centre: tuple[int, ...], sigma_mm: float, spacing_mm: tuple[float, ...]
) -> tuple[tuple[slice, ...], NDArray[np.bool_]]:
    """Return a box around a peak and, in it, the dark piece that holds the peak."""
    reach = 2.5 * sigma_mm
    half = [int(np.ceil(reach / mm)) + 1 for mm in spacing_mm]
    box = tuple(
        slice(max(c - h, 0), min(c + h + 1, n))
        for c, h, n in zip(centre, half, image.shape, strict=True)
    )
    local = image[box]
    axes = [np.arange(s.start, s.stop) - c for s, c in zip(box, centre, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(sum((g * mm) ** 2 for g, mm in zip(grid, spacing_mm, strict=True)))
    core = radius <= max(sigma_mm, *spacing_mm)
    surround = float(np.median(local[radius > 1.5 * sigma_mm]))
    darkest = float(local[core].min())
    level = surround - OUTLINE_SHARE * (surround - darkest)
    pieces, _ = ndimage.label((local <= level) & (radius <= reach), np.ones((3,) * image.ndim))
    start = np.unravel_index(np.argmin(np.where(core, local, np.inf)), local.shape)
    return box, np.asarray((pieces == pieces[start]) & (pieces > 0) | (radius == 0))
