import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from mmocnet.config import PreparationSettings
from mmocnet.errors import InputError
from mmocnet.prepare.geometry import working_grid
from mmocnet.train.patches import lesion_places
from mmocnet.train.scans import load_training_scans, quantised, working_points
from mmocnet.volume import Volume

SETTINGS = PreparationSettings()
AFFINE = np.array([[-0.8, 0, 0, 40], [0, 0.9, 0, -50], [0, 0, 2.0, -10], [0, 0, 0, 1.0]])
SHAPE = (80, 90, 6)
MIMIC_VOXEL = np.array([30, 50, 4])


def write_dataset(
    folder: Path, subjects: int = 2, mimic: NDArray[np.integer] = MIMIC_VOXEL
) -> None:
    rng = np.random.default_rng(3)
    at = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    brain = ((at[0] - 40) / 30) ** 2 + ((at[1] - 45) / 38) ** 2 < 1
    for i in range(subjects):
        name = f"sub-{i:02d}_acq-swi"
        image = np.where(brain, 100 + rng.normal(0, 2, SHAPE), 0).astype(np.float32)
        labels = np.zeros(SHAPE, np.int16)
        labels[38:42, 43:47, 2:4] = 1
        image[labels > 0] = 20
        anat = folder / f"sub-{i:02d}" / "anat"
        reference = folder / "derivatives" / "reference" / f"sub-{i:02d}" / "anat"
        for path in (anat, reference):
            path.mkdir(parents=True)
        nib.save(nib.Nifti1Image(image, AFFINE), anat / f"{name}_T2starw.nii.gz")
        nib.save(nib.Nifti1Image(labels, AFFINE), reference / f"{name}_desc-cmb_dseg.nii.gz")
        mask = nib.Nifti1Image(brain.astype(np.uint8), AFFINE)
        nib.save(mask, reference / f"{name}_desc-brain_mask.nii.gz")
        rows = [(1, "microbleed", (39.5, 44.5, 2.5)), (0, "calcification", mimic)]
        with (reference / f"{name}_desc-cmb_dseg.tsv").open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t")
            writer.writerow(["index", "kind", "x_mm", "y_mm", "z_mm"])
            for index, kind, voxel in rows:
                writer.writerow([index, kind, *(AFFINE[:3, :3] @ voxel + AFFINE[:3, 3])])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    write_dataset(folder)
    return folder


def test_scans_are_dark_where_their_labels_are(dataset: Path, tmp_path: Path) -> None:
    scans = load_training_scans(dataset, SETTINGS, tmp_path)
    assert [scan.subject for scan in scans] == ["00", "01"]
    for scan in scans:
        assert scan.image.dtype == np.uint8
        assert np.median(scan.image[scan.labels > 0]) < 0.3 * np.median(scan.image[scan.image > 0])
        volume = (scan.labels > 0).sum() * np.prod(scan.spacing_mm)
        assert volume == pytest.approx(4 * 4 * 2 * 0.8 * 0.9 * 2.0, rel=0.1)


def test_mimics_lie_where_their_table_says(dataset: Path, tmp_path: Path) -> None:
    scan = load_training_scans(dataset, SETTINGS, tmp_path)[0]
    assert scan.mimic_points.shape == (1, 3)
    row, col = scan.mimic_points[0, 1:] - np.argwhere(scan.labels > 0).mean(axis=0)[1:]
    # Against the lesion's centre, in mm: rows grow to the right, against the first voxel axis.
    assert scan.mimic_points[0, 0] == pytest.approx(4)
    assert row * 0.5 == pytest.approx(-(30 - 39.5) * 0.8, abs=0.3)
    assert col * 0.5 == pytest.approx((50 - 44.5) * 0.9, abs=0.3)


def test_planes_across_follow_their_scan(dataset: Path, tmp_path: Path) -> None:
    alone = load_training_scans(dataset, SETTINGS, tmp_path)
    told: list[tuple[int, int]] = []
    scans = load_training_scans(
        dataset, SETTINGS, tmp_path, progress=lambda *n: told.append(n), across=True
    )
    assert told == [(1, 2), (2, 2)]
    assert [(s.subject, s.across) for s in scans] == [
        ("00", False),
        ("00", True),
        ("01", False),
        ("01", True),
    ]
    for scan, again, planes in zip(alone, scans[::2], scans[1::2], strict=True):
        np.testing.assert_array_equal(scan.image, again.image)
        # One lesion and two planes without, of each direction.
        assert planes.labels.any(axis=(1, 2)).tolist() == [True, False, False] * 2
        assert planes.name == f"{scan.name}-across"
        assert np.median(planes.image[planes.labels > 0]) < 0.3 * np.median(
            planes.image[planes.image > 0]
        )
        # Slices of 2 mm are up and down in the plane: 12 mm of 0.5 mm pixels hold all of it.
        rows, cols = np.nonzero(planes.image[0])
        assert (rows.max() - rows.min(), cols.max() - cols.min()) == pytest.approx((136, 23), abs=3)


def test_mimics_are_on_the_planes_that_cut_them(tmp_path: Path) -> None:
    # Near the middle of the lesion along the first axis, beside it along the others.
    middle = np.array([39, 59, 4])
    folder = tmp_path / "set"
    write_dataset(folder, 1, middle)
    planes = load_training_scans(folder, SETTINGS, tmp_path / "cache", across=True)[1]
    at = planes.mimic_points
    assert len(at) == 1
    assert at[0, 0] == 0  # the plane through the lesion, the first
    lesion = np.argwhere(planes.labels[0] > 0).mean(axis=0)
    mm = (middle - (39.5, 44.5, 2.5)) * np.array([0.8, 0.9, 2.0])
    np.testing.assert_allclose((at[0, 1:] - lesion) * 0.5, mm[1:], atol=0.3)


def test_a_second_time_the_cache_is_read(dataset: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    for _ in range(2):
        load_training_scans(dataset, SETTINGS, tmp_path, progress=lambda *n: told.append(n))
    assert told == [(1, 2), (2, 2)]


def test_other_settings_prepare_anew(dataset: Path, tmp_path: Path) -> None:
    scaled = PreparationSettings(pixel_mm=None, input_shape=(64, 96), normalisation="minmax")
    load_training_scans(dataset, SETTINGS, tmp_path)
    assert load_training_scans(dataset, scaled, tmp_path)[0].image.shape == (6, 64, 96)


def test_processes_prepare_the_same(dataset: Path, tmp_path: Path) -> None:
    one = load_training_scans(dataset, SETTINGS, tmp_path / "one")
    two = load_training_scans(dataset, SETTINGS, tmp_path / "two", workers=2)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_a_dataset_without_references_is_refused(dataset: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(dataset, tmp_path / "set")
    shutil.rmtree(tmp_path / "set" / "derivatives")
    with pytest.raises(InputError, match="with a reference, got none in set"):
        load_training_scans(tmp_path / "set", SETTINGS, tmp_path / "cache")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda image: 120 - image, "inverted grey values in sub-01_acq-swi_T2starw"),
        (lambda image: image - 80, "negative values as in phase or .* in sub-01_acq-swi_T2starw"),
        (
            lambda image: image * 0 + np.arange(6),
            "6 different values as in a mask in sub-01_acq-swi_T2starw",
        ),
    ],
)
@pytest.mark.parametrize("simulated", [False, True])
def test_a_scan_that_segment_refuses_is_named(
    tmp_path: Path, change: Callable[..., np.ndarray], told: str, simulated: bool
) -> None:
    write_dataset(tmp_path / "set")
    path = tmp_path / "set" / "sub-01" / "anat" / "sub-01_acq-swi_T2starw.nii.gz"
    nib.save(nib.Nifti1Image(change(nib.load(path).get_fdata()), AFFINE), path)
    if simulated:
        record = {"Simulation": {"Seed": 1}}
        (path.parent / "sub-01_acq-swi_T2starw.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=told):
        load_training_scans(tmp_path / "set", SETTINGS, tmp_path / "cache")


@pytest.mark.parametrize("simulated", [False, True])
def test_the_size_of_a_simulated_head_is_not_judged(tmp_path: Path, simulated: bool) -> None:
    write_dataset(tmp_path / "set", 1)
    for path in (tmp_path / "set").rglob("*.nii.gz"):
        image = nib.load(path)
        whole = np.repeat(np.asarray(image.dataobj), 2, axis=2)
        nib.save(nib.Nifti1Image(whole, np.diag([0.3, 0.3, 2.0, 1.0])), path)
        if simulated and "T2starw" in path.name:
            (path.parent / "sub-00_acq-swi_T2starw.json").write_text('{"Simulation": {}}')
    for table in (tmp_path / "set").rglob("*.tsv"):
        table.unlink()
    if simulated:
        assert len(load_training_scans(tmp_path / "set", SETTINGS, tmp_path / "cache")) == 1
    else:
        with pytest.raises(InputError, match=r"sub-00_acq-swi_T2starw.* measures"):
            load_training_scans(tmp_path / "set", SETTINGS, tmp_path / "cache")


def test_a_brain_without_a_positive_median_is_named(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set")
    path = reference_of(tmp_path / "set", "01", "brain_mask")
    air = np.zeros(SHAPE, np.uint8)
    air[:4, :4] = 1
    nib.save(nib.Nifti1Image(air, AFFINE), path)
    record = tmp_path / "set" / "sub-01" / "anat" / "sub-01_acq-swi_T2starw.json"
    record.write_text('{"Simulation": {}}')
    with pytest.raises(InputError, match="median above 0, got 0 in sub-01_acq-swi_T2starw"):
        load_training_scans(tmp_path / "set", SETTINGS, tmp_path / "cache")


def reference_of(folder: Path, subject: str, kind: str = "cmb_dseg") -> Path:
    anat = folder / "derivatives" / "reference" / f"sub-{subject}" / "anat"
    return anat / f"sub-{subject}_acq-swi_desc-{kind}.nii.gz"


def test_a_mask_of_16_bits_is_learned_from_as_lesions(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_dataset(folder, 1)
    labels = np.zeros(SHAPE, np.uint16)
    labels[38:42, 43:47, 2:4] = labels[20:24, 43:47, 2:4] = 65535
    nib.save(nib.Nifti1Image(labels, AFFINE), reference_of(folder, "00"))
    (scan,) = load_training_scans(folder, SETTINGS, tmp_path / "cache")
    assert np.unique(scan.labels).tolist() == [0, 1, 2]
    assert [len(rows) for rows in lesion_places([scan])] == [2, 2]


def test_references_and_masks_whose_first_axis_runs_the_other_way_are_turned(
    dataset: Path, tmp_path: Path
) -> None:
    import shutil

    folder = shutil.copytree(dataset, tmp_path / "set")
    for kind in ("cmb_dseg", "brain_mask"):
        path = reference_of(folder, "00", kind)
        image = nib.load(path)
        # Neither the lesion nor the ellipse of the brain is its own mirror image.
        array = np.roll(np.asarray(image.dataobj), 5, axis=0)
        nib.save(nib.Nifti1Image(array, AFFINE), path)
        turn = np.diag([-1.0, 1, 1, 1])
        turn[0, 3] = SHAPE[0] - 1
        other = reference_of(folder, "01", kind)
        nib.save(nib.Nifti1Image(array[::-1], AFFINE @ turn), other)
    plain, turned = load_training_scans(folder, SETTINGS, tmp_path / "cache")
    np.testing.assert_array_equal(plain.labels, turned.labels)
    np.testing.assert_array_equal(plain.image > 0, turned.image > 0)


@pytest.mark.parametrize("kind", ["cmb_dseg", "brain_mask"])
def test_references_and_masks_that_lie_elsewhere_are_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "set"
    write_dataset(folder, 1)
    path = reference_of(folder, "00", kind)
    array = np.asarray(nib.load(path).dataobj)
    nib.save(nib.Nifti1Image(array, AFFINE @ np.diag([-1.0, 1, 1, 1])), path)
    with pytest.raises(InputError, match="on the grid of sub-00_acq-swi_T2starw"):
        load_training_scans(folder, SETTINGS, tmp_path / "cache")


def table_of(folder: Path) -> Path:
    (path,) = folder.rglob("*_desc-cmb_dseg.tsv")
    return path


def test_a_mimic_whose_place_is_not_known_is_passed_over(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", 1)
    with table_of(tmp_path / "set").open("a") as file:
        file.write("0\tcavernoma\tn/a\tn/a\tn/a\n")
    (scan,) = load_training_scans(tmp_path / "set", SETTINGS, tmp_path / "cache")
    assert scan.mimic_points.shape == (1, 3)


@pytest.mark.parametrize(
    "text", ["index\tkind\n0\tvessel\n", "kind\tx_mm\ty_mm\tz_mm\nvessel\t1\t2\tleft\n"]
)
def test_a_table_without_places_of_its_mimics_is_named(tmp_path: Path, text: str) -> None:
    write_dataset(tmp_path / "set", 1)
    table_of(tmp_path / "set").write_text(text)
    told = "numbers or n/a, in sub-00_acq-swi_desc-cmb_dseg.tsv"
    with pytest.raises(InputError, match=re.escape(told)):
        load_training_scans(tmp_path / "set", SETTINGS, tmp_path / "cache")


def test_working_points_undo_the_grid(rng: np.random.Generator) -> None:
    volume = Volume(np.ones(SHAPE, np.float32), AFFINE)
    grid = working_grid(volume, 0.5)
    points = rng.uniform(0, 20, (7, 3))
    np.testing.assert_allclose(working_points(grid, grid.to_voxel(points)), points, atol=1e-9)
    assert working_points(grid, np.zeros((0, 3))).shape == (0, 3)


def test_zero_is_kept_for_outside_the_brain() -> None:
    array = np.array([0.0, 0.001, 0.5, 1.0, 0.0], np.float32)
    brain = np.array([True, True, True, True, False])
    assert quantised(array, brain).tolist() == [1, 1, 128, 255, 0]
