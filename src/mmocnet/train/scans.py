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
from mmocnet.io.dataset import DatasetScan, read_dataset, read_tsv, stem
from mmocnet.io.nifti import read_nifti
from mmocnet.nets.settings_json import settings_to_json
from mmocnet.prepare.brain import brain_mask
from mmocnet.prepare.geometry import WorkingGrid
from mmocnet.prepare.slices import prepare_slices
from mmocnet.train.patches import TrainingScan
from mmocnet.types import FloatArray
from mmocnet.volume import Volume

CACHE_VERSION = 2
"""Raised whenever what is cached changes."""
MICROBLEED = "microbleed"


@dataclass(frozen=True)
class _Cached:
    """Files of one prepared scan."""

    image: Path
    labels: Path
    about: Path


def load_training_scans(
    dataset: Path,
    settings: PreparationSettings,
    cache_folder: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[TrainingScan, ...]:
    """Return every scan of a dataset that has a reference, as `prepare_training_scans` does.

    Args:
        dataset: BIDS folder with `derivatives/reference`.
        settings: Preparation.
        cache_folder: Made if missing.
        workers: Processes.
        progress: Told what is done and what there is to do, in scans.

    Raises:
        InputError: If no scan has a reference, or a scan cannot be prepared.
    """
    scans = [scan for scan in read_dataset(dataset) if scan.labels is not None]
    if not scans:
        raise InputError(f"expected scans with a reference, got none in {dataset.name}")
    return prepare_training_scans(scans, settings, cache_folder, workers, progress)


def prepare_training_scans(
    scans: Sequence[DatasetScan],
    settings: PreparationSettings,
    cache_folder: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
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

    Raises:
        InputError: If a scan cannot be prepared.
    """
    cache_folder.mkdir(parents=True, exist_ok=True)
    files = [_cached(scan, settings, cache_folder) for scan in scans]
    missing = [i for i, file in enumerate(files) if not file.about.exists()]
    work = partial(_prepare, settings=settings)
    jobs = _map(work, [(scans[i], files[i]) for i in missing], workers)
    for done, _ in enumerate(jobs, start=len(scans) - len(missing) + 1):
        if progress is not None:
            progress(done, len(scans))
    return tuple(_load(scan, file) for scan, file in zip(scans, files, strict=True))


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
    assert scan.labels is not None
    volume = read_nifti(scan.image)
    labels = read_nifti(scan.labels)
    brain = brain_mask(volume) if scan.brain is None else read_nifti(scan.brain).array > 0
    if labels.shape != volume.shape:
        raise InputError(
            f"expected the reference on the grid of {volume.name}, {volume.shape}, "
            f"got {labels.shape}"
        )
    prepared = prepare_slices(volume, settings, brain)
    working = prepared.grid.to_working(labels.array, order=0)
    points = working_points(prepared.grid, _mimic_voxels(scan, volume))
    about = {
        "mimic_points": points.tolist(),
        "spacing_mm": [prepared.grid.thickness_mm, *prepared.grid.pixel_mm],
    }
    _save(files.image, quantised(prepared.array, prepared.shown))
    # Eight bits where they do: a cohort's labels are read from disk at random.
    narrow = np.uint8 if working.max() <= 255 else np.int16
    _save(files.labels, np.round(working).astype(narrow))
    with replacing(files.about) as path:
        path.write_text(json.dumps(about), encoding="utf-8")


def _mimic_voxels(scan: DatasetScan, volume: Volume) -> FloatArray:
    if scan.table is None:
        return np.zeros((0, 3))
    rows = [row for row in read_tsv(scan.table) if row.get("kind", MICROBLEED) != MICROBLEED]
    points = np.array([[float(row[key]) for key in ("x_mm", "y_mm", "z_mm")] for row in rows])
    return volume.voxel(points.reshape(-1, 3))


def _load(scan: DatasetScan, files: _Cached) -> TrainingScan:
    about = json.loads(files.about.read_text(encoding="utf-8"))
    thickness, row, col = about["spacing_mm"]
    return TrainingScan(
        subject=scan.subject,
        image=np.load(files.image, mmap_mode="r", allow_pickle=False),
        labels=np.load(files.labels, mmap_mode="r", allow_pickle=False),
        mimic_points=np.array(about["mimic_points"], np.float32).reshape(-1, 3),
        spacing_mm=(thickness, row, col),
        name=stem(scan.image.name),
    )


def _cached(scan: DatasetScan, settings: PreparationSettings, folder: Path) -> _Cached:
    """Return the files of a scan, named by all that they depend on."""
    parts: list[Any] = [CACHE_VERSION, settings_to_json(settings)]
    for path in (scan.image, scan.labels, scan.table, scan.brain):
        if path is not None:
            status = path.stat()
            parts.append([str(path.resolve()), status.st_size, status.st_mtime_ns])
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
    name = f"{stem(scan.image.name)}-{key}"
    return _Cached(
        folder / f"{name}-image.npy", folder / f"{name}-labels.npy", folder / f"{name}.json"
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
