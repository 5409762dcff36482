"""Find, outline, count and report cerebral microbleeds in susceptibility-weighted MRI.

Research use only - not a medical device.

>>> import mmocnet
>>> sorted(mmocnet.__all__)[:4]
['FileOptions', 'Lesion', 'SegmentSettings', 'Segmentation']
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmocnet.config import SegmentSettings
    from mmocnet.lesion import Lesion
    from mmocnet.nets.checkpoint import load_cascade
    from mmocnet.predict.pipeline import load_volume, segment, segment_file
    from mmocnet.predict.provenance import FileOptions
    from mmocnet.predict.segmentation import Segmentation
    from mmocnet.volume import Volume

__version__ = "0.1.0"

# Imported at first use, so that `import mmocnet` brings in neither torch nor nibabel.
_HOMES = {
    "FileOptions": "mmocnet.predict.provenance",
    "Lesion": "mmocnet.lesion",
    "SegmentSettings": "mmocnet.config",
    "Segmentation": "mmocnet.predict.segmentation",
    "Volume": "mmocnet.volume",
    "load_cascade": "mmocnet.nets.checkpoint",
    "load_volume": "mmocnet.predict.pipeline",
    "segment": "mmocnet.predict.pipeline",
    "segment_file": "mmocnet.predict.pipeline",
}

__all__ = [
    "FileOptions",
    "Lesion",
    "SegmentSettings",
    "Segmentation",
    "Volume",
    "load_cascade",
    "load_volume",
    "segment",
    "segment_file",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmocnet' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
