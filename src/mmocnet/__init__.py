"""Find, outline, count and report cerebral microbleeds in susceptibility-weighted MRI.

Research use only - not a medical device.

>>> import mmocnet
>>> sorted(mmocnet.__all__)[:4]
['CohortSettings', 'FileOptions', 'InputError', 'Lesion']
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmocnet.cohort.settings import CohortSettings
    from mmocnet.commands.cohort import SegmentedCohort, segment_cohort
    from mmocnet.commands.compare import VisitFiles, compare_scans
    from mmocnet.commands.evaluate import score_folder
    from mmocnet.commands.experiment import run_experiment
    from mmocnet.commands.finetune import finetune_model
    from mmocnet.commands.simulate import simulate_dataset
    from mmocnet.commands.train import TrainData, train_model
    from mmocnet.config import SegmentSettings
    from mmocnet.errors import InputError
    from mmocnet.io.read import Scan
    from mmocnet.lesion import Lesion
    from mmocnet.nets.checkpoint import load_cascade
    from mmocnet.predict.pipeline import (
        SegmentedFile,
        load_scan,
        load_volume,
        segment,
        segment_file,
    )
    from mmocnet.predict.provenance import FileOptions
    from mmocnet.predict.segmentation import Segmentation
    from mmocnet.volume import Volume

__version__ = "0.1.0"

# Imported at first use, so that `import mmocnet` brings in neither torch nor nibabel.
_HOMES = {
    "CohortSettings": "mmocnet.cohort.settings",
    "FileOptions": "mmocnet.predict.provenance",
    "InputError": "mmocnet.errors",
    "Lesion": "mmocnet.lesion",
    "Scan": "mmocnet.io.read",
    "SegmentSettings": "mmocnet.config",
    "Segmentation": "mmocnet.predict.segmentation",
    "SegmentedCohort": "mmocnet.commands.cohort",
    "SegmentedFile": "mmocnet.predict.pipeline",
    "TrainData": "mmocnet.commands.train",
    "VisitFiles": "mmocnet.commands.compare",
    "Volume": "mmocnet.volume",
    "compare_scans": "mmocnet.commands.compare",
    "finetune_model": "mmocnet.commands.finetune",
    "load_cascade": "mmocnet.nets.checkpoint",
    "load_scan": "mmocnet.predict.pipeline",
    "load_volume": "mmocnet.predict.pipeline",
    "run_experiment": "mmocnet.commands.experiment",
    "score_folder": "mmocnet.commands.evaluate",
    "segment": "mmocnet.predict.pipeline",
    "segment_cohort": "mmocnet.commands.cohort",
    "segment_file": "mmocnet.predict.pipeline",
    "simulate_dataset": "mmocnet.commands.simulate",
    "train_model": "mmocnet.commands.train",
}

__all__ = [
    "CohortSettings",
    "FileOptions",
    "InputError",
    "Lesion",
    "Scan",
    "SegmentSettings",
    "Segmentation",
    "SegmentedCohort",
    "SegmentedFile",
    "TrainData",
    "VisitFiles",
    "Volume",
    "compare_scans",
    "finetune_model",
    "load_cascade",
    "load_scan",
    "load_volume",
    "run_experiment",
    "score_folder",
    "segment",
    "segment_cohort",
    "segment_file",
    "simulate_dataset",
    "train_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmocnet' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
