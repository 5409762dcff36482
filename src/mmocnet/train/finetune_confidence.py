"""Fit a model's confidence to a user's scans, and leave it as it was on others.

The confidence is a logistic function of a few numbers a candidate: measures of its surroundings
(`predict.context`), or the classifier's logit. On the user's scans the truth is learned; on
simulated scans the confidence that the model gave before is (learning without forgetting, Li and
Hoiem, 2017), so that no prior of the simulated scans comes in. A classifier has both apart: a line
for volumes with the user's voxels, fitted with what the burden makes of it, and that for all
others. The operating points stay: they are probabilities, and mean what they meant.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mmocnet.config import BurdenSettings, CascadeSettings, ClassifierSettings, LocalConfidence
from mmocnet.errors import InputError
from mmocnet.io.dataset import DatasetScan
from mmocnet.io.nifti import read_nifti
from mmocnet.nets.checkpoint import Cascade
from mmocnet.predict.classify import voxel_of
from mmocnet.predict.confidence import probability
from mmocnet.predict.context import expanded
from mmocnet.predict.engine import Engine, make_engine
from mmocnet.train.calibrate import ScoredScan
from mmocnet.train.candidate_sets import CandidateSet, collect_candidates, score_volume
from mmocnet.train.classifier_stage import scored
from mmocnet.train.context import Collected, collect
from mmocnet.train.finetune_settings import FinetuneSettings
from mmocnet.types import FloatArray, Triple

LOWEST_SLOPE = 0.05
"""A higher score of the classifier never means a lower confidence."""


@dataclass(frozen=True)
class Rows:
    """The candidates of some scans.

    Attributes:
        x: What the weights weigh, the last column 1, shape (N, F).
        truth: Whether each is a microbleed, shape (N,).
    """

    x: FloatArray
    truth: NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """The candidates of some scans, as the model's confidence needs them.

    Attributes:
        in_context: For a confidence in context, one a scan.
        sets: For a classifier, one a volume and one each of some of its slices: what it learns
            from, which leaves out what stage 2 thinks least of.
        volumes: What a classifier says of all candidates of each volume, see `with_scores`.
        voxels_mm: Which voxels the volumes have, as `LocalConfidence` has them.
    """

    in_context: tuple[Collected, ...] = ()
    sets: tuple[CandidateSet, ...] = ()
    volumes: tuple[ScoredScan, ...] = ()
    voxels_mm: tuple[Triple, ...] = ()


def has_confidence(settings: CascadeSettings) -> bool:
    """Return whether a model has a confidence that can be fitted."""
    return settings.context is not None or settings.classifier is not None


def start_weights(settings: CascadeSettings) -> FloatArray:
    """Return the weights of a model's confidence, shape (F,)."""
    if settings.classifier is not None:
        return np.array([settings.classifier.slope, settings.classifier.intercept])
    if settings.context is None:
        raise InputError("expected a model with a confidence in context or a classifier, got none")
    return np.array(settings.context.weights)


def with_weights(settings: CascadeSettings, weights: FloatArray) -> CascadeSettings:
    """Return a model's settings with other weights of its confidence in context."""
    if settings.context is None:
        raise InputError("expected a model with a confidence in context, got none")
    context = replace(settings.context, weights=tuple(weights.tolist()))
    return replace(settings, context=context)


def _line(weights: FloatArray) -> tuple[float, float]:
    """Return a slope and an intercept from weights that were fitted."""
    return max(float(weights[0]), LOWEST_SLOPE), float(weights[1])


def find(scans: Sequence[DatasetScan], cascade: Cascade, device: str = "cpu") -> Found:
    """Return the candidates of scans that have a reference, found as `segment` finds them."""
    if cascade.settings.classifier is None:
        return Found(in_context=tuple(collect(scan, cascade, device) for scan in scans))
    engine = _engine(cascade, device)
    sets = [one for scan in scans for one in collect_candidates(scan, cascade, engine)]
    return Found(sets=tuple(sets))


def with_scores(
    found: Found, scans: Sequence[DatasetScan], cascade: Cascade, device: str = "cpu"
) -> Found:
    """Return the same candidates, with what a classifier says of all of those of the volumes.

    Args:
        found: Of these scans.
        scans: With references; single slices among them are passed over.
        cascade: Whose classifier; without one nothing is added.
        device: cpu or cuda.
    """
    if cascade.classifier is None:
        return found
    engine, voxels, rows = _engine(cascade, device), set(), []
    for scan in scans:
        volume = read_nifti(scan.image)
        if 1 not in volume.shape:
            voxels.add(voxel_of(volume))
            rows.append(score_volume(scan, cascade, engine, with_phase=True))
    return replace(found, volumes=tuple(rows), voxels_mm=tuple(sorted(voxels)))


def _engine(cascade: Cascade, device: str) -> Engine:
    return make_engine(cascade, device, crop=cascade.settings.preparation.pixel_mm is not None)


def rows_of(found: Found, cascade: Cascade, *, single: bool = False) -> Rows:
    """Return what the weights of a model's confidence weigh, of candidates of volumes.

    Args:
        found: The candidates.
        cascade: Whose classifier or context.
        single: Whether those that the classifier saw as single slices are wanted instead.
    """
    settings = cascade.settings
    parts: list[tuple[FloatArray, NDArray[np.bool_]]] = []
    if cascade.classifier is not None:
        for one in scored(found.sets, cascade.classifier)[0 if single else 1]:
            parts.append((np.stack([one.logit, np.ones(len(one.logit))], axis=1), one.hit > 0))
    elif settings.context is not None:
        for volume in found.in_context:
            parts.append((expanded(volume.features, settings.context), volume.hit > 0))
    width = len(start_weights(settings))
    return Rows(
        np.concatenate([np.zeros((0, width)), *(x for x, _ in parts)]),
        np.concatenate([np.zeros(0, np.bool_), *(truth for _, truth in parts)]),
    )


def fitted(
    cascade: Cascade, own: Found, replay: Found, settings: FinetuneSettings, before: Cascade
) -> Cascade:
    """Return a cascade with its confidence fitted to a user's candidates.

    Args:
        cascade: What is fitted.
        own: The user's; with the scores of this cascade's classifier, if it has one. Single
            slices alone have no volumes: a classifier then gets no line for their voxels.
        replay: Of simulated scans.
        settings: How.
        before: Whose confidence the simulated ones keep: the cascade as it was before its
            classifier was tuned, with the same stages.

    Raises:
        InputError: If the user's candidates are all of a kind, or there is nothing to fit.
    """
    start = start_weights(before.settings)
    if cascade.settings.classifier is None:
        mine, others = rows_of(own, cascade), rows_of(replay, cascade)
        held = confidence(others.x, start)
        weights = fit_weights(mine, others, start, held, settings)
        return replace(cascade, settings=with_weights(cascade.settings, weights))
    changed = cascade.settings.classifier
    if before is not cascade:
        changed = _held(cascade, replay, settings, before)
    if own.volumes:
        line = _own_line(own.volumes, cascade.settings.classifier.burden, start, settings)
        local = LocalConfidence(own.voxels_mm, *_line(line))
        kept = (one for one in changed.local if not set(one.voxels_mm) <= set(local.voxels_mm))
        changed = replace(changed, local=(local, *kept))
    return replace(cascade, settings=replace(cascade.settings, classifier=changed))


def _own_line(
    volumes: Sequence[ScoredScan],
    burden: BurdenSettings | None,
    start: FloatArray,
    settings: FinetuneSettings,
) -> FloatArray:
    """Return the line that fits the user's volumes, with what the burden then makes of it."""
    truth = np.concatenate([np.zeros(0, np.bool_), *(one.hit > 0 for one in volumes)])
    _check_kinds(truth)

    def loss(weights: FloatArray) -> float:
        slope, intercept = weights.tolist()
        given = np.concatenate(
            [probability(one.logit, slope, intercept, burden) for one in volumes]
        )
        away = 0.5 * settings.ridge * (slope - start[0]) ** 2
        return float(away - np.log(np.where(truth, given, 1 - given)).mean())

    return np.asarray(minimize(loss, start, method="L-BFGS-B").x)


def _check_kinds(truth: NDArray[np.bool_]) -> None:
    if truth.all() or not truth.any():
        raise InputError("expected microbleeds and others among the candidates to fit on")


def _held(
    cascade: Cascade, replay: Found, settings: FinetuneSettings, before: Cascade
) -> ClassifierSettings:
    """Return a classifier's settings with lines that give simulated candidates what they had.

    Lines that were fine-tuned before, for other voxels, go the same way as that of volumes.
    """
    line, then = cascade.settings.classifier, before.settings.classifier
    assert line is not None
    assert then is not None
    starts = (then.slope, then.intercept), (then.slice_slope, then.slice_intercept)
    fits = []
    for single, start in zip((False, True), np.array(starts), strict=True):
        now, seen = (rows_of(replay, one, single=single) for one in (cascade, before))
        fits.append(_line(_minimised([(now.x, confidence(seen.x, start), 1.0)], start, settings)))
    (slope, intercept), (slice_slope, slice_intercept) = fits
    local = tuple(
        replace(
            one,
            slope=one.slope * slope / then.slope,
            intercept=one.intercept + one.slope * (intercept - then.intercept) / then.slope,
        )
        for one in line.local
    )
    return replace(
        line,
        local=local,
        slope=slope,
        intercept=intercept,
        slice_slope=slice_slope,
        slice_intercept=slice_intercept,
    )


def fit_weights(
    own: Rows,
    replay: Rows,
    start: FloatArray,
    before: FloatArray,
    settings: FinetuneSettings,
) -> FloatArray:
    """Return the weights of the confidence that fit the user's candidates and keep the others.

    Args:
        own: The user's candidates, with their truth.
        replay: Simulated ones.
        start: The weights so far, shape (F,); what is fitted stays near them.
        before: Confidence that the simulated candidates are to keep, shape (N,).
        settings: How near, and how much the simulated ones count.

    Raises:
        InputError: If the user's candidates are all of a kind.
    """
    _check_kinds(own.truth)
    parts = [(own.x, own.truth.astype(float), 1.0), (replay.x, before, settings.replay_weight)]
    return _minimised(parts, start, settings)


def _minimised(
    parts: Sequence[tuple[FloatArray, FloatArray, float]],
    start: FloatArray,
    settings: FinetuneSettings,
) -> FloatArray:
    """Return the weights of least log loss on rows (N, F) with targets (N,), parts weighted."""

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        away = settings.ridge * (weights - start)
        away[-1] = 0.0
        value, slope = 0.5 * float(away @ (weights - start)), away
        for x, truth, weight in parts:
            score, each = x @ weights, weight / max(len(x), 1)
            value += each * float((np.logaddexp(0, score) - truth * score).sum())
            slope = slope + each * ((confidence(x, weights) - truth) @ x)
        return value, slope

    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B").x)


def confidence(x: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the confidence of candidates, shape (N,).

    >>> confidence(np.array([[2.0, 1.0]]), np.array([1.0, -2.0]))
    array([0.5])
    """
    return np.asarray(1 / (1 + np.exp(-np.clip(x @ weights, -30, 30))))
