"""Two visits of one simulated subject: some microbleeds new, some grown, some gone.

Head, vessels and mimics are the same; noise and coils are not. At the second visit the head lies
otherwise and the slices are cut along it, a fraction of a voxel beside those of the first. Its
outlines stay in their voxels: up to half a voxel beside the image along each axis.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mmocnet.simulate.lesions import Source
from mmocnet.simulate.protocols import resolve_protocol
from mmocnet.simulate.record import SimulatedLesion, SimulatedStudy
from mmocnet.simulate.scan import make_scan
from mmocnet.simulate.scene import Scene, draw_scene, spin_grid
from mmocnet.simulate.settings import Protocol, StudySettings
from mmocnet.simulate.study import assemble, generators
from mmocnet.types import FloatArray, IntTriple
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
        shared = (protocol, acquired)
        first = _visit(replace(scene, microbleeds=before), settings, shared, seed, seed)
        # Phase is resampled with its magnitude, which is left out again where none is wanted.
        full = replace(settings, images="swi" if settings.images == "swi" else "all")
        second = _visit(replace(scene, microbleeds=after), full, shared, seed, seed + NOISE_SEED)
    motion = _motion(own)
    second = _moved(second, motion, own)
    if settings.images == "phase":
        second = replace(second, magnitude=None, twin_swi=None)
    return SimulatedVisits(first, second, motion, changes)


def _visit(
    scene: Scene,
    settings: StudySettings,
    shared: tuple[Protocol, IntTriple],
    seed: int,
    noise_seed: int,
) -> SimulatedStudy:
    protocol, acquired = shared
    # Drawn anew for each visit: the tissue must be the same.
    rng, device = generators(seed)["signal"], str(scene.anatomy.white.device)
    scan = make_scan(scene, protocol, acquired, rng, device)
    fine = replace(protocol, voxel_mm=scan.grid.spacing_mm)
    return assemble(scene, scan, settings, fine, noise_seed)


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


def _moved(study: SimulatedStudy, motion: FloatArray, rng: np.random.Generator) -> SimulatedStudy:
    """Return a study whose head has moved, its voxels' centres between those of before."""
    shift = rng.uniform(-0.5, 0.5, 3)
    affine = study.swi.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ shift
    affine = motion @ affine

    def between(volume: Volume, order: int) -> Volume:
        return Volume(_shifted(np.asarray(volume.array), shift, order), affine, volume.name)

    magnitude, phase = study.magnitude, study.phase_rad
    if magnitude is not None and phase is not None:
        # Phase does not interpolate, but the complex image does.
        real, imaginary = (
            _shifted(magnitude.array * part(phase.array), shift, 3) for part in (np.cos, np.sin)
        )
        magnitude = Volume(np.hypot(real, imaginary), affine, magnitude.name)
        phase = Volume(np.arctan2(imaginary, real), affine, phase.name)
    return replace(
        study,
        swi=between(study.swi, 3),
        magnitude=magnitude,
        phase_rad=phase,
        twin_swi=None if study.twin_swi is None else between(study.twin_swi, 3),
        brain=between(study.brain, 0),
        apparent=between(study.apparent, 0),
        source=between(study.source, 0),
        lesions=tuple(_moved_row(lesion, motion) for lesion in study.lesions),
    )


def _shifted(array: NDArray[Any], shift: FloatArray, order: int) -> NDArray[Any]:
    """Return an array's values a fraction of a voxel on, within its range."""
    kept = array.astype(np.uint8) if array.dtype == bool else array
    moved = ndimage.shift(kept, -shift, order=order, mode="nearest")
    if order:
        moved = np.clip(moved, kept.min(), kept.max())
    return np.asarray(moved).astype(array.dtype)


def _moved_row(lesion: SimulatedLesion, motion: FloatArray) -> SimulatedLesion:
    x, y, z = (float(v) for v in motion[:3, :3] @ lesion.centre_mm + motion[:3, 3])
    return replace(lesion, centre_mm=(x, y, z))
