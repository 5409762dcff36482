"""What is put before the scanner, and the grid that it is simulated on."""

import math
from dataclasses import dataclass

import numpy as np

from mmocnet.simulate.anatomy import Anatomy, make_anatomy
from mmocnet.simulate.cloud import merge
from mmocnet.simulate.grid import Grid
from mmocnet.simulate.lesions import (
    Source,
    draw_count,
    draw_fluid,
    draw_iron,
    draw_microbleeds,
    draw_mimics,
)
from mmocnet.simulate.settings import Protocol, StudySettings
from mmocnet.simulate.subject import draw_traits
from mmocnet.simulate.templates import load_templates
from mmocnet.simulate.tissue import Blood, Clouds, draw_blood
from mmocnet.simulate.vessels import draw_arteries, draw_veins
from mmocnet.types import IntTriple

BRAIN_BOX_MM = ((-80.0, 80.0), (-114.0, 82.0), (-66.0, 88.0))
"""What is simulated: room for a brain 10 % above average size."""
SPIN_MM, SPIN_SLICE_MM = 0.6, 1.0


@dataclass(frozen=True)
class Scene:
    """Everything that is put before the scanner."""

    anatomy: Anatomy
    clouds: Clouds
    blood: Blood
    microbleeds: list[Source]
    mimics: list[Source]
    fluid: list[Source]


def spin_grid(
    protocol: Protocol, slab_mm: float | None, rng: np.random.Generator
) -> tuple[Grid, IntTriple]:
    """Return the spin grid and the number of acquired voxels over the same box."""
    ranges = list(BRAIN_BOX_MM)
    if slab_mm is not None:
        low, high = ranges[2]
        start = float(rng.uniform(low + 6, max(low + 6, high - 10 - slab_mm)))
        ranges[2] = (start, min(high, start + slab_mm))
    spin, acquired, spacing = [], [], []
    for axis, ((low, high), voxel) in enumerate(zip(ranges, protocol.voxel_mm, strict=True)):
        count = max(1, round((high - low) / voxel))
        wanted = SPIN_SLICE_MM if axis == 2 else SPIN_MM
        fine = count if voxel <= wanted else math.ceil((high - low) / wanted)
        if axis == 2:
            fine = count * max(1, round(voxel / wanted))
        acquired.append(count)
        spin.append(fine)
        spacing.append((high - low) / fine)
    grid = Grid(
        (ranges[0][0], ranges[1][0], ranges[2][0]),
        (spacing[0], spacing[1], spacing[2]),
        (spin[0], spin[1], spin[2]),
    )
    return grid, (acquired[0], acquired[1], acquired[2])


def draw_scene(
    grid: Grid, settings: StudySettings, rngs: dict[str, np.random.Generator], device: str
) -> Scene:
    """Return a subject with vessels, microbleeds and mimics.

    Args:
        grid: The spin grid.
        settings: What to simulate.
        rngs: Randomness of each part.
        device: Where the tensors live.
    """
    templates = load_templates(device)
    anatomy = make_anatomy(grid, templates, draw_traits(rngs["traits"]), rngs["anatomy"], device)
    blood = draw_blood(rngs["traits"])
    veins = draw_veins(anatomy, blood.chi_ppm, rngs["veins"], device)
    arteries = draw_arteries(anatomy, rngs["veins"], device)
    mimics: list[Source] = []
    fluid, iron, listed = merge([]), merge([]), []
    if settings.mimics:
        mimics = draw_mimics(anatomy, rngs["mimics"])
        fluid, lacunes = draw_fluid(anatomy, rngs["mimics"])
        iron, streaks = draw_iron(anatomy, blood.chi_ppm, rngs["mimics"])
        listed = lacunes + streaks
    count = _lesion_count(settings, rngs["count"])
    microbleeds = draw_microbleeds(anatomy, count, rngs["lesions"])
    clouds = Clouds(veins=veins, arteries=arteries, fluid=fluid, iron=iron)
    return Scene(anatomy, clouds, blood, microbleeds, mimics, listed)


def _lesion_count(settings: StudySettings, rng: np.random.Generator) -> int:
    free = rng.random() < settings.lesion_free_share
    natural = draw_count(rng)
    if free:
        return 0
    if settings.lesion_count is None:
        return natural
    low, high = settings.lesion_count
    return int(rng.integers(low, high + 1))
