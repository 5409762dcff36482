import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.io.nifti import write_nifti
from mmocnet.simulate.implant_dataset import by_subject
from mmocnet.simulate.implant_find import find_scans
from mmocnet.simulate.implant_phase import b0_direction, phase_in_rad, phase_of_chi, phase_sign
from mmocnet.simulate.implant_read import Overrides, read_real_scan
from mmocnet.simulate.record import SimulatedStudy
from mmocnet.simulate.signal import Echo
from mmocnet.volume import Volume

SHAPE = (32, 32, 12)
Study = Callable[..., SimulatedStudy]
ALL = Overrides(20.0, 3.0, 1)


def put(path: Path, array: np.ndarray, shift_mm: float = 0.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 3] = shift_mm
    write_nifti(path, Volume(array.astype(np.float32), affine), np.float32)


def magnitude() -> np.ndarray:
    array = np.zeros(SHAPE)
    array[6:-6, 6:-6] = 100 + np.random.default_rng(0).normal(0, 2, (20, 20, 12))
    return array


def phase() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.2, SHAPE)


def scan(folder: Path, **overrides: Any) -> Any:
    return read_real_scan(find_scans(folder)[0], Overrides(**overrides) if overrides else ALL)


def test_bids_pairs_are_found_by_subject_and_visit(tmp_path: Path) -> None:
    for visit in ("sub-02_ses-b", "sub-01_ses-a"):
        anat = tmp_path / Path(*visit.split("_")) / "anat"
        put(anat / f"{visit}_part-mag_T2starw.nii.gz", magnitude())
        put(anat / f"{visit}_part-phase_T2starw.nii.gz", phase())
        put(anat / f"{visit}_acq-swi_T2starw.nii.gz", magnitude())
        brain = tmp_path / "derivatives" / "x" / f"{visit}_desc-brain_mask.nii.gz"
        put(brain, magnitude() > 0)
    found = find_scans(tmp_path)
    assert [(one.subject, one.session) for one in found] == [("01", "a"), ("02", "b")]
    assert set(found[0].by_role()) == {"magnitude", "phase", "brain"}


def test_simply_named_files_belong_by_folder_or_by_the_start_of_their_name(tmp_path: Path) -> None:
    put(tmp_path / "one" / "magnitude_te25.nii.gz", magnitude())
    put(tmp_path / "one" / "chi33_ppm.nii", phase())
    put(tmp_path / "one" / "swi_from_chi33.nii", magnitude())
    for person in ("first", "second"):
        put(tmp_path / "both" / f"{person}_mag.nii.gz", magnitude())
        put(tmp_path / "both" / f"{person}_phase.nii.gz", phase())
    found = find_scans(tmp_path)
    assert len(found) == 3
    pairs = {(one.magnitude.name, (one.phase or one.chi or Path()).name) for one in found}
    assert ("magnitude_te25.nii.gz", "chi33_ppm.nii") in pairs
    assert ("second_mag.nii.gz", "second_phase.nii.gz") in pairs


def test_simply_named_visits_below_one_folder_are_of_one_subject(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for name in ("A/2019", "A/2021", "B/B_2019", "B/B_2021", "C/", "D", "E"):
        start = f"{name}{'' if name.endswith('/') else '_'}"
        put(tmp_path / f"{start}mag.nii.gz", magnitude() + rng.random(SHAPE))
        put(tmp_path / f"{start}phase.nii.gz", phase())
    found = by_subject(find_scans(tmp_path))
    visits = {
        tuple(one.magnitude.relative_to(tmp_path).as_posix() for one in scans): [
            one.session for one in scans
        ]
        for scans in found.values()
    }
    assert visits == {
        ("A/2019_mag.nii.gz", "A/2021_mag.nii.gz"): ["01", "02"],
        ("B/B_2019_mag.nii.gz", "B/B_2021_mag.nii.gz"): ["01", "02"],
        ("C/mag.nii.gz",): [None],
        ("D_mag.nii.gz",): [None],
        ("E_mag.nii.gz",): [None],
    }


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["sub-01_acq-swi_T2starw", "brain_mask"], "weighted image alone"),
        (["swi"], "weighted image alone"),
        (["phase"], "no magnitude"),
        (["magnitude"], "neither phase nor susceptibility"),
        (["a_mag", "b_phase", "b_phase2"], "got phase|one phase"),
        (["t1w"], "got none"),
    ],
)
def test_what_cannot_be_implanted_is_refused(tmp_path: Path, names: list[str], words: str) -> None:
    for name in names:
        put(tmp_path / f"{name}.nii.gz", magnitude())
    with pytest.raises(InputError, match=words):
        find_scans(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        find_scans(tmp_path / "none")


def test_echo_time_and_field_come_from_the_sidecar_unless_given(tmp_path: Path) -> None:
    put(tmp_path / "mag.nii.gz", magnitude())
    put(tmp_path / "phase.nii.gz", phase())
    with pytest.raises(InputError, match="--te-ms"):
        scan(tmp_path, field_t=3.0, phase_sign=1)
    with pytest.raises(InputError, match="--field-t"):
        scan(tmp_path, te_ms=20.0, phase_sign=1)
    sidecar = {"EchoTime": 0.0225, "MagneticFieldStrength": 1.5}
    (tmp_path / "mag.json").write_text(json.dumps(sidecar), encoding="utf-8")
    assert scan(tmp_path, phase_sign=1).echo == Echo(22.5, 1.5, 1)
    assert scan(tmp_path, phase_sign=1, te_ms=30.0).echo == Echo(30.0, 1.5, 1)


def test_images_of_another_grid_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "mag.nii.gz", magnitude())
    put(tmp_path / "phase.nii.gz", phase(), shift_mm=5.0)
    with pytest.raises(InputError, match="on the grid of mag"):
        scan(tmp_path)


def test_negative_magnitudes_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "mag.nii.gz", phase())
    put(tmp_path / "phase.nii.gz", phase())
    with pytest.raises(InputError, match="magnitude"):
        scan(tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"te_ms": 0.02}, {"field_t": 300.0}, {"phase_sign": 2}, {"te_ms": float("nan")}]
)
def test_impossible_overrides_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Overrides(**wrong)


@pytest.mark.parametrize(("low", "high"), [(0, 4095), (-4096, 4094), (-2048, 2047)])
def test_scaled_phase_becomes_rad(low: int, high: int) -> None:
    stored = np.linspace(low, high, 9, dtype=np.float32).reshape(1, 3, 3)
    assert np.ptp(phase_in_rad(stored, "x")) == pytest.approx(2 * np.pi, rel=1e-3)
    same = np.linspace(-3, 3, 9, dtype=np.float32)
    assert phase_in_rad(same, "x") is same


@pytest.mark.parametrize("stored", [np.zeros((2, 2)), np.array([0.0, 700.0])])
def test_phase_of_unknown_unit_is_refused(stored: np.ndarray) -> None:
    with pytest.raises(InputError, match="phase"):
        phase_in_rad(stored, "x")


def test_the_field_of_a_susceptibility_map_is_that_of_a_sphere() -> None:
    axes = np.mgrid[-16:16, -16:16, -16:16]
    chi = (np.sqrt((axes**2).sum(0)) <= 4).astype(np.float32)
    grid = Volume(chi, np.eye(4))
    echo = Echo(20.0, 3.0, 1)
    phase = phase_of_chi(chi, grid, echo, "chi")
    volume = float(chi.sum())
    # At the pole, two radii out: moment / (4 pi r^3) * 2.
    pole = volume / (4 * np.pi * 8**3) * 2 * echo.rad_per_ppm
    assert phase[16, 16, 24] == pytest.approx(pole, rel=0.08)
    assert phase[24, 16, 16] == pytest.approx(-pole / 2, rel=0.15)
    with pytest.raises(InputError, match="ppm"):
        phase_of_chi(chi * 300, grid, echo, "chi")


def test_the_main_field_is_the_world_z_axis_in_voxels() -> None:
    turned = np.array([[0.0, -2, 0, 0], [0, 0, 3, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
    assert b0_direction(Volume(np.zeros((2, 2, 2)), turned)) == pytest.approx((-1, 0, 0))


def test_the_sign_of_phase_is_found_by_veins_or_by_the_map(study: Study) -> None:
    seen: SimulatedStudy = study("dou", 3, 0)
    assert seen.magnitude is not None
    assert seen.phase_rad is not None
    grid = seen.magnitude.like(seen.magnitude.array.astype(np.float32))
    measured, brain = seen.phase_rad.array.astype(np.float32), seen.brain.array.astype(bool)
    for sign in (1, -1):
        assert phase_sign(grid, sign * measured, brain, measured) == sign
        assert phase_sign(grid, sign * measured, brain, None) == sign
    noise = np.random.default_rng(1).normal(0, 0.1, measured.shape).astype(np.float32)
    with pytest.raises(InputError, match="--phase-sign"):
        phase_sign(grid, noise, brain, None)


def test_endings_in_capitals_are_those_of_images(tmp_path: Path) -> None:
    for name, array in (("scan_mag", magnitude()), ("scan_phase", phase())):
        put(tmp_path / f"{name}.nii.gz", array)
        (tmp_path / f"{name}.nii.gz").rename(tmp_path / f"{name}.NII.GZ")
    (tmp_path / "scan_mag.json").write_text(
        json.dumps({"EchoTime": 0.03, "MagneticFieldStrength": 7})
    )
    read = scan(tmp_path, phase_sign=1)
    assert (read.echo.te_ms, read.echo.field_t) == (30.0, 7)
