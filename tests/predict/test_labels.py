import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.io.nifti import read_nifti, write_nifti
from mmocnet.io.phase import read_phase
from mmocnet.io.read import Scan
from mmocnet.predict.labels import read_labels
from mmocnet.predict.provenance import read_mask
from mmocnet.volume import Volume

SHAPE = (448, 448, 4)
AFFINE = np.diag([0.46875, 0.46875, 2.0, 1.0])


@pytest.fixture
def scan():
    return Volume(np.ones(SHAPE, np.float32), AFFINE, "scan.nii.gz")


def _write(path, affine):
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 100
    write_nifti(path, Volume(array, affine), np.int16)
    return path


def _read_phase(path, scan):
    return read_phase(path, Scan(scan, "volume", "nifti", ""))


@pytest.mark.parametrize("read", [read_labels, read_mask, _read_phase])
def test_an_image_turned_by_a_degree_lies_on_another_grid(scan, tmp_path, read):
    turn, angle = np.eye(4), np.deg2rad(1)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path = _write(tmp_path / "turned.nii.gz", turn @ AFFINE)
    # The far corner is off by twice the sine of half a degree of the diagonal, 296 mm.
    with pytest.raises(InputError, match=r"corners 3\.\d+ mm apart, in turned\.nii\.gz"):
        read(path, scan)


@pytest.mark.parametrize("read", [read_labels, read_mask, _read_phase])
def test_an_affine_rounded_to_four_decimals_is_the_same_grid(scan, tmp_path, read):
    read(_write(tmp_path / "rounded.nii.gz", np.round(AFFINE, 4)), scan)


@pytest.mark.parametrize("read", [read_labels, read_mask, _read_phase])
def test_an_image_whose_rows_run_the_other_way_is_turned(scan, tmp_path, read):
    def array_of(image):
        image = getattr(image, "volume", image)
        return getattr(image, "array", image)

    turn = np.diag([1.0, -1, 1, 1])
    turn[1, 3] = SHAPE[1] - 1
    plain = _write(tmp_path / "plain.nii.gz", AFFINE)
    flipped = np.flip(read_nifti(plain).array, 1)
    write_nifti(tmp_path / "other.nii.gz", Volume(flipped, AFFINE @ turn), np.int16)
    turned = read(tmp_path / "other.nii.gz", scan)
    np.testing.assert_array_equal(array_of(turned), array_of(read(plain, scan)))


def _labels(tmp_path, *places):
    array = np.zeros(SHAPE, np.int16)
    for place in places:
        array[place] = 7
    write_nifti(tmp_path / "cmb.nii.gz", Volume(array, AFFINE), np.int16)
    return tmp_path / "cmb.nii.gz"


def test_a_lesion_alone_keeps_the_number_of_the_reader(scan, tmp_path):
    labels = read_labels(_labels(tmp_path, (5, 5, 1)), scan)
    assert labels.array[5, 5, 1] == 7


def test_pieces_that_share_a_value_are_numbered(scan, tmp_path):
    labels = read_labels(_labels(tmp_path, (5, 5, 1), (50, 50, 1)), scan)
    assert {labels.array[5, 5, 1], labels.array[50, 50, 1]} == {1, 2}
