"""What scoring costs: one scan of a million voxels with about 50 lesions, from arrays to scores."""

import time

import numpy as np
from scipy import ndimage

from mmocnet.evaluate.cases import Case
from mmocnet.evaluate.instances import Instances
from mmocnet.evaluate.matching import BoolArray, components
from mmocnet.evaluate.score import Report, ScoreSettings, score_case
from mmocnet.evaluate.summary import summarise

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


def _score(case: Case) -> None:
    """Score a scan and summarise it: every rule, intervals, FROC and precision-recall curve."""
    summarise(Report((score_case(case),), (), (), ScoreSettings()))


def measure() -> list[tuple[str, float, str]]:
    case = synthetic_case()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        _score(case)
        seconds.append(time.perf_counter() - start)
    lesions = int(case.reference.max())
    name = f"evaluate 100 x 100 x 100, {lesions} lesions, FROC, P-R"
    return [(name, sorted(seconds)[RUNS // 2], "s")]
