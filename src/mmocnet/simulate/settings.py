"""Protocols and settings of the simulator."""

from dataclasses import dataclass
from typing import Literal

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
class StudySettings:
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
