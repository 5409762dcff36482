import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.io.read import Scan, read_scan
from mmocnet.prepare.brain import brain_mask
from mmocnet.prepare.refuse import check_scan, check_values
from mmocnet.volume import Volume


def as_scan(array, spacing=(1.0, 1.0, 2.0), name="scan.nii.gz"):
    volume = Volume(np.asarray(array, dtype=np.float32), np.diag([*spacing, 1.0]), name)
    return Scan(volume, "slice" if 1 in array.shape else "volume", "nifti", "0" * 64)


@pytest.fixture(scope="module")
def t1_template():
    """The MNI152 T1 template that nilearn brings, at 2 mm."""
    datasets = pytest.importorskip("nilearn.datasets")
    image = datasets.load_mni152_template(resolution=2)
    return Volume(image.get_fdata().astype(np.float32), image.affine, "t1.nii.gz")


@pytest.fixture
def swi(rng, head_phantom):
    head, brain = head_phantom(rng, (1.0, 1.0, 3.0), -20.0, 40.0)
    stripped = np.where(brain, head.array, 0)
    return as_scan(stripped, (1.0, 1.0, 3.0)), brain


def test_a_t1_is_refused(t1_template):
    scan = Scan(t1_template, "volume", "nifti", "")
    with pytest.raises(InputError, match="T1-weighted"):
        check_scan(scan, brain_mask(t1_template))


@pytest.mark.parametrize("echo_s", [0.003, 3.0, math.nan])
def test_no_other_echo_time_makes_a_t1_acceptable(t1_template, echo_s):
    scan = Scan(t1_template, "volume", "nifti", "", echo_s=echo_s)
    with pytest.raises(InputError, match="T1-weighted"):
        check_scan(scan, brain_mask(t1_template))


def test_a_long_echo_time_is_believed_more_than_the_contrast(t1_template):
    scan = Scan(t1_template, "volume", "nifti", "", echo_s=0.022)
    # Its pixels of 2 mm are another doubt.
    assert "echo time of 22 ms" in check_scan(scan, brain_mask(t1_template))[-1]


def test_a_noisy_t1_is_refused(rng, t1_template):
    inside = t1_template.array > 0
    noise = 0.05 * np.median(t1_template.array[inside]) * rng.normal(size=inside.shape)
    noisy = t1_template.like(np.where(inside, t1_template.array + noise, 0).astype(np.float32))
    with pytest.raises(InputError, match="T1-weighted"):
        check_scan(Scan(noisy, "volume", "nifti", ""), brain_mask(noisy))


@pytest.mark.parametrize("level", [30, 35, 40, 45])
def test_a_slice_of_a_t1_is_refused(t1_template, level):
    affine = t1_template.affine @ nib.affines.from_matvec(np.eye(3), [0, 0, level])
    piece = Volume(t1_template.array[:, :, level : level + 1], affine, "t1.nii.gz")
    with pytest.raises(InputError, match="T1-weighted"):
        check_scan(Scan(piece, "slice", "nifti", ""), brain_mask(piece))


def test_a_dark_veined_brain_of_even_grey_is_accepted_without_a_warning(swi):
    scan, brain = swi
    assert check_scan(scan, brain) == ()


def test_signed_phase_is_refused(rng):
    with pytest.raises(InputError, match="negative"):
        check_values(as_scan(rng.uniform(-np.pi, np.pi, (40, 40, 10))).volume)


@pytest.mark.parametrize("blank", [False, True])
def test_phase_stored_from_zero_is_refused(rng, blank):
    ramp = np.add.outer(np.arange(60) * 0.5, np.arange(60) * 0.3)[:, :, None] + np.zeros(10)
    phase = 2048 + 2047 * ((ramp / np.pi + 1) % 2 - 1)
    inside = np.hypot(*np.meshgrid(np.arange(60) - 30, np.arange(60) - 30)) < 22
    air = 2048.0 if blank else rng.uniform(0, 4095, phase.shape)
    with pytest.raises(InputError, match="phase"):
        check_values(as_scan(np.where(inside[..., None], phase, air)).volume)


@pytest.mark.parametrize(
    "name", ["sub-01_part-phase_T2starw.nii.gz", "swi_phase.nii.gz", "Phase.nii", "a_PHA_b.nii"]
)
def test_phase_is_refused_by_its_name(swi, name):
    with pytest.raises(InputError, match="phase"):
        check_values(as_scan(swi[0].volume.array, name=name).volume)


@pytest.mark.parametrize("name", ["biphasein_swi.nii.gz", "phase-2_trial_swi.nii.gz"])
def test_a_name_that_only_contains_the_word_is_accepted(swi, name):
    check_values(as_scan(swi[0].volume.array, name=name).volume)


def test_a_susceptibility_map_is_refused(rng, swi):
    chi = np.where(swi[1], rng.normal(0, 0.05, swi[1].shape), 0)
    with pytest.raises(InputError, match="negative"):
        check_values(as_scan(chi).volume)


def test_ringing_below_zero_is_accepted(swi):
    scan, _ = swi
    rung = ndimage.zoom(scan.volume.array, (1.1, 1.1, 1), order=5)
    assert rung.min() < 0
    check_values(as_scan(rung).volume)


def test_a_mask_is_refused(swi):
    with pytest.raises(InputError, match="2 different values"):
        check_values(as_scan(swi[1]).volume)


def test_a_cropped_brain_without_air_is_not_phase(rng):
    tissue = 300 + 20 * rng.normal(size=(60, 60, 10))
    tissue[::9, 3:50] = 60
    tissue[5, 5], tissue[6, 9] = 600, 0
    check_values(as_scan(tissue).volume)


def test_a_rats_brain_is_refused(swi):
    scan, brain = swi
    small = as_scan(scan.volume.array, (0.117, 0.117, 0.5))
    with pytest.raises(InputError, match="check the spacing"):
        check_scan(small, brain)


def test_a_giants_brain_is_refused(swi):
    scan, brain = swi
    with pytest.raises(InputError, match="check the spacing"):
        check_scan(as_scan(scan.volume.array, (2.5, 2.5, 5.0)), brain)


def test_a_small_slice_is_warned_of(swi):
    scan, brain = swi
    piece = as_scan(scan.volume.array[..., 9:10], (0.25, 0.25, 3.0))
    assert "less than a human brain" in check_scan(piece, brain[..., 9:10])[0]


def test_no_brain_is_refused(swi):
    scan, brain = swi
    with pytest.raises(InputError, match="found no brain"):
        check_scan(scan, np.zeros_like(brain))


@pytest.mark.parametrize(
    ("spacing", "slices", "name", "said"),
    [
        ((1.0, 1.0, 3.0), 2, "a.nii", "only 2 slices"),
        ((1.0, 1.0, 3.0), 7, "a.nii", "only 7 slices"),
        ((1.6, 1.6, 3.0), 9, "a.nii", "pixels of 1.60 mm"),
        ((0.7, 1.2, 3.0), 9, "a.nii", "not square"),
        ((1.0, 1.0, 3.0), 9, "sub-1_rec-minip_T2starw.nii", "minimum intensity"),
        ((1.0, 1.0, 3.0), 9, "mIP_minIP.nii", "minimum intensity"),
        ((1.0, 1.0, 3.0), 9, "6_mIP_Images(SW)_20240102.nii.gz", "minimum intensity"),
        ((1.0, 1.0, 3.0), 9, "scan-mnip.nii", "minimum intensity"),
        ((1.0, 1.0, 3.0), 9, "sub-01_mip.nii", "minimum intensity"),
    ],
)
def test_what_is_doubtful_is_warned_of(swi, spacing, slices, name, said):
    scan, _ = swi
    warnings = check_scan(as_scan(scan.volume.array[..., :slices], spacing, name), None)
    assert len(warnings) == 1
    assert said in warnings[0]


@pytest.mark.parametrize("slices", [1, 8])
def test_one_slice_or_eight_are_not_warned_of(swi, slices):
    assert check_scan(as_scan(swi[0].volume.array[..., :slices], (1.0, 1.0, 3.0)), None) == ()


def test_a_file_read_from_disk_is_checked(tmp_path: Path, t1_template):
    nib.save(nib.Nifti1Image(t1_template.array, t1_template.affine), tmp_path / "t1.nii.gz")
    scan = read_scan(tmp_path / "t1.nii.gz")
    with pytest.raises(InputError, match=r"t1\.nii\.gz"):
        check_scan(scan, brain_mask(scan.volume))


@pytest.mark.parametrize(
    "name", ["sub-mip01_swi.nii", "sub-mip_swi.nii", "sub-01_ses-minip_swi.nii", "omnipaque.nii"]
)
def test_a_label_or_a_word_is_no_projection(swi, name):
    assert check_scan(as_scan(swi[0].volume.array, (1.0, 1.0, 3.0), name), None) == ()


def test_a_projection_by_its_sidecar_is_warned_of(tmp_path: Path, swi):
    path = tmp_path / "s_12.nii.gz"
    nib.save(nib.Nifti1Image(swi[0].volume.array, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    assert check_scan(read_scan(path), None) == ()
    (tmp_path / "s_12.json").write_text('{"ImageType": ["DERIVED", "PRIMARY", "MNIP"]}')
    (warning,) = check_scan(read_scan(path), None)
    assert "minimum intensity projection by its sidecar" in warning


@pytest.mark.parametrize("stripped", [True, False])
@pytest.mark.parametrize("part", [slice(None), slice(9, 10)])
def test_inverted_grey_values_are_refused(rng, head_phantom, stripped, part):
    head, brain = head_phantom(rng, (1.0, 1.0, 3.0), -20.0, 40.0)
    array = (np.where(brain, head.array, 0) if stripped else head.array)[..., part]
    check_values(as_scan(array).volume)
    with pytest.raises(InputError, match=r"inverted grey values in scan\.nii\.gz"):
        check_values(as_scan(array.max() - array).volume)


@pytest.mark.parametrize("bright_mm", [0, 6])
def test_tissue_that_fills_the_field_of_view_is_not_inverted(rng, head_phantom, bright_mm):
    head, _ = head_phantom(rng, (1.0, 1.0, 3.0), -20.0, 40.0)
    tissue = head.array[40:-40, 45:-45]
    # As near a surface coil.
    depth = np.minimum(
        *np.meshgrid(
            *(np.minimum(np.arange(n), n - 1 - np.arange(n)) for n in tissue.shape[:2]),
            indexing="ij",
        )
    )
    check_values(as_scan(tissue * np.where(depth < bright_mm, 1.6, 1.0)[..., None]).volume)


def test_tissue_that_is_saturated_is_not_inverted(swi):
    tissue = np.clip(swi[0].volume.array[60:-60, 60:-60], 0, 300)
    check_values(as_scan(np.round(tissue / 10)).volume)
