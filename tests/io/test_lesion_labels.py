"""Masks and numbered lesions, told apart one by one."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.io.dataset import DatasetScan
from mmocnet.io.lesion_labels import numbered, read_reference
from mmocnet.volume import Volume

AFFINE = np.array([[-0.8, 0, 0, 40], [0, 0.9, 0, -50], [0, 0, 2.0, -10], [0, 0, 0, 1.0]])
SHAPE = (20, 18, 6)


def drawn(*values: float, dtype: str = "uint16") -> np.ndarray:
    """Blocks of voxels with these values, the first wider than it is high."""
    array = np.zeros(SHAPE, dtype)
    for number, value in enumerate(values):
        array[2 : 5 + number, 2 + 5 * number : 4 + 5 * number, 1:3] = value
    return array


def scan_of(folder: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> DatasetScan:
    nib.save(nib.Nifti1Image(array, affine), folder / "cmb.nii.gz")
    return DatasetScan("01", None, folder / "swi.nii.gz", labels=folder / "cmb.nii.gz")


IMAGE = Volume(np.ones(SHAPE, np.float32), AFFINE, "swi.nii.gz")


def test_numbers_that_16_bits_with_a_sign_do_not_hold_are_lesions(tmp_path: Path) -> None:
    reference = read_reference(scan_of(tmp_path, drawn(40001, 65535, 7)), IMAGE)
    np.testing.assert_array_equal(reference, drawn(2, 3, 1))


def test_numbers_from_1_on_stay(tmp_path: Path) -> None:
    reference = read_reference(scan_of(tmp_path, drawn(2, 1, 3)), IMAGE)
    np.testing.assert_array_equal(reference, drawn(2, 1, 3))


def test_the_pieces_of_a_mask_are_lesions_whatever_its_value(tmp_path: Path) -> None:
    for value in (1, 255, 65535):
        reference = read_reference(scan_of(tmp_path, drawn(value, value, value)), IMAGE)
        np.testing.assert_array_equal(reference > 0, drawn(1, 1, 1) > 0)
        assert np.unique(reference).tolist() == [0, 1, 2, 3]


def test_nan_is_no_lesion_and_a_scale_may_round(tmp_path: Path) -> None:
    array = drawn(1, 2, dtype="float32") * np.float32(0.999999)
    array[-1, -1, -1] = np.nan
    np.testing.assert_array_equal(read_reference(scan_of(tmp_path, array), IMAGE), drawn(1, 2))


def test_a_mask_that_a_scale_puts_off_itself_is_a_mask(tmp_path: Path) -> None:
    reference = read_reference(scan_of(tmp_path, drawn(1.001, 0.999, dtype="float32")), IMAGE)
    np.testing.assert_array_equal(reference, drawn(1, 2))


@pytest.mark.parametrize("value", [-1.0, 0.5, np.inf])
def test_other_than_whole_numbers_from_0_up_are_refused(tmp_path: Path, value: float) -> None:
    scan = scan_of(tmp_path, drawn(1, value, dtype="float32"))
    with pytest.raises(InputError, match=rf"whole lesion numbers .* got {value:g} in cmb\.nii\.gz"):
        read_reference(scan, IMAGE)


@pytest.mark.parametrize("axes", [(0,), (0, 1, 2)])
def test_a_reference_whose_axes_run_the_other_way_is_turned(
    tmp_path: Path, axes: tuple[int, ...]
) -> None:
    turn = np.diag([-1.0 if axis in axes else 1.0 for axis in range(3)] + [1.0])
    turn[:3, 3] = [SHAPE[axis] - 1 if axis in axes else 0 for axis in range(3)]
    scan = scan_of(tmp_path, np.flip(drawn(1, 2), axes), AFFINE @ turn)
    np.testing.assert_array_equal(read_reference(scan, IMAGE), drawn(1, 2))


def test_a_reference_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    mirrored = AFFINE @ np.diag([-1.0, 1, 1, 1])
    with pytest.raises(InputError, match=r"the reference on the grid of swi\.nii\.gz"):
        read_reference(scan_of(tmp_path, drawn(1), mirrored), IMAGE)


def test_pieces_touch_by_a_corner() -> None:
    assert numbered(np.eye(3)[None]).max() == 1


@pytest.mark.parametrize(("head", "lesions"), [("index\tkind\tx_mm", 1), ("index\tkind\tname", 2)])
def test_a_number_in_two_pieces_is_one_lesion_where_a_table_lists_its_place(
    tmp_path: Path, head: str, lesions: int
) -> None:
    scan = replace(scan_of(tmp_path, drawn(3, 3)), table=tmp_path / "cmb.tsv")
    assert read_reference(scan, IMAGE).max() == 2
    (tmp_path / "cmb.tsv").write_text(f"{head}\n3\tmicrobleed\t1\n4\trejected\t2\n")
    assert read_reference(scan, IMAGE).max() == lesions


def test_a_scan_without_a_reference_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a reference of swi\.nii\.gz, got none"):
        read_reference(DatasetScan("01", None, tmp_path / "swi.nii.gz"), IMAGE)
