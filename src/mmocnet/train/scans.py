"""From a BIDS dataset to training scans: prepared once, then memory-mapped."""

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.config import PreparationSettings
from mmocnet.errors import InputError
from mmocnet.io.atomic import replacing
from mmocnet.io.dataset import DatasetScan, nifti_ending, read_dataset, read_tsv, stem
from mmocnet.io.lesion_labels import MICROBLEED, read_reference
from mmocnet.io.read import read_scan
from mmocnet.nets.settings_json import settings_to_json
from mmocnet.predict.provenance import read_mask
from mmocnet.prepare.brain import brain_mask
from mmocnet.prepare.geometry import PAD_MULTIPLE, WorkingGrid, working_grid
from mmocnet.prepare.refuse import check_scan
from mmocnet.prepare.slices import prepare_slices
from mmocnet.simulate.bids import RECORD
from mmocnet.train.mapped import mapped
from mmocnet.train.patches import TrainingScan
from mmocnet.train.planes_across import placed, planes_across
from mmocnet.types import FloatArray, Mask3D
from mmocnet.volume import Volume

CACHE_VERSION = 5
"""Raised whenever what is cached of scans changes."""
ACROSS = "-across"
"""Ends the names of planes across a scan's slices."""
MIMIC_REACH_VOXELS = 2.0
"""Distance from a plane within which a mimic's middle is on it: a decision, most are wider."""


@dataclass(frozen=True)
class _Marked:
    """A scan, its brain mask, its numbered lesions, and voxels of known mimics (N, 3)."""

    volume: Volume
    brain: Mask3D
    reference: NDArray[np.int64]
    mimics: FloatArray


@dataclass(frozen=True)
class _Cached:
    """Files of one prepared scan."""

    image: Path
    labels: Path
    about: Path
    across: bool


def load_training_scans(
    dataset: Path,
    settings: PreparationSettings,
    cache_folder: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    across: bool = False,
) -> tuple[TrainingScan, ...]:
    """Return every scan of a dataset that has a reference, as `prepare_training_scans` does.

    Args:
        dataset: BIDS folder with `derivatives/reference`.
        settings: Preparation.
        cache_folder: Made if missing.
        workers: Processes.
        progress: Told what is done and what there is to do, in scans.
        across: Whether planes across its slices follow each scan.

    Raises:
        InputError: If no scan has a reference, or a scan cannot be prepared or is one that
            `segment` refuses.
    """
    scans = [scan for scan in read_dataset(dataset) if scan.labels is not None]
    if not scans:
        raise InputError(f"expected scans with a reference, got none in {dataset.name}")
    return prepare_training_scans(scans, settings, cache_folder, workers, progress, across)


def prepare_training_scans(
    scans: Sequence[DatasetScan],
    settings: PreparationSettings,
    cache_folder: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    across: bool = False,
) -> tuple[TrainingScan, ...]:
    """Return scans that have a reference on the working grid, in their order.

    Each scan is prepared as it is for use and kept in the cache folder as .npy (image uint8,
    labels too where they fit), so that a dataset larger than memory can be trained on, and
    training again begins at once.

    Args:
        scans: Each with its reference.
        settings: Preparation.
        cache_folder: Made if missing; scans prepared otherwise are prepared anew.
        workers: Processes.
        progress: Told what is done and what there is to do, in scans.
        across: Whether planes across its slices follow each scan, as a scan of their own.

    Raises:
        InputError: If a scan cannot be prepared or is one that `segment` refuses.
    """
    cache_folder.mkdir(parents=True, exist_ok=True)
    kinds = (False, True) if across else (False,)
    jobs = [(scan, _cached(scan, settings, cache_folder, kind)) for scan in scans for kind in kinds]
    missing = [job for job in jobs if not job[1].about.exists()]
    work = partial(_prepare, settings=settings)
    for done, _ in enumerate(_map(work, missing, workers), start=len(jobs) - len(missing) + 1):
        if progress is not None:
            progress(done // len(kinds), len(scans))
    return tuple(_load(*job) for job in jobs)


def working_points(grid: WorkingGrid, voxels: FloatArray) -> FloatArray:
    """Return working coordinates (s, r, c) of input voxel coordinates, both (N, 3)."""
    # The grid maps the other way, by an affine map: four points give it.
    corner = grid.to_voxel(np.zeros(3))
    columns = grid.to_voxel(np.eye(3)) - corner
    return np.linalg.solve(columns.T, (np.reshape(voxels, (-1, 3)) - corner).T).T


def quantised(array: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return 0..1 as 0..255; the darkest of the brain is 1, so that 0 is always outside it."""
    grey = np.round(array * 255).astype(np.uint8)
    return np.where(brain, np.maximum(grey, 1), grey)


def _prepare(job: tuple[DatasetScan, _Cached], settings: PreparationSettings) -> None:
    scan, files = job
    read = read_scan(scan.image)
    volume = read.volume
    brain = brain_mask(volume) if scan.brain is None else read_mask(scan.brain, volume)
    # A simulated protocol may be one that nobody would scan with.
    check_scan(read, None if is_simulated_scan(scan.image) else brain)
    marked = _Marked(volume, brain, read_reference(scan, volume), _mimic_voxels(scan, volume))
    image, working, about = (_across if files.across else _along)(marked, settings)
    _save(files.image, image)
    # Eight bits where they do: a cohort's labels are read from disk at random.
    _save(files.labels, working.astype(np.uint8 if working.max() <= 255 else np.int32))
    with replacing(files.about) as path:
        path.write_text(json.dumps(about), encoding="utf-8")


def is_simulated_scan(image: Path) -> bool:
    """Return whether the sidecar beside a scan says that this package simulated it."""
    sidecar = image.with_name(image.name.removesuffix(nifti_ending(image.name)) + ".json")
    try:
        return RECORD in json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _along(
    scan: _Marked, settings: PreparationSettings
) -> tuple[NDArray[np.uint8], NDArray[np.int64], dict[str, Any]]:
    """Return a scan's slices, their lesions and what else is kept of them."""
    prepared = prepare_slices(scan.volume, settings, scan.brain)
    points = working_points(prepared.grid, scan.mimics)
    about = _about(points, prepared.grid)
    return quantised(prepared.array, prepared.shown), placed(scan.reference, prepared.grid), about


def _across(
    scan: _Marked, settings: PreparationSettings
) -> tuple[NDArray[np.uint8], NDArray[np.int64], dict[str, Any]]:
    """Return the same of planes across a scan's slices, each in a corner of its own slice."""
    planes = list(planes_across(scan.volume, scan.brain, scan.reference, settings))
    sides = [plane.labels.shape[1:] for plane in planes]
    # Where there are none, an empty one: it has no brain, and no patch is drawn there.
    shape = max(len(planes), 1), *np.max([(PAD_MULTIPLE, PAD_MULTIPLE), *sides], axis=0)
    image, labels = np.zeros(shape, np.uint8), np.zeros(shape, np.int64)
    points: list[FloatArray] = [np.zeros((0, 3))]
    for s, plane in enumerate(planes):
        rows, cols = plane.labels.shape[1:]
        image[s, :rows, :cols] = quantised(plane.slices.array, plane.slices.shown)[0]
        labels[s, :rows, :cols] = plane.labels[0]
        on = np.abs(scan.mimics[:, plane.axis] - plane.index) < MIMIC_REACH_VOXELS
        at = working_points(plane.slices.grid, scan.mimics[on])
        at[:, 0] = s
        points.append(at)
    grid = planes[0].slices.grid if planes else working_grid(scan.volume, settings.pixel_mm)
    return image, labels, _about(np.concatenate(points), grid)


def _about(points: FloatArray, grid: WorkingGrid) -> dict[str, Any]:
    return {"mimic_points": points.tolist(), "spacing_mm": [grid.thickness_mm, *grid.pixel_mm]}


def _mimic_voxels(scan: DatasetScan, volume: Volume) -> FloatArray:
    if scan.table is None:
        return np.zeros((0, 3))
    rows = [row for row in read_tsv(scan.table) if row.get("kind", MICROBLEED) != MICROBLEED]
    try:
        cells = [
            [row[key].replace("n/a", "nan") for key in ("x_mm", "y_mm", "z_mm")] for row in rows
        ]
        points = np.array(cells, np.float64).reshape(-1, 3)
    except (KeyError, ValueError) as error:
        raise InputError(
            f"expected x_mm, y_mm and z_mm of each mimic, numbers or n/a, in {scan.table.name}"
        ) from error
    # A mimic of an unknown place is no place to learn from.
    return volume.voxel(points[np.isfinite(points).all(axis=1)])


def _load(scan: DatasetScan, files: _Cached) -> TrainingScan:
    about = json.loads(files.about.read_text(encoding="utf-8"))
    thickness, row, col = about["spacing_mm"]
    return TrainingScan(
        subject=scan.subject,
        image=mapped(files.image),
        labels=mapped(files.labels),
        mimic_points=np.array(about["mimic_points"], np.float32).reshape(-1, 3),
        spacing_mm=(thickness, row, col),
        name=stem(scan.image.name) + (ACROSS if files.across else ""),
        across=files.across,
    )


def cache_name(scan: DatasetScan, about: Any = None) -> str:
    """Return a name for what is made of a scan, after its files and what else it depends on.

    Args:
        scan: Whose files may change, and whose name another dataset may have too.
        about: What JSON can hold.
    """
    parts: list[Any] = [CACHE_VERSION, about]
    for path in (scan.image, scan.labels, scan.table, scan.brain, scan.phase):
        if path is not None:
            status = path.stat()
            parts.append([str(path.resolve()), status.st_size, status.st_mtime_ns])
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
    return f"{stem(scan.image.name)}-{key}"


def _cached(
    scan: DatasetScan, settings: PreparationSettings, folder: Path, across: bool
) -> _Cached:
    name = cache_name(scan, settings_to_json(settings)) + (ACROSS if across else "")
    return _Cached(
        folder / f"{name}-image.npy",
        folder / f"{name}-labels.npy",
        folder / f"{name}.json",
        across,
    )


def _save(path: Path, array: NDArray[Any]) -> None:
    with replacing(path) as partial_path, partial_path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _map(
    work: Callable[[tuple[DatasetScan, _Cached]], None],
    jobs: Sequence[tuple[DatasetScan, _Cached]],
    workers: int,
) -> Iterator[None]:
    if workers <= 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, jobs)
