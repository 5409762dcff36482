"""Training patches: where they are centred and how they are cut.

Patches are drawn by a NumPy generator that the caller seeds by step, so a training that
resumes sees the patches it would have seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.config import PatchShares
from mmocnet.errors import InputError
from mmocnet.predict.candidates import reflected
from mmocnet.prepare.neighbours import neighbour_indices, neighbour_step
from mmocnet.types import Triple

Places = NDArray[np.float32]
"""Rows of (scan, slice, row, column), shape (N, 4)."""

DARK_DRAWS = 48
"""Places compared to find a dark one; the darkest in 48 lies in about the lowest 2 %."""


@dataclass(frozen=True)
class TrainingScan:
    """A scan on its working grid; large arrays may be memory-mapped.

    Attributes:
        subject: Label of the subject, which decides the split.
        image: Shape (S, R, C), uint8 (0..255) or float16 / float32 (0..1).
        labels: Shape (S, R, C), integer; apparent lesions by number, 0 elsewhere.
        mimic_points: Shape (N, 3), working-grid slice, row, column of known mimics.
        spacing_mm: Of slice, row, column.
        name: What errors and cards call the scan.
        across: Whether its slices are single planes across those of a scan, from here and there.
    """

    subject: str
    image: NDArray[np.generic]
    labels: NDArray[np.integer]
    mimic_points: NDArray[np.floating]
    spacing_mm: Triple
    name: str = "scan"
    across: bool = False

    @property
    def step(self) -> int:
        """How many slices apart neighbours lie."""
        return neighbour_step(self.spacing_mm[0])

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape != self.labels.shape:
            raise InputError(
                f"expected image and labels of one shape (S, R, C), got {self.image.shape} and "
                f"{self.labels.shape} in {self.name}"
            )


def cut(
    plane: NDArray[np.generic], centre: tuple[float, float], shape: tuple[int, int]
) -> NDArray[Any]:
    """Return a patch of a plane, reflected where it leaves the plane.

    Args:
        plane: Shape (R, C).
        centre: Row and column that land on pixel (height // 2, width // 2).
        shape: Height and width of the patch.
    """
    rows, cols = (
        reflected(round(float(at)) - length // 2 + np.arange(length), size)
        for at, length, size in zip(centre, shape, plane.shape, strict=True)
    )
    return (
        plane[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        if (_inside(rows) and _inside(cols))
        else plane[np.ix_(rows, cols)]
    )


def _inside(index: NDArray[np.intp]) -> bool:
    return bool(index[-1] - index[0] == len(index) - 1)


def as_unit(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return intensities 0..1 in float32 of uint8 or floating intensities."""
    scale = np.float32(1 / 255) if image.dtype == np.uint8 else np.float32(1)
    return image.astype(np.float32) * scale


def lesion_places(scans: Sequence[TrainingScan]) -> list[Places]:
    """Return, for each reference lesion, its centre on every slice it is on."""
    places = []
    for number, scan in enumerate(scans):
        for label, box in enumerate(ndimage.find_objects(np.asarray(scan.labels)), start=1):
            if box is None:
                continue
            inside = scan.labels[box] == label
            start = [b.start for b in box]
            rows = [
                (number, start[0] + s, start[1] + r.mean(), start[2] + c.mean())
                for s, (r, c) in ((s, np.nonzero(plane)) for s, plane in enumerate(inside))
                if len(r)
            ]
            places.append(np.array(rows, np.float32))
    return places


def mimic_places(scans: Sequence[TrainingScan]) -> list[Places]:
    """Return, for each known mimic that lies on its grid, its centre."""
    places = []
    for number, scan in enumerate(scans):
        points = np.asarray(scan.mimic_points, np.float32).reshape(-1, 3)
        inside = ((points >= 0) & (points <= np.array(scan.image.shape) - 1)).all(axis=1)
        places += [np.array([[number, *p]], np.float32) for p in points[inside]]
    return places


@dataclass(frozen=True)
class Neighbours:
    """Which slices a training patch holds.

    Attributes:
        channels: How many, odd.
        hidden: Share of patches that hold the middle slice alone, repeated.
    """

    channels: int = 1
    hidden: float = 0.0

    def of(self, scan: TrainingScan, index: int, rng: np.random.Generator) -> list[int]:
        """Return the slices of a patch; half of the time in reverse, as a scan may be."""
        if self.channels == 1:
            return [index]
        around = neighbour_indices([index], len(scan.image), scan.step, self.channels)
        seen = [int(at) for at in around[0]]
        hidden, reverse = rng.random() < self.hidden, rng.random() < 0.5
        if hidden:
            return [index] * self.channels
        return seen[::-1] if reverse else seen


@dataclass(frozen=True)
class PatchCut:
    """How a training patch is cut.

    Attributes:
        shape: Height and width in pixels.
        jitter_px: Largest shift of the centre along each axis.
        inside: Whether centres move so that patches stay in the slice where it is large
            enough; a slice that is smaller than the patch is centred.
        neighbours: Slices that a patch holds.
    """

    shape: tuple[int, int]
    jitter_px: tuple[float, float] = (0.0, 0.0)
    inside: bool = False
    neighbours: Neighbours = field(default_factory=Neighbours)


class PatchSampler:
    """Draws patches centred on a mixture of kinds of places.

    Args:
        scans: Where patches come from.
        places: By kind ("lesion", "mimic", "found", "false"), one array a thing: the thing is
            drawn first, then one of its slices, so large lesions do not count more.
        shares: How often each kind is drawn; kinds without places are left out.
        how: Size, shift, neighbours.
    """

    def __init__(
        self,
        scans: Sequence[TrainingScan],
        places: Mapping[str, list[Places]],
        shares: PatchShares,
        how: PatchCut,
    ) -> None:
        self.scans = scans
        self.places = places
        self.how = how
        self.brain = [_brain_boxes(scan) for scan in scans]
        self.with_brain = [i for i, boxes in enumerate(self.brain) if len(boxes)]
        wanted = vars(shares)
        self.kinds = [k for k, share in wanted.items() if share > 0 and self._has(k)]
        if not self.kinds:
            raise InputError("expected scans with lesions or brain to train on, got none")
        weights = np.array([wanted[k] for k in self.kinds])
        self.weights = weights / weights.sum()

    def draw(
        self, rng: np.random.Generator, count: int, margin: float | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return patches (count, C, H, W) and the lesion masks of the middle slices, C = 1.

        Args:
            rng: Decides everything.
            count: Number of patches.
            margin: None cuts the shape asked for at the start; a number cuts a square that holds
                its diagonal this many times, surroundings that rotation and zoom can bring in.
        """
        height, width = self.source_shape(margin)
        images = np.empty((count, self.how.neighbours.channels, height, width), np.float32)
        masks = np.empty((count, 1, height, width), np.bool_)
        for i in range(count):
            number, s, row, col = self._centre(rng)
            scan = self.scans[number]
            for channel, at in enumerate(self.how.neighbours.of(scan, s, rng)):
                images[i, channel] = as_unit(cut(scan.image[at], (row, col), (height, width)))
            masks[i, 0] = cut(scan.labels[s], (row, col), (height, width)) > 0
        return images, masks

    def source_shape(self, margin: float | None) -> tuple[int, int]:
        """Return height and width of what is cut for a margin."""
        if margin is None:
            return self.how.shape
        side = 2 * int(np.ceil(np.hypot(*self.how.shape) * margin / 2))
        return side, side

    def _has(self, kind: str) -> bool:
        return bool(self.with_brain) if kind in ("brain", "dark") else bool(self.places.get(kind))

    def _centre(self, rng: np.random.Generator) -> tuple[int, int, float, float]:
        kind = self.kinds[int(rng.choice(len(self.kinds), p=self.weights))]
        if kind in ("brain", "dark"):
            scan, s, row, col = self._brain_place(rng, 1 if kind == "brain" else DARK_DRAWS)
        else:
            things = self.places[kind]
            thing = things[int(rng.integers(len(things)))]
            scan, s, row, col = thing[int(rng.integers(len(thing)))].tolist()
        scan, s = int(scan), round(s)
        row += rng.uniform(-1, 1) * self.how.jitter_px[0]
        col += rng.uniform(-1, 1) * self.how.jitter_px[1]
        if self.how.inside:
            size = self.scans[scan].image.shape[1:]
            row, col = (
                _kept_inside(at, length, n)
                for at, length, n in zip((row, col), self.how.shape, size, strict=True)
            )
        return scan, s, row, col

    def _brain_place(
        self, rng: np.random.Generator, draws: int
    ) -> tuple[float, float, float, float]:
        scan = self.with_brain[int(rng.integers(len(self.with_brain)))]
        boxes = self.brain[scan]
        s, r0, r1, c0, c1 = boxes[int(rng.integers(len(boxes)))]
        rows, cols = rng.integers(r0, r1, draws), rng.integers(c0, c1, draws)
        values = as_unit(self.scans[scan].image[s][rows, cols])
        # Exactly 0 is outside the brain.
        best = int(np.where(values > 0, values, 2.0).argmin())
        return scan, int(s), float(rows[best]), float(cols[best])


def _kept_inside(at: float, length: int, size: int) -> float:
    if size <= length:
        return float(size // 2)
    return float(np.clip(at, length // 2, size - (length - length // 2)))


def _brain_boxes(scan: TrainingScan) -> NDArray[np.intp]:
    """Return (slice, first row, end row, first column, end column) of slices with brain."""
    step = 4
    coarse = np.asarray(scan.image[:, ::step, ::step]) > 0
    area = coarse.sum(axis=(1, 2))
    boxes = []
    for s in np.flatnonzero(area > max(0.05 * area.max(), 4)):
        rows = np.flatnonzero(coarse[s].any(axis=1)) * step
        cols = np.flatnonzero(coarse[s].any(axis=0)) * step
        boxes.append((s, rows[0], rows[-1] + 1, cols[0], cols[-1] + 1))
    return np.array(boxes, np.intp).reshape(-1, 5)
