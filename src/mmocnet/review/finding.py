"""One finding of a reading: its voxels, what the machine said of it, what the reader says.

A voxel has one number here: its place in C order on the scan's own grid, i * J * K + j * K + k.
"""

import base64
import binascii
import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmocnet.errors import InputError
from mmocnet.lesion import Certainty, Lesion
from mmocnet.predict.findings import MAXIMUM_MM
from mmocnet.predict.measure import Measurement, measure_voxels
from mmocnet.types import FloatArray, IntTriple, Triple

Origin = Literal["machine", "reader"]
Verdict = Literal["accept", "reject"]
ReaderCertainty = Literal["definite", "possible"]
Voxels = NDArray[np.uint32]
"""Flat indices of a set of voxels, ascending, each once."""

MAX_EVENT_VOXELS = 2_000_000
"""Voxels of one event: far more than a stroke of the brush has, and no burden to hold."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The voxels that a reading is about, without their values.

    Attributes:
        shape: (I, J, K) of the scan; an axis of length 1 makes it a slice.
        affine: Shape (4, 4), voxel to world RAS+ mm.
        slice_axis: Voxel axis across which slices are cut.
        world_to_mni: Shape (4, 4), world mm to MNI152 mm; None where the scan is not registered.
    """

    shape: IntTriple
    affine: FloatArray
    slice_axis: int
    world_to_mni: FloatArray | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1 or self.size > 2**32:
            raise InputError(f"expected a grid of at most 2^32 voxels, got shape {self.shape}")
        if np.shape(self.affine) != (4, 4) or not np.isfinite(self.affine).all():
            raise InputError("expected a finite 4 x 4 affine of the grid")

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def is_slice(self) -> bool:
        """Whether it is a single slice."""
        return 1 in self.shape

    @property
    def spacing_mm(self) -> Triple:
        """Voxel size along each axis."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    def indices(self, voxels: Voxels) -> NDArray[np.intp]:
        """Return the (i, j, k) of voxels, shape (N, 3)."""
        return np.stack(np.unravel_index(voxels.astype(np.int64), self.shape), axis=-1)

    def flat(self, indices: NDArray[np.integer[Any]]) -> Voxels:
        """Return the voxels at (i, j, k) of shape (N, 3), ascending and each once.

        Raises:
            InputError: If one lies outside the grid.
        """
        if ((indices < 0) | (indices >= np.array(self.shape))).any():
            raise InputError(f"expected voxels inside the grid of {self.shape}")
        i, j, k = indices.astype(np.int64).T
        return np.unique(np.ravel_multi_index((i, j, k), self.shape)).astype(np.uint32)

    def measure(self, voxels: Voxels) -> Measurement:
        """Return place and size of a set of at least one voxel."""
        return measure_voxels(self.indices(voxels), self.affine, self.shape)

    def region(self, centre_mm: Triple) -> tuple[str, str, str]:
        """Return region, side and group of a place; "n/a" where the scan is not registered."""
        if self.world_to_mni is None:
            return "n/a", "n/a", "n/a"
        from mmocnet.locate.locate import place

        at = self.world_to_mni[:3, :3] @ np.asarray(centre_mm) + self.world_to_mni[:3, 3]
        found = place(at)
        return found.region, found.side, found.group


@dataclass(frozen=True, eq=False)
class Finding:
    """One place that the machine or the reader marked.

    Attributes:
        id: "m12" for the machine's candidate 12, "r1" for the first that this reader added.
        origin: Who marked it first.
        voxels: Its outline now; empty for a machine's finding that was erased.
        confidence: The machine's, 0 to 1; NaN where the reader added it.
        machine: Its row in the candidates' table; None where the reader added it.
        status: What the machine made of it: "lesion", "below threshold", "siderosis" or
            "vessel"; None where the reader added it.
        verdict: The reader's; None where it was not judged.
        certainty: The reader's; None where the reader did not say.
        reason: Why the reader rejected it.
        edited: Whether its outline is no longer as it was first marked.
        found_blind: Whether the reader marked it before the machine's marks were shown.
    """

    id: str
    origin: Origin
    voxels: Voxels = field(repr=False)
    confidence: float = float("nan")
    machine: Lesion | None = field(default=None, repr=False)
    status: str | None = None
    verdict: Verdict | None = None
    certainty: ReaderCertainty | None = None
    reason: str | None = None
    edited: bool = False
    found_blind: bool = False

    @property
    def name(self) -> str:
        """What people call it, as "CMB 12" or "Added 1"."""
        return f"Added {self.id[1:]}" if self.machine is None else self.machine.name

    @property
    def accepted(self) -> bool:
        """Whether the reader says that it is one."""
        return self.verdict == "accept"

    @cached_property
    def text(self) -> str:
        """Its voxels as text; see `encode_voxels`."""
        return encode_voxels(self.voxels)


def measured(finding: Finding, grid: Grid) -> Measurement:
    """Return place and size of a finding as it is outlined now.

    One whose outline was erased keeps what the machine measured.
    """
    lesion = finding.machine
    if lesion is None or (finding.edited and finding.voxels.size):
        return _measured_outline(finding, grid)
    macro = lesion.certainty is Certainty.MACROHAEMORRHAGE
    return Measurement(
        centre_mm=lesion.centre_mm,
        centre_voxel=lesion.centre_voxel,
        volume_mm3=lesion.volume_mm3,
        diameter_mm=lesion.diameter_mm,
        # As its class says: it was measured when it was found.
        sure_diameter_mm=lesion.diameter_mm if macro else min(lesion.diameter_mm, MAXIMUM_MM),
        diameter_eq_mm=lesion.diameter_eq_mm,
    )


@lru_cache(maxsize=4096)
def _measured_outline(finding: Finding, grid: Grid) -> Measurement:
    return grid.measure(finding.voxels)


def placed(finding: Finding, measure: Measurement, grid: Grid) -> tuple[str, str, str]:
    """Return region, side and group of a finding that was measured so."""
    lesion = finding.machine
    if lesion is not None and (not finding.edited or grid.world_to_mni is None):
        return lesion.region, lesion.side, lesion.group
    return grid.region(measure.centre_mm)


def finding_json(finding: Finding, grid: Grid) -> dict[str, Any]:
    """Return a finding as plain JSON values; null where undefined."""
    size = measured(finding, grid)
    region, side, group = placed(finding, size, grid)
    lesion = finding.machine
    return {
        "id": finding.id,
        "origin": finding.origin,
        "name": finding.name,
        "verdict": finding.verdict,
        "certainty": finding.certainty,
        "reason": finding.reason,
        "edited": finding.edited,
        "found_blind": finding.found_blind,
        "confidence": _number(finding.confidence),
        "machine_certainty": None if lesion is None else lesion.certainty.value,
        "status": finding.status,
        # Such a one does not count, whatever the reader says of it.
        "macrohaemorrhage": size.sure_diameter_mm > MAXIMUM_MM,
        "centre_mm": [_number(value) for value in size.centre_mm],
        "centre_voxel": list(size.centre_voxel),
        "volume_mm3": _number(size.volume_mm3),
        "diameter_mm": _number(size.diameter_mm),
        "diameter_eq_mm": _number(size.diameter_eq_mm),
        "region": region,
        "side": side,
        "group": group,
        "voxels": finding.text,
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def encode_voxels(voxels: Voxels) -> str:
    """Return voxels as base64 of little-endian 32-bit numbers.

    >>> encode_voxels(np.array([1, 258], np.uint32))
    'AQAAAAIBAAA='
    """
    return base64.b64encode(np.asarray(voxels, "<u4").tobytes()).decode("ascii")


def decode_voxels(text: object, grid: Grid) -> Voxels:
    """Return the voxels that `encode_voxels` wrote.

    Args:
        text: The base64.
        grid: Whose voxels they are.

    Raises:
        InputError: If it is no such text, or the voxels are not ascending or outside the grid.
    """
    if not isinstance(text, str):
        raise InputError(f"expected voxels as base64 text, got {type(text).__name__}")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InputError("expected voxels as base64 text, got other characters") from error
    if len(data) % 4:
        raise InputError(f"expected voxels of 4 bytes each, got {len(data)} bytes")
    voxels = np.frombuffer(data, "<u4").astype(np.uint32)
    if len(voxels) > MAX_EVENT_VOXELS:
        raise InputError(f"expected at most {MAX_EVENT_VOXELS} voxels, got {len(voxels)}")
    if voxels.size and int(voxels.max()) >= grid.size:
        raise InputError(f"expected voxels inside the grid of {grid.shape}, got {voxels.max()}")
    if (voxels[1:] <= voxels[:-1]).any():
        raise InputError("expected voxels in ascending order, each once")
    return voxels
