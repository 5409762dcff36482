"""One simulated study, from a seed to images and references: the simulator's whole story."""

import math
from dataclasses import replace

import numpy as np
import torch

from mmocnet.simulate.grid import Grid, resample, smooth_noise, upsample
from mmocnet.simulate.lesions import Source, group_at
from mmocnet.simulate.protocols import resolve_protocol
from mmocnet.simulate.record import SimulatedLesion, SimulatedStudy
from mmocnet.simulate.reference import apparent_labels, source_labels
from mmocnet.simulate.rows import lesion_row
from mmocnet.simulate.scan import (
    Scan,
    finish,
    finish_slices,
    make_scan,
    process,
    receive,
    with_noise,
)
from mmocnet.simulate.scene import Scene, draw_scene, spin_grid
from mmocnet.simulate.settings import Protocol, StudySettings
from mmocnet.volume import Volume

SIMULATOR_VERSION = 3
"""Changes with every change that alters a study of the same seed."""


def generators(seed: int) -> dict[str, np.random.Generator]:
    """Return a generator for each part of a study, so that more of one changes no other."""
    names = ("protocol", "traits", "anatomy", "veins", "mimics", "count", "lesions", "signal",
             "brain")  # fmt: skip
    children = np.random.SeedSequence(seed).spawn(len(names))
    return {n: np.random.default_rng(c) for n, c in zip(names, children, strict=True)}


def simulate_study(settings: StudySettings, seed: int, device: str = "cpu") -> SimulatedStudy:
    """Return one simulated study.

    Args:
        settings: What to simulate.
        seed: All that is random comes from it.
        device: "cpu" or "cuda"; the same study up to rounding.

    Raises:
        InputError: If the protocol is unknown.
        DependencyError: If nilearn, which carries the MNI152 maps, is not installed.
    """
    rngs = generators(seed)
    protocol = resolve_protocol(settings.protocol, rngs["protocol"])
    grid, acquired = spin_grid(protocol, settings.slab_mm, rngs["protocol"])
    with torch.inference_mode():
        scene = draw_scene(grid, settings, rngs, device)
        scan = make_scan(scene, protocol, acquired, rngs["signal"], device)
        return assemble(
            scene, scan, settings, replace(protocol, voxel_mm=scan.grid.spacing_mm), seed
        )


def _near_lesions(scene: Scene, grid: Grid) -> list[int]:
    """Return the slices that a microbleed may reach."""
    centres = (np.arange(grid.shape[2]) + 0.5) * grid.spacing_mm[2] + grid.low_mm[2]
    near = np.zeros(len(centres), bool)
    for source in scene.microbleeds:
        near |= np.abs(centres - source.centre_mm[2]) < 5 * source.reach_mm + 6.0
    return [int(k) for k in np.flatnonzero(near)]


def _apparent(
    scene: Scene, scan: Scan, protocol: Protocol, volume: Volume, out: Grid
) -> np.ndarray:
    """Return what a reader would outline in the image without noise, see `apparent_labels`."""
    slices = _near_lesions(scene, scan.grid)
    if not slices:
        return np.zeros(out.shape, np.int16)
    seen, free = (process(i[:, :, slices], protocol) for i in (scan.with_lesions, scan.without))
    difference, signal = (
        finish_slices(i, slices, scan.grid, out).cpu().numpy() for i in (free - seen, free)
    )
    return apparent_labels(difference, signal, volume, scene.microbleeds)


def _brain(scene: Scene, out: Grid, rng: np.random.Generator) -> torch.Tensor:
    """Return the brain mask as a tool would draw it: a little generous or tight, and uneven."""
    anatomy, device = scene.anatomy, str(scene.anatomy.white.device)
    depth = anatomy.depth_mm + 0.6 * smooth_noise(anatomy.coarse, 20.0, rng, device)[0]
    same = out.low_mm == anatomy.coarse.low_mm
    fine = upsample(depth[None], out.shape)[0] if same else resample(depth, anatomy.coarse, out)
    return fine > float(rng.uniform(-1.5, 1.5))


def assemble(
    scene: Scene, scan: Scan, settings: StudySettings, protocol: Protocol, seed: int
) -> SimulatedStudy:
    """Return the study from its complex images: noise, processing, references, table."""
    generator = torch.Generator().manual_seed(seed)
    receive(scan, generator)
    out = scan.grid
    if protocol.output_mm is not None:
        out = out.with_spacing(protocol.output_mm)
    volume = Volume(np.zeros(out.shape, np.uint8), out.affine(), "grid")
    apparent = _apparent(scene, scan, protocol, volume, out)
    brain = _brain(scene, out, generators(seed)["brain"])
    every = settings.images == "all"
    seen, free = with_noise(scan, protocol, generator, twin=every)

    def image(raw: torch.Tensor, name: str) -> Volume:
        finished = finish(process(raw, protocol), out)
        return volume.like(
            _scale(finished * brain if protocol.skull_stripped else finished, protocol), name
        )

    # Phase does not interpolate, but the complex image does.
    turned = finish(seen, out) if settings.images != "swi" else None
    magnitude = turned.abs().cpu().numpy() if turned is not None and every else None
    return SimulatedStudy(
        seed=seed,
        protocol=protocol,
        swi=image(seen, "swi"),
        magnitude=None if magnitude is None else volume.like(magnitude, "magnitude"),
        phase_rad=None if turned is None else volume.like(turned.angle().cpu().numpy(), "phase"),
        twin_swi=None if free is None else image(free, "twin"),
        brain=volume.like(brain.cpu().numpy(), "brain"),
        apparent=volume.like(apparent, "apparent"),
        source=volume.like(source_labels(volume, scene.microbleeds), "source"),
        lesions=_table(scene, apparent, volume),
    )


def _scale(image: torch.Tensor, protocol: Protocol) -> np.ndarray:
    """Return the image as files have it: 0..255 in whole numbers, or about 0..1000."""
    array = image.cpu().numpy()
    some = array[array > 0][::7]
    top = np.float32(np.quantile(some, 0.9995)) if some.size else np.float32(1)
    if not protocol.eight_bit:
        return np.asarray(array / top * np.float32(1000))
    scaled = array / top
    scaled *= np.float32(255)
    return np.clip(np.round(scaled, out=scaled), 0, 255, out=scaled)


def _within(sources: list[Source], volume: Volume) -> list[Source]:
    """Return the sources whose centre lies in a voxel of the image."""
    if not sources:
        return []
    voxel = volume.voxel(np.stack([source.centre_mm for source in sources]))
    inside = np.all((voxel >= -0.5) & (voxel < np.array(volume.shape) - 0.5), axis=1)
    return [source for source, is_in in zip(sources, inside.tolist(), strict=True) if is_in]


def _table(scene: Scene, labels: np.ndarray, volume: Volume) -> tuple[SimulatedLesion, ...]:
    """Return the rows of microbleeds, by index, then of the mimics whose centre is imaged."""
    sources = [*scene.microbleeds, *_within([*scene.mimics, *scene.fluid], volume)]
    if not sources:
        return ()
    centres = np.stack([s.centre_mm for s in sources])
    mni = scene.anatomy.warp.to_mni(centres)
    sizes = np.bincount(labels[labels > 0], minlength=len(scene.microbleeds) + 1) * volume.voxel_mm3
    rows = []
    for number, (source, there) in enumerate(zip(sources, mni, strict=True), 1):
        index = number if number <= len(scene.microbleeds) else 0
        seen = float(sizes[index]) if index else math.nan
        mni_mm = (float(there[0]), float(there[1]), float(there[2]))
        group = group_at(scene.anatomy, source.centre_mm)
        rows.append(lesion_row(source, index, mni_mm, group, seen))
    return tuple(rows)
