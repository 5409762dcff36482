"""One simulated study, from a seed to images and references: the simulator's whole story."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from mmocnet.prepare.separable import along_axes, linear_matrix
from mmocnet.prepare.swi import homodyne_highpass, swi
from mmocnet.simulate.acquisition import (
    add_noise,
    bias_field,
    coil_phase,
    crop_kspace,
    motion_ghosts,
)
from mmocnet.simulate.anatomy import Anatomy, draw_traits, make_anatomy
from mmocnet.simulate.field import downsample, field_shift_ppm
from mmocnet.simulate.grid import Grid, smooth_noise, upsample
from mmocnet.simulate.head import background_field_ppm
from mmocnet.simulate.lesions import (
    Source,
    draw_count,
    draw_fluid,
    draw_iron,
    draw_microbleeds,
    draw_mimics,
    group_at,
)
from mmocnet.simulate.paste import BLOOD, CALCIUM, SpinGrid, lesion_footprint
from mmocnet.simulate.protocols import resolve_protocol
from mmocnet.simulate.record import SimulatedLesion, SimulatedStudy
from mmocnet.simulate.reference import apparent_labels, source_labels
from mmocnet.simulate.settings import Protocol, StudySettings
from mmocnet.simulate.signal import Echo, complex_signal
from mmocnet.simulate.templates import load_templates
from mmocnet.simulate.tissue import Blood, Clouds, draw_blood, make_head
from mmocnet.simulate.vessels import draw_arteries, draw_veins, merge
from mmocnet.types import IntTriple
from mmocnet.volume import Volume

SIMULATOR_VERSION = 1
"""Changes with every change that alters a study of the same seed."""
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


@dataclass(frozen=True)
class Scan:
    """Complex images on the acquired grid, without noise, with and without microbleeds."""

    grid: Grid
    with_lesions: torch.Tensor
    without: torch.Tensor
    white: torch.Tensor


def _spin_grid(
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


def _draw_scene(
    grid: Grid, settings: StudySettings, rngs: dict[str, np.random.Generator], device: str
) -> Scene:
    templates = load_templates(device)
    anatomy = make_anatomy(grid, templates, draw_traits(rngs["traits"]), rngs["anatomy"], device)
    blood = draw_blood(rngs["traits"])
    veins = draw_veins(anatomy, blood.chi_ppm, rngs["veins"], device)
    arteries = draw_arteries(anatomy, rngs["veins"])
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


def _multiply(signal: torch.Tensor, sources: list[Source], grid: Grid, echo: Echo) -> None:
    """Multiply the signal around each source by what the source does to it, in place."""
    spins = SpinGrid(grid.shape, grid.spacing_mm, device=signal.device)
    for source in sources:
        i, j, k = (float(v) for v in grid.voxel(source.centre_mm[None])[0])
        material = replace(
            CALCIUM if source.kind == "calcification" else BLOOD, density=source.density
        )
        footprint = lesion_footprint(source.spheres, (i, j, k), spins, [echo], material)
        signal[footprint.box] *= footprint.factors[0]


def _scan(
    scene: Scene,
    protocol: Protocol,
    acquired: IntTriple,
    rngs: dict[str, np.random.Generator],
    device: str,
) -> Scan:
    """Return the noise-free complex images of the last echo on the acquired grid."""
    anatomy = scene.anatomy
    grid = anatomy.grid
    echo = Echo(protocol.te_ms[-1], protocol.field_t, protocol.phase_sign)
    head = make_head(anatomy, scene.clouds, scene.blood, protocol, rngs["signal"])
    pad = (8, 8, round(12 / grid.spacing_mm[2]))
    field = field_shift_ppm(head.chi_ppm, grid.spacing_mm, pad=pad)
    outer = background_field_ppm(anatomy.warp, load_templates(device), grid, rngs["signal"], device)
    field += upsample(outer[None], grid.shape)[0]
    without = complex_signal(head.m0, head.r2star_hz, field, echo)
    _multiply(without, scene.mimics, grid, echo)
    with_lesions = without.clone()
    _multiply(with_lesions, scene.microbleeds, grid, echo)
    count = acquired[2]
    images = []
    for image in (with_lesions, without):
        flat = downsample(image, (grid.shape[0], grid.shape[1], count))
        images.append(crop_kspace(flat, acquired))
    spacing = [s / n for s, n in zip(grid.size_mm, acquired, strict=True)]
    box = Grid(grid.low_mm, (spacing[0], spacing[1], spacing[2]), acquired)
    white = downsample(head.white, acquired)
    return Scan(box, images[0], images[1], white)


def _receive(scan: Scan, generator: torch.Generator) -> None:
    """Multiply both images by the phase and the gain of the coils, in place."""
    device = scan.white.device
    phase = coil_phase(scan.grid.shape, generator, device=device)
    gain = bias_field(scan.grid.shape, generator, 0.08, device=device)
    factor = torch.polar(gain, phase)
    scan.with_lesions.mul_(factor)
    scan.without.mul_(factor)


def _process(image: torch.Tensor, protocol: Protocol) -> torch.Tensor:
    """Return the SWI, or the magnitude where the protocol makes none."""
    if protocol.image == "magnitude":
        return image.abs()
    filtered = homodyne_highpass(image, protocol.highpass_width)
    return swi(image.abs(), filtered, protocol.mask_power, protocol.phase_sign)


def _finish(image: torch.Tensor, grid: Grid, protocol: Protocol) -> tuple[torch.Tensor, Grid]:
    """Return the image on the output grid."""
    if protocol.output_mm is None:
        return image, grid
    fine = grid.with_spacing(protocol.output_mm)
    matrices = {
        axis: linear_matrix(old, new)
        for axis, (old, new) in enumerate(zip(grid.shape, fine.shape, strict=True))
        if old != new
    }
    return along_axes(image, matrices), fine


def _brain(
    anatomy: Anatomy, shape: IntTriple, rng: np.random.Generator, device: str
) -> torch.Tensor:
    """Return the brain mask as a tool would draw it: a little generous or tight, and uneven."""
    depth = anatomy.depth_mm + 0.6 * smooth_noise(anatomy.coarse, 20.0, rng, device)[0]
    return upsample(depth[None], shape)[0] > float(rng.uniform(-1.5, 1.5))


def _table(scene: Scene, labels: np.ndarray, voxel_mm3: float) -> tuple[SimulatedLesion, ...]:
    """Return the rows of microbleeds, by index, then of mimics."""
    sources = [*scene.microbleeds, *scene.mimics, *scene.fluid]
    if not sources:
        return ()
    centres = np.stack([s.centre_mm for s in sources])
    mni = scene.anatomy.warp.to_mni(centres)
    sizes = np.bincount(labels.ravel(), minlength=len(scene.microbleeds) + 1) * voxel_mm3
    rows = []
    for number, (source, there) in enumerate(zip(sources, mni, strict=True), 1):
        index = number if number <= len(scene.microbleeds) else 0
        volume = sum(4 / 3 * math.pi * r**3 for _, r, _ in source.spheres)
        chi = sum(c * r**3 for _, r, c in source.spheres) / sum(r**3 for _, r, _ in source.spheres)
        seen = float(sizes[index]) if index else math.nan
        x, y, z = (float(v) for v in source.centre_mm)
        rows.append(
            SimulatedLesion(
                index=index,
                kind=source.kind,
                centre_mm=(x, y, z),
                mni_mm=(float(there[0]), float(there[1]), float(there[2])),
                anatomy=group_at(scene.anatomy, source.centre_mm),
                chi_ppm=chi,
                radius_mm=float(np.cbrt(3 * volume / (4 * math.pi))),
                source_mm3=volume,
                apparent_mm3=seen,
                apparent_diameter_mm=float(np.cbrt(6 * seen / math.pi)),
            )
        )
    return tuple(rows)


def _generators(seed: int) -> dict[str, np.random.Generator]:
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
    rngs = _generators(seed)
    protocol = resolve_protocol(settings.protocol, rngs["protocol"])
    grid, acquired = _spin_grid(protocol, settings.slab_mm, rngs["protocol"])
    with torch.inference_mode():
        scene = _draw_scene(grid, settings, rngs, device)
        scan = _scan(scene, protocol, acquired, rngs, device)
        return _assemble(scene, scan, settings, protocol, seed)


def _near_lesions(scene: Scene, grid: Grid) -> list[int]:
    """Return the slices that a microbleed may reach."""
    centres = (np.arange(grid.shape[2]) + 0.5) * grid.spacing_mm[2] + grid.low_mm[2]
    near = np.zeros(len(centres), bool)
    for source in scene.microbleeds:
        near |= np.abs(centres - source.centre_mm[2]) < 5 * source.reach_mm + 6.0
    return [int(k) for k in np.flatnonzero(near)]


def _clean_pair(
    scene: Scene, scan: Scan, protocol: Protocol
) -> tuple[torch.Tensor, torch.Tensor, Grid]:
    """Return difference and lesion-free image without noise on the output grid.

    Slices that no microbleed reaches are 0 in both.
    """
    difference, signal = torch.zeros_like(scan.white), torch.zeros_like(scan.white)
    slices = _near_lesions(scene, scan.grid)
    if slices:
        seen, free = (
            _process(i[:, :, slices], protocol) for i in (scan.with_lesions, scan.without)
        )
        difference[:, :, slices] = free - seen
        signal[:, :, slices] = free
    finished, out = _finish(difference, scan.grid, protocol)
    return finished, _finish(signal, scan.grid, protocol)[0], out


def _with_noise(scan: Scan, protocol: Protocol, generator: torch.Generator) -> list[torch.Tensor]:
    """Return both images with the same noise, and sometimes the same ghosts."""
    white = scan.white > 0.9
    if not bool(white.any()):
        white = scan.white >= scan.white.max()
    first = add_noise(scan.with_lesions, protocol.snr, white, generator)
    noisy = [first, scan.without + (first - scan.with_lesions)]
    strength = float(torch.rand((), generator=generator)) * 1.6 - 1.2
    if strength <= 0:
        return noisy
    state = generator.get_state()
    return [motion_ghosts(i, strength, generator.set_state(state)) for i in noisy]


def _assemble(
    scene: Scene, scan: Scan, settings: StudySettings, protocol: Protocol, seed: int
) -> SimulatedStudy:
    """Return the study from its complex images: noise, processing, references, table."""
    generator = torch.Generator().manual_seed(seed)
    _receive(scan, generator)
    difference, signal, out = _clean_pair(scene, scan, protocol)
    volume = Volume(np.zeros(out.shape, np.uint8), out.affine(), "grid")
    apparent = apparent_labels(
        difference.cpu().numpy(), signal.cpu().numpy(), volume, scene.microbleeds
    )
    rng = _generators(seed)["brain"]
    brain = _brain(scene.anatomy, out.shape, rng, str(scan.white.device))
    seen, free = _with_noise(scan, protocol, generator)

    def image(raw: torch.Tensor, name: str) -> Volume:
        finished, _ = _finish(_process(raw, protocol), scan.grid, protocol)
        return volume.like(
            _scale(finished * brain if protocol.skull_stripped else finished, protocol), name
        )

    every = settings.images == "all"
    # Phase does not interpolate, but the complex image does.
    turned = _finish(seen, scan.grid, protocol)[0].cpu().numpy() if every else None
    return SimulatedStudy(
        seed=seed,
        protocol=replace(protocol, voxel_mm=scan.grid.spacing_mm),
        swi=image(seen, "swi"),
        magnitude=None if turned is None else volume.like(np.abs(turned), "magnitude"),
        phase_rad=None if turned is None else volume.like(np.angle(turned), "phase"),
        twin_swi=image(free, "twin") if every else None,
        brain=volume.like(brain.cpu().numpy(), "brain"),
        apparent=volume.like(apparent, "apparent"),
        source=volume.like(source_labels(volume, scene.microbleeds), "source"),
        lesions=_table(scene, apparent, volume.voxel_mm3),
    )


def _scale(image: torch.Tensor, protocol: Protocol) -> np.ndarray:
    """Return the image as files have it: 0..255 in whole numbers, or about 0..1000."""
    array = image.cpu().numpy()
    top = float(np.quantile(array[array > 0][::7], 0.9995)) if (array > 0).any() else 1.0
    if protocol.eight_bit:
        return np.asarray(np.clip(np.round(array / top * 255), 0, 255), np.float32)
    return np.asarray(array / top * 1000, np.float32)
