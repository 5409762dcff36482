"""What the page may send: checked here and nowhere else."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mmocnet.config import OperatingPoint

Id = Annotated[str, Field(min_length=1, max_length=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReaderRequest(_Strict):
    """A reader's name."""

    name: Annotated[str, Field(max_length=200)]


class RunRequest(_Strict):
    """Which studies to segment, and how."""

    ids: list[Id] | Literal["all"]
    model: str | None = None
    point: OperatingPoint | None = None
    threshold: Annotated[float, Field(ge=0.05, le=1)] | None = None
    spacing_mm: Annotated[float, Field(ge=0.02, le=20)] | None = None
    series: Annotated[str, Field(max_length=80)] | None = None
    run: bool = True


class EventRequest(_Strict):
    """What a reader did."""

    reader: Id
    revision: Annotated[int, Field(ge=0)]
    kind: Annotated[str, Field(max_length=20)]
    payload: dict[str, Any]


class ExportRequest(_Strict):
    """Whose reading, and as what."""

    reader: Id
    kind: Annotated[str, Field(max_length=20)]
