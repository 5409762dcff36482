"""One real scan with implants, from a seed to images, references and table."""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mmocnet.errors import InputError
from mmocnet.simulate.field import patch_spacing_mm, spheres_patch
from mmocnet.simulate.implant import Implanted, Weighting, complex_of, implant, noise_sd, weighted
from mmocnet.simulate.implant_place import Drawn, draw_implants, draw_number, find_places
from mmocnet.simulate.implant_read import Overrides, RealScan
from mmocnet.simulate.lesions import Source
from mmocnet.simulate.record import SimulatedLesion, SimulatedStudy
from mmocnet.simulate.settings import Protocol
from mmocnet.simulate.testset import FIRST_TEST_SEED


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
        if not 0 <= self.lesion_free_share <= 1:
            raise InputError(f"lesion_free_share must be 0 to 1, got {self.lesion_free_share}")
        low, high = self.lesion_count or (0, 0)
        if not 0 <= low <= high:
            raise InputError(f"lesion_count must be a range from 0, got {low} {high}")


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
        rows.append(_row(source, index, anatomy, float(sizes[index]) if index else math.nan))
    return tuple(rows)


def _row(source: Source, index: int, anatomy: str, seen_mm3: float) -> SimulatedLesion:
    cubes = [radius**3 for _, radius, _ in source.spheres]
    volume = volume_mm3(source)
    chi = sum(c * cube for (_, _, c), cube in zip(source.spheres, cubes, strict=True)) / sum(cubes)
    x, y, z = (float(v) for v in source.centre_mm)
    return SimulatedLesion(
        index=index,
        kind=source.kind,
        centre_mm=(x, y, z),
        mni_mm=(math.nan, math.nan, math.nan),
        anatomy=anatomy,
        chi_ppm=chi,
        radius_mm=float(np.cbrt(3 * volume / (4 * math.pi))),
        source_mm3=volume,
        apparent_mm3=seen_mm3,
        apparent_diameter_mm=float(np.cbrt(6 * seen_mm3 / math.pi)),
    )


def volume_mm3(source: Source) -> float:
    """Return the volume of a body's spheres, what they share counted once."""
    # A vein is a chain of spheres that overlap by far: their sum would be several times as much.
    unit = [(offset, radius, 1.0) for offset, radius, _ in source.spheres]
    step = max(patch_spacing_mm(min(radius for _, radius, _ in unit)), source.reach_mm / 64)
    count = 2 * math.ceil(source.reach_mm / step) + 2
    return float(spheres_patch(unit, (step,) * 3, (count,) * 3).sum()) * step**3
