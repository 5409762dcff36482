import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
import pytest

from mmocnet.config import PreparationSettings
from mmocnet.errors import InputError
from mmocnet.io.dataset import read_dataset, read_tsv
from mmocnet.prepare.swi import homodyne_highpass, swi
from mmocnet.simulate.bids import PARTICIPANT_COLUMNS, README
from mmocnet.simulate.dataset import SubjectResult, write_subjects
from mmocnet.simulate.record import SimulatedStudy
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.testset import SubjectPlan, plan_subjects
from mmocnet.simulate.visits import SimulatedVisits, simulate_visits
from mmocnet.train.scans import load_training_scans
from mmocnet.train.split import split_by_subject

SETTINGS = StudySettings("aibl", lesion_free_share=0.0, lesion_count=(8, 8), slab_mm=12.0)
PLANS = plan_subjects(2, 5, SETTINGS, visits=2)
SIDES = {"baseline": "01", "follow_up": "02"}


@cache
def made(settings: StudySettings, seed: int, device: str) -> SimulatedVisits:
    """Return both visits of a slab: a few CPU seconds, so they are shared."""
    return simulate_visits(settings, seed, device)


def write(out: Path, plans: tuple[SubjectPlan, ...] = PLANS) -> list[SubjectResult]:
    return list(write_subjects(out, plans, make=made))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("visits") / "data"
    assert [one.state for one in write(out)] == ["written", "written"]
    return out


def reference_of(dataset: Path, label: str) -> Path:
    return dataset / "derivatives" / "reference" / f"sub-{label}"


def changes_of(dataset: Path) -> list[tuple[str, dict[str, str]]]:
    return [
        (label, row)
        for label in ("0001", "0002")
        for row in read_tsv(reference_of(dataset, label) / f"sub-{label}_changes.tsv")
    ]


def labels_of(dataset: Path, label: str, session: str, name: str) -> nibabel.Nifti1Image:
    stem = f"sub-{label}_ses-{session}_acq-swi_desc-{name}_dseg.nii.gz"
    return nibabel.load(reference_of(dataset, label) / f"ses-{session}" / "anat" / stem)


def centre(row: dict[str, str], side: str) -> list[float]:
    return [float(row[f"{side}_{axis}_mm"]) for axis in "xyz"]


def test_each_subject_has_both_sessions_and_one_table_of_changes(dataset: Path) -> None:
    images = ["gre_part-mag_T2starw", "gre_part-phase_T2starw", "swi_T2starw", "swiTwin_T2starw"]
    expected = []
    for session in ("01", "02"):
        raw = f"sub-0001/ses-{session}/anat/sub-0001_ses-{session}_acq-"
        expected += [f"{raw}{name}.{end}" for name in images for end in ("json", "nii.gz")]
        reference = f"derivatives/reference/{raw}swi_desc-"
        expected += [
            f"{reference}{name}_dseg.{end}"
            for name in ("cmb", "source")
            for end in ("json", "nii.gz", "tsv")
        ]
        expected += [f"{reference}brain_mask.{end}" for end in ("json", "nii.gz")]
    changes = "derivatives/reference/sub-0001/sub-0001_changes"
    expected += [f"{changes}.json", f"{changes}.tsv"]
    found = [str(path.relative_to(dataset)) for path in dataset.rglob("sub-0001*.*")]
    assert sorted(found) == sorted(expected)


def test_the_dataset_says_of_visits_what_they_are(dataset: Path) -> None:
    assert "resampled" not in (dataset / "README.md").read_text()
    about = json.loads((reference_of(dataset, "0001") / "sub-0001_changes.json").read_text())
    assert "source" in about["state"]["Description"]


def test_each_visit_reads_back_as_a_scan_of_its_subject(dataset: Path) -> None:
    scans = read_dataset(dataset)
    assert [(one.subject, one.session) for one in scans] == [
        ("0001", "01"), ("0001", "02"), ("0002", "01"), ("0002", "02"),
    ]  # fmt: skip
    for scan in scans:
        own = (scan.image, scan.twin, scan.labels, scan.table, scan.brain, scan.phase)
        assert all(path is not None and f"_ses-{scan.session}_" in path.name for path in own)


def test_lesion_numbers_of_each_row_lie_at_its_places_in_both_label_images(dataset: Path) -> None:
    rows = changes_of(dataset)
    assert {"stable", "new", "grown"} <= {row["state"] for _, row in rows}
    for label, row in rows:
        for side, session in SIDES.items():
            there = row["state"] != ("new" if side == "baseline" else "not seen")
            assert (row[f"{side}_index"] != "n/a") == there
            if not there:
                continue
            image = labels_of(dataset, label, session, "source")
            voxels = np.argwhere(np.asanyarray(image.dataobj) == int(row[f"{side}_index"]))
            at = nibabel.affines.apply_affine(np.linalg.inv(image.affine), centre(row, side))
            assert np.abs(voxels - at).max(axis=1).min() <= 0.51


def test_the_table_of_changes_holds_every_label_with_its_volume(dataset: Path) -> None:
    for label in ("0001", "0002"):
        rows = [row for one, row in changes_of(dataset) if one == label]
        for side, session in SIDES.items():
            image = labels_of(dataset, label, session, "cmb")
            values, counts = np.unique(np.asanyarray(image.dataobj), return_counts=True)
            voxel_mm3 = abs(np.linalg.det(image.affine[:3, :3]))
            found = dict(zip(values.tolist(), (counts * voxel_mm3).tolist(), strict=True))
            there = [row for row in rows if row[f"{side}_index"] != "n/a"]
            assert set(found) - {0} <= {int(row[f"{side}_index"]) for row in there}
            for row in there:
                volume = found.get(int(row[f"{side}_index"]), 0.0)
                assert float(row[f"{side}_volume_mm3"]) == pytest.approx(volume, rel=1e-4)


def test_the_sidecar_s_motion_takes_each_lesion_and_mimic_to_its_second_place(
    dataset: Path,
) -> None:
    path = reference_of(dataset, "0001") / "sub-0001_changes.json"
    about = json.loads(path.read_text())
    motion = np.array(about["BaselineToFollowUp"])
    rows = [row for label, row in changes_of(dataset) if label == "0001"]
    assert set(rows[0]) <= set(about)
    kept = [row for row in rows if row["state"] in ("stable", "grown")]
    assert kept
    for row in kept:
        moved = nibabel.affines.apply_affine(motion, centre(row, "baseline"))
        np.testing.assert_allclose(moved, centre(row, "follow_up"), atol=1e-3)
    first, second = (
        [row for row in read_tsv(scan.table) if row["index"] == "0"]
        for scan in read_dataset(dataset)[:2]
        if scan.table is not None
    )
    assert first
    for one, other in zip(first, second, strict=True):
        before, after = ([float(row[f"{axis}_mm"]) for axis in "xyz"] for row in (one, other))
        np.testing.assert_allclose(nibabel.affines.apply_affine(motion, before), after, atol=1e-3)


def test_the_second_visit_s_phase_and_magnitude_still_make_its_swi(dataset: Path) -> None:
    anat = dataset / "sub-0001" / "ses-02" / "anat"
    magnitude, phase, seen = (
        np.asarray(nibabel.load(next(anat.glob(f"*_acq-{name}_T2starw.nii.gz"))).dataobj)
        for name in ("gre_part-mag", "gre_part-phase", "swi")
    )
    protocol = made(PLANS[0].settings, PLANS[0].seed, "cpu").follow_up.protocol
    filtered = homodyne_highpass(magnitude * np.exp(1j * phase), protocol.highpass_width)
    again = swi(magnitude, filtered, protocol.mask_power, protocol.phase_sign)
    assert np.corrcoef(np.ravel(again), seen.ravel())[0, 1] > 0.99


def texture(study: SimulatedStudy) -> float:
    """Return the magnitude's change from pixel to pixel in the brain, over its median."""
    assert study.magnitude is not None
    brain, image = (np.asarray(one.array) for one in (study.brain, study.magnitude))
    change = np.diff(np.diff(image, axis=0), axis=1)[brain[1:, 1:] & brain[:-1, :-1]]
    return float(np.median(np.abs(change)) / np.median(image[brain]))


@pytest.mark.parametrize("plan", PLANS)
def test_the_second_visit_is_as_noisy_as_the_first(plan: SubjectPlan) -> None:
    pair = made(plan.settings, plan.seed, "cpu")
    assert texture(pair.follow_up) / texture(pair.baseline) == pytest.approx(1, abs=0.1)


def overlap(study: SimulatedStudy) -> float:
    """Return the mean Dice of outlines and what the lesions darken by half of their peak."""
    assert study.twin_swi is not None
    drop = np.asarray(study.twin_swi.array, float) - np.asarray(study.swi.array, float)
    labels, found = np.asarray(study.apparent.array), []
    for index in np.unique(labels[labels > 0]):
        outline = labels == index
        places = np.argwhere(outline)
        low = np.maximum(places.min(0) - 2, 0)
        box = tuple(slice(a, b) for a, b in zip(low, places.max(0) + 3, strict=True))
        dark = drop[box] > 0.5 * drop[outline].max()
        found.append(2 * (dark & outline[box]).sum() / (dark.sum() + outline.sum()))
    return float(np.mean(found))


@pytest.mark.parametrize("plan", PLANS)
def test_outlines_of_both_visits_lie_on_what_the_images_show(plan: SubjectPlan) -> None:
    pair = made(plan.settings, plan.seed, "cpu")
    assert min(overlap(pair.baseline), overlap(pair.follow_up)) > 0.9


def test_outside_the_mask_of_a_stripped_head_both_visits_are_black() -> None:
    settings = StudySettings(
        "random", lesion_count=(4, 4), mimics=False, images="swi", slab_mm=12.0
    )
    pair = simulate_visits(settings, 7)
    for study in (pair.baseline, pair.follow_up):
        assert study.protocol.skull_stripped
        assert not np.asarray(study.swi.array)[~np.asarray(study.brain.array)].any()
        assert np.asarray(study.swi.array).any()


def test_both_visits_of_a_subject_are_on_one_side_of_a_split(dataset: Path, tmp_path: Path) -> None:
    scans = load_training_scans(dataset, PreparationSettings(), tmp_path)
    assert len(scans) == 4
    for seed in range(5):
        train, validation = split_by_subject(scans, 0.5, seed).sides
        assert len(train) == len(validation) == 2
        assert {one.subject for one in train}.isdisjoint(one.subject for one in validation)


def test_images_for_training_are_the_same_as_those_of_all(tmp_path: Path) -> None:
    plan = PLANS[0]
    every = made(plan.settings, plan.seed, "cpu").follow_up
    phase = made(replace(plan.settings, images="phase"), plan.seed, "cpu").follow_up
    assert phase.magnitude is phase.twin_swi is None
    assert phase.phase_rad is not None
    assert every.phase_rad is not None
    np.testing.assert_array_equal(phase.phase_rad.array, every.phase_rad.array)
    np.testing.assert_array_equal(phase.swi.array, every.swi.array)


def test_participants_count_each_microbleed_once(dataset: Path) -> None:
    rows = read_tsv(dataset / "participants.tsv")
    described = json.loads((dataset / "participants.json").read_text())
    assert list(rows[0]) == list(described)
    assert [row["visits"] for row in rows] == ["2", "2"]
    assert [int(row["seed"]) for row in rows] == [plan.seed for plan in PLANS]
    for label, row in zip(("0001", "0002"), rows, strict=True):
        volumes = [
            [float(one[f"{side}_volume_mm3"].replace("n/a", "0")) for side in SIDES]
            for name, one in changes_of(dataset)
            if name == label
        ]
        assert int(row["microbleeds"]) == len(volumes) > 4
        assert int(row["visible_microbleeds"]) == sum(max(pair) > 0 for pair in volumes)


def test_each_sidecar_names_its_visit(dataset: Path) -> None:
    for scan in read_dataset(dataset):
        path = scan.image.with_name(scan.image.name.replace(".nii.gz", ".json"))
        record = json.loads(path.read_text())["Simulation"]
        assert (record["Visits"], record["Session"]) == (2, scan.session)


def test_a_subject_with_both_visits_is_not_made_again(dataset: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("sub-*.*")}
    assert [one.state for one in write(dataset)] == ["present", "present"]
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("sub-*.*")} == before


def test_a_subject_that_was_left_half_placed_is_made_again(tmp_path: Path) -> None:
    write(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    (tmp_path / "sub-0002").rename(tmp_path / ".unfinished")
    assert [one.state for one in write(tmp_path)] == ["present", "written"]
    assert files == {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}


@pytest.mark.parametrize(("there", "wanted"), [(1, 2), (2, 1)])
def test_a_folder_of_another_number_of_visits_is_refused(
    tmp_path: Path, study: Callable[[], SimulatedStudy], there: Literal[1, 2], wanted: Literal[1, 2]
) -> None:
    plan = PLANS[0]
    one = made(plan.settings, plan.seed, "cpu") if there == 2 else study()
    list(write_subjects(tmp_path, [replace(plan, visits=there)], make=lambda *_: one))
    with pytest.raises(InputError, match="got sub-0001 of another seed or other settings"):
        write_subjects(tmp_path, [replace(plan, visits=wanted)], make=made)


def test_without_visits_nothing_tells_of_them(
    tmp_path: Path, study: Callable[[], SimulatedStudy]
) -> None:
    (plan,) = plan_subjects(1, 5)
    list(write_subjects(tmp_path, [plan], make=lambda *_: study()))
    names = {path.name for path in tmp_path.rglob("*")}
    assert not [name for name in names if "ses-" in name or "changes" in name]
    assert not (tmp_path / "derivatives" / "reference" / ".bidsignore").exists()
    assert (tmp_path / "README.md").read_text() == README
    assert list(read_tsv(tmp_path / "participants.tsv")[0]) == list(PARTICIPANT_COLUMNS)
    sidecar = tmp_path / "sub-0001" / "anat" / "sub-0001_acq-swi_T2starw.json"
    record = json.loads(sidecar.read_text())["Simulation"]
    assert list(record) == ["Seed", "Settings", "Protocol", "Package", "SimulatorVersion"]
