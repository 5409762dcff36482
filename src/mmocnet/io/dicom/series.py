"""A series: slices of one kind and echo."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmocnet.io.dicom.frames import Slice
from mmocnet.io.dicom.vendors import SWI, Kind

NAMES: dict[Kind, str] = {
    "swi": SWI,
    "magnitude": "magnitude",
    "phase": "phase",
    "minip": "minimum intensity projection",
    "other": "other",
}


@dataclass(frozen=True)
class DicomSeries:
    """Slices of one series that are of one kind and echo.

    Attributes:
        uid: Series Instance UID.
        number: Series number; None where it has none.
        kind: What the images are.
        why: What told the kind.
        slices: In any order; `read_series` sorts them in space.
        echo_ms: Echo time; NaN where none is given.
        repeats: How often every place is there at least: more than once in dynamics.
        types: How many image types lie at its places, each a series of its own here.
        warnings: One sentence for each doubt about the files they were found among.
        keep: Holds files that were unpacked from a zip.
    """

    uid: str
    number: int | None
    kind: Kind
    why: str
    slices: tuple[Slice, ...]
    echo_ms: float = float("nan")
    repeats: int = 1
    types: int = 1
    warnings: tuple[str, ...] = ()
    keep: object = field(default=None, repr=False, compare=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the slices are in, each once."""
        return tuple(dict.fromkeys(one.path for one in self.slices))

    @property
    def name(self) -> str:
        """What errors and results call it; nothing of a patient."""
        return "the series" if self.number is None else f"series {self.number}"

    @property
    def description(self) -> str:
        """Kind and size in words, for lists of series."""
        echo = "" if np.isnan(self.echo_ms) else f", TE {self.echo_ms:g} ms"
        times = f", each place {self.repeats} times" if self.repeats > 1 else ""
        size = f"{len(self.slices)} slices{times}{echo}"
        return f"{self.name}: {NAMES[self.kind]}, {size} ({self.why})"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "file"), counted(0, "file")
    ('1 file', '0 files')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
