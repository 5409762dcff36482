from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from mmocnet.config import CascadeSettings, SegmentSettings
from mmocnet.io.nifti import write_nifti
from mmocnet.io.picture import write_picture
from mmocnet.io.read import Scan, read_scan
from mmocnet.nets.checkpoint import Cascade
from mmocnet.predict.findings import list_findings
from mmocnet.predict.provenance import provenance
from mmocnet.predict.segmentation import Segmentation
from mmocnet.prepare.geometry import slice_axis
from mmocnet.review.candidates import MachineResult, candidates_of, write_candidates
from mmocnet.review.reading import (
    Event,
    Finding,
    Grid,
    Reading,
    encode_voxels,
    finding_json,
)
from mmocnet.review.study import ReviewedStudy
from mmocnet.volume import Volume

SHAPE = (44, 40, 12)
SPOTS = {
    "m1": ((10, 10, 4), 1.6),
    "m2": ((30, 12, 6), 1.2),
    "m3": ((12, 30, 8), 1.6),
    "m4": ((32, 30, 3), 1.2),
    "missed": ((22, 20, 6), 1.6),
}
"""Centre in voxels and radius in mm of what is dark; the last one is no candidate."""
CONFIDENCE = np.array([0.95, 0.6, 0.4, 0.1])
ORDER = ("m1", "m2", "m3", "m4")
AFFINE = np.array(
    [[-0.5, 0.02, 0.0, 10.0], [0.02, 0.6, 0.0, -12.0], [0.0, 0.0, 1.5, 4.0], [0, 0, 0, 1.0]]
)


def ball(grid: Grid, centre: Sequence[float], radius_mm: float) -> np.ndarray:
    """Return the flat indices of a ball, by brute force over the grid."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(-1, 3)
    away = (index - np.array(centre)) @ grid.affine[:3, :3].T
    near = index[np.linalg.norm(away, axis=1) <= radius_mm]
    i, j, k = near.T
    return np.sort(i * grid.shape[1] * grid.shape[2] + j * grid.shape[2] + k).astype(np.uint32)


@dataclass
class Made:
    """A study as the room has it."""

    study: ReviewedStudy
    scan: Scan
    result: Segmentation
    machine: MachineResult

    @property
    def grid(self) -> Grid:
        return self.machine.grid

    def spot(self, name: str) -> np.ndarray:
        centre, radius = SPOTS[name]
        at = (*centre[:2], 0) if self.grid.is_slice else centre
        return ball(self.grid, at, radius)

    def reading(self, *steps: tuple[str, dict[str, Any]], reader: str = "a1") -> Reading:
        return Reading(self.grid, self.machine.findings, events(*steps, reader=reader))


def events(*steps: tuple[str, dict[str, Any]], reader: str = "a1", first: int = 1) -> list[Event]:
    return [
        Event(number, reader, f"2026-05-06T07:08:{number % 60:02d}+00:00", kind, payload)
        for number, (kind, payload) in enumerate(steps, first)
    ]


def verdict(name: str, word: str | None, **more: Any) -> tuple[str, dict[str, Any]]:
    return "verdict", {"finding": name, "verdict": word, **more}


def add(voxels: np.ndarray) -> tuple[str, dict[str, Any]]:
    return "add", {"voxels": encode_voxels(voxels), "seed": [0, 0, 0], "how": "drawn"}


def paint(name: str, voxels: np.ndarray, erase: bool = False) -> tuple[str, dict[str, Any]]:
    return "paint", {"finding": name, "voxels": encode_voxels(voxels), "erase": erase}


def phantom(affine: np.ndarray, shape: tuple[int, int, int], rng: np.random.Generator) -> Volume:
    grid = Grid(shape, affine, 2)
    array = rng.normal(500, 12, shape)
    for centre, radius in SPOTS.values():
        at = (*centre[:2], 0) if grid.is_slice else centre
        array.ravel()[ball(grid, at, radius)] = 120
    return Volume(np.rint(array), affine, "scan.nii.gz")


def segmented(scan: Scan) -> Segmentation:
    """Return a result as `segment` gives it, of a machine that has missed the last spot."""
    volume = scan.volume
    grid = Grid(volume.shape, volume.affine, slice_axis(volume))
    labels = np.zeros(grid.size, np.int32)
    for number, name in enumerate(ORDER, 1):
        centre, radius = SPOTS[name]
        at = (*centre[:2], 0) if grid.is_slice else centre
        labels[ball(grid, at, radius)] = number
    cascade = Cascade(
        CascadeSettings(), nn.Identity(), nn.Identity(), {"dataset": "none"}, "rule",
        {"detector": "ab" * 32, "segmenter": "cd" * 32},
    )  # fmt: skip
    limits = cascade.settings.thresholds
    placed = volume.like(labels.reshape(volume.shape))
    found = list_findings(placed, CONFIDENCE, None, limits, 0.5)
    record = provenance(scan, SegmentSettings(threshold=0.5, location=False), cascade, 0.5)
    record |= {"Started": "2026-05-04T03:02:01+00:00", "Seconds": 1.5}
    if scan.source == "picture":
        record["Input"]["SpacingMm"] = 0.5
    placed_lesions = np.where(found.labels <= len(found.lesions), found.labels, 0)
    return Segmentation(
        image=volume,
        labels=volume.like(placed_lesions),
        probability=volume.like((found.labels > 0).astype(np.float32) * 0.9),
        candidate_labels=volume.like(found.labels),
        lesions=found.lesions,
        candidates=found.candidates,
        siderosis=found.siderosis,
        vessels=found.vessels,
        warnings=("a doubt",),
        slice_axis=grid.slice_axis,
        source=scan.source,
        provenance=record,
        dicom=scan.dicom,
    )


@pytest.fixture
def make_study(
    tmp_path: Path, rng: np.random.Generator, write_dicom_series: Callable[..., list[Path]]
) -> Callable[..., Made]:
    def make(
        kind: str = "nifti", name: str = "brain one.nii.gz", phase: bool = False, place: str = ""
    ) -> Made:
        home = tmp_path / f"{kind}-{name}{place}"
        home.mkdir()
        if kind == "nifti":
            path = home / "scan.nii.gz"
            write_nifti(path, phantom(AFFINE, SHAPE, rng), np.int16)
            scan = read_scan(path)
        elif kind == "dicom":
            path = home / "series"
            affine = np.diag([-0.5, -0.6, 1.5, 1.0])
            image = phantom(affine, SHAPE, rng)
            write_dicom_series(path, image)
            if phase:
                write_dicom_series(path, image.like(np.sin(image.array)), kind="phase")
            scan = read_scan(path)
        else:
            path = home / "slice.png"
            flat = phantom(np.diag([0.5, 0.5, 1.0, 1.0]), (*SHAPE[:2], 1), rng)
            pixels = np.clip(flat.array[:, :, 0].T[::-1] / 4, 0, 255).astype(np.uint8)
            write_picture(path, np.ascontiguousarray(pixels))
            scan = read_scan(path, 0.5)
        result = segmented(scan)
        machine = candidates_of(result)
        write_candidates(home / "result", machine)
        spacing = 0.5 if kind == "picture" else None
        return Made(ReviewedStudy(path, home / "result", name, spacing), scan, result, machine)

    return make


@pytest.fixture
def made(make_study: Callable[..., Made]) -> Made:
    return make_study()


def simple_candidates(grid: Grid, places: Sequence[np.ndarray]) -> tuple[Finding, ...]:
    """Return machine findings with the given outlines, each less sure than the one before."""
    labels = np.zeros(grid.size, np.int32)
    for number, voxels in enumerate(places, 1):
        labels[voxels] = number
    volume = Volume(labels.reshape(grid.shape), grid.affine)
    sure = np.linspace(0.9, 0.2, len(places))
    limits = CascadeSettings().thresholds
    found = list_findings(volume, sure, None, limits, 0.5)
    voxels = {one.index: np.flatnonzero(found.labels == one.index) for one in found.candidates}
    return tuple(
        Finding(
            f"m{one.index}", "machine", voxels[one.index].astype(np.uint32), one.confidence, one,
            "lesion" if one.confidence >= 0.5 else "below threshold",
        )
        for one in found.candidates
    )  # fmt: skip


def state(reading: Reading) -> list[dict[str, Any]]:
    """Return all that a reading says of its findings, comparable."""
    return [finding_json(one, reading.grid) for one in reading.findings]


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """What tests of a reading build it from."""
    return SimpleNamespace(
        add=add,
        ball=ball,
        candidates=simple_candidates,
        events=events,
        paint=paint,
        state=state,
        verdict=verdict,
    )
