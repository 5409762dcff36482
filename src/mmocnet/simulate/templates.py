"""The MNI152 maps that the simulated anatomy starts from.

They are read from the nilearn wheel (ICBM 152 nonlinear symmetric 2009a, 1 mm), never downloaded.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.errors import DependencyError
from mmocnet.types import FloatArray

_FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
COARSE_MM = 2
"""Voxel of the smooth channels."""


@dataclass(frozen=True)
class Templates:
    """Maps in MNI space, each a tensor of shape (I, J, K) on a grid that starts at `origin_mm`.

    Attributes:
        origin_mm: MNI mm of the centre of voxel (0, 0, 0) of the 1 mm maps.
        fine: Shape (3, I, J, K), 1 mm: signed distance to white matter in mm (negative
            inside), grey-matter and white-matter probability.
        coarse: Shape (4, I, J, K), 2 mm: depth below the brain's surface in mm (negative
            outside), share of cortex, distance to the ventricles in mm, brain-stem and
            cerebellum share.
    """

    origin_mm: FloatArray
    fine: torch.Tensor
    coarse: torch.Tensor


def template_folder() -> Path:
    """Return the folder of the nilearn wheel that holds the maps.

    Raises:
        DependencyError: If nilearn is not installed.
    """
    # find_spec does not import nilearn, which would load scikit-learn and pandas.
    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise DependencyError(
            "the simulator needs nilearn's MNI152 maps: pip install 'mmocnet[simulate]'"
        )
    return Path(spec.origin).parent / "datasets" / "data"


def tentorium_mm(y: FloatArray, x: FloatArray) -> FloatArray:
    """Return the MNI height of the tentorium at MNI (x, y): a tent, lower behind and aside."""
    back = np.maximum(np.abs(y) - 50.0, 0.0)
    side = np.maximum(np.abs(x) - 8.0, 0.0)
    return np.asarray(-9.0 - 0.36 * back - 0.22 * side)


def _signed_distance(mask: NDArray[np.bool_]) -> FloatArray:
    outside = ndimage.distance_transform_edt(~mask)
    inside = ndimage.distance_transform_edt(mask)
    return np.asarray(outside - inside, np.float32)


def _coarse_channels(grey: FloatArray, t1: FloatArray) -> FloatArray:
    step = COARSE_MM
    g, t = (ndimage.gaussian_filter(a, 0.8)[::step, ::step, ::step] for a in (grey, t1))
    i, j, k = np.meshgrid(*(np.arange(n) * step for n in g.shape), indexing="ij")
    x, y, z = i - 98.0, j - 134.0, k - 72.0
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(t > 0.06, iterations=2))
    depth = -_signed_distance(brain) * step
    stem = (np.abs(x) < 17) & (y > -43) & (y < -11) & (z < -5 + 0.25 * (y + 25))
    hind = ((y < -34) & (z < tentorium_mm(y, x)) | stem) & brain
    # The lateral and third ventricles: the large dark bodies of T1 around the centre.
    box = (np.abs(x) < 36) & (y > -55) & (y < 36) & (z > -12) & (z < 34)
    fissure = (np.abs(x) < 4) & ((y > 16) | (y < -42))
    labels, count = ndimage.label((t < 0.42) & (depth > 17) & box & ~fissure & ~hind)
    sizes = ndimage.sum_labels(np.ones_like(labels), labels, np.arange(1, count + 1))
    ventricle = np.isin(labels, 1 + np.flatnonzero(sizes > 150))
    to_ventricle = ndimage.distance_transform_edt(~ventricle) * step
    central = ((x / 36) ** 2 + ((y + 6) / 34) ** 2 + ((z - 4) / 22) ** 2) < 1
    cortex = (ndimage.gaussian_filter(g, 1.5) > 0.12) & ~hind & ~central & (to_ventricle > 6)
    share = ndimage.gaussian_filter(cortex.astype(np.float32), 1.0)
    channels = [depth, share, to_ventricle, ndimage.gaussian_filter(hind.astype(np.float32), 0.7)]
    return np.stack(channels).astype(np.float32)


@lru_cache(maxsize=2)
def load_templates(device: str = "cpu") -> Templates:
    """Return the maps, read and derived once a process.

    Args:
        device: Where the tensors live.

    Raises:
        DependencyError: If nilearn is not installed.
    """
    folder = template_folder()
    images = [nib.Nifti1Image.from_filename(folder / _FILE.format(k)) for k in ("t1", "gm", "wm")]
    t1, grey, white = (np.asarray(image.dataobj, np.float32) / 255.0 for image in images)
    distance = ndimage.gaussian_filter(_signed_distance(white > 0.5), 0.6)
    fine = np.stack([distance, grey, white]).astype(np.float32)
    return Templates(
        origin_mm=np.asarray(images[0].affine[:3, 3], np.float64),
        fine=torch.from_numpy(fine).to(device),
        coarse=torch.from_numpy(_coarse_channels(grey, t1)).to(device),
    )
