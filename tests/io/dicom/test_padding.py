import numpy as np
import pytest
from pydicom import dcmread

from mmocnet.io.dicom.find import choose_swi, find_series
from mmocnet.io.dicom.padding import fill_padding
from mmocnet.io.dicom.volume import read_series

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


@pytest.fixture
def corners(volume):
    """Where the scanner measured nothing: outside a circle in each slice."""
    rows, columns = np.indices(volume.shape[:2])
    away = np.hypot(rows - volume.shape[0] / 2, columns - volume.shape[1] / 2)
    return np.broadcast_to((away > min(volume.shape[:2]) / 2)[:, :, None], volume.shape)


@pytest.fixture
def padded(tmp_path, write_dicom_series, volume, corners):
    """Read a volume whose corners hold a stored value; the rest is less by an offset."""

    def read(value, *, signed=False, offset=0, syntax=EXPLICIT, multiframe=False, **tags):
        stored = np.where(corners, value, volume.array - offset).astype(np.int64) % 2**16
        write_dicom_series(
            tmp_path, volume.like(stored), transfer_syntax=syntax, multiframe=multiframe,
            PixelRepresentation=int(signed), **tags,
        )  # fmt: skip
        return read_series(choose_swi(find_series(tmp_path)))[0].array

    return read


@pytest.mark.parametrize("kind", [{}, {"multiframe": True}, {"syntax": IMPLICIT}], ids=str)
@pytest.mark.parametrize("value", [65535, -2000, -1])
def test_padding_is_no_signal(padded, volume, corners, value, kind):
    found = padded(value, signed=value < 0, PixelPaddingValue=value, **kind)
    assert np.array_equal(found, np.where(corners, 0, volume.array))


def test_padding_below_zero_becomes_the_lowest_value(padded, volume, corners):
    found = padded(-2000, signed=True, offset=700, PixelPaddingValue=-2000)
    lowest = (volume.array[~corners] - 700).min()
    assert lowest < 0
    assert np.array_equal(found, np.where(corners, lowest, volume.array - 700))


def test_padding_is_found_before_rescaling(padded, volume, corners):
    tags = {"RescaleSlope": 0.5, "RescaleIntercept": -100}
    found = padded(60000, PixelPaddingValue=60000, **tags)
    rest = 0.5 * volume.array - 100
    assert np.array_equal(found, np.where(corners, rest[~corners].min(), rest))


@pytest.mark.parametrize("ends", [(60000, 65535), (65535, 60000)])
def test_padding_may_be_a_range(padded, volume, corners, ends):
    value, limit = ends
    found = padded(62000, PixelPaddingValue=value, PixelPaddingRangeLimit=limit)
    assert np.array_equal(found, np.where(corners, 0, volume.array))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_padding_written_with_the_other_sign_is_found(
    tmp_path, write_dicom_series, volume, corners, syntax
):
    stored = np.where(corners, 63536, volume.array)
    for path in write_dicom_series(tmp_path, volume.like(stored), transfer_syntax=syntax):
        dataset = dcmread(path)
        dataset.PixelRepresentation = 1
        dataset.add_new("PixelPaddingValue", "US", 63536)
        dataset.save_as(path)
    found = read_series(choose_swi(find_series(tmp_path)))[0].array
    assert np.array_equal(found, np.where(corners, 0, volume.array))


@pytest.mark.parametrize("value", [0, 1, 700])
def test_a_padding_value_that_tissue_has_changes_nothing(
    tmp_path, write_dicom_series, volume, value
):
    values = volume.array.copy()
    values[10:30, 10:30, 4], values[0, 0] = value, 0
    write_dicom_series(tmp_path, volume.like(values), PixelPaddingValue=value)
    found = read_series(choose_swi(find_series(tmp_path)))[0].array
    assert np.array_equal(found, values)


def test_slices_of_nothing_but_padding_stay_as_they_are(rng):
    array = rng.random((3, 4, 5), dtype=np.float32)
    before = array.copy()
    fill_padding(array, np.ones(array.shape, dtype=bool))
    assert np.array_equal(array, before)


@pytest.mark.parametrize("value", [[1, 2], None, 2**16 - 1])
def test_a_padding_value_that_means_nothing_is_ignored(tmp_path, write_dicom_series, volume, value):
    write_dicom_series(tmp_path, volume, PixelPaddingValue=value)
    assert np.array_equal(read_series(find_series(tmp_path)[0])[0].array, volume.array)
