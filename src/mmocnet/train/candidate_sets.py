"""The candidates that the classifier learns from: collected once and kept as files."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmocnet.config import ClassifierSettings
from mmocnet.errors import InputError
from mmocnet.io.atomic import replacing
from mmocnet.io.dataset import DatasetScan
from mmocnet.io.lesion_labels import read_reference
from mmocnet.io.phase import read_phase
from mmocnet.io.read import read_scan
from mmocnet.nets.checkpoint import Cascade
from mmocnet.predict.classify import (
    candidate_centres,
    candidate_patches,
    classifier_logits,
    surroundings,
)
from mmocnet.predict.engine import Engine
from mmocnet.predict.fuse import outline_candidates
from mmocnet.predict.pipeline import phase_slices, stage_maps
from mmocnet.prepare.brain import brain_mask
from mmocnet.prepare.slices import PreparedSlices, prepare_slices
from mmocnet.train.calibrate import ScoredScan
from mmocnet.train.mapped import mapped
from mmocnet.train.operate import lesions_hit
from mmocnet.train.planes_across import chosen_planes, placed, planes_across
from mmocnet.train.scans import cache_name
from mmocnet.types import FloatArray

MARGIN_PX = 4
"""Largest shift of a training patch along each axis."""
PLANES = 4, 2
"""Slices of a scan that are also collected alone: with a lesion, and without."""
MOST_FALSE = 250
"""False candidates kept of one scan to learn from: those that stage 2 thinks most of."""


@dataclass(frozen=True)
class CandidateSet:
    """The candidates of one volume, or of one single slice of it.

    Attributes:
        subject: Whose.
        patches: Shape (N, C, side, side), float16, as the classifier reads them, with a margin.
        hit: Reference lesion that each covers most of, 0 for none, shape (N,).
        references: Number of reference lesions.
        single: Whether it is a single slice.
    """

    subject: str
    patches: NDArray[np.float16]
    hit: NDArray[np.integer]
    references: int
    single: bool


def collect_candidates(
    scan: DatasetScan, cascade: Cascade, engine: Engine, folder: Path | None = None
) -> list[CandidateSet]:
    """Return the candidates of a scan, found as `segment` finds them, and of slices of it.

    Args:
        scan: With a reference; a phase image beside it is used.
        cascade: Whose stages find them; its settings have a classifier.
        engine: The cascade's.
        folder: Where they are kept, and taken from if they are those of the same files; None keeps
            nothing.

    Raises:
        InputError: If the scan has no reference, or the model no classifier.
    """
    if folder is None:
        return list(_collected(scan, cascade, engine))
    about = folder / f"{cache_name(scan)}.json"
    if not about.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _keep(about, list(_collected(scan, cascade, engine)))
    rows = json.loads(about.read_text(encoding="utf-8"))
    return [
        CandidateSet(
            scan.subject,
            mapped(about.with_name(row["file"])),
            np.array(row["hit"], np.int64),
            row["references"],
            row["single"],
        )
        for row in rows
    ]


def _keep(about: Path, sets: Sequence[CandidateSet]) -> None:
    rows = []
    for number, one in enumerate(sets):
        file = about.with_name(f"{about.stem}-{number}.npy")
        np.save(file, one.patches, allow_pickle=False)
        rows.append(
            {
                "file": file.name,
                "hit": one.hit.tolist(),
                "references": one.references,
                "single": one.single,
            }
        )
    # Last: it says that the patches are there.
    with replacing(about) as path:
        path.write_text(json.dumps(rows), encoding="utf-8")


def score_volume(
    scan: DatasetScan, cascade: Cascade, engine: Engine, *, with_phase: bool = False
) -> ScoredScan:
    """Return what a classifier says of all candidates of a volume, found as `segment` finds them.

    All of them, however many: a confidence is calibrated on what it will be asked about.

    Args:
        scan: With a reference.
        cascade: Whose classifier, in its settings.
        engine: Runs the cascade with its classifier.
        with_phase: Whether it is shown the phase image beside the scan, if there is one.

    Raises:
        InputError: If the scan has no reference, is a single slice, or the model has no classifier.
    """
    read = _Read(scan)
    slices, labels = _prepared(read, cascade)
    check_whole(slices, scan)
    settings = _classifier_settings(cascade)
    maps = stage_maps(slices, engine, cascade.settings)
    outlines = outline_candidates(maps.outlines)
    hit = lesions_hit(outlines.labels, labels, len(outlines.confidence))
    phase = _phase(scan, read, slices) if with_phase else None
    logit = classifier_logits(outlines, surroundings(slices, maps, phase), engine, settings)
    return ScoredScan(scan.subject, logit, hit, int((np.unique(labels) > 0).sum()))


def check_whole(slices: PreparedSlices, scan: DatasetScan) -> None:
    """Refuse a single slice where a volume is wanted.

    Raises:
        InputError: If the scan is one.
    """
    if len(slices.array) == 1:
        raise InputError(
            f"expected whole volumes to calibrate on, got one slice: {scan.image.name}"
        )


class _Read:
    """A scan with its brain and its reference."""

    def __init__(self, scan: DatasetScan) -> None:
        self.scan = read_scan(scan.image)
        self.volume = self.scan.volume
        self.reference = read_reference(scan, self.volume)
        self.brain = brain_mask(self.volume)


def _prepared(read: _Read, cascade: Cascade) -> tuple[PreparedSlices, NDArray[np.int64]]:
    slices = prepare_slices(read.volume, cascade.settings.preparation, read.brain)
    return slices, placed(read.reference, slices.grid)


def _phase(scan: DatasetScan, read: _Read, slices: PreparedSlices) -> FloatArray | None:
    image = None if scan.phase is None else read_phase(scan.phase, read.scan).volume
    return phase_slices(image, read.volume, read.brain, slices.grid)[0]


def _collected(scan: DatasetScan, cascade: Cascade, engine: Engine) -> Iterator[CandidateSet]:
    read, model = _Read(scan), (cascade, engine)
    volume, brain = read.volume, read.brain
    slices, labels = _prepared(read, cascade)
    phase = _phase(scan, read, slices)
    yield _of_slices(scan.subject, slices, labels, phase, model)
    for k in chosen_planes(labels, slices.brain, PLANES):
        plane = replace(
            slices,
            array=slices.array[k : k + 1],
            brain=slices.brain[k : k + 1],
            shown=slices.shown[k : k + 1],
        )
        part = None if phase is None else phase[k : k + 1]
        yield _of_slices(scan.subject, plane, labels[k : k + 1], part, model)
    for across in planes_across(volume, brain, read.reference, cascade.settings.preparation):
        yield _of_slices(scan.subject, across.slices, across.labels, None, model)


def _of_slices(
    subject: str,
    slices: PreparedSlices,
    labels: NDArray[np.int64],
    phase: FloatArray | None,
    model: tuple[Cascade, Engine],
) -> CandidateSet:
    cascade, engine = model
    settings = _classifier_settings(cascade)
    maps = stage_maps(slices, engine, cascade.settings)
    outlines = outline_candidates(maps.outlines)
    hit = lesions_hit(outlines.labels, labels, len(outlines.confidence))
    false = np.cumsum(hit == 0) * (hit == 0)
    # The most probable come first.
    kept = np.flatnonzero(false <= MOST_FALSE)
    around = surroundings(slices, maps, phase)
    patches = candidate_patches(around, candidate_centres(outlines)[kept], settings, MARGIN_PX)
    references = int((np.unique(labels) > 0).sum())
    single = len(slices.array) == 1
    return CandidateSet(subject, patches.astype(np.float16), hit[kept], references, single)


def _classifier_settings(cascade: Cascade) -> ClassifierSettings:
    if cascade.settings.classifier is None:
        raise InputError(f"expected a model with a classifier, got {cascade.name} without")
    return cascade.settings.classifier
