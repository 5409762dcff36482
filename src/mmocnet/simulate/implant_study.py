"""One real scan with implants, from a seed to images, references and table."""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mmocnet.errors import InputError
from mmocnet.simulate.implant import Implanted, Weighting, complex_of, implant, noise_sd, weighted
from mmocnet.simulate.implant_place import Drawn, draw_implants, draw_number, find_places
from mmocnet.simulate.implant_read import Overrides, RealScan
from mmocnet.simulate.record import SimulatedLesion, SimulatedStudy
from mmocnet.simulate.rows import lesion_row
from mmocnet.simulate.settings import Protocol, check_amounts
from mmocnet.simulate.testset import FIRST_TEST_SEED

UNKNOWN_MNI_MM = (math.nan, math.nan, math.nan)
"""Real scans are not registered."""


@dataclass(frozen=True)
class ImplantSettings:
    """What to implant.

    Attributes:
        seed: All that is random comes from it and from the scan's own bytes.
        lesion_free_share: Share of scans without a microbleed.
        lesion_count: Uniform range of microbleeds a scan; None takes natural counts.
        mimics: Whether mimics are put in.
        images: "phase" leaves out twin, magnitude and the source reference; "swi" the phase too.
        overrides: What the user says about the scans.
        weighting: How the weighted images are made.
    """

    seed: int = 0
    lesion_free_share: float = 0.3
    lesion_count: tuple[int, int] | None = None
    mimics: bool = True
    images: Literal["all", "phase", "swi"] = "all"
    overrides: Overrides = field(default_factory=Overrides)
    weighting: Weighting = field(default_factory=Weighting)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed must not be negative, got {self.seed}")
        check_amounts(self.lesion_free_share, self.lesion_count)


def implant_study(scan: RealScan, settings: ImplantSettings) -> SimulatedStudy:
    """Return a scan with implants drawn from its seed.

    Args:
        scan: The scan.
        settings: What to implant.

    Raises:
        InputError: If no voxel of the brain may hold a lesion.
    """
    seed = scan_seed(settings.seed, scan)
    counting, placing = np.random.SeedSequence(seed).spawn(2)
    count = draw_number(
        settings.lesion_free_share, settings.lesion_count, np.random.default_rng(counting)
    )
    places = find_places(scan, weighted(complex_of(scan), scan, settings.weighting))
    if not len(places.shallow) and not len(places.deep):
        raise InputError(f"expected plain tissue in the brain of {scan.magnitude.name}, got none")
    drawn = draw_implants(places, count, settings.mimics, np.random.default_rng(placing))
    done = implant(scan, drawn.microbleeds, drawn.mimics, seed, settings.weighting)
    return _study(scan, settings, drawn, done, seed)


def scan_seed(seed: int, scan: RealScan) -> int:
    """Return the seed of one scan: the same whatever else is in the folder."""
    own = int(scan.sha256["magnitude"][:12], 16)
    sequence = np.random.SeedSequence(seed, spawn_key=(own >> 24, own & 0xFFFFFF))
    return int(sequence.generate_state(1, np.uint64)[0]) % FIRST_TEST_SEED


def _study(
    scan: RealScan, settings: ImplantSettings, drawn: Drawn, done: Implanted, seed: int
) -> SimulatedStudy:
    grid, every = scan.magnitude, settings.images == "all"
    snr = float(np.mean(grid.array[scan.brain])) / max(noise_sd(scan), 1e-12)
    phase = done.signal.angle().numpy()
    protocol = Protocol(
        name="implanted",
        field_t=scan.echo.field_t,
        te_ms=(scan.echo.te_ms,),
        tr_ms=math.nan,
        flip_deg=math.nan,
        voxel_mm=grid.spacing_mm,
        snr=snr,
        highpass_width=settings.weighting.highpass_width,
        mask_power=settings.weighting.mask_power,
    )
    return SimulatedStudy(
        seed=seed,
        protocol=protocol,
        swi=done.swi,
        magnitude=grid.like(done.signal.abs().numpy(), "magnitude") if every else None,
        phase_rad=None if settings.images == "swi" else grid.like(phase, "phase"),
        twin_swi=done.twin if every else None,
        brain=grid.like(scan.brain, "brain"),
        apparent=done.apparent,
        source=done.source,
        lesions=_rows(drawn, done.apparent.array, grid.voxel_mm3),
    )


def _rows(drawn: Drawn, labels: np.ndarray, voxel_mm3: float) -> tuple[SimulatedLesion, ...]:
    sources = [*drawn.microbleeds, *drawn.mimics]
    sizes = np.bincount(labels.ravel(), minlength=len(sources) + 1) * voxel_mm3
    rows = []
    for number, (source, anatomy) in enumerate(zip(sources, drawn.anatomy, strict=True), 1):
        index = number if number <= len(drawn.microbleeds) else 0
        seen = float(sizes[index]) if index else math.nan
        rows.append(lesion_row(source, index, UNKNOWN_MNI_MM, anatomy, seen))
    return tuple(rows)
