"""Where microbleeds and mimics go in a real brain, and what they are.

Without a map of the tissue its brightness tells it: what is much darker or brighter than the
brain around it (veins, iron, CSF) takes no lesion.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from mmocnet.simulate.field import Sphere
from mmocnet.simulate.implant_read import RealScan
from mmocnet.simulate.lesions import (
    CHI_LOG_MEDIAN_PPM,
    CHI_LOG_SD,
    CHI_RANGE_PPM,
    RADIUS_LOG_MEDIAN_MM,
    RADIUS_LOG_SD,
    RADIUS_RANGE_MM,
    Source,
    draw_count,
    draw_spheres,
)
from mmocnet.types import FloatArray, Mask3D
from mmocnet.volume import Volume

SHALLOW_SHARE, SHALLOW_MM, LEAST_DEPTH_MM = 0.38, 8.0, 2.5
"""Share of lesions near the brain's surface, as in cortex and junction; how near; and nearest."""
APART_MM = 3.0
TRIES = 60
WIDE_MM, NEAR_MM, CLEAR_MM = 12.0, 3.0, 1.5
TISSUE_RANGE, VOXEL_RANGE, DARK_SPOT = (0.88, 1.15), (0.82, 1.18), 0.85
VEIN_CHI_PPM = (0.35, 0.67)
MICROBLEED = "microbleed"
NEAR_SURFACE, DEEP = "near the surface", "deep"


@dataclass(frozen=True)
class Places:
    """Voxels that may hold a lesion, in two classes.

    Attributes:
        grid: Any volume on the scan's grid.
        shallow: Voxels near the brain's surface, shape (N, 3).
        deep: The others, shape (M, 3).
    """

    grid: Volume
    shallow: FloatArray
    deep: FloatArray


@dataclass(frozen=True)
class Drawn:
    """What is put into a scan.

    Attributes:
        microbleeds: Each gets its number, from 1, in the labels.
        mimics: What is in both the image and its twin.
        anatomy: Class of the place of each microbleed, then of each mimic.
    """

    microbleeds: list[Source]
    mimics: list[Source]
    anatomy: list[str]


def tissue(scan: RealScan, weighted: FloatArray) -> Mask3D:
    """Return where a lesion may be centred: plain tissue away from the surface.

    Args:
        scan: The scan.
        weighted: Its susceptibility-weighted image, shape (I, J, K).
    """
    mm = scan.magnitude.spacing_mm
    brain = scan.brain

    def smooth(image: FloatArray, sigma_mm: float) -> FloatArray:
        sigma = [sigma_mm / d for d in mm]
        share = ndimage.gaussian_filter(brain.astype(np.float32), sigma)
        filtered = ndimage.gaussian_filter((image * brain).astype(np.float32), sigma)
        return np.asarray(filtered / np.maximum(share, 1e-3))

    around, near = smooth(weighted, WIDE_MM), smooth(weighted, NEAR_MM)
    little = smooth(weighted, 0.6)
    plain = brain.copy()
    for image, (low, high) in ((near, TISSUE_RANGE), (little, VOXEL_RANGE)):
        plain &= (image > low * around) & (image < high * around)
    spots = brain & (little < DARK_SPOT * near)
    plain &= ndimage.distance_transform_edt(~spots, mm) > CLEAR_MM if spots.any() else True
    return np.asarray(plain & (_depth(brain, mm) > LEAST_DEPTH_MM))


def _depth(brain: Mask3D, spacing_mm: tuple[float, float, float]) -> FloatArray:
    """Return the distance to the brain's surface in mm; the end of the volume is none."""
    padded = np.pad(brain, 1, mode="edge")
    whole = ndimage.binary_fill_holes(padded)
    depth = ndimage.distance_transform_edt(whole, spacing_mm)
    return np.asarray(depth[1:-1, 1:-1, 1:-1])


def find_places(scan: RealScan, weighted: FloatArray) -> Places:
    """Return the voxels that may hold a lesion, see `tissue`."""
    allowed = tissue(scan, weighted)
    shallow = _depth(scan.brain, scan.magnitude.spacing_mm) < SHALLOW_MM
    return Places(
        scan.magnitude,
        np.argwhere(allowed & shallow).astype(np.float64),
        np.argwhere(allowed & ~shallow).astype(np.float64),
    )


def _place(
    places: Places, source: Source, taken: list[Source], rng: np.random.Generator
) -> tuple[Source, str] | None:
    """Return a source moved to a free point, and the point's class; None where there is no room."""
    voxels = {NEAR_SURFACE: places.shallow, DEEP: places.deep}
    for _ in range(TRIES):
        near = rng.random() < SHALLOW_SHARE
        first, second = (NEAR_SURFACE, DEEP) if near else (DEEP, NEAR_SURFACE)
        chosen = first if len(voxels[first]) else second
        if not len(voxels[chosen]):
            return None
        voxel = voxels[chosen][rng.integers(len(voxels[chosen]))]
        point = places.grid.world(voxel + rng.uniform(-0.5, 0.5, 3))
        if all(np.linalg.norm(point - o.centre_mm) >= _apart_mm(source, o) for o in taken):
            return replace(source, centre_mm=point), chosen
    return None


def _apart_mm(one: Source, other: Source) -> float:
    """Return how far apart two bodies must be for their outlines not to run into each other."""
    return APART_MM + sum(s.reach_mm + 2 * max(r for _, r, _ in s.spheres) for s in (one, other))


def draw_implants(places: Places, count: int, mimics: bool, rng: np.random.Generator) -> Drawn:
    """Return microbleeds and mimics at free places.

    Args:
        places: Where they may go.
        count: Number of microbleeds; fewer where there is no room.
        mimics: Whether mimics are put in too.
        rng: Randomness.
    """
    origin = np.zeros(3)
    bodies = [draw_microbleed(origin, rng) for _ in range(count)]
    bodies += [draw_mimic(kind, origin, rng) for kind in draw_mimic_kinds(rng)] if mimics else []
    taken: list[Source] = []
    anatomy: list[str] = []
    for body in bodies:
        found = _place(places, body, taken, rng)
        if found is not None:
            taken.append(found[0])
            anatomy.append(found[1])
    return Drawn(
        [source for source in taken if source.kind == MICROBLEED],
        [source for source in taken if source.kind != MICROBLEED],
        anatomy,
    )


def draw_number(
    lesion_free_share: float, lesion_count: tuple[int, int] | None, rng: np.random.Generator
) -> int:
    """Return how many microbleeds a scan gets: none, a natural count, or one of a range."""
    free = rng.random() < lesion_free_share
    natural = draw_count(rng)
    if free:
        return 0
    if lesion_count is None:
        return natural
    low, high = lesion_count
    return int(rng.integers(low, high + 1))


def draw_microbleed(point_mm: FloatArray, rng: np.random.Generator) -> Source:
    """Return a microbleed of random size and susceptibility at a point."""
    chi = float(np.clip(rng.lognormal(np.log(CHI_LOG_MEDIAN_PPM), CHI_LOG_SD), *CHI_RANGE_PPM))
    radius = rng.lognormal(np.log(RADIUS_LOG_MEDIAN_MM), RADIUS_LOG_SD)
    radius = float(np.clip(radius, *RADIUS_RANGE_MM))
    density = float(rng.uniform(0.5, 1.0))
    return Source(MICROBLEED, point_mm, draw_spheres(radius, chi, rng), density)


def draw_mimic_kinds(rng: np.random.Generator) -> list[str]:
    """Return which mimics a scan gets: veins, calcium in half of scans, a cavernoma in 8 %."""
    kinds = ["vein"] * int(rng.integers(2, 9))
    if rng.random() < 0.5:
        kinds += ["calcification"] * int(rng.integers(1, 5))
    if rng.random() < 0.08:
        kinds.append("cavernoma")
    return kinds


def draw_mimic(kind: str, point_mm: FloatArray, rng: np.random.Generator) -> Source:
    """Return a mimic at a point.

    Args:
        kind: "vein", "calcification" or "cavernoma".
        point_mm: Its centre.
        rng: Randomness.
    """
    if kind == "calcification":
        chi = -float(np.exp(rng.uniform(np.log(0.4), np.log(3.3))))
        radius = float(np.clip(rng.lognormal(np.log(0.9), 0.5), 0.3, 3.0))
        return Source(kind, point_mm, draw_spheres(radius, chi, rng), 0.25)
    if kind == "cavernoma":
        return Source(kind, point_mm, _popcorn(rng), 0.8)
    return Source(kind, point_mm, _segment(rng), 1.0)


def _popcorn(rng: np.random.Generator) -> tuple[Sphere, ...]:
    spread = rng.uniform(2, 4)
    spheres: list[Sphere] = []
    for _ in range(int(rng.integers(7, 14))):
        x, y, z = (float(v) for v in rng.normal(0, spread, 3))
        radius, chi = float(rng.uniform(1.2, 3.2)), float(rng.uniform(0.3, 1.5))
        spheres.append(((x, y, z), radius, chi))
    return tuple(spheres)


def _segment(rng: np.random.Generator) -> tuple[Sphere, ...]:
    """Return a short vein across the slices, a chain of spheres: a dot in each slice."""
    radius = float(rng.uniform(0.25, 0.6))
    chi = float(rng.uniform(*VEIN_CHI_PPM))
    tilt, turn = math.acos(rng.uniform(math.cos(math.radians(35)), 1)), rng.uniform(0, 2 * math.pi)
    axis = np.array(
        [math.sin(tilt) * math.cos(turn), math.sin(tilt) * math.sin(turn), math.cos(tilt)]
    )
    half = rng.uniform(1.5, 5.0)
    chain = []
    for at in np.arange(-half, half + 1e-6, 0.7 * radius):
        x, y, z = (float(v) for v in axis * at)
        chain.append(((x, y, z), radius, chi))
    return tuple(chain)
