import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.io.dataset import read_dataset, read_tsv
from mmocnet.simulate.dataset import iterate_studies, write_subjects
from mmocnet.simulate.record import SimulatedLesion, SimulatedStudy
from mmocnet.simulate.settings import Protocol, StudySettings
from mmocnet.simulate.testset import FIRST_TEST_SEED, plan_subjects
from mmocnet.volume import Volume

SHAPE = (12, 14, 6)
AFFINE = np.array([[-0.5, 0, 0, 3], [0, 0.5, 0, -4], [0, 0, 2.0, 5], [0, 0, 0, 1]])


def small_study(settings: StudySettings, seed: int, device: str) -> SimulatedStudy:
    """Return a study of the right form that costs nothing: one microbleed and one mimic."""
    rng = np.random.default_rng(seed)
    grid = Volume(np.zeros(SHAPE, np.float32), AFFINE, "study")
    labels = np.zeros(SHAPE, np.int16)
    lesions = [lesion(0, "calcification")]
    if settings.lesion_free_share < 1:
        labels[5:7, 6:8, 3] = 1
        lesions.insert(0, lesion(1, "microbleed"))
    everything = settings.images == "all"
    phase = settings.images != "swi"
    return SimulatedStudy(
        seed=seed,
        protocol=Protocol("clinical", 3.0, (10.0, 22.0), 28.0, 15.0, (0.5, 0.5, 2.0)),
        swi=grid.like(rng.normal(100, 10, SHAPE).astype(np.float32)),
        magnitude=grid.like(rng.normal(120, 10, SHAPE).astype(np.float32)) if everything else None,
        phase_rad=grid.like(rng.uniform(-np.pi, np.pi, SHAPE).astype(np.float32))
        if phase
        else None,
        twin_swi=grid.like(rng.normal(100, 10, SHAPE).astype(np.float32)) if everything else None,
        brain=grid.like(rng.random(SHAPE) < 0.5),
        apparent=grid.like(labels),
        source=grid.like(labels),
        lesions=tuple(lesions),
    )


def lesion(index: int, kind: str) -> SimulatedLesion:
    return SimulatedLesion(
        index=index,
        kind=kind,
        centre_mm=(1.25, -0.5, 11.0),
        mni_mm=(1.5, -1.0, float("nan")),
        anatomy="subcortical white matter",
        chi_ppm=1.6,
        radius_mm=0.7,
        source_mm3=1.4368,
        apparent_mm3=2.0 if index else 0.0,
        apparent_diameter_mm=1.5631,
    )


def failing_study(settings: StudySettings, seed: int, device: str) -> SimulatedStudy:
    if seed == plan_subjects(3, 7)[1].seed:
        raise ValueError("no such tissue")
    return small_study(settings, seed, device)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    plans = plan_subjects(2, 7)
    list(write_subjects(tmp_path / "data", plans, make=small_study))
    return tmp_path / "data"


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_subject_has_the_files_of_the_layout(written: Path) -> None:
    reference = "derivatives/reference/sub-0001/anat/sub-0001_acq-swi_desc-"
    raw = "sub-0001/anat/sub-0001_acq-"
    images = ["gre_part-mag", "gre_part-phase", "swi", "swiTwin"]
    expected = [f"{raw}{name}_T2starw.{end}" for name in images for end in ("json", "nii.gz")]
    expected += [
        f"{reference}{name}_dseg.{end}"
        for name in ("cmb", "source")
        for end in ("json", "nii.gz", "tsv")
    ]
    expected += [f"{reference}brain_mask.{end}" for end in ("json", "nii.gz")]
    assert [name for name in files_of(written) if "sub-0001" in name] == sorted(expected)


def test_every_image_lies_on_the_study_grid_with_both_transforms(written: Path) -> None:
    images = list(written.rglob("*.nii.gz"))
    assert len(images) == 14
    for path in images:
        header = nibabel.load(path).header
        assert header["sform_code"] > 0
        assert header["qform_code"] > 0
        np.testing.assert_allclose(header.get_sform(), AFFINE, atol=1e-5)
        np.testing.assert_allclose(header.get_qform(), AFFINE, atol=1e-5)


def test_images_come_back_to_a_sixteen_bit_step(written: Path) -> None:
    study = small_study(StudySettings(), plan_subjects(2, 7)[0].seed, "cpu")
    pairs = {"swi": study.swi, "gre_part-phase": study.phase_rad, "swiTwin": study.twin_swi}
    for name, volume in pairs.items():
        path = written / f"sub-0001/anat/sub-0001_acq-{name}_T2starw.nii.gz"
        step = np.ptp(volume.array) / 65535
        found = np.asarray(nibabel.load(path).dataobj)
        assert np.abs(found - volume.array).max() <= step


def test_labels_are_exact_integers(written: Path) -> None:
    labels = nibabel.load(next(written.rglob("sub-0002*desc-cmb_dseg.nii.gz")))
    array = np.asanyarray(labels.dataobj)
    assert array.dtype == np.int16
    assert (array == 1).sum() == 4
    assert set(np.unique(array)) == {0, 1}


def test_phase_says_radians_and_times_are_in_seconds(written: Path) -> None:
    path = written / "sub-0001/anat/sub-0001_acq-gre_part-phase_T2starw.json"
    sidecar = json.loads(path.read_text())
    assert sidecar["Units"] == "rad"
    assert sidecar["EchoTime"] == 0.022
    assert sidecar["RepetitionTime"] == 0.028
    assert sidecar["FlipAngle"] == 15.0
    assert sidecar["MagneticFieldStrength"] == 3.0


def test_every_table_column_is_described_and_mimics_have_index_zero(written: Path) -> None:
    path = next(written.rglob("sub-0001*desc-cmb_dseg.tsv"))
    rows = read_tsv(path)
    described = json.loads(path.with_suffix(".json").read_text())
    assert [row["index"] for row in rows] == ["1", "0"]
    assert list(rows[0])[:2] == ["index", "name"]
    assert set(rows[0]) <= set(described)
    assert rows[0]["mni_z_mm"] == "n/a"
    assert float(rows[1]["chi_ppm"]) == 1.6


def test_participants_count_what_was_put_in(tmp_path: Path) -> None:
    plans = plan_subjects(2, 3, StudySettings(lesion_free_share=1.0))
    list(write_subjects(tmp_path, plans, make=small_study))
    rows = read_tsv(tmp_path / "participants.tsv")
    assert [row["participant_id"] for row in rows] == ["sub-0001", "sub-0002"]
    assert [row["microbleeds"] for row in rows] == ["0", "0"]
    assert [row["mimics"] for row in rows] == ["1", "1"]
    assert [int(row["seed"]) for row in rows] == [plan.seed for plan in plans]


@pytest.mark.parametrize(
    ("images", "extra"), [("swi", []), ("phase", ["acq-gre_part-phase_T2starw.nii.gz"])]
)
def test_less_than_all_leaves_out_what_training_does_not_read(
    tmp_path: Path, images: Literal["swi", "phase"], extra: list[str]
) -> None:
    plans = plan_subjects(1, 3, StudySettings(images=images))
    list(write_subjects(tmp_path, plans, make=small_study))
    names = [path.name for path in tmp_path.rglob("*.nii.gz")]
    assert sorted(name.removeprefix("sub-0001_") for name in names) == [
        *extra,
        "acq-swi_T2starw.nii.gz",
        "acq-swi_desc-brain_mask.nii.gz",
        "acq-swi_desc-cmb_dseg.nii.gz",
    ]


def test_the_written_dataset_reads_back_as_its_scans(written: Path) -> None:
    scans = read_dataset(written)
    assert [scan.subject for scan in scans] == ["0001", "0002"]
    for scan in scans:
        paths = (scan.image, scan.twin, scan.labels, scan.table, scan.brain)
        assert all(path is not None and path.is_file() for path in paths)


def test_a_finished_subject_is_not_made_again(written: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in written.rglob("sub-*.*")}
    results = list(write_subjects(written, plan_subjects(3, 7), make=small_study))
    assert [result.state for result in results] == ["present", "present", "written"]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert len(read_tsv(written / "participants.tsv")) == 3


def test_a_subject_is_the_same_alone_as_in_company(tmp_path: Path) -> None:
    list(write_subjects(tmp_path / "all", plan_subjects(3, 7), make=small_study))
    list(write_subjects(tmp_path / "one", plan_subjects(3, 7)[2:], make=small_study))
    for path in (tmp_path / "one").rglob("sub-0003*.*"):
        assert (
            path.read_bytes()
            == (tmp_path / "all" / path.relative_to(tmp_path / "one")).read_bytes()
        )


def test_another_seed_in_the_same_folder_is_refused(written: Path) -> None:
    with pytest.raises(InputError, match="sub-0001 of another seed"):
        list(write_subjects(written, plan_subjects(2, 8), make=small_study))


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ("README.md", "that mmocnet simulate made, got README.md in"),
        ("dataset_description.json", "made, got dataset_description.json in"),
        ("derivatives/reference/sub-0001/anat/a.json", "made, got derivatives in"),
        ("sub-01/anat/a.json", "with Simulation in their sidecars, got sub-01 without"),
    ],
)
def test_a_folder_that_holds_something_else_is_left_as_it_is(
    tmp_path: Path, held: str, told: str
) -> None:
    (tmp_path / held).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / held).write_text('{"Name": "mine"}')
    with pytest.raises(InputError, match=told):
        write_subjects(tmp_path, plan_subjects(1, 7), make=small_study)
    assert files_of(tmp_path) == [held]
    assert (tmp_path / held).read_text() == '{"Name": "mine"}'


def test_a_subject_that_was_not_simulated_is_told_before_the_work(written: Path) -> None:
    (written / "sub-mine" / "anat").mkdir(parents=True)
    with pytest.raises(InputError, match="got sub-mine without, in data"):
        write_subjects(written, plan_subjects(3, 7), make=small_study)


def test_subjects_of_another_simulator_are_refused(written: Path) -> None:
    path = written / "sub-0002/anat/sub-0002_acq-swi_T2starw.json"
    sidecar = json.loads(path.read_text())
    sidecar["Simulation"]["SimulatorVersion"] = 2
    path.write_text(json.dumps(sidecar))
    with pytest.raises(InputError, match="got sub-0002 of version 2 in data"):
        write_subjects(written, plan_subjects(1, 7), make=small_study)


def test_a_failing_subject_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    results = list(write_subjects(tmp_path, plan_subjects(3, 7), make=failing_study))
    assert [result.state for result in results] == ["written", "failed", "written"]
    assert results[1].reason == "ValueError: no such tissue"
    assert not [name for name in files_of(tmp_path) if "0002" in name]
    assert not (tmp_path / ".unfinished").exists()


def test_a_half_written_subject_of_a_killed_run_is_replaced(written: Path) -> None:
    (written / "sub-0002").rename(written / ".unfinished-raw")
    (written / ".unfinished" / "0002-1" / "raw").mkdir(parents=True)
    results = list(write_subjects(written, plan_subjects(2, 7), make=small_study))
    assert [result.state for result in results] == ["present", "written"]
    assert not (written / ".unfinished").exists()


def test_an_interrupted_run_leaves_whole_subjects_only(tmp_path: Path) -> None:
    results = write_subjects(tmp_path, plan_subjects(3, 7), make=small_study)
    next(results)
    results.close()
    assert [path.name for path in sorted(tmp_path.glob("sub-*"))] == ["sub-0001"]
    assert len(read_tsv(tmp_path / "participants.tsv")) == 1
    assert not (tmp_path / ".unfinished").exists()


def test_seeds_of_the_test_set_cannot_be_trained_on() -> None:
    with pytest.raises(InputError, match="are for tests"):
        next(iterate_studies(StudySettings(), [FIRST_TEST_SEED]))


def test_the_dataset_is_valid_bids(written: Path, bids_errors: Callable[[Path], list[Any]]) -> None:
    for folder in (written, written / "derivatives" / "reference"):
        assert bids_errors(folder) == []
