"""Each engine: stage 1, stage 2 and the whole, and the article's stage 1, on the same volume.

The volume is 256 x 256 x 80; all run with torch's number of threads. Converting a network, which
is done once a model, is not timed.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from mmocnet.config import DetectorSettings, EngineName, PreparationSettings, SegmentSettings
from mmocnet.errors import MmocnetError
from mmocnet.io.nifti import write_nifti
from mmocnet.nets.card import default_model
from mmocnet.nets.checkpoint import Cascade, load_cascade
from mmocnet.nets.detector import Detector
from mmocnet.predict.candidates import find_candidates
from mmocnet.predict.engine import Engine, make_engine
from mmocnet.predict.pipeline import segment_file
from mmocnet.predict.second_stage import outlined
from mmocnet.prepare.brain import brain_mask
from mmocnet.prepare.neighbours import neighbour_step
from mmocnet.prepare.slices import PreparedSlices, prepare_slices
from mmocnet.volume import Volume

Row = tuple[str, float, str]

SHAPE = (256, 256, 80)
SPACING_MM = (0.8, 0.8, 1.8)
MICROBLEEDS = 8
PATCHES = 256
ARTICLE_SLICES = 4


def synthetic_scan(seed: int = 0) -> Volume:
    """Return a stripped ellipsoid with texture, noise and dark dots in its inside."""
    rng = np.random.default_rng(seed)
    centre = (np.array(SHAPE) - 1) / 2
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij", sparse=True)
    half_mm = np.array([68.0, 88.0, 62.0])
    offsets_mm = [(axis - c) * mm for axis, c, mm in zip(grid, centre, SPACING_MM, strict=True)]
    inside = sum((d / h) ** 2 for d, h in zip(offsets_mm, half_mm, strict=True))
    brain = np.asarray(inside) < 1
    image = np.where(brain, 500.0 + rng.normal(0, 25, SHAPE), 0.0)
    for _ in range(MICROBLEEDS):
        dot_mm = rng.uniform(-0.4, 0.4, 3) * half_mm
        squared = sum((d - at) ** 2 for d, at in zip(offsets_mm, dot_mm, strict=True))
        image *= 1 - 0.85 * np.exp(-np.asarray(squared) / 2.0)
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = -centre * np.array(SPACING_MM)
    return Volume(np.clip(image, 0, 1000).astype(np.int16), affine, "synthetic.nii.gz")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure() -> list[Row]:
    cascade = load_cascade(default_model())
    volume = synthetic_scan()
    slices = prepare_slices(volume, cascade.settings.preparation, brain_mask(volume))
    torch.manual_seed(0)
    article = (Detector(DetectorSettings()).eval(), cascade.segmenter)
    rows: list[Row] = [("threads", torch.get_num_threads(), "")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "synthetic.nii.gz"
        write_nifti(path, volume, np.int16)
        for name in get_args(EngineName):
            try:
                rows += measured(name, cascade, article, slices, path)
            except MmocnetError as error:
                rows.append((f"{name}: {error}", float("nan"), ""))
    return rows


def measured(
    name: EngineName,
    cascade: Cascade,
    article: tuple[Detector, torch.nn.Module],
    slices: PreparedSlices,
    path: Path,
) -> list[Row]:
    """Return the rows of one engine."""
    engine = make_engine(cascade, engine=name)
    step = neighbour_step(slices.grid.thickness_mm)
    start = time.perf_counter()
    coarse = engine.detect(slices.array, slices.brain, step=step)
    first = time.perf_counter() - start
    roi = cascade.settings.roi_size
    found = find_candidates(coarse, cascade.settings.candidate_threshold, roi)
    second = seconds(lambda: outlined(engine, slices.array, found, roi, step))
    patches = np.zeros((PATCHES, engine.patch_channels, roi, roi), dtype=np.float32)
    many = seconds(lambda: engine.outline(patches))
    settings = SegmentSettings(engine=name)
    whole = seconds(lambda: segment_file(path, path.parent / name, settings, cascade=cascade))
    articles = article_seconds(make_engine(article, crop=False, engine=name), slices)
    return [
        (f"{name}: {cascade.name}, stage 1", first, "s"),
        (f"{name}: {cascade.name}, stage 2, {len(found)} candidates", second, "s"),
        (f"{name}: {cascade.name}, stage 2, {PATCHES} patches", many, "s"),
        (f"{name}: {cascade.name}, segment, file to report", whole, "s"),
        (f"{name}: article's stage 1, random weights", articles, "s"),
        (f"{name}: segment / article's stage 1", whole / articles, ""),
    ]


def article_seconds(engine: Engine, slices: PreparedSlices) -> float:
    """Return the time of the article's stage 1 on all slices with brain, from some of them.

    It scales each slice to one size, so that each takes the same time.
    """
    count = int(slices.brain.any(axis=(1, 2)).sum())
    shape = (ARTICLE_SLICES, *PreparationSettings().input_shape)
    some = np.random.default_rng(0).random(shape, dtype=np.float32)
    brain = np.ones(shape, dtype=bool)
    engine.detect(some[:1], brain[:1])
    return seconds(lambda: engine.detect(some, brain)) * count / ARTICLE_SLICES
