import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmocnet.errors import InputError
from mmocnet.train.folds import Folds, fold_scans, keep_folds, scans_of, split_into_folds
from mmocnet.train.patches import TrainingScan


def scan_named(subject: str, name: str) -> TrainingScan:
    array = np.ones((1, 2, 2), np.uint8)
    return TrainingScan(subject, array, array * 0, np.zeros((0, 3)), (1, 1, 1), name)


subjects = st.lists(st.integers(0, 40), min_size=8, max_size=80).filter(lambda s: len(set(s)) > 7)


@given(subjects, st.floats(0, 0.3), st.integers(2, 5), st.integers(0, 5))
def test_no_subject_is_in_two_parts(
    numbers: list[int], held_out: float, count: int, seed: int
) -> None:
    names = [str(n) for n in numbers]
    folds = split_into_folds(names, held_out, count, seed)
    parts = [folds.held_out, *folds.folds]
    assert all(folds.folds)
    assert bool(folds.held_out) == (held_out > 0)
    everyone = [name for part in parts for name in part]
    assert sorted(everyone) == sorted(set(names))
    sizes = [len(part) for part in folds.folds]
    assert max(sizes) - min(sizes) <= 1


@given(subjects, st.integers(2, 5), st.integers(0, 5))
def test_what_a_fold_scores_takes_no_part_in_its_training(
    numbers: list[int], count: int, seed: int
) -> None:
    scans = [scan_named(str(n), f"{n}-{i}") for i, n in enumerate(numbers)]
    folds = split_into_folds([scan.subject for scan in scans], 0.2, count, seed)
    for fold in range(count):
        split, scored = fold_scans(scans, folds, fold, 0.2, seed)
        sides = [split.train, split.validation, scored, scans_of(scans, folds.held_out)]
        by_side = [{scan.subject for scan in side} for side in sides]
        assert not by_side[0] & by_side[1]
        assert not (by_side[0] | by_side[1]) & (by_side[2] | by_side[3])
        assert not by_side[2] & by_side[3]
        assert by_side[2] == set(folds.folds[fold])


def test_the_folds_depend_on_the_seed_but_not_on_the_order() -> None:
    names = [str(i) for i in range(20)]
    assert split_into_folds(names, 0.2, 5, 1) == split_into_folds(names[::-1] * 2, 0.2, 5, 1)
    assert split_into_folds(names, 0.2, 5, 1) != split_into_folds(names, 0.2, 5, 2)
    assert len(split_into_folds(names, 0.2, 5, 1).held_out) == 4


def test_too_few_subjects_are_refused() -> None:
    with pytest.raises(InputError, match="at least 5 subjects beside the held-out"):
        split_into_folds(["a", "b", "c", "d", "e"], 0.2, 5, 0)


def test_a_fold_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="a fold from 0 to 1, got 2"):
        fold_scans([], Folds(("a",), (("b",), ("c",))), 2, 0.2, 0)


def test_another_dataset_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    folds = Folds(("a",), (("b",), ("c",)))
    scans = [scan_named(s, s) for s in "abc"]
    keep_folds(path, scans, folds)
    keep_folds(path, scans, folds)
    scans[1].labels[0, 0, 0] = 1
    with pytest.raises(InputError, match=r"was begun with, got others at scans\.b"):
        keep_folds(path, scans, folds)


@pytest.mark.parametrize("part", ["image", "labels"])
def test_scans_of_the_same_shape_and_lesion_size_are_told_apart(tmp_path: Path, part: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(1, 255, (4, 32, 32)).astype(np.uint8)
    labels = np.zeros((4, 32, 32), np.uint8)
    labels[1, 3:5, 5:7] = 1
    scans = [TrainingScan(s, image, labels, np.zeros((0, 3)), (2, 1, 1), s) for s in "abc"]
    folds = Folds(("a",), (("b",), ("c",)))
    keep_folds(tmp_path / "folds.json", scans, folds)
    other = {"image": image[:, ::-1], "labels": np.roll(labels, 9, axis=1)}[part]
    scans[2] = replace(scans[2], **{part: other})
    with pytest.raises(InputError, match=r"was begun with, got others at scans\.c"):
        keep_folds(tmp_path / "folds.json", scans, folds)


def test_a_folder_begun_by_an_earlier_version_is_told_as_one(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    path.write_text(json.dumps({"scans": {"a": [1, 2, 2, 0]}}), encoding="utf-8")
    with pytest.raises(InputError, match="begun by this version of mmocnet"):
        keep_folds(path, [scan_named("a", "a")], Folds(("a",), ()))


def test_a_share_of_nothing_holds_no_subject_out() -> None:
    names = [str(i) for i in range(20)]
    folds = split_into_folds(names, 0.0, 5, 1)
    assert folds.held_out == ()
    assert [len(part) for part in folds.folds] == [4] * 5


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="a held-out share of at least 0 and below 1"):
        split_into_folds([str(i) for i in range(20)], share, 5, 1)
