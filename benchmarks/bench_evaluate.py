"""What scoring costs: one scan of a million voxels with about 50 lesions, to scores, to files."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from mmocnet.evaluate.cases import Case
from mmocnet.evaluate.instances import Instances
from mmocnet.evaluate.matching import BoolArray, components
from mmocnet.evaluate.score import Report, ScoreSettings, score_case
from mmocnet.evaluate.summary import summarise
from mmocnet.evaluate.tables import write_report

SHAPE = (100, 100, 100)
SPACING_MM = (1.0, 1.0, 1.0)
LESIONS = 50
RUNS = 3


def _balls(rng: np.random.Generator, count: int) -> BoolArray:
    """Return balls of 2 to 8 mm, apart but for chance."""
    seeds = np.ones(SHAPE, dtype=bool)
    seeds[tuple(rng.integers(5, n - 5, count) for n in SHAPE)] = False
    distance, nearest = ndimage.distance_transform_edt(seeds, return_indices=True)
    radius = rng.uniform(1.0, 4.0, SHAPE)[tuple(nearest)]
    return np.asarray(distance <= radius)


def synthetic_case(seed: int = 0) -> Case:
    """Return a reference and a prediction of it that is a voxel off, with misses and mimics."""
    rng = np.random.default_rng(seed)
    reference = components(_balls(rng, LESIONS))
    kept = np.isin(reference, rng.permutation(np.arange(1, reference.max() + 1))[: LESIONS - 8])
    found = np.roll(kept, 1, axis=0) | _balls(rng, 10)
    probability = ndimage.gaussian_filter(found.astype(np.float32), 1.0)
    labels = components(probability > 0.1)
    confidence = rng.uniform(0.05, 1.0, int(labels.max()))
    return Case(
        name="synthetic",
        subject="synthetic",
        spacing_mm=SPACING_MM,
        slice_axis=2,
        reference=reference,
        predicted=components(probability >= 0.5),
        candidates=Instances(labels, confidence),
        probability=probability,
        valid=None,
    )


def _summary(case: Case) -> None:
    summarise(_report(case))


def _files(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_report(_report(case), Path(folder))


def _report(case: Case) -> Report:
    return Report((score_case(case),), (), (), ScoreSettings())


def _median_s(work: Callable[[Case], None], case: Case) -> float:
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work(case)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[RUNS // 2]


def measure() -> list[tuple[str, float, str]]:
    case = synthetic_case()
    name = f"evaluate 100 x 100 x 100, {case.reference.max()} lesions"
    return [
        (f"{name}: every score", _median_s(_summary, case), "s"),
        (f"{name}: with tables, page", _median_s(_files, case), "s"),
    ]
