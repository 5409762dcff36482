from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mmocnet.io.dataset import DatasetScan
from mmocnet.train.patches import TrainingScan


def toy_scan(
    rng: np.random.Generator, subject: str, shape: tuple[int, int, int] = (12, 96, 112)
) -> TrainingScan:
    """An ellipse of noisy tissue with dark balls (lesions) and dark rods (vessels)."""
    at = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij")
    middle = [(n - 1) / 2 for n in shape]
    brain = sum(((a - m) / (0.95 * m)) ** 2 for a, m in zip(at[1:], middle[1:], strict=True)) < 1
    image = 0.5 + 0.03 * rng.standard_normal(shape, dtype=np.float32)
    labels = np.zeros(shape, np.int16)
    for number in range(1, 9):
        centre = [rng.uniform(0.25 * n, 0.75 * n) for n in shape]
        radius = rng.uniform(2.5, 5.0)
        scaled = [(a - c) / w for a, c, w in zip(at, centre, (0.5, 1, 1), strict=True)]
        distance = np.sqrt(sum(d**2 for d in scaled))
        image -= 0.35 * np.exp(-((distance / radius) ** 4))
        labels[distance < radius] = number
    for _ in range(4):
        row, slope = rng.uniform(0.2, 0.8) * shape[1], rng.uniform(-0.3, 0.3)
        s = int(rng.integers(shape[0]))
        line = np.abs(at[1][s] - row - slope * (at[2][s] - middle[2]))
        image[s] -= 0.3 * np.exp(-((line / 1.5) ** 2))
    image = np.where(brain, np.clip(image, 0.01, 1), 0)
    labels[~brain] = 0
    mimics = np.array([[shape[0] / 2, shape[1] / 2, shape[2] / 2]])
    return TrainingScan(
        subject, (image * 255).astype(np.uint8), labels, mimics, (1.0, 0.5, 0.5), f"sub-{subject}"
    )


@pytest.fixture
def make_toy_scan() -> Callable[..., TrainingScan]:
    return toy_scan


@pytest.fixture
def make_dataset(
    tmp_path: Path, make_toy_scan: Callable[..., TrainingScan]
) -> Callable[..., list[DatasetScan]]:
    """Return what writes toy scans as NIfTI with their references."""

    def make(rng: np.random.Generator, name: str, count: int) -> list[DatasetScan]:
        scans = []
        for number in range(count):
            toy = make_toy_scan(rng, f"{number:02d}", (12, 160, 176))
            image = toy.image.copy()
            # Dots that are no lesions: lesions look alike, only the reference tells them apart.
            for s, row, col in rng.integers((2, 45, 45), (10, 115, 130), (8, 3)):
                image[s : s + 2, row : row + 5, col : col + 5] //= 4
            paths = []
            for kind, array in (("swi", image), ("labels", toy.labels)):
                path = tmp_path / f"{name}-{number}-{kind}.nii.gz"
                turned = np.ascontiguousarray(np.moveaxis(array, 0, 2))
                nib.save(nib.Nifti1Image(turned, np.diag([0.5, 0.5, 1.0, 1.0])), path)
                paths.append(path)
            scans.append(DatasetScan(toy.subject, None, paths[0], labels=paths[1]))
        return scans

    return make
