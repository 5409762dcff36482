"""The variants that each experiment compares."""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, Literal

from mmocnet.config import SegmenterSettings, StageSettings, TrainSettings
from mmocnet.errors import InputError
from mmocnet.nets.settings_json import settings_to_json
from mmocnet.train.experiment_settings import ExperimentSettings

Scored = Literal["cascade", "detector", "detector-at-own-threshold"]
"""The fused map at 0.5, stage 1's probability at 0.5, or that at a threshold of its own, chosen
on validation subjects."""

FOLD_EXPERIMENTS = ("lambda", "cross-validation", "roi-size", "ablation")
EXPERIMENTS = (*FOLD_EXPERIMENTS, "comparison", "environment")
"""In the order in which `all` runs them: the last two read what the others gave."""


@dataclass(frozen=True)
class Variant:
    """One way of training and scoring.

    Attributes:
        name: Of its folder.
        settings: How to train.
        scored: What is scored.
    """

    name: str
    settings: TrainSettings
    scored: Scored = "cascade"


def variants(experiment: str, settings: ExperimentSettings) -> tuple[Variant, ...]:
    """Return what an experiment compares.

    Raises:
        InputError: If it is none that trains.
    """
    base = settings.training
    if experiment == "lambda":
        return _lambdas(settings)
    if experiment == "cross-validation":
        return (Variant(f"roi-{base.cascade.roi_size}", base),)
    if experiment == "roi-size":
        return tuple(Variant(f"roi-{s}", _with_roi(base, s)) for s in settings.roi_sizes)
    if experiment == "ablation":
        return _ablations(base)
    raise InputError(f"expected an experiment of {FOLD_EXPERIMENTS}, got {experiment!r}")


def folds_of(experiment: str, settings: ExperimentSettings) -> range:
    """Return the folds on which an experiment is run."""
    few = experiment == "lambda"
    return range(min(settings.lambda_folds, settings.folds) if few else settings.folds)


def first_stage_digest(settings: TrainSettings) -> str:
    """Return a short name of all that stage 1 depends on: equal names share a stage 1."""
    plain = settings_to_json(shared_first_stage(settings))
    for key in ("segmenter", "segmenter_shares"):
        del plain[key]
    del plain["cascade"]["segmenter"]
    plain["validation_patches"] = plain["validation_patches"][0]
    return _digest(plain)


def digest(settings: TrainSettings) -> str:
    """Return a short name of settings."""
    return _digest(settings_to_json(settings))


def shared_first_stage(settings: TrainSettings) -> TrainSettings:
    """Return the settings that stage 1 and its candidates are made with.

    Every patch size learns from the same candidates, those of the default size, so that sizes
    are compared and not thresholds.
    """
    size = type(settings.cascade)().roi_size
    return replace(settings, cascade=replace(settings.cascade, roi_size=size))


def _digest(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:10]


def _lambdas(settings: ExperimentSettings) -> tuple[Variant, ...]:
    base, epochs = settings.training, settings.lambda_epochs
    if epochs is not None:
        base = replace(
            base,
            detector=replace(base.detector, max_epochs=epochs),
            segmenter=replace(base.segmenter, max_epochs=epochs),
        )
    # Stage 1's weight is seen in its own map: stage 2 would mend or hide it.
    first = [
        Variant(
            f"stage1-lambda-{weight:g}",
            replace(base, detector=_weighted(base.detector, weight)),
            "detector",
        )
        for weight in settings.lambdas
    ]
    second = [
        Variant(
            f"stage2-lambda-{weight:g}", replace(base, segmenter=_weighted(base.segmenter, weight))
        )
        for weight in settings.lambdas
    ]
    return (*first, *second)


def _ablations(base: TrainSettings) -> tuple[Variant, ...]:
    segmenter: SegmenterSettings = replace(base.cascade.segmenter, dilations=())
    return (
        Variant("full", base),
        Variant("without-frn", base, "detector-at-own-threshold"),
        Variant("without-raspp", replace(base, cascade=replace(base.cascade, segmenter=segmenter))),
        Variant(
            "without-sensitivity-loss",
            replace(
                base,
                detector=_weighted(base.detector, 0.0),
                segmenter=_weighted(base.segmenter, 0.0),
            ),
        ),
    )


def _weighted(stage: StageSettings, weight: float) -> StageSettings:
    return replace(stage, loss=replace(stage.loss, sensitivity_weight=weight))


def _with_roi(base: TrainSettings, size: int) -> TrainSettings:
    return replace(base, cascade=replace(base.cascade, roi_size=size))
