"""Each lesion's region, side and group: where its centre lies in MNI152 space."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmocnet.errors import DependencyError
from mmocnet.lesion import Lesion
from mmocnet.locate.maps import region_map
from mmocnet.locate.regions import REGION_BY_LABEL, REGIONS, UNKNOWN
from mmocnet.locate.register import Registration, failed, register_to_mni
from mmocnet.types import FloatArray, Mask3D
from mmocnet.volume import Volume

REACH_MM = 3
"""How far a centre may lie from a region, about what registration leaves."""
NEAR_MM = 1.5
"""SD of the weights with which the voxels about a centre vote."""


@dataclass(frozen=True)
class Place:
    """Where a point lies; all "n/a" where no region is near.

    Attributes:
        region: Name of the region.
        side: "left" or "right".
        group: "lobar", "deep" or "infratentorial".
    """

    region: str = UNKNOWN
    side: str = UNKNOWN
    group: str = UNKNOWN


@dataclass(frozen=True)
class LocationRecord:
    """How the lesions were placed.

    Attributes:
        registration: Of the scan to MNI152; not ok where lesions have no region.
        warnings: One sentence where a registration was tried and is not to be relied on.
    """

    registration: Registration
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether regions are known."""
        return self.registration.ok

    @property
    def why(self) -> str:
        """One sentence."""
        return self.registration.why

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values for the provenance; null where undefined."""
        one = self.registration
        numbers = {
            "Quality": one.quality,
            "Coverage": one.coverage,
            "MutualInformation": one.information,
        }
        rounded = {
            key: round(value, 4) if np.isfinite(value) else None for key, value in numbers.items()
        }
        matrix = one.matrix.round(6).tolist() if np.isfinite(one.matrix).all() else None
        return {"Ok": one.ok, "Why": one.why, "Space": "MNI152", **rounded, "WorldToMni": matrix}


NOTHING = LocationRecord(failed("nothing was found that has a place"))
"""Of a scan without lesions."""


def _ball() -> tuple[FloatArray, FloatArray]:
    """Return the offsets of a ball's voxels, shape (N, 3), mm, and their weights, shape (N,)."""
    steps = np.arange(-REACH_MM, REACH_MM + 1)
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    square = (offsets**2).sum(1)
    near = square <= REACH_MM**2
    return offsets[near].astype(np.float64), np.exp(-square[near] / (2 * NEAR_MM**2))


def place(mni_mm: FloatArray) -> Place:
    """Return where a point of MNI152 space lies.

    The map's voxels within 3 mm vote, near ones with more weight: first for the group, then
    within the group for the region.

    Args:
        mni_mm: Shape (3,).
    """
    if not np.isfinite(mni_mm).all():
        return Place()
    regions, (offsets, weights) = region_map(), _ball()
    voxel = np.round(regions.voxel(mni_mm + offsets)).astype(int)
    inside = ((voxel >= 0) & (voxel < regions.shape)).all(1)
    i, j, k = voxel[inside].T
    votes = np.bincount(regions.array[i, j, k], weights=weights[inside], minlength=len(REGIONS) + 1)
    votes[0] = 0
    if not votes.any():
        return Place()
    by_group: dict[str, float] = {}
    for one in REGIONS:
        by_group[one.group] = by_group.get(one.group, 0.0) + float(votes[one.label])
    group = max(by_group, key=lambda name: by_group[name])
    best = max((one for one in REGIONS if one.group == group), key=lambda one: votes[one.label])
    side = "right" if mni_mm[0] > 0 else "left"
    return Place(REGION_BY_LABEL[best.label].name, side, group)


def register_scan(volume: Volume, brain: Mask3D, *, wanted: bool = True) -> LocationRecord:
    """Return how lesions of a scan are placed: its registration, or why there is none.

    Args:
        volume: The scan, shape (I, J, K).
        brain: Its brain, shape (I, J, K).
        wanted: Whether regions are asked for; where not, nothing is registered.
    """
    if not wanted:
        return LocationRecord(failed("not asked for"))
    if 1 in volume.shape:
        return LocationRecord(failed("a single slice has no regions"))
    try:
        registration = register_to_mni(volume, brain)
    except DependencyError as error:
        return LocationRecord(failed(str(error)))
    doubts = () if registration.ok else (f"regions are unknown: {registration.why}",)
    return LocationRecord(registration, doubts)


def placed(lesions: Sequence[Lesion], record: LocationRecord) -> tuple[Lesion, ...]:
    """Return lesions with region, side and group, in the same order; unchanged without them."""
    if not record.ok:
        return tuple(lesions)
    there = [place(record.registration.to_mni(np.asarray(one.centre_mm))) for one in lesions]
    return tuple(
        dataclasses.replace(one, region=at.region, side=at.side, group=at.group)
        for one, at in zip(lesions, there, strict=True)
    )


def located(
    lesions: Sequence[Lesion], volume: Volume, brain: Mask3D, *, wanted: bool = True
) -> tuple[tuple[Lesion, ...], LocationRecord]:
    """Return lesions with their places, and how they were found; see `register_scan`.

    Nothing is registered where there are none.
    """
    record = register_scan(volume, brain, wanted=wanted) if lesions or not wanted else NOTHING
    return placed(lesions, record), record
