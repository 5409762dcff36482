"""Fit the confidence in context: what is a microbleed among the candidates of whole volumes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mmocnet.config import ContextSettings
from mmocnet.errors import InputError
from mmocnet.io.dataset import DatasetScan
from mmocnet.io.lesion_labels import read_reference
from mmocnet.io.read import read_scan
from mmocnet.nets.checkpoint import Cascade
from mmocnet.predict.context import context_features, expanded
from mmocnet.predict.engine import make_engine
from mmocnet.predict.fuse import outline_candidates
from mmocnet.predict.pipeline import stage_maps
from mmocnet.prepare.brain import brain_mask
from mmocnet.prepare.slices import prepare_slices
from mmocnet.train.candidate_sets import check_whole
from mmocnet.train.operate import lesions_hit
from mmocnet.train.planes_across import placed
from mmocnet.types import FloatArray

RIDGE = 3e-3
"""Penalty on squared weights, per candidate."""


@dataclass(frozen=True)
class SliceCandidates:
    """The candidates of one slice that holds a lesion.

    Attributes:
        confidence: Highest stage-2 probability of each, shape (N,).
        hit: Reference lesion that each covers most of, 0 for none, shape (N,).
        references: Number of reference lesions.
    """

    confidence: FloatArray
    hit: NDArray[np.integer]
    references: int


@dataclass(frozen=True)
class Collected:
    """The candidates of one volume with what they are.

    Attributes:
        subject: Whose.
        features: Shape (N, F), see `predict.context`.
        hit: Reference lesion that each candidate covers most of, 0 for none, shape (N,).
        references: Number of reference lesions.
        slices: What single slices through its lesions would hold.
    """

    subject: str
    features: FloatArray
    hit: NDArray[np.integer]
    references: int
    slices: tuple[SliceCandidates, ...]


def collect(
    scan: DatasetScan, cascade: Cascade, device: str = "cpu", *, whole: bool = False
) -> Collected:
    """Return the candidates of a scan that has a reference, found as `segment` finds them.

    Args:
        scan: With a reference.
        cascade: Whose stages find them.
        device: cpu or cuda.
        whole: Whether it has to be a volume.

    Raises:
        InputError: If the scan has no reference, or is a single slice where a volume is wanted.
    """
    volume = read_scan(scan.image).volume
    reference = read_reference(scan, volume)
    crop = cascade.settings.preparation.pixel_mm is not None
    engine = make_engine(cascade, device, crop=crop)
    slices = prepare_slices(volume, cascade.settings.preparation, brain_mask(volume))
    if whole:
        check_whole(slices, scan)
    fused = stage_maps(slices, engine, cascade.settings).outlines
    outlines = outline_candidates(fused)
    labels = placed(reference, slices.grid)
    return Collected(
        subject=scan.subject,
        features=context_features(slices, outlines),
        hit=lesions_hit(outlines.labels, labels, len(outlines.confidence)),
        references=int(reference.max()),
        slices=tuple(
            _slice_candidates(fused[k : k + 1], labels[k : k + 1])
            for k in np.flatnonzero((labels > 0).any(axis=(1, 2)))
        ),
    )


def _slice_candidates(fused: FloatArray, labels: NDArray[np.int64]) -> SliceCandidates:
    outlines = outline_candidates(fused)
    references = int((np.unique(labels) > 0).sum())
    hit = lesions_hit(outlines.labels, labels, len(outlines.confidence))
    return SliceCandidates(outlines.confidence, hit, references)


def fit_context(volumes: Sequence[Collected]) -> ContextSettings:
    """Return the weights of a ridge-penalised logistic regression on all candidates.

    Raises:
        InputError: If there is not at least one candidate of each kind.
    """
    features = np.concatenate([v.features for v in volumes])
    truth = np.concatenate([v.hit for v in volumes]) > 0
    if truth.all() or not truth.any():
        raise InputError("expected microbleeds and others among the candidates to fit on")
    mean, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    blank = ContextSettings(tuple(mean.tolist()), tuple(scale.tolist()), ())
    x = expanded(features, blank)
    sign = np.where(truth, 1.0, -1.0)

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        margin = sign * (x @ weights)
        penalty = RIDGE * weights
        penalty[-1] = 0.0
        slope = -(sign / (1 + np.exp(np.clip(margin, -500, 500)))) @ x / len(x)
        value = np.logaddexp(0, -margin).mean() + 0.5 * float(weights @ penalty)
        return float(value), slope + penalty

    fitted = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B")
    return ContextSettings(blank.mean, blank.scale, tuple(float(w) for w in fitted.x))
