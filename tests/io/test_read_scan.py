import hashlib
import math

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from mmocnet.errors import InputError
from mmocnet.io.picture import picture_array, read_picture, write_picture
from mmocnet.io.read import read_scan
from mmocnet.volume import Volume


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (40, 30)).astype(np.uint8)


def save_picture(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def save_nifti(path, array, spacing=(0.5, 0.5, 2.0)):
    nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), path)
    return path


@pytest.mark.parametrize(
    ("sidecar", "echo_s"),
    [
        ('{"EchoTime": 0.022}', 0.022),
        ('{"EchoTime": "22"}', math.nan),
        ("[", math.nan),
        (None, math.nan),
    ],
)
def test_the_echo_time_is_the_sidecar_s(tmp_path, sidecar, echo_s):
    path = save_nifti(tmp_path / "a.nii.gz", np.arange(1600, dtype=np.int16).reshape(20, 20, 4))
    if sidecar is not None:
        (tmp_path / "a.json").write_text(sidecar, encoding="utf-8")
    assert read_scan(path).echo_s == pytest.approx(echo_s, nan_ok=True)


def test_a_picture_lies_with_its_top_in_front(tmp_path, pixels):
    scan = read_scan(save_picture(tmp_path / "a.png", pixels), 0.5)
    assert scan.volume.shape == (30, 40, 1)
    assert scan.volume.spacing_mm[:2] == (0.5, 0.5)
    assert (scan.kind, scan.source) == ("slice", "picture")
    assert scan.volume.array[3, 39, 0] == pixels[0, 3]
    assert scan.volume.array[3, 0, 0] == pixels[-1, 3]


@pytest.mark.parametrize("ending", [".png", ".tif", ".tiff", ".PNG"])
def test_a_picture_comes_back_exactly(tmp_path, pixels, ending):
    volume = read_picture(save_picture(tmp_path / f"a{ending}", pixels), 0.5)
    np.testing.assert_array_equal(picture_array(volume), pixels)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_deep_pictures_keep_their_values(tmp_path, pixels, dtype):
    values = pixels.astype(dtype) * 200
    ending = ".tif" if dtype != np.uint16 else ".png"
    volume = read_picture(save_picture(tmp_path / f"a{ending}", values), 0.5)
    np.testing.assert_array_equal(picture_array(volume), values)


def test_a_written_mask_is_read_back(tmp_path, pixels):
    write_picture(tmp_path / "mask.png", pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mask.png")), pixels)
    assert [p.name for p in tmp_path.iterdir()] == ["mask.png"]


def test_grey_saved_as_rgb_is_grey(tmp_path, pixels):
    path = save_picture(tmp_path / "a.png", np.stack([pixels] * 3, axis=-1))
    np.testing.assert_array_equal(picture_array(read_picture(path, 0.5)), pixels)


def test_colours_are_refused(tmp_path, rng):
    path = save_picture(tmp_path / "a.png", rng.integers(0, 256, (40, 40, 3)).astype(np.uint8))
    with pytest.raises(InputError, match="colours"):
        read_scan(path, 0.5)


def test_several_pages_are_refused(tmp_path, pixels):
    page = Image.fromarray(pixels)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page, page])
    with pytest.raises(InputError, match="3 pages"):
        read_scan(tmp_path / "a.tif", 0.5)


def test_a_huge_picture_is_refused_before_it_is_unpacked(tmp_path):
    Image.new("L", (12000, 8000)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="pixels"):
        read_scan(tmp_path / "a.png", 0.5)


def test_a_picture_cut_short_gives_one_sentence(tmp_path, pixels):
    path = save_picture(tmp_path / "a.png", pixels)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="damaged or cut short"):
        read_scan(path, 0.5)


def test_a_picture_of_another_format_is_refused(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png", format="BMP")
    with pytest.raises(InputError, match="other content"):
        read_scan(tmp_path / "a.png", 0.5)


def test_a_picture_needs_its_spacing(tmp_path, pixels):
    with pytest.raises(InputError, match="--spacing-mm"):
        read_scan(save_picture(tmp_path / "a.png", pixels))


@pytest.mark.parametrize("spacing_mm", [0.0, -1.0, np.nan, np.inf])
def test_a_wrong_spacing_is_refused(tmp_path, pixels, spacing_mm):
    with pytest.raises(InputError, match="positive"):
        read_scan(save_picture(tmp_path / "a.png", pixels), spacing_mm)


def test_a_picture_needs_one_slice_to_be_written():
    with pytest.raises(InputError, match="one slice"):
        picture_array(Volume(np.zeros((3, 3, 2)), np.eye(4)))


def test_a_nifti_volume_has_its_own_spacing(tmp_path, rng):
    array = rng.random((20, 21, 22)).astype(np.float64)
    path = save_nifti(tmp_path / "a.nii.gz", array)
    scan = read_scan(path)
    assert (scan.kind, scan.source, scan.warnings) == ("volume", "nifti", ())
    assert scan.volume.array.dtype == np.float32
    assert scan.volume.spacing_mm == (0.5, 0.5, 2.0)
    assert scan.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "not used" in read_scan(path, 0.5).warnings[0]


@pytest.mark.parametrize("shape", [(20, 21), (20, 21, 1), (1, 20, 21)])
def test_a_nifti_of_one_slice_is_a_slice(tmp_path, rng, shape):
    assert read_scan(save_nifti(tmp_path / "a.nii", rng.random(shape))).kind == "slice"


def test_a_hole_of_values_that_are_not_finite_is_no_dark_dot(tmp_path, rng):
    array = rng.uniform(100, 110, (20, 20, 20)).astype(np.float32)
    array[3, 4, 5], array[6:8, 7, 8], array[19, 0, 19] = np.nan, np.inf, -np.inf
    scan = read_scan(save_nifti(tmp_path / "a.nii", array))
    holes = scan.volume.array[~np.isfinite(array)]
    assert holes.min() > 100
    assert holes.max() < 110
    np.testing.assert_array_equal(scan.volume.array[np.isfinite(array)], array[np.isfinite(array)])
    (told,) = scan.warnings
    assert told.startswith("voxels that are not finite in a.nii: 4 given the median")


def test_what_a_mask_left_out_becomes_zero(tmp_path, rng):
    array = rng.uniform(100, 110, (20, 20, 20)).astype(np.float32)
    array[:6], array[12, 12, 12] = np.nan, np.nan
    scan = read_scan(save_nifti(tmp_path / "a.nii", array))
    assert (scan.volume.array[:6] == 0).all()
    assert 100 < scan.volume.array[12, 12, 12] < 110
    assert [text.split(": ")[1] for text in scan.warnings] == [
        "2400 set to 0",
        "1 given the median of what is around them",
    ]


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_the_same_value_everywhere_is_refused(tmp_path, value):
    path = save_nifti(tmp_path / "a.nii.gz", np.full((20, 20, 20), value, dtype=np.float32))
    with pytest.raises(InputError, match=r"same value|finite values"):
        read_scan(path)


@pytest.mark.parametrize("spacing", [(0.001, 0.001, 1.0), (500.0, 500.0, 500.0)])
def test_voxels_in_another_unit_are_refused(tmp_path, rng, spacing):
    path = save_nifti(tmp_path / "a.nii", rng.random((20, 20, 20)), spacing)
    with pytest.raises(InputError, match="expected voxels of"):
        read_scan(path)


def test_tilted_slices_are_told(tmp_path, rng):
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    affine[1, 2] = 2 * math.tan(math.radians(10))
    nib.save(nib.Nifti1Image(rng.random((20, 20, 9)), affine), tmp_path / "a.nii")
    told = "slices are tilted in a.nii: its axes are up to 10.0 degrees off right angles"
    assert read_scan(tmp_path / "a.nii").warnings == (told,)


def test_slices_of_few_pixels_are_refused(tmp_path, rng):
    with pytest.raises(InputError, match="16 x 16"):
        read_scan(save_nifti(tmp_path / "a.nii", rng.random((8, 20, 9))))


def test_a_missing_file_gives_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"no such file: a\.nii"):
        read_scan(tmp_path / "a.nii")


def test_an_empty_file_gives_one_sentence(tmp_path):
    (tmp_path / "a.nii").touch()
    with pytest.raises(InputError, match=r"a\.nii is empty"):
        read_scan(tmp_path / "a.nii")


def test_a_folder_without_dicom_is_refused(tmp_path):
    with pytest.raises(InputError, match="found no DICOM image among 0 files"):
        read_scan(tmp_path)


def test_a_folder_of_nifti_says_to_give_the_files(tmp_path):
    (tmp_path / "anat").mkdir()
    (tmp_path / "anat" / "a.nii.gz").touch()
    words = (
        "found no DICOM image among 1 file in .*: it holds NIfTI files: give the files themselves"
    )
    with pytest.raises(InputError, match=words):
        read_scan(tmp_path)


@pytest.mark.parametrize("name", ["a.dcm", "IM0001"])
def test_dicom_without_content_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(50))
    with pytest.raises(InputError, match=name):
        read_scan(tmp_path / name)


def test_dicom_without_a_preamble_is_read_alone_as_in_a_folder(tmp_path, write_dicom_series, rng):
    volume = Volume(rng.uniform(1, 900, (20, 24, 1)).round(), np.diag([-0.5, -0.5, 2.0, 1.0]))
    syntax = "1.2.840.10008.1.2"
    (path,) = write_dicom_series(tmp_path / "a", volume, transfer_syntax=syntax)
    whole = path.read_bytes()
    # The length of the group that comes first is the value of its first element.
    start = 144 + int.from_bytes(whole[140:144], "little")
    (tmp_path / "IM1").write_bytes(whole[start:])
    path.unlink()
    for given in (tmp_path / "IM1", tmp_path):
        np.testing.assert_array_equal(read_scan(given).volume.array, volume.array)


@pytest.mark.parametrize("name", ["a.txt", "a.mgz", "a.hdr", "a"])
def test_another_ending_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"some text that is not an image")
    with pytest.raises(InputError, match=r"expected \.nii"):
        read_scan(tmp_path / name)


def test_text_called_nifti_is_refused(tmp_path):
    (tmp_path / "a.nii").write_text("some text that is not an image" * 50)
    with pytest.raises(InputError, match="expected a NIfTI file"):
        read_scan(tmp_path / "a.nii")
