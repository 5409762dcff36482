"""Microbleeds and their mimics: how many, where, how large, of what.

Distributions of microbleeds follow those of public sets: `docs/concepts/simulator.md`.
"""

from dataclasses import dataclass

import numpy as np

from mmocnet.simulate.anatomy import GROUPS, Anatomy
from mmocnet.simulate.cloud import Cloud, merge, spline, tube
from mmocnet.simulate.field import Sphere
from mmocnet.types import FloatArray

COUNT_MAX = 83
COUNT_LOG_SD = 1.86
CHI_LOG_MEDIAN_PPM, CHI_LOG_SD, CHI_RANGE_PPM = 1.6, 0.45, (0.4, 6.0)
RADIUS_LOG_MEDIAN_MM, RADIUS_LOG_SD, RADIUS_RANGE_MM = 0.70, 0.38, (0.25, 3.5)
ATRIUM_MNI_MM = (23.0, -40.0, 9.0)
"""Where the choroid plexus of the right lateral ventricle is widest."""
ATRIUM_REACH_MM = 14.0
LOCATION_SHARES = {
    "subcortical white matter": 0.40,
    "cortex": 0.34,
    "cerebellum": 0.08,
    "basal ganglia": 0.08,
    "thalamus": 0.055,
    "brainstem": 0.044,
}


@dataclass(frozen=True)
class Source:
    """A body with a susceptibility of its own, as overlapping spheres.

    Attributes:
        kind: "microbleed" or which mimic.
        centre_mm: Subject mm.
        spheres: Offsets from the centre, radii, susceptibilities.
        density: Signal inside at TE = 0 over that around it.
    """

    kind: str
    centre_mm: FloatArray
    spheres: tuple[Sphere, ...]
    density: float

    @property
    def reach_mm(self) -> float:
        """Radius of the ball around the centre that holds all spheres."""
        return max(float(np.linalg.norm(o)) + r for o, r, _ in self.spheres)


def draw_count(rng: np.random.Generator) -> int:
    """Return how many microbleeds a subject with any has: min(83, ceil(LogNormal(0, 1.86)))."""
    return int(min(COUNT_MAX, np.ceil(rng.lognormal(0.0, COUNT_LOG_SD))))


def draw_spheres(radius_mm: float, chi_ppm: float, rng: np.random.Generator) -> tuple[Sphere, ...]:
    """Return 1 to 5 overlapping spheres with about the volume of one of the given radius."""
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.35, 0.25, 0.2, 0.12, 0.08]))
    if count == 1:
        return (((0.0, 0.0, 0.0), radius_mm, chi_ppm),)
    stretch = rng.uniform(0.3, 1.1) * radius_mm
    axis = rng.standard_normal(3)
    axis /= np.linalg.norm(axis)
    spheres: list[Sphere] = []
    for _ in range(count):
        offset = axis * rng.uniform(-stretch, stretch) + rng.normal(0, 0.25 * radius_mm, 3)
        radius = radius_mm * rng.uniform(0.5, 0.95)
        x, y, z = offset
        spheres.append(
            ((float(x), float(y), float(z)), radius, chi_ppm * float(rng.uniform(0.7, 1.1)))
        )
    return tuple(spheres)


def _places(anatomy: Anatomy, group: str, count: int, rng: np.random.Generator) -> FloatArray:
    """Return points in mm inside a location class, shape (count or 0, 3)."""
    where = np.argwhere(np.asarray((anatomy.groups == GROUPS.index(group)).cpu()))
    if len(where) == 0:
        return np.zeros((0, 3))
    grid = anatomy.coarse
    voxel = where[rng.integers(len(where), size=count)] + rng.uniform(-0.4, 0.4, (count, 3))
    return np.asarray((voxel + 0.5) * grid.spacing_mm + grid.low_mm)


def draw_microbleeds(anatomy: Anatomy, count: int, rng: np.random.Generator) -> list[Source]:
    """Return microbleeds, some clustered, some faint."""
    names = list(LOCATION_SHARES)
    shares = np.array([LOCATION_SHARES[n] for n in names])
    chosen = rng.choice(names, size=count, p=shares / shares.sum())
    points: list[FloatArray] = []
    for group in chosen:
        place = _places(anatomy, str(group), 1, rng)
        if len(place) == 0:
            continue
        if points and rng.random() < 0.12:
            near = points[int(rng.integers(len(points)))] + rng.normal(0, 4.0, 3)
            if group_at(anatomy, near) not in ("outside", "csf"):
                place = near[None]
        points.append(place[0])
    sources = []
    for point in points:
        chi = float(np.clip(rng.lognormal(np.log(CHI_LOG_MEDIAN_PPM), CHI_LOG_SD), *CHI_RANGE_PPM))
        radius = rng.lognormal(np.log(RADIUS_LOG_MEDIAN_MM), RADIUS_LOG_SD)
        radius = float(np.clip(radius, *RADIUS_RANGE_MM))
        density = float(rng.uniform(0.5, 1.0))
        sources.append(Source("microbleed", point, draw_spheres(radius, chi, rng), density))
    return sources


def group_at(anatomy: Anatomy, point_mm: FloatArray) -> str:
    """Return the location class at a point."""
    voxel = np.round(anatomy.coarse.voxel(point_mm[None])[0]).astype(int)
    if (voxel < 0).any() or (voxel >= anatomy.coarse.shape).any():
        return "outside"
    i, j, k = voxel
    return GROUPS[int(anatomy.groups[i, j, k])]


def _calcifications(anatomy: Anatomy, rng: np.random.Generator) -> list[Source]:
    """Return calcium in pineal, choroid plexus, pallidum and elsewhere: half of the subjects."""
    if rng.random() < 0.5:
        return []
    mni = [(0.0, -29.0, 3.0)]
    points: list[FloatArray] = []
    for side in (-1, 1):
        if rng.random() < 0.6:
            points += list(_in_atrium(anatomy, side, 1, 3.0, rng))
        if rng.random() < 0.35:
            mni += [(side * 19.0, rng.normal(-3, 3), rng.normal(0, 2))] * int(rng.integers(1, 3))
    points += list(anatomy.warp.to_subject(np.array(mni) + rng.normal(0, 1.0, (len(mni), 3))))
    for _ in range(int(rng.integers(0, 6))):
        points += list(_places(anatomy, str(rng.choice(["cortex", "csf"])), 1, rng))
    sources = []
    for point in points:
        chi = -float(np.exp(rng.uniform(np.log(0.4), np.log(3.3))))
        radius = float(np.clip(rng.lognormal(np.log(0.9), 0.5), 0.3, 3.0))
        sources.append(Source("calcification", point, draw_spheres(radius, chi, rng), 0.25))
    return sources


def _in_atrium(
    anatomy: Anatomy, side: int, count: int, spread_mm: float, rng: np.random.Generator
) -> FloatArray:
    """Return points within the atrium of a lateral ventricle, (count or 0, 3) in subject mm.

    Nearer to where its choroid plexus is widest they are more likely; no point is in the wall.
    """
    mni = np.array([[side * ATRIUM_MNI_MM[0], *ATRIUM_MNI_MM[1:]]]) + rng.normal(0, 2.0, 3)
    middle = anatomy.warp.to_subject(mni)[0]
    where = np.argwhere(np.asarray((anatomy.ventricle_mm <= 0).cpu()))
    grid = anatomy.coarse
    away = (where + 0.5) * grid.spacing_mm + grid.low_mm - middle
    squared = (away**2).sum(axis=1)
    near = squared <= ATRIUM_REACH_MM**2
    if not near.any():
        return np.zeros((0, 3))
    weight = np.exp(-squared[near] / (2 * spread_mm**2)) + 1e-9
    chosen = rng.choice(np.flatnonzero(near), size=count, p=weight / weight.sum())
    points = middle + away[chosen] + rng.uniform(-0.4, 0.4, (count, 3)) * grid.spacing_mm
    return np.asarray(points)


def _choroid(anatomy: Anatomy, rng: np.random.Generator) -> list[Source]:
    """Return the choroid plexus of both atria: grapes of weakly paramagnetic bodies."""
    sources = []
    for side in (-1, 1):
        points = _in_atrium(anatomy, side, int(rng.integers(3, 9)), 3.0, rng)
        if len(points) == 0:
            continue
        spheres: list[Sphere] = []
        for x, y, z in points - points.mean(axis=0):
            chi = float(rng.uniform(0.1, 0.6))
            spheres.append(((float(x), float(y), float(z)), float(rng.uniform(0.5, 1.4)), chi))
        sources.append(Source("choroid plexus", points.mean(axis=0), tuple(spheres), 0.7))
    return sources


def _cavernomas(anatomy: Anatomy, rng: np.random.Generator) -> list[Source]:
    """Return a cavernoma in 8 % of subjects: a large popcorn of old blood."""
    if rng.random() >= 0.08:
        return []
    places = _places(anatomy, str(rng.choice(["subcortical white matter", "brainstem"])), 1, rng)
    spread = rng.uniform(2, 4)
    spheres: list[Sphere] = []
    for _ in range(int(rng.integers(7, 14))):
        x, y, z = rng.normal(0, spread, 3)
        chi = float(rng.uniform(0.3, 1.5))
        spheres.append(((float(x), float(y), float(z)), float(rng.uniform(1.2, 3.2)), chi))
    return [Source("cavernoma", p, tuple(spheres), 0.8) for p in places]


def draw_mimics(anatomy: Anatomy, rng: np.random.Generator) -> list[Source]:
    """Return the mimics that have a body: calcium, choroid plexus, cavernomas."""
    return _calcifications(anatomy, rng) + _choroid(anatomy, rng) + _cavernomas(anatomy, rng)


def _ball(point: FloatArray, radii: FloatArray, rng: np.random.Generator) -> Cloud:
    """Return an ellipsoid as points, weight 1."""
    volume = 4 / 3 * np.pi * float(np.prod(radii))
    count = int(np.clip(volume / 0.02, 50, 60000))
    offset = rng.standard_normal((count, 3))
    offset /= np.linalg.norm(offset, axis=1, keepdims=True)
    offset *= np.cbrt(rng.random(count))[:, None] * radii
    return Cloud(point + offset, np.full(count, volume / count), np.ones(count))


def draw_fluid(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Cloud, list[Source]]:
    """Return what is filled with CSF: perivascular spaces, lacunes, old cortical infarcts.

    Returns:
        A cloud of weight 1, and one source without spheres' susceptibility for each lacune, so
        that they enter the table.
    """
    clouds: list[Cloud] = []
    table: list[Source] = []
    for group, most in (("basal ganglia", 24), ("subcortical white matter", 30)):
        for point in _places(anatomy, group, int(rng.integers(0, most)), rng):
            axis = rng.normal(0, (0.5, 0.5, 1.0))
            path = point + np.outer([-1, 0, 1], axis / np.linalg.norm(axis)) * rng.uniform(1.5, 5)
            line = spline(path, 0.4, rng)
            radius = np.full(len(line), rng.uniform(0.25, 0.75))
            clouds.append(tube(line, radius, 1.0, rng))
    for _ in range(int(rng.poisson(1.0))):
        group = str(rng.choice(["basal ganglia", "thalamus", "subcortical white matter"]))
        for point in _places(anatomy, group, 1, rng):
            radii = rng.uniform(1.2, 3.5) * rng.uniform(0.7, 1.3, 3)
            clouds.append(_ball(point, radii, rng))
            sphere = ((0.0, 0.0, 0.0), float(radii.mean()), 0.0)
            table.append(Source("lacune", point, (sphere,), 1.0))
    if rng.random() < 0.06:
        for point in _places(anatomy, "cortex", 1, rng):
            clouds.append(_ball(point, rng.uniform(5, 12) * rng.uniform(0.6, 1.3, 3), rng))
    return merge(clouds), table


def _mineralised(anatomy: Anatomy, rng: np.random.Generator) -> FloatArray:
    """Return places of iron or calcium in both pallida, in half of the subjects: (N, 3) in mm."""
    count = int(rng.integers(1, 9)) if rng.random() < 0.5 else 0
    one = rng.normal((19.0, -1.0, 0.0), (2.5, 4.5, 3.0), (count, 3))
    # Both sides alike, as ageing leaves them: what tells them from microbleeds.
    other = one * [-1, 1, 1] + rng.normal(0, 1.5, (count, 3))
    places = anatomy.warp.to_subject(np.concatenate([one, other]))
    inside = [group_at(anatomy, place) == "basal ganglia" for place in places]
    return np.asarray(places[np.array(inside, bool)])


def draw_iron(
    anatomy: Anatomy, chi_ppm: float, rng: np.random.Generator
) -> tuple[Cloud, list[Source]]:
    """Return mineralised striatal vessels and cortical siderosis; the weight is susceptibility.

    Args:
        anatomy: The head.
        chi_ppm: Susceptibility of venous blood, the scale of the streaks.
        rng: Randomness.
    """
    clouds: list[Cloud] = []
    table: list[Source] = []
    places = _places(anatomy, "basal ganglia", int(rng.integers(0, 46)), rng)
    starts = [("striatal vessel", point) for point in places]
    starts += [("mineralisation", point) for point in _mineralised(anatomy, rng)]
    for kind, point in starts:
        axis = rng.normal(0, (0.6, 0.6, 1.0))
        half = rng.uniform(1.0, 5.0)
        line = spline(point + np.outer([-1, 0, 1], axis / np.linalg.norm(axis)) * half, 0.5, rng)
        wide = 2.0 if kind == "mineralisation" else 1.0
        radius = float(rng.uniform(0.10, 0.28)) * wide
        chi = float(chi_ppm * rng.uniform(0.6, 1.6))
        clouds.append(tube(line, np.full(len(line), radius), chi, rng))
        table.append(Source(kind, point, (((0.0, 0.0, 0.0), radius, chi),), 1.0))
    if rng.random() < 0.05:
        clouds.append(_siderosis(anatomy, rng))
    return merge(clouds), table


def _siderosis(anatomy: Anatomy, rng: np.random.Generator) -> Cloud:
    """Return iron along the sulci around one place of the cortex."""
    centre = _places(anatomy, "cortex", 1, rng)
    grid = anatomy.coarse
    sheet = np.asarray((anatomy.sulcus_mm.abs() < 1.2).cpu() & (anatomy.cortex > 0.5).cpu())
    points = (np.argwhere(sheet) + 0.5) * grid.spacing_mm + grid.low_mm
    if len(centre) == 0 or len(points) == 0:
        return merge([])
    points = points[np.linalg.norm(points - centre, axis=1) < rng.uniform(10, 25)]
    many = 40
    points = np.repeat(points, many, axis=0) + rng.normal(0, 0.8, (many * len(points), 3))
    volume = np.full(len(points), float(rng.uniform(0.6, 1.6)) / many)
    return Cloud(points, volume, np.full(len(points), float(rng.uniform(0.5, 1.5))))
