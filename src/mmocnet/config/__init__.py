"""Settings: frozen dataclasses whose field docstrings feed `--help` and the documentation."""

from mmocnet.config.cascade import (
    CascadeSettings,
    ClassifierSettings,
    ContextSettings,
    DetectorSettings,
    EngineName,
    Normalisation,
    OperatingPoint,
    PreparationSettings,
    SegmenterSettings,
    SegmentSettings,
    Thresholds,
)
from mmocnet.config.training import (
    AugmentationSettings,
    LossReduction,
    LossSettings,
    OptimiserName,
    PatchShares,
    StageSettings,
    TrainPreset,
    TrainSettings,
    train_settings,
)

__all__ = [
    "AugmentationSettings",
    "CascadeSettings",
    "ClassifierSettings",
    "ContextSettings",
    "DetectorSettings",
    "EngineName",
    "LossReduction",
    "LossSettings",
    "Normalisation",
    "OperatingPoint",
    "OptimiserName",
    "PatchShares",
    "PreparationSettings",
    "SegmentSettings",
    "SegmenterSettings",
    "StageSettings",
    "Thresholds",
    "TrainPreset",
    "TrainSettings",
    "train_settings",
]
