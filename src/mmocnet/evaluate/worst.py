"""Small crops round a scan's worst misses and false calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.evaluate.files import split_ending
from mmocnet.evaluate.matching import Labels, Matching, Pairing, match, pairing
from mmocnet.io import nifti, picture
from mmocnet.types import FloatArray

if TYPE_CHECKING:
    from mmocnet.evaluate.cases import Case

CROP_MM = 40.0
"""What a crop spans."""
CROP_VOXELS = (24, 96)
"""Fewest and most voxels of a crop's side."""
MAX_CROPS = 12
"""Most misses, and most false calls, shown: of one scan, and of all together."""
IMAGE_ENDINGS = ("_T2starw", "_swi", "")
"""What the name of the scan that a reference belongs to ends in."""


class Kind(StrEnum):
    """What went wrong."""

    MISSED = "missed"
    FALSE = "false call"


@dataclass(frozen=True)
class Crop:
    """The slice of one missed lesion or false call in which it is largest.

    Attributes:
        title: Which scan and slice, and what it is.
        kind: What went wrong.
        severity: Larger is worse: of a miss its volume in mm3, of a false call its confidence,
            or its volume where the prediction has no confidence.
        image: Shape (R, C), turned for display: the scan, else the probability, else 0.
        found: Shape (R, C), called and matched to a lesion.
        reference: Reference lesions that were missed.
        predicted: False calls.
    """

    title: str
    kind: Kind
    severity: float
    image: FloatArray
    found: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    predicted: NDArray[np.bool_]


def worst_crops(
    case: Case,
    limit: int = MAX_CROPS,
    read_image: Callable[[], FloatArray | None] | None = None,
    pair: Pairing | None = None,
) -> tuple[Crop, ...]:
    """Return the worst misses, then the worst false calls of a scan.

    Lesions are matched one to one by overlap. The largest misses are the worst, and the most
    confident false calls.

    Args:
        case: The scan.
        limit: Most crops of each kind.
        read_image: Called where there is something to show; returns the scan itself. None, or
            another grid than the case's, shows the probability.
        pair: Reference against predicted by overlap, where they have been compared already.
    """
    if pair is None:
        pair = pairing(case.reference, case.predicted, case.spacing_mm)
    result = match(pair)
    if not len(result.missed) and not len(result.false):
        return ()
    image = None if read_image is None else read_image()
    if image is None or image.shape != case.reference.shape:
        image = case.probability
    scene = _Scene(case, pair, result, image)
    voxel_mm3 = float(np.prod(case.spacing_mm))
    missed, called = _lesions(case.reference), _lesions(case.predicted)
    crops = []
    sizes = pair.reference.sizes * voxel_mm3
    for at in sorted(result.missed, key=lambda at: -sizes[at])[:limit]:
        lesion = missed[int(pair.reference.ids[at])]
        crops.append(scene.crop(lesion, Kind.MISSED, sizes[at], f"{sizes[at]:.0f} mm³"))
    calls = []
    for at in result.false:
        lesion = called[int(pair.predicted.ids[at])]
        confidence, volume = _confidence(case, lesion), pair.predicted.sizes[at] * voxel_mm3
        known = np.isfinite(confidence)
        text = f"confidence {confidence:.2f}" if known else f"{volume:.0f} mm³"
        calls.append((confidence if known else volume, lesion, text))
    for severity, lesion, text in sorted(calls, key=lambda call: -call[0])[:limit]:
        crops.append(scene.crop(lesion, Kind.FALSE, severity, text))
    return tuple(crops)


@dataclass(frozen=True)
class _Lesion:
    """One label of a label image, as the box round it and the voxels in that box."""

    box: tuple[slice, ...]
    inside: NDArray[np.bool_]


def _lesions(labels: Labels) -> dict[int, _Lesion]:
    """Return each label; boxes spare a pass over the whole volume for every one of them."""
    boxes = enumerate(ndimage.find_objects(labels.astype(np.int32, copy=False)), 1)
    return {number: _Lesion(box, labels[box] == number) for number, box in boxes if box is not None}


def _confidence(case: Case, lesion: _Lesion) -> float:
    if case.candidates is not None:
        numbers = np.unique(case.candidates.labels[lesion.box][lesion.inside])
        numbers = numbers[numbers > 0]
        if len(numbers):
            return float(np.max(np.asarray(case.candidates.confidence)[numbers - 1]))
    if case.probability is None:
        return float("nan")
    return float(case.probability[lesion.box][lesion.inside].max())


@dataclass(frozen=True)
class _Scene:
    case: Case
    pair: Pairing
    result: Matching
    image: FloatArray | None

    def crop(self, lesion: _Lesion, kind: Kind, severity: float, text: str) -> Crop:
        case, axis = self.case, self.case.slice_axis
        across = tuple(other for other in range(case.reference.ndim) if other != axis)
        within = int(np.argmax(np.count_nonzero(lesion.inside, axis=across)))
        index = lesion.box[axis].start + within
        window = [slice(index, index + 1)] * case.reference.ndim
        for other in across:
            window[other] = _window(
                lesion.box[other], case.spacing_mm[other], case.reference.shape[other]
            )
        where = tuple(window)
        axes, (down, right) = case.display

        def cut(array: NDArray[Any]) -> NDArray[Any]:
            turned = np.transpose(array[where], (axis, *axes))[0]
            return np.ascontiguousarray(turned[::down, ::right])

        reference, predicted = cut(case.reference), cut(case.predicted)
        pair, result = self.pair, self.result
        slices = case.reference.shape[axis]
        place = f", slice {index + 1} of {slices}" if slices > 1 else ""
        image = np.zeros(reference.shape) if self.image is None else cut(self.image)
        return Crop(
            title=f"{case.name}{place}: {kind}, {text}",
            kind=kind,
            severity=float(severity),
            image=image.astype(np.float32),
            found=np.isin(predicted, pair.predicted.ids[result.pairs[:, 1]]),
            reference=np.isin(reference, pair.reference.ids[result.missed]),
            predicted=np.isin(predicted, pair.predicted.ids[result.false]),
        )


def _window(box: slice, spacing_mm: float, length: int) -> slice:
    """Return where to cut: round the lesion, moved inside the slice where it would stick out."""
    side = min(int(np.clip(CROP_MM / spacing_mm, *CROP_VOXELS)), length)
    start = round((box.start + box.stop - side) / 2)
    start = min(max(start, 0), length - side)
    return slice(start, start + side)


def scan_beside(reference: Path, name: str) -> Path | None:
    """Return the scan that a reference belongs to, if it is where it is looked for.

    That is beside the reference, or in the BIDS dataset in whose `derivatives` the reference is,
    under the same name.

    Args:
        reference: The reference's file.
        name: What the files of the scan have in common.
    """
    folders = [reference.parent]
    parts = reference.parts
    if "derivatives" in parts[:-2]:
        at = len(parts) - 1 - parts[::-1].index("derivatives")
        folders.append(Path(*parts[:at], *parts[at + 2 : -1]))
    for folder in folders:
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            named = split_ending(path)
            wanted = named is not None and named[0] in {name + end for end in IMAGE_ENDINGS}
            if wanted and path != reference:
                return path
    return None


def read_scan(reference: Path, name: str, spacing_mm: float | None) -> FloatArray | None:
    """Return the scan beside a reference for pictures; None where none can be read."""
    path = scan_beside(reference, name)
    if path is None:
        return None
    try:
        if path.name.lower().endswith(nifti.SUFFIXES):
            return np.asarray(nifti.read_nifti(path).array, dtype=np.float32)
        if spacing_mm is None:
            return None
        return np.asarray(picture.read_picture(path, spacing_mm).array, dtype=np.float32)
    except InputError:
        return None
