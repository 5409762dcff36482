import gzip
import struct
import tracemalloc
from contextlib import suppress

import nibabel as nib
import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.io import nifti
from mmocnet.io.nifti import read_nifti, read_nifti_warned, write_nifti
from mmocnet.volume import Volume

OBLIQUE = np.array(
    [[-0.69, 0.05, 0.1, 80.0], [0.04, 0.66, -0.45, -90.0], [0.06, 0.2, 1.9, -50.0], [0, 0, 0, 1.0]]
)


def save(path, array, affine=OBLIQUE, edit=None):
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    if edit:
        edit(image.header)
    nib.save(image, path)
    return path


def patched(path, offset, form, *values):
    """Overwrite header fields of an uncompressed file."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, offset, *values)
    path.write_bytes(bytes(data))
    return path


@pytest.fixture
def image(rng):
    return rng.integers(0, 4000, (20, 24, 18)).astype(np.int16)


@pytest.fixture
def peak_bytes():
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, ">i2"])
def test_read_gives_what_nibabel_gives(tmp_path, image, ending, dtype):
    path = save(tmp_path / f"a{ending}", image.astype(dtype))
    volume = read_nifti(path)
    expected = nib.load(path)
    np.testing.assert_array_equal(volume.array, np.asarray(expected.dataobj))
    np.testing.assert_allclose(volume.affine, expected.affine)
    assert volume.array.dtype == np.dtype(dtype).newbyteorder("=")


def test_scaled_values_come_back_in_float32(tmp_path, image):
    path = save(tmp_path / "a.nii", image)
    patched(path, 112, "<ff", 0.5, -3.0)
    volume = read_nifti(path)
    np.testing.assert_allclose(volume.array, image * 0.5 - 3.0)
    assert volume.array.dtype == np.float32


def test_nifti2_is_read(tmp_path, image):
    nib.save(nib.Nifti2Image(image, OBLIQUE), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz").array, image)


def test_trailing_dimensions_of_one_are_dropped(tmp_path, image):
    path = save(tmp_path / "a.nii", image[..., None, None])
    assert read_nifti(path).shape == image.shape


def test_a_flat_image_gets_a_third_axis(tmp_path, image):
    assert read_nifti(save(tmp_path / "a.nii", image[:, :, 0])).shape == (20, 24, 1)


def test_the_qform_counts_where_there_is_no_sform(tmp_path, image):
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    path = save(tmp_path / "a.nii", image, affine)
    patched(path, 254, "<h", 0)
    patched(path, 280, "<f", 99.0)
    np.testing.assert_allclose(read_nifti(path).affine, affine)


def test_the_sform_counts_where_it_differs_from_the_qform(tmp_path, image):
    other = np.diag([*(nib.affines.voxel_sizes(OBLIQUE) * (-1, 1, 1)), 1.0])
    path = save(tmp_path / "a.nii", image, OBLIQUE, lambda header: header.set_qform(other, 1))
    volume, warnings = read_nifti_warned(path)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-6)
    assert warnings == ()


def test_a_qform_that_swaps_sides_is_warned_of(tmp_path, image):
    other = np.diag([-1.0, 1.0, 2.0, 1.0])
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    path = save(tmp_path / "a.nii", image, affine, lambda header: header.set_qform(other, 1))
    volume, warnings = read_nifti_warned(path)
    np.testing.assert_allclose(volume.affine, affine)
    assert "sides may be swapped" in warnings[0]


@pytest.mark.parametrize("qform_code", [0, 1])
def test_two_sizes_of_voxels_are_refused(tmp_path, image, qform_code):
    path = save(tmp_path / "a.nii", image, np.diag([1.4, 1.4, 4.0, 1.0]))
    patched(path, 252, "<h", qform_code)
    patched(path, 280, "<12f", *np.eye(4)[:3].ravel())
    with pytest.raises(InputError, match=r"1 x 1 x 1 mm by the sform and 1\.4 x 1\.4 x 4 mm"):
        read_nifti(path)


def test_a_writer_that_knows_of_the_sform_alone_is_understood(tmp_path, image):
    path = save(tmp_path / "a.nii", image, OBLIQUE)
    patched(path, 252, "<h", 0)
    patched(path, 80, "<3f", 1.0, 1.0, 1.0)
    volume, warnings = read_nifti_warned(path)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-6)
    assert warnings == ()


def test_a_singular_sform_yields_to_the_qform_with_a_warning(tmp_path, image):
    path = save(tmp_path / "a.nii", image, np.diag([1.0, 1.0, 2.0, 1.0]))
    patched(path, 280, "<12f", *np.zeros(12))
    volume, warnings = read_nifti_warned(path)
    np.testing.assert_allclose(volume.affine, np.diag([1.0, 1.0, 2.0, 1.0]))
    assert "singular" in warnings[0]


def test_no_orientation_is_warned_of(tmp_path, image):
    path = patched(save(tmp_path / "a.nii", image), 252, "<hh", 0, 0)
    assert "sides may be swapped" in read_nifti_warned(path)[1][0]


def test_a_tiny_file_that_declares_gigabytes_is_refused_before_reading(tmp_path, peak_bytes):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape((1300, 1300, 1300))
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(bytes(header.binaryblock) + bytes(4)))
    with pytest.raises(InputError, match="GiB"):
        read_nifti(path)
    assert peak_bytes() < 5e6


def test_a_declared_size_that_the_file_cannot_hold_is_refused(tmp_path, image):
    path = save(tmp_path / "a.nii.gz", image)
    block = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<hhh", block, 42, 400, 400, 400)
    path.write_bytes(gzip.compress(bytes(block)))
    with pytest.raises(InputError, match="cut short"):
        read_nifti(path)


def test_decompression_stops_at_the_declared_size(tmp_path, image, peak_bytes):
    path = save(tmp_path / "a.nii", image)
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes() + bytes(200_000_000)))
    tracemalloc.reset_peak()
    np.testing.assert_array_equal(read_nifti(packed).array, image)
    assert peak_bytes() < 20e6


def test_more_voxels_than_the_cap_are_refused(tmp_path, image, monkeypatch):
    path = save(tmp_path / "a.nii.gz", image)
    monkeypatch.setattr(nifti, "MAX_VOLUME_BYTES", image.size * 4 - 1)
    with pytest.raises(InputError, match="GiB"):
        read_nifti(path)


@pytest.mark.parametrize("keep", [3, 100, 400, 2000, -30, -3])
def test_a_file_cut_short_gives_one_sentence(tmp_path, image, keep):
    path = save(tmp_path / "a.nii.gz", image)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"cut short|other content"):
        read_nifti(path)


def test_an_uncompressed_file_cut_short_gives_one_sentence(tmp_path, image):
    path = save(tmp_path / "a.nii", image)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="cut short"):
        read_nifti(path)


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path, image):
    path = save(tmp_path / "a.nii.gz", image)
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="damaged"):
        read_nifti(path)


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda data: data[:-30], "cut short: its compressed data ends early"),
        (lambda data: data[:-6] + bytes([data[-6] ^ 1]) + data[-5:], "not have the checksum"),
        (lambda data: data + b"more", "bytes that are no compressed data come after its end"),
        (lambda data: data[:200] + bytes(300) + data[500:], "cannot be unpacked"),
    ],
)
def test_what_is_wrong_with_a_gzip_file_is_said(tmp_path, image, spoilt, said):
    path = save(tmp_path / "a.nii.gz", image)
    path.write_bytes(spoilt(path.read_bytes()))
    with pytest.raises(InputError, match=said):
        read_nifti(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sform_that_is_not_finite_is_refused(tmp_path, image, value):
    path = patched(save(tmp_path / "a.nii", image), 284, "<f", value)
    with pytest.raises(InputError, match="finite"):
        read_nifti(path)


@pytest.mark.parametrize(("offset", "value"), [(256, np.nan), (256, 7.0), (268, np.inf)])
def test_a_wrong_qform_is_refused(tmp_path, image, offset, value):
    path = patched(save(tmp_path / "a.nii", image), 254, "<h", 0)
    patched(path, offset, "<f", value)
    with pytest.raises(InputError, match=r"finite|quaternion"):
        read_nifti(path)


@pytest.mark.parametrize("spacing", [0.0, -1.0, np.nan])
def test_a_wrong_spacing_is_refused(tmp_path, image, spacing):
    path = patched(save(tmp_path / "a.nii", image), 252, "<hh", 0, 0)
    patched(path, 80, "<f", spacing)
    with pytest.raises(InputError, match="spacing_mm must be positive"):
        read_nifti(path)


def test_complex_values_are_refused(tmp_path, image):
    with pytest.raises(InputError, match="real numbers"):
        read_nifti(save(tmp_path / "a.nii", image.astype(np.complex64)))


def test_rgb_is_refused(tmp_path):
    colours = np.zeros((20, 20, 20), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputError, match="RGB"):
        read_nifti(save(tmp_path / "a.nii", colours))


def test_four_dimensions_are_refused(tmp_path, image):
    with pytest.raises(InputError, match="4 dimensions"):
        read_nifti(save(tmp_path / "a.nii", np.stack([image, image], axis=-1)))


@pytest.mark.parametrize(
    "dims", [(3, -5, 24, 18), (3, 0, 24, 18), (9, 20, 24, 18), (0, 20, 24, 18)]
)
def test_wrong_dimensions_are_refused(tmp_path, image, dims):
    path = patched(save(tmp_path / "a.nii", image), 40, "<4h", *dims)
    with pytest.raises(InputError, match=r"dimensions|header"):
        read_nifti(path)


@pytest.mark.parametrize("offset", [100.0, -1.0, np.nan, 1e30])
def test_a_wrong_start_of_the_voxels_is_refused(tmp_path, image, offset):
    path = patched(save(tmp_path / "a.nii", image), 108, "<f", offset)
    with pytest.raises(InputError, match="begin after the header"):
        read_nifti(path)


def test_a_type_that_is_not_known_is_refused(tmp_path, image):
    path = patched(save(tmp_path / "a.nii", image), 70, "<h", 77)
    with pytest.raises(InputError, match="header"):
        read_nifti(path)


def test_any_header_gives_a_volume_or_one_sentence(tmp_path, rng):
    path = save(tmp_path / "a.nii", np.zeros((16, 16, 2), np.int16))
    whole = path.read_bytes()
    for _ in range(400):
        data = bytearray(whole)
        for place in rng.integers(4, 348, 6):
            data[place] = rng.integers(256)
        path.write_bytes(bytes(data))
        # Whatever else is raised fails the test.
        with suppress(InputError):
            assert read_nifti(path).array.ndim == 3


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_what_is_written_is_read_back(tmp_path, rng, dtype):
    array = rng.integers(0, 200, (8, 9, 10)).astype(dtype)
    write_nifti(tmp_path / "out.nii.gz", Volume(array, OBLIQUE), dtype)
    volume = read_nifti(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-5)
    assert volume.array.dtype == dtype


def test_sform_and_qform_agree_in_mm_and_are_set(tmp_path):
    affine = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.3, -0.2, 0.1) @ np.diag([0.5, 0.5, 2.0]), [-80, -90, -50]
    )
    write_nifti(tmp_path / "out.nii.gz", Volume(np.ones((4, 5, 6)), affine), np.uint8)
    header = nib.load(tmp_path / "out.nii.gz").header
    assert int(header["sform_code"]) > 0
    assert int(header["qform_code"]) > 0
    assert header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)


@pytest.mark.parametrize(("shift_mm", "code"), [(0.0005, 1), (0.4, 0)])
def test_the_qform_of_tilted_slices_is_unset_and_the_sform_right(tmp_path, shift_mm, code):
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    affine[:3, 2], affine[:3, 3] = (0, shift_mm, 2), (-80, -90, -50)
    path = tmp_path / "out.nii.gz"
    write_nifti(path, Volume(np.ones((4, 5, 6)), affine), np.uint8)
    header = nib.load(path).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, code)
    np.testing.assert_allclose(header.get_sform(), affine, atol=1e-6)
    np.testing.assert_allclose(read_nifti(path).affine, affine, atol=1e-6)


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    volume = Volume(np.ones((4, 5, 6)), np.eye(4))
    write_nifti(tmp_path / "a.nii.gz", volume, np.uint8)
    write_nifti(tmp_path / "b.nii.gz", volume, np.uint8)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("value", [-1.0, 256.0, np.nan])
def test_values_that_do_not_fit_are_refused_and_leave_no_file(tmp_path, value):
    with pytest.raises(InputError, match="do not fit"):
        write_nifti(tmp_path / "a.nii.gz", Volume(np.full((2, 2, 2), value), np.eye(4)), np.uint8)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"old")

    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(gzip.GzipFile, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        write_nifti(path, Volume(np.ones((2, 2, 2)), np.eye(4)), np.uint8)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]
    assert path.read_bytes() == b"old"
