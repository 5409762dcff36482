from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


def _write_study(folder: Path, label: str, slices: int = 4) -> None:
    """Write a scan with one dark lesion and its reference."""
    at = np.meshgrid(np.arange(64), np.arange(72), np.arange(slices), indexing="ij")
    brain = ((at[0] - 32) / 28) ** 2 + ((at[1] - 36) / 32) ** 2 < 1
    labels = (((at[0] - 30) ** 2 + (at[1] - 30) ** 2 < 9) & (at[2] == 2)).astype(np.int16)
    grain = np.random.default_rng(int(label)).normal(0, 4, brain.shape)
    image = np.where(brain, 100.0 + grain - 70 * labels, 0.0).astype(np.float32)
    anat = folder / f"sub-{label}" / "anat"
    reference = folder / "derivatives" / "reference" / f"sub-{label}" / "anat"
    name = f"sub-{label}_acq-swi"
    affine = np.diag([2.5, 2.5, 3.0, 1.0])
    for path in (anat, reference):
        path.mkdir(parents=True)
    nib.save(nib.Nifti1Image(image, affine), anat / f"{name}_T2starw.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), reference / f"{name}_desc-cmb_dseg.nii.gz")


@pytest.fixture
def write_study() -> Callable[..., None]:
    return _write_study
