"""The region map and the registration target in MNI152 mm, drawn by scripts/build_region_map.py."""

from functools import lru_cache
from importlib.resources import files

import nibabel as nib
import numpy as np

from mmocnet.volume import Volume


def _load(name: str) -> Volume:
    content = files("mmocnet.locate").joinpath(name).read_bytes()
    import gzip

    image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    array = np.asarray(image.dataobj, dtype=np.uint8)
    array.flags.writeable = False
    return Volume(array, np.asarray(image.affine, np.float64), name)


@lru_cache(maxsize=1)
def region_map() -> Volume:
    """Return the regions' labels in MNI152 mm, uint8, 1 mm; 0 outside the brain, in ventricles."""
    return _load("mars.nii.gz")


@lru_cache(maxsize=1)
def target() -> Volume:
    """Return the T1-weighted brain that scans are registered to, uint8, 2 mm; 0 outside."""
    return _load("target.nii.gz")
