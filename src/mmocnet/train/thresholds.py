"""Give a trained cascade its calibrated confidence and its operating points, on whole scans."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmocnet.config import ContextSettings, Thresholds
from mmocnet.errors import InputError, ModelError
from mmocnet.io.dataset import DatasetScan, makers_of, read_dataset
from mmocnet.nets.checkpoint import Cascade, load_cascade, save_cascade
from mmocnet.predict.context import expanded
from mmocnet.train.calibrate import Decision, ScoredScan, cross_fit, fold_of
from mmocnet.train.context import Collected, collect, fit_context
from mmocnet.train.model_card import operating_points, point_meanings
from mmocnet.train.points import decide, decide_on_slices, slice_points
from mmocnet.types import FloatArray

SEED = 0
"""Of the folds: the same subjects always measure a model in the same way."""


def calibrate(
    model: Path,
    validation: Sequence[DatasetScan],
    natural: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Thresholds:
    """Fit a model folder's confidence in context, choose its operating points, return them.

    Args:
        model: Folder of a trained cascade without a classifier; its settings and its card are
            written anew.
        validation: Scans, many lesions each, of subjects that were not trained on; slices
            through their lesions decide the operating points of single slices.
        natural: BIDS folder of whole heads with natural lesion counts, scans without a lesion
            included, of other subjects again: they decide the operating points of volumes.
        device: Where the networks run.
        progress: Told what is done and what there is to do, in scans.

    Returns:
        The operating points of volumes, see `train.points.choose_points`.

    Raises:
        InputError: If no scan has a reference, too few subjects have a lesion, or a natural one is
            a single slice.
        ModelError: If the model folder is not one.
    """
    cascade = load_cascade(str(model), device)
    whole = [scan for scan in read_dataset(natural) if scan.labels is not None]
    if not whole:
        raise InputError(f"expected scans with a reference, got none in {natural.name}")
    scans = [*validation, *whole]
    volumes = []
    for number, scan in enumerate(scans, 1):
        volumes.append(collect(scan, cascade, device, whole=number > len(validation)))
        if progress is not None:
            progress(number, len(scans))
    parts = volumes[: len(validation)], volumes[len(validation) :]
    return settle_context(model, cascade, parts, natural.resolve().name, is_simulated(natural))


def is_simulated(dataset: Path) -> bool:
    """Return whether a BIDS folder says that it was simulated by this package."""
    return any(maker.startswith("mmocnet simulate") for maker in makers_of(dataset))


def settle(
    model: Path,
    cascade: Cascade,
    planes: Sequence[ScoredScan],
    natural: Sequence[ScoredScan],
    name: str,
    simulated: bool = True,
) -> Thresholds:
    """Calibrate a cascade's classifier, choose its operating points, write the model folder.

    Args:
        model: The folder.
        cascade: What is in it; settings and card are changed.
        planes: Candidates of single slices through lesions, by the classifier's logit; of
            subjects that were not trained on. None of them: slices take the points of volumes.
        natural: Likewise of whole volumes with natural lesion counts, of subjects that decided
            nothing yet.
        name: Of the natural set, for the card.
        simulated: Whether that set is simulated.

    Returns:
        The operating points of volumes.

    Raises:
        InputError: If fewer than two subjects have a lesion, or the candidates of all but a
            fold of the subjects are all of a kind.
        ModelError: If the cascade has no classifier.
    """
    if cascade.settings.classifier is None:
        raise ModelError(f"expected a classifier in {model.name} to calibrate, got none")
    how = partial(decide, by_burden=True)
    chosen, on_slices = how(natural), decide_on_slices(planes)
    line = on_slices or chosen
    calibrated = replace(
        cascade.settings.classifier,
        slope=chosen.slope,
        intercept=chosen.intercept,
        slice_slope=line.slope,
        slice_intercept=line.intercept,
        burden=chosen.burden,
    )
    settings = replace(cascade.settings, classifier=calibrated, thresholds=chosen.points)
    cascade.settings = replace(
        settings, slice_thresholds=None if on_slices is None else on_slices.points
    )
    single = _single_slices(planes, on_slices, decide_on_slices)
    source = {"dataset": name, "simulated": simulated}
    return _finish(model, cascade, natural, how, source, single)


def settle_context(
    model: Path,
    cascade: Cascade,
    volumes: tuple[Sequence[Collected], Sequence[Collected]],
    name: str,
    simulated: bool = True,
) -> Thresholds:
    """Do the same for a cascade whose confidence comes from measures of the context.

    The regression is fitted on the validation scans, which hold far more lesions than patients
    do, and on the natural ones; each natural scan is then scored by a regression that other
    subjects gave, and that score is calibrated.

    Args:
        model: The folder.
        cascade: What is in it.
        volumes: Candidates of the validation scans and of the natural ones.
        name: Of the natural set, for the card.
        simulated: Whether that set is simulated.
    """
    dense, whole = volumes
    folds = fold_of([v.subject for v in whole], [v.references > 0 for v in whole], SEED)
    natural: dict[int, ScoredScan] = {}
    for fold in range(folds.max() + 1):
        learnt = [v for v, f in zip(whole, folds, strict=True) if f != fold]
        context = fit_context([*dense, *learnt])
        for n in np.flatnonzero(folds == fold).tolist():
            v = whole[n]
            score = expanded(v.features, context) @ np.array(context.weights)
            natural[n] = ScoredScan(v.subject, score, v.hit, v.references)
    scored = [natural[n] for n in range(len(whole))]
    planes = [
        ScoredScan(v.subject, _logit(part.confidence), part.hit, part.references)
        for v in dense
        for part in v.slices
    ]
    chosen = decide(scored)
    context = _calibrated(fit_context([*dense, *whole]), chosen)
    settings = replace(cascade.settings, context=context)

    def plain(some: Sequence[ScoredScan]) -> Decision | None:
        # On few slices there is no context: the confidence stays the stage-2 probability.
        return Decision(1.0, 0.0, slice_points(some)) if _lesions(some) else None

    on_slices = plain(planes)
    settings = replace(cascade.settings, context=context, thresholds=chosen.points)
    cascade.settings = replace(
        settings, slice_thresholds=None if on_slices is None else on_slices.points
    )
    single = _single_slices(planes, on_slices, plain)
    source = {"dataset": name, "simulated": simulated}
    return _finish(model, cascade, scored, decide, source, single)


def _logit(given: FloatArray) -> FloatArray:
    inside = np.clip(given, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(inside / (1 - inside)), float)


def _calibrated(context: ContextSettings, line: Decision) -> ContextSettings:
    """Return the regression with slope and intercept in its weights, of which the last is 1's."""
    weights = line.slope * np.array(context.weights)
    weights[-1] += line.intercept
    return replace(context, weights=tuple(weights.tolist()))


def _lesions(scans: Sequence[ScoredScan]) -> bool:
    return any((scan.hit > 0).any() for scan in scans)


def _single_slices(
    planes: Sequence[ScoredScan],
    chosen: Decision | None,
    how: Callable[[Sequence[ScoredScan]], Decision | None],
) -> dict[str, Any]:
    """Return what the card says of single slices, measured by decisions of other subjects.

    Where one subject alone has a lesion on them, the measurement is None.
    """
    about: dict[str, Any] = {"slices": len(planes)}
    if chosen is not None and len({scan.subject for scan in planes if scan.references}) < 2:
        # What one subject decided nobody else can measure: undefined, and the points stand.
        about["single_slices"] = None
    elif chosen is not None:
        crossed = cross_fit(planes, lambda some: how(some) or chosen, SEED)
        about["single_slices"] = point_meanings(crossed, chosen.points)
    return about


def _finish(
    model: Path,
    cascade: Cascade,
    natural: Sequence[ScoredScan],
    how: Callable[[Sequence[ScoredScan]], Decision],
    source: dict[str, Any],
    single: dict[str, Any],
) -> Thresholds:
    """Measure what was decided, put it into the card, write the folder.

    Args:
        model: The folder.
        cascade: What is in it, with its new settings.
        natural: Scans that the points of volumes are measured on.
        how: What decided them.
        source: What the card says of them.
        single: What it says of single slices.
    """
    points = cascade.settings.thresholds
    measured = operating_points(cross_fit(natural, how, SEED), points, natural)
    cascade.card = {**cascade.card, "operating_points": {**source, **measured, **single}}
    save_cascade(model, cascade)
    return points
