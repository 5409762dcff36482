"""Whether a scan shows a place: within its voxels, and not in what holds only zeros."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.types import FloatArray, Mask3D
from mmocnet.volume import Volume

EDGE_MM = 3.0
"""So far beside its brain a stripped scan covers what registration and masks put there."""


@dataclass(frozen=True)
class Coverage:
    """What a scan covers.

    Attributes:
        image: The scan.
        brain: Its brain, shape (I, J, K).
    """

    image: Volume
    brain: Mask3D

    def covers(self, place_mm: FloatArray) -> bool:
        """Return whether the scan shows a place of its own world, or brain just beside it."""
        places = place_mm[None]
        if self.holds(places)[0]:
            return True
        return bool(self._reaches(places)[0]) and self._beside_brain(place_mm)

    def holds(self, places_mm: FloatArray) -> NDArray[np.bool_]:
        """Return which places (N, 3) of its own world lie in voxels that were scanned."""
        last = np.array(self.image.shape) - 1
        nearest = np.clip(np.round(self.image.voxel(places_mm)), 0, last).astype(int)
        return np.asarray(self._reaches(places_mm) & ~self._empty[tuple(nearest.T)])

    def _reaches(self, places_mm: FloatArray) -> NDArray[np.bool_]:
        """Return which places (N, 3) lie on its grid, voxels reaching beyond their centres."""
        voxel = self.image.voxel(places_mm)
        end = np.array(self.image.shape) - 0.5
        return np.asarray(((voxel >= -0.5) & (voxel <= end)).all(axis=-1))

    def _beside_brain(self, place_mm: FloatArray) -> bool:
        """Return whether scanned brain lies within `EDGE_MM`."""
        reach = np.ceil(EDGE_MM / np.asarray(self.image.spacing_mm)).astype(int) + 1
        middle = np.round(self.image.voxel(place_mm)).astype(int)
        low = np.maximum(middle - reach, 0)
        box = tuple(slice(a, b) for a, b in zip(low, middle + reach + 1, strict=True))
        near = np.argwhere(self.brain[box] & ~self._empty[box]) + low
        apart = self.image.world(near.astype(float)) - place_mm
        return bool((np.linalg.norm(apart, axis=-1) <= EDGE_MM).any())

    @property
    def scanned(self) -> Mask3D:
        """Voxels that were scanned, shape (I, J, K)."""
        return ~self._empty

    @cached_property
    def _empty(self) -> Mask3D:
        """Zeros joined to the border: what reslicing or stripping has filled."""
        labels, count = ndimage.label(np.asarray(self.image.array) == 0)
        outer = np.zeros(count + 1, bool)
        for axis in range(3):
            for end in (0, -1):
                outer[labels.take(end, axis)] = True
        outer[0] = False
        return np.asarray(outer[labels])
