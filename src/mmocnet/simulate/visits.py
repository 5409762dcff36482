"""Two visits of one simulated subject: some microbleeds new, some grown, some gone.

Head, vessels and mimics are the same; noise and coils are not. At the second visit the head lies
otherwise and the slices are cut along it, a fraction of a voxel beside those of the first: the
grid is moved under the scene before noise and processing, so nothing is resampled and outlines
are as exact as those of the first.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mmocnet.simulate.lesions import Source
from mmocnet.simulate.protocols import resolve_protocol
from mmocnet.simulate.record import SimulatedLesion, SimulatedStudy
from mmocnet.simulate.scan import make_scan
from mmocnet.simulate.scene import Scene, draw_scene, spin_grid
from mmocnet.simulate.settings import Protocol, StudySettings
from mmocnet.simulate.study import assemble, generators
from mmocnet.types import FloatArray, IntTriple, Triple
from mmocnet.volume import Volume

Change = Literal["stable", "new", "grown", "not seen"]

SHARES: dict[Change, float] = {"stable": 0.45, "new": 0.3, "grown": 0.15, "not seen": 0.1}
GROWTH = 1.5
"""Of a grown lesion's radii: 3.4 times its volume."""
TURN_DEG, SHIFT_MM = 8.0, 12.0
"""Largest turn about, and shift along, each axis."""
NOISE_SEED = 1_000_003
"""Added to a subject's seed for what the second visit draws of its own."""


@dataclass(frozen=True)
class LesionChange:
    """What became of one microbleed.

    Attributes:
        change: The truth.
        baseline: Its index at the first visit, 0 where it is not there.
        follow_up: Its index at the second.
    """

    change: Change
    baseline: int
    follow_up: int


@dataclass(frozen=True)
class SimulatedVisits:
    """Two visits of one subject.

    Attributes:
        baseline: The first.
        follow_up: The second, of the same images; its lesions lie in its own world.
        motion: Shape (4, 4), rigid: world mm of the first to world mm of the second.
        changes: Of every microbleed.
    """

    baseline: SimulatedStudy
    follow_up: SimulatedStudy
    motion: FloatArray
    changes: tuple[LesionChange, ...]


def simulate_visits(settings: StudySettings, seed: int, device: str = "cpu") -> SimulatedVisits:
    """Return two visits of one simulated subject.

    Args:
        settings: What to simulate; `lesion_count` counts the microbleeds of both visits together.
        seed: All that is random comes from it.
        device: "cpu" or "cuda".

    Raises:
        InputError: If the protocol is unknown.
        DependencyError: If nilearn, which carries the MNI152 maps, is not installed.
    """
    rngs = generators(seed)
    protocol = resolve_protocol(settings.protocol, rngs["protocol"])
    grid, acquired = spin_grid(protocol, settings.slab_mm, rngs["protocol"])
    own = np.random.default_rng(seed + NOISE_SEED)
    with torch.inference_mode():
        scene = draw_scene(grid, settings, rngs, device)
        before, after, changes = _changed(scene.microbleeds, own)
        motion, shift = _motion(own), _shift(own)
        shared = _Shared(settings, protocol, acquired, seed)
        first = _visit(replace(scene, microbleeds=before), shared, seed)
        second = _visit(replace(scene, microbleeds=after), shared, seed + NOISE_SEED, shift)
    return SimulatedVisits(first, _moved(second, motion), motion, changes)


@dataclass(frozen=True)
class _Shared:
    """What both visits have in common."""

    settings: StudySettings
    protocol: Protocol
    acquired: IntTriple
    seed: int


def _visit(
    scene: Scene, shared: _Shared, noise_seed: int, shift: Triple = (0.0, 0.0, 0.0)
) -> SimulatedStudy:
    # Drawn anew for each visit: the tissue must be the same.
    rng, device = generators(shared.seed)["signal"], str(scene.anatomy.white.device)
    scan = make_scan(scene, shared.protocol, shared.acquired, rng, device, shift)
    fine = replace(shared.protocol, voxel_mm=scan.grid.spacing_mm)
    return assemble(scene, scan, shared.settings, fine, noise_seed)


def _changed(
    sources: list[Source], rng: np.random.Generator
) -> tuple[list[Source], list[Source], tuple[LesionChange, ...]]:
    """Return the microbleeds of both visits and what became of each."""
    names = list(SHARES)
    kinds = [names[i] for i in rng.choice(len(names), len(sources), p=list(SHARES.values()))]
    before: list[Source] = []
    after: list[Source] = []
    changes = []
    for source, kind in zip(sources, kinds, strict=True):
        if kind != "new":
            before.append(source)
        if kind != "not seen":
            after.append(_grown(source) if kind == "grown" else source)
        changes.append(
            LesionChange(
                kind,
                len(before) if kind != "new" else 0,
                len(after) if kind != "not seen" else 0,
            )
        )
    return before, after, tuple(changes)


def _grown(source: Source) -> Source:
    spheres = tuple(
        ((x * GROWTH, y * GROWTH, z * GROWTH), radius * GROWTH, chi)
        for (x, y, z), radius, chi in source.spheres
    )
    return replace(source, spheres=spheres)


def _motion(rng: np.random.Generator) -> FloatArray:
    matrix = np.eye(4)
    turn = rng.uniform(-TURN_DEG, TURN_DEG, 3)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    matrix[:3, 3] = rng.uniform(-SHIFT_MM, SHIFT_MM, 3)
    return matrix


def _shift(rng: np.random.Generator) -> Triple:
    """Return how far on the second visit's voxels lie in the head, in voxels."""
    x, y, z = rng.uniform(-0.5, 0.5, 3).tolist()
    return x, y, z


def _moved(study: SimulatedStudy, motion: FloatArray) -> SimulatedStudy:
    """Return a study whose head, and grid with it, has moved."""

    def there(volume: Volume) -> Volume:
        return replace(volume, affine=motion @ volume.affine)

    return replace(
        study,
        swi=there(study.swi),
        magnitude=None if study.magnitude is None else there(study.magnitude),
        phase_rad=None if study.phase_rad is None else there(study.phase_rad),
        twin_swi=None if study.twin_swi is None else there(study.twin_swi),
        brain=there(study.brain),
        apparent=there(study.apparent),
        source=there(study.source),
        lesions=tuple(_moved_row(lesion, motion) for lesion in study.lesions),
    )


def _moved_row(lesion: SimulatedLesion, motion: FloatArray) -> SimulatedLesion:
    x, y, z = (float(v) for v in motion[:3, :3] @ lesion.centre_mm + motion[:3, 3])
    return replace(lesion, centre_mm=(x, y, z))
