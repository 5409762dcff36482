"""Geometry and values equal those of dcm2niix."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mmocnet.io.dicom.find import choose_swi, find_series
from mmocnet.io.dicom.volume import read_series
from mmocnet.volume import Volume

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"


def _tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


def _convert(folder: Path, out: Path) -> list[Volume]:
    out.mkdir()
    words = [_tool("dcm2niix"), "-z", "n", "-b", "n", "-f", "out", "-o", str(out), str(folder)]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    images = [nibabel.load(path) for path in sorted(out.glob("*.nii"))]
    return [Volume(image.get_fdata(), image.affine) for image in images]


def _assert_same_at_world_points(ours: Volume, theirs: Volume, tolerance: float = 0.0):
    assert sorted(ours.shape) == sorted(theirs.shape)
    grid = np.stack(np.meshgrid(*map(np.arange, ours.shape), indexing="ij"), axis=-1)
    places = theirs.voxel(ours.world(grid.reshape(-1, 3).astype(float)))
    indices = np.rint(places).astype(int)
    assert np.abs(places - indices).max() < 0.01
    values = theirs.array[tuple(indices.T)].reshape(ours.shape)
    assert np.abs(values - ours.array).max() <= tolerance


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("multiframe", [False, True])
def test_geometry_equals_dcm2niix(tmp_path, write_dicom_series, volume, axes, multiframe):
    turned = Volume(volume.array.transpose(axes), volume.affine[:, [*axes, 3]])
    write_dicom_series(tmp_path / "dicom", turned, multiframe=multiframe)
    ours, _, _ = read_series(choose_swi(find_series(tmp_path / "dicom")))
    (theirs,) = _convert(tmp_path / "dicom", tmp_path / "nifti")
    _assert_same_at_world_points(ours, theirs)


def test_phase_equals_dcm2niix(tmp_path, write_dicom_series, phase):
    write_dicom_series(tmp_path / "dicom", phase, kind="phase")
    ours, _, _ = read_series(find_series(tmp_path / "dicom")[0])
    (theirs,) = _convert(tmp_path / "dicom", tmp_path / "nifti")
    _assert_same_at_world_points(ours, theirs, 1e-3)


def test_jpeg_lossless_equals_what_was_packed(tmp_path, write_dicom_series, volume):
    tool = _tool("dcmcjpeg")
    (tmp_path / "packed").mkdir()
    for path in write_dicom_series(tmp_path / "dicom", volume):
        subprocess.run([tool, "+e1", str(path), str(tmp_path / "packed" / path.name)], check=True)
    from mmocnet.io.dicom.guard import read_header

    packed = choose_swi(find_series(tmp_path / "packed"))
    syntax = read_header(packed.files[0]).file_meta.TransferSyntaxUID
    assert syntax == JPEG_LOSSLESS
    ours, _, _ = read_series(packed)
    assert np.array_equal(ours.array, volume.array)


def test_a_real_series_equals_dcm2niix(tmp_path, real_data):
    folder = real_data / "rat-swi" / "dicom"
    series = choose_swi(find_series(folder))
    ours, source, warnings = read_series(series)
    (theirs,) = _convert(folder, tmp_path / "nifti")
    _assert_same_at_world_points(ours, theirs)
    assert (series.kind, source.vendor, warnings) == ("swi", "siemens", ())
    assert len(source.files) == 40
