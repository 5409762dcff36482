from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mmocnet.config import PreparationSettings
from mmocnet.errors import InputError
from mmocnet.io.dataset import DatasetScan, read_dataset
from mmocnet.io.nifti import read_nifti
from mmocnet.io.reviewed import Judged, Review, Source, Verdict, write_review
from mmocnet.simulate.settings import StudySettings
from mmocnet.train.finetune_data import (
    count_lesions,
    read_labelled,
    replay_plans,
    simulate_replay,
    split_for_tuning,
)
from mmocnet.train.finetune_subjects import is_untold, learned_before, subject_digest
from mmocnet.train.scans import prepare_training_scans
from mmocnet.volume import Volume

AFFINE = np.diag([0.8, 0.8, 3.0, 1.0])
SHAPE = (60, 70, 5)


def write_scan(dataset: Path, subject: str, lesions: int | None = None) -> Path:
    """Write a scan and, with a number of lesions, its reference; return the scan's path."""
    anat = dataset / f"sub-{subject}" / "anat"
    anat.mkdir(parents=True)
    at = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    brain = ((at[0] - 30) / 24) ** 2 + ((at[1] - 35) / 29) ** 2 < 1
    grain = np.random.default_rng(5).normal(0, 2, SHAPE)
    image = np.where(brain, 100 + grain, 0).astype(np.float32)
    path = anat / f"sub-{subject}_acq-swi_T2starw.nii.gz"
    nib.save(nib.Nifti1Image(image, AFFINE), path)
    if lesions is not None:
        reference = dataset / "derivatives" / "reference" / f"sub-{subject}" / "anat"
        reference.mkdir(parents=True)
        labels = drawn(lesions)
        name = f"sub-{subject}_acq-swi_desc-cmb_dseg.nii.gz"
        nib.save(nib.Nifti1Image(labels, AFFINE), reference / name)
    return path


def drawn(lesions: int) -> np.ndarray:
    labels = np.zeros(SHAPE, np.int16)
    for number in range(1, lesions + 1):
        row, col = 20 + 3 * (number % 7), 20 + 4 * (number // 7)
        labels[row : row + 2, col : col + 2, 2] = number
    return labels


def review(complete: bool = True) -> Review:
    rows = (
        Judged(1, Verdict.ACCEPT, (18.4, 16.0, 6.0), "A", confidence=0.8),
        Judged(2, Verdict.REJECT, (20.8, 16.0, 6.0), "A", reason="vessel", confidence=0.6),
        Judged(3, Verdict.ADDED, (23.2, 16.0, 6.0), "A", Source.READER),
    )
    return Review(Volume(drawn(3), AFFINE), rows, complete)


def test_a_review_goes_before_a_reference(tmp_path: Path) -> None:
    image = write_scan(tmp_path / "set", "01", lesions=7)
    write_scan(tmp_path / "set", "02", lesions=4)
    write_review(tmp_path / "set", image, review())
    found = read_labelled(tmp_path / "set", tmp_path / "run")
    assert [count_lesions(scan) for scan in found.scans] == [2, 4]
    assert (found.reviewed, found.rejected, found.unfinished) == (1, 1, ())
    assert set(np.unique(read_nifti(found.scans[0].labels).array)) == {0, 1, 3}  # type: ignore[arg-type]


def test_rejected_candidates_become_places_to_learn_from(tmp_path: Path) -> None:
    image = write_scan(tmp_path / "set", "01")
    write_review(tmp_path / "set", image, review())
    found = read_labelled(tmp_path / "set", tmp_path / "run")
    (scan,) = prepare_training_scans(found.scans, PreparationSettings(), tmp_path / "cache")
    assert scan.mimic_points.shape == (1, 3)
    s, row, col = np.rint(scan.mimic_points[0]).astype(int)
    # The rejected outline is on the scan's slice 2, and no longer a lesion.
    assert s == 2
    assert scan.image[s, row, col] > 0
    assert scan.labels[s, row, col] == 0
    assert (scan.labels > 0).any()


def test_an_unfinished_review_is_left_out(tmp_path: Path) -> None:
    first = write_scan(tmp_path / "set", "01", lesions=7)
    write_scan(tmp_path / "set", "02", lesions=4)
    write_review(tmp_path / "set", first, review(complete=False))
    found = read_labelled(tmp_path / "set", tmp_path / "run")
    assert [scan.subject for scan in found.scans] == ["02"]
    assert found.unfinished == (first.name,)


def test_scans_without_anything_are_told_of(tmp_path: Path) -> None:
    reviewed = write_scan(tmp_path / "set", "01")
    write_review(tmp_path / "set", reviewed, review())
    write_scan(tmp_path / "set", "02", lesions=4)
    write_scan(tmp_path / "set", "03")
    (told,) = read_labelled(tmp_path / "set", tmp_path / "run").doubts
    assert told.startswith("1 of 3 scans in set have no reference and are left out: sub-03_acq-swi")


def test_scans_without_anything_are_refused(tmp_path: Path) -> None:
    write_scan(tmp_path / "set", "01")
    with pytest.raises(InputError, match="a reference or a complete review in set"):
        read_labelled(tmp_path / "set", tmp_path / "run")


def test_the_pieces_of_a_mask_count_as_microbleeds(tmp_path: Path) -> None:
    write_scan(tmp_path / "set", "01", lesions=5)
    (scan,) = read_dataset(tmp_path / "set")
    assert scan.labels is not None
    for value, kind in ((1, np.uint8), (65535, np.uint16)):
        mask = np.where(drawn(5) > 0, value, 0).astype(kind)
        nib.save(nib.Nifti1Image(mask, AFFINE), scan.labels)
        assert count_lesions(scan) == 5


def test_a_review_whose_axes_run_the_other_way_is_turned(tmp_path: Path) -> None:
    image = write_scan(tmp_path / "set", "01")
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = SHAPE[0] - 1
    turned = Volume(drawn(3)[::-1], AFFINE @ turn)
    write_review(tmp_path / "set", image, replace(review(), labels=turned))
    (scan,) = read_labelled(tmp_path / "set", tmp_path / "run").scans
    assert scan.labels is not None
    labels = read_nifti(scan.labels)
    np.testing.assert_array_equal(labels.array, np.where(drawn(3) == 2, 0, drawn(3)))
    np.testing.assert_allclose(labels.affine, AFFINE)


def test_a_review_on_another_grid_is_refused(tmp_path: Path) -> None:
    image = write_scan(tmp_path / "set", "01")
    cut = review()
    smaller = Volume(cut.labels.array[:, :, :4], AFFINE)
    write_review(tmp_path / "set", image, replace(cut, labels=smaller))
    with pytest.raises(InputError, match="the review on the grid"):
        read_labelled(tmp_path / "set", tmp_path / "run")


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[[list[int]], tuple[DatasetScan, ...]]:
    def write(lesions: list[int]) -> tuple[DatasetScan, ...]:
        for number, count in enumerate(lesions, 1):
            write_scan(tmp_path / "set", f"{number:02d}", count)
        return read_dataset(tmp_path / "set")

    return write


@pytest.mark.parametrize("seed", range(4))
def test_each_side_has_subjects_with_many_and_few_lesions(
    dataset: Callable[[list[int]], tuple[DatasetScan, ...]], seed: int
) -> None:
    sides = split_for_tuning(dataset([0, 9, 1, 8, 2, 0, 7, 0, 3]), 0.34, seed)
    learn, judge = ({scan.subject for scan in side} for side in (sides.learn, sides.judge))
    assert not learn & judge
    assert (len(learn), len(judge)) == (6, 3)
    # One of 9, 8, 7 judges, one of 3, 2, 1, one of those without any.
    assert len(judge & {"02", "04", "07"}) == len(judge & {"03", "05", "09"}) == 1


@pytest.mark.parametrize("seed", range(20))
def test_both_sides_have_microbleeds_where_few_subjects_have(
    dataset: Callable[[list[int]], tuple[DatasetScan, ...]], seed: int
) -> None:
    sides = split_for_tuning(dataset([5, 4, 3, *[0] * 7]), 0.34, seed)
    assert (len(sides.learn), len(sides.judge)) == (7, 3)
    for side in (sides.learn, sides.judge):
        assert any(count_lesions(scan) for scan in side)


@pytest.mark.parametrize("seed", range(4))
def test_subjects_that_were_learned_from_do_not_judge(
    dataset: Callable[[list[int]], tuple[DatasetScan, ...]], seed: int
) -> None:
    scans = dataset([5, 4, 3, 0, 0, 6, 2, 0, 7])

    def judges(*labels: str) -> set[str]:
        learned = {subject_digest(label) for label in labels}
        sides = split_for_tuning(scans, 0.34, seed, learned)
        assert any(count_lesions(scan) for scan in sides.learn)
        assert any(count_lesions(scan) for scan in sides.judge)
        learn, judge = ({scan.subject for scan in side} for side in (sides.learn, sides.judge))
        assert not learn & judge
        assert len(learn | judge) == 9
        return judge

    # Those left judge all, where they are no more than wanted; of more a third of all subjects.
    assert judges("01", "02", "03", "04", "05", "06") == {"07", "08", "09"}
    assert judges(*(f"{n:02d}" for n in range(1, 9))) == {"09"}
    assert len(judges("01", "02") - {"01", "02"}) == 3
    # Where those that were learned from have no microbleed, somebody else's are learned from.
    assert len(judges("04", "05", "08")) == 3
    assert judges() == judges("99")


def test_where_all_with_microbleeds_were_learned_from_nobody_judges(
    dataset: Callable[[list[int]], tuple[DatasetScan, ...]],
) -> None:
    learned = {subject_digest(label) for label in ("01", "02", "03")}
    with pytest.raises(InputError, match="did not learn from before, to judge it by, got none"):
        split_for_tuning(dataset([5, 4, 3, 0, 0]), 0.34, 0, learned)


def test_a_round_that_kept_the_start_taught_nothing() -> None:
    first = {"kept": "networks", "learned": ["a", "b"]}
    second = {"kept": "start", "learned": ["a", "b", "c"], "earlier": first}
    third = {"kept": "confidence", "learned": ["d"], "earlier": second}
    assert learned_before({"finetune": third}) == {"a", "b", "d"}
    assert learned_before({}) == frozenset()
    assert not is_untold({"finetune": third})
    # Records of earlier versions say how many, and not who.
    old = {"kept": "networks", "learned_subjects": 3}
    assert learned_before({"finetune": {**third, "earlier": old}}) == {"d"}
    assert is_untold({"finetune": {**third, "earlier": old}})
    assert not is_untold({"finetune": {**old, "kept": "start"}})


@pytest.mark.parametrize("lesions", [[20, 20, 0, 0, 0], [2, 3, 4]])
def test_too_little_is_refused(
    dataset: Callable[[list[int]], tuple[DatasetScan, ...]], lesions: list[int]
) -> None:
    scans = dataset(lesions)
    with pytest.raises(InputError, match="at least 3 subjects with microbleeds and 10 microbl"):
        split_for_tuning(scans, 0.34, 0)


@pytest.mark.parametrize("phase", [True, False])
def test_slabs_teach_and_heads_as_patients_have_them_judge(phase: bool) -> None:
    learn, judge = replay_plans(48, 3, phase)
    assert (len(learn), len(judge)) == (32, 16)
    assert len({plan.label for plan in (*learn, *judge)}) == 48
    assert all(plan.settings.slab_mm and plan.settings.lesion_count for plan in learn)
    assert all(plan.settings.slab_mm is None for plan in judge)
    # About what patients have: a head and not a slab, and few in it.
    assert {plan.settings.lesion_count for plan in judge} == {(1, 7)}
    assert {plan.settings.images for plan in (*learn, *judge)} == {"phase" if phase else "swi"}


def test_heads_that_segment_refuses_do_not_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = StudySettings(protocol="reference3t", slab_mm=12)
    for name in ("REPLAY_STUDY", "REPLAY_JUDGE"):
        monkeypatch.setattr(f"mmocnet.train.finetune_data.{name}", low)
    sides = simulate_replay(tmp_path, 2, 0)
    assert [len(side) for side in (sides.learn, sides.judge)] == [1, 1]
    image = nib.load(sides.judge[0].image)
    flat = nib.Nifti1Image((image.get_fdata() > 0).astype(np.uint8), image.affine)
    nib.save(flat, sides.judge[0].image)
    with pytest.raises(InputError, match="to learn from and to judge by, got 1 and 0"):
        simulate_replay(tmp_path, 2, 0)


def test_replay_needs_two_subjects(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 2 simulated subjects, got 1"):
        simulate_replay(tmp_path, 1, 0)
