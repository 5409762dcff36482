"""Protocols and settings of the simulator."""

import math
from dataclasses import dataclass
from typing import Literal

from mmocnet.config.checked import Checked
from mmocnet.errors import InputError
from mmocnet.types import Triple

Range = tuple[float, float]
ProtocolName = Literal[
    "ukb", "clinical", "dou", "aibl", "t2star", "1.5t", "7t", "reference3t", "random"
]


@dataclass(frozen=True)
class Protocol:
    """How a study is acquired and processed; every number resolved.

    Attributes:
        name: Key in the table of protocols.
        field_t: Main field in tesla.
        te_ms: Echo times; the last one makes the image.
        tr_ms: Repetition time.
        flip_deg: Flip angle.
        voxel_mm: Acquired voxel.
        image: "swi" or "magnitude".
        output_mm: Isotropic voxel the image is resampled to, None to leave the acquired grid.
        eight_bit: Whether the image is rounded to 0..255.
        skull_stripped: Whether all outside the brain is 0.
        snr: Mean white-matter magnitude over the noise SD of one channel.
        highpass_width: Width of the homodyne Hann window in k-space lines.
        mask_power: How often the phase mask multiplies the magnitude.
        phase_sign: s in phase = s * gamma * dB * TE.
        flow_compensated: False leaves flow voids in arteries (2D sequences).
    """

    name: str
    field_t: float
    te_ms: tuple[float, ...]
    tr_ms: float
    flip_deg: float
    voxel_mm: Triple
    image: Literal["swi", "magnitude"] = "swi"
    output_mm: float | None = None
    eight_bit: bool = False
    skull_stripped: bool = False
    snr: float = 25.0
    highpass_width: int = 64
    mask_power: int = 4
    phase_sign: int = 1
    flow_compensated: bool = True


@dataclass(frozen=True)
class StudySettings(Checked):
    """What to simulate."""

    protocol: ProtocolName = "random"
    """Acquisition; random draws one, with its numbers, for each subject."""
    lesion_free_share: float = 0.3
    """Share of subjects without a microbleed."""
    lesion_count: tuple[int, int] | None = None
    """Uniform range of microbleeds a subject, for training; None takes the natural counts."""
    mimics: bool = True
    """Whether calcifications, cavernomas, iron and the like are put in."""
    images: Literal["all", "phase", "swi"] = "all"
    """phase leaves out the twin and the magnitude: enough for training, and faster. swi leaves
    out the phase too."""
    slab_mm: float | None = None
    """Height of the simulated slab in mm, at a random level; None simulates the whole head."""

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        super().__post_init__()
        check_amounts(self.lesion_free_share, self.lesion_count)
        if self.slab_mm is not None and not 0 < self.slab_mm < math.inf:
            raise InputError(f"slab_mm must be positive, got {self.slab_mm:g}")


def check_amounts(lesion_free_share: float, lesion_count: tuple[int, int] | None) -> None:
    """Refuse impossible numbers of microbleeds.

    Raises:
        InputError: If the share is none, or the range of counts.
    """
    if not 0 <= lesion_free_share <= 1:
        raise InputError(f"lesion_free_share must be 0 to 1, got {lesion_free_share}")
    low, high = lesion_count or (0, 0)
    if not 0 <= low <= high:
        raise InputError(f"lesion_count must be a range from 0, got {low} {high}")
