import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from mmocnet.io.dicom.objects import Findings
from mmocnet.io.dicom.source import DicomSource
from mmocnet.lesion import Certainty, Lesion
from mmocnet.volume import Volume

SHAPE = (30, 24, 9)
MADE = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
WEIGHTS = {"detector": "ab" * 32, "segmenter": "cd" * 32}
PLACES = (("frontal", "left"), ("basal ganglia", "right"), ("n/a", "n/a"))


def lesions_of(labels: Volume) -> list[Lesion]:
    found = []
    for index in range(1, int(labels.array.max()) + 1):
        voxels = np.argwhere(labels.array == index)
        centre = voxels.mean(axis=0)
        region, side = PLACES[(index - 1) % len(PLACES)]
        one = Lesion(
            index=index,
            name=f"CMB {index}",
            centre_mm=tuple(labels.world(centre)),
            centre_voxel=tuple(int(v) for v in np.rint(centre)),
            volume_mm3=len(voxels) * labels.voxel_mm3,
            diameter_mm=3.25 + index,
            diameter_eq_mm=3.0,
            confidence=0.9 - 0.1 * index,
            certainty=Certainty.DEFINITE if index != 2 else Certainty.POSSIBLE,
            region=region,
        )
        found.append(dataclasses.replace(one, side=side))
    return found


def source_of(files: Sequence[Path], slices: int) -> DicomSource:
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    frames = (1,) * slices if len(files) > 1 else tuple(range(1, slices + 1))
    return DicomSource(header.SeriesInstanceUID, tuple(files), frames)


def findings_of(source: DicomSource, labels: Volume) -> Findings:
    settings = {"threshold": 0.5, "kernel": (3, 5)}
    return Findings(source, lesions_of(labels), labels, WEIGHTS, settings, MADE, "standard")


def touching_lesions() -> np.ndarray:
    """Three lesions: two that share faces, the third on the last slice alone."""
    labels = np.zeros(SHAPE, dtype=np.int32)
    labels[4:8, 5:8, 2:5] = 1
    labels[8:10, 5:8, 3:6] = 2
    labels[20, 17, 8] = 3
    return labels


@pytest.fixture
def oblique() -> np.ndarray:
    """Columns, rows and slices that lie along no axis of the world, of 0.6 x 0.7 x 2 mm."""
    a, b = np.deg2rad(20), np.deg2rad(-35)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-0.6, -0.7, 2.0])
    affine[:3, 3] = [12.5, -33.25, 47.125]
    return affine


@pytest.fixture
def written(tmp_path, oblique, rng, write_dicom_series) -> Callable[..., Findings]:
    """Write a series and return findings in it."""

    def write(labels: np.ndarray | None = None, **options: object) -> Findings:
        array = touching_lesions() if labels is None else labels
        scan = Volume(rng.uniform(50, 900, array.shape), oblique, "scan")
        files = write_dicom_series(tmp_path / "series", scan, **options)
        return findings_of(source_of(files, array.shape[2]), scan.like(array))

    return write


def _labels_from(path: Path, like: Volume) -> np.ndarray:
    """Return the label volume that a SEG says, from its frames' positions and pixels alone."""
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    turned = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient).reshape(2, 3)
    row_mm, column_mm = shared.PixelMeasuresSequence[0].PixelSpacing
    found = np.zeros(like.shape, dtype=np.int32)
    # One frame is read without its axis.
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    for pixels, group in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        held = group if "SegmentIdentificationSequence" in group else shared
        number = held.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        row, column = np.nonzero(pixels)
        lps = corner + np.outer(column * column_mm, turned[0]) + np.outer(row * row_mm, turned[1])
        voxel = like.voxel(lps * [-1, -1, 1])
        assert np.abs(voxel - np.rint(voxel)).max() < 1e-3
        found[tuple(np.rint(voxel).astype(int).T)] = number
    return found


@pytest.fixture
def labels_from() -> Callable[[Path, Volume], np.ndarray]:
    return _labels_from


@pytest.fixture
def findings_in() -> Callable[[DicomSource, Volume], Findings]:
    return findings_of
