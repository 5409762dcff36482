"""What the page may send: checked here and nowhere else."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mmocnet.config import OperatingPoint
from mmocnet.errors import InputError
from mmocnet.review.finding import Grid
from mmocnet.types import IntTriple

Id = Annotated[str, Field(min_length=1, max_length=64)]
EventId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]

SENT_KEYS: dict[str, tuple[str, ...]] = {
    "verdict": ("finding", "verdict", "reason", "certainty"),
    "add": ("seed", "voxels"),
    "paint": ("finding", "voxels", "erase"),
    "remove": ("finding",),
    "undo": (),
    "redo": (),
    "blind": ("on",),
    "reveal": (),
    "complete": ("complete",),
}
"""What the payload of each kind of event may have; the server adds the rest."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReaderRequest(_Strict):
    """A reader's name."""

    name: Annotated[str, Field(max_length=200)]


class RunRequest(_Strict):
    """Which studies to segment, and how."""

    ids: list[Id]
    model: str | None = None
    point: OperatingPoint | None = None
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    spacing_mm: Annotated[float, Field(ge=0.02, le=20)] | None = None
    series: Annotated[str, Field(max_length=80)] | None = None
    run: bool = True


class EventRequest(_Strict):
    """What a reader did, on the result that the page shows."""

    id: EventId
    reader: Id
    result: Id
    revision: Annotated[int, Field(ge=0)]
    kind: Annotated[str, Field(max_length=20)]
    payload: dict[str, Any]


class ExportRequest(_Strict):
    """Whose reading of which result, and as what."""

    reader: Id
    result: Id
    kind: Annotated[str, Field(max_length=20)]


def check_payload(kind: str, payload: dict[str, Any]) -> None:
    """Check that an event brings nothing that nobody will ask for: it is kept for good.

    Raises:
        InputError: If there is no such kind, or it has a key that is none of its own.
    """
    if kind not in SENT_KEYS:
        raise InputError(f"expected one of {', '.join(SENT_KEYS)} as kind of event")
    other = next((key for key in payload if key not in SENT_KEYS[kind]), None)
    if other is not None:
        known = " or ".join(SENT_KEYS[kind]) or "nothing"
        raise InputError(f"expected {known} in the payload of {kind}, got {other[:20]!a}")


def checked_seed(given: object, grid: Grid) -> IntTriple:
    """Return the voxel that was clicked.

    Raises:
        InputError: If it is none of the scan.
    """
    if (
        not isinstance(given, list)
        or len(given) != 3
        or any(isinstance(at, bool) or not isinstance(at, int) for at in given)
        or any(not 0 <= at < side for at, side in zip(given, grid.shape, strict=True))
    ):
        raise InputError("expected seed as three voxel numbers inside the scan")
    return given[0], given[1], given[2]
