"""Phase that was given for a scan: which series it is, and how its axes run."""

import nibabel
import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.io.phase import read_phase
from mmocnet.io.read import read_scan
from mmocnet.volume import Volume

AFFINE = np.array([[-0.9, 0, 0, 20], [0, -0.8, 0.1, 15], [0, 0.1, 2, -4], [0, 0, 0, 1.0]])


@pytest.fixture
def image(rng):
    return Volume(np.rint(rng.uniform(1, 900, (24, 20, 5))), AFFINE)


@pytest.fixture
def phase(rng):
    return Volume(rng.uniform(-np.pi, np.pi, (24, 20, 5)), AFFINE)


@pytest.fixture
def scan(tmp_path, image, write_dicom_series):
    write_dicom_series(tmp_path / "swi", image)
    return read_scan(tmp_path / "swi")


@pytest.mark.parametrize("axes", [(), (1,), (1, 2), (0, 1, 2)])
def test_axes_that_run_the_other_way_are_turned(tmp_path, scan, phase, axes):
    turn = np.diag([-1.0 if axis in axes else 1.0 for axis in range(3)] + [1.0])
    turn[:3, 3] = [phase.shape[axis] - 1 if axis in axes else 0 for axis in range(3)]
    turned = np.flip(phase.array, axes).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(turned, AFFINE @ turn), tmp_path / "p.nii")
    read = read_phase(tmp_path / "p.nii", scan).volume
    assert np.allclose(read.affine, AFFINE, atol=1e-5)
    assert np.array_equal(read.array, phase.array.astype(np.float32))


def test_phase_of_a_whole_study_is_that_of_the_grid_and_the_echo(
    tmp_path, scan, image, phase, write_dicom_series
):
    study = tmp_path / "study"
    write_dicom_series(study, image)
    write_dicom_series(study, image, kind="magnitude")
    short = Volume(phase.array[:, :, 1:], AFFINE)
    for number, one, echo_ms in ((5, phase, 7.5), (6, phase, 20.0), (7, short, 20.0)):
        tags = {"SeriesNumber": number, "SeriesInstanceUID": f"1.2.{number}", "EchoTime": echo_ms}
        write_dicom_series(study / str(number), one, kind="phase", **tags)
    found = read_phase(study, scan)
    assert found.volume.name == "series 6"
    assert found.dicom.series_uid == "1.2.6"
    assert np.abs(found.volume.array / 4096 * np.pi - phase.array).max() < 0.003


def test_a_study_without_phase_is_refused(tmp_path, scan, image, write_dicom_series):
    write_dicom_series(tmp_path / "study", image)
    write_dicom_series(tmp_path / "study", image, kind="magnitude")
    with pytest.raises(InputError, match="expected a phase series in study, got none of 2 series"):
        read_phase(tmp_path / "study", scan)


def test_phase_series_of_other_grids_alone_are_refused(tmp_path, scan, phase, write_dicom_series):
    for slices in (3, 4):
        one = Volume(phase.array[:, :, :slices], AFFINE)
        write_dicom_series(tmp_path / "study" / str(slices), one, kind="phase")
    with pytest.raises(InputError, match=r"expected phase on the grid of series 3, \(24, 20, 5\)"):
        read_phase(tmp_path / "study", scan)
