from dataclasses import replace
from importlib.resources import files
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmocnet.errors import InputError
from mmocnet.simulate.settings import ProtocolName, StudySettings
from mmocnet.simulate.testset import (
    FIRST_TEST_SEED,
    TEST_PROTOCOLS,
    format_test_set,
    held_out_seed,
    load_test_set,
    make_test_set,
    plan_subjects,
    training_seed,
)


@given(st.integers(0, 2**40), st.integers(0, 10**6), st.integers(0, 2**40), st.integers(0, 10**6))
def test_training_and_test_seeds_never_meet(
    dataset_seed: int, subject: int, set_seed: int, tested: int
) -> None:
    assert 0 <= training_seed(dataset_seed, subject) < FIRST_TEST_SEED
    assert FIRST_TEST_SEED <= held_out_seed(set_seed, tested) < 2**53


def test_no_seed_of_test_set_v3_is_a_training_seed() -> None:
    tested = {plan.seed for plan in load_test_set("v3")}
    trained = {plan.seed for seed in (0, 1, 2022) for plan in plan_subjects(3000, seed)}
    assert min(tested) >= FIRST_TEST_SEED > max(trained)
    assert tested.isdisjoint(trained)


def test_subjects_of_one_dataset_have_different_seeds() -> None:
    seeds = [plan.seed for plan in plan_subjects(5000, 1)]
    assert len(set(seeds)) == 5000


def test_a_seed_of_a_subject_does_not_depend_on_their_number() -> None:
    assert plan_subjects(50, 4)[:20] == plan_subjects(20, 4)


def test_test_set_v3_has_sixty_subjects_and_eighteen_without_a_microbleed() -> None:
    plans = load_test_set("v3")
    assert [plan.subject for plan in plans] == list(range(1, 61))
    assert len({plan.seed for plan in plans}) == 60
    assert [plan.settings.lesion_free_share for plan in plans].count(1.0) == 18
    assert [plan.settings.lesion_free_share for plan in plans].count(0.0) == 42


def test_test_set_v3_has_natural_counts_and_all_mimics_of_whole_heads() -> None:
    for plan in load_test_set("v3"):
        assert replace(plan.settings, protocol="random", lesion_free_share=0.3) == StudySettings()


def test_test_set_v3_holds_each_protocol_as_often_as_planned() -> None:
    protocols = [plan.settings.protocol for plan in load_test_set("v3")]
    assert {name: protocols.count(name) for name in TEST_PROTOCOLS} == TEST_PROTOCOLS
    assert set(protocols) <= set(get_args(ProtocolName))


def test_test_set_v3_is_what_its_seed_gives() -> None:
    committed = (files("mmocnet.simulate") / "testset_v3.json").read_text(encoding="utf-8")
    assert committed == format_test_set("v3", make_test_set(1))


def test_an_unknown_test_set_is_named_in_the_error() -> None:
    with pytest.raises(InputError, match="got 'v9'"):
        load_test_set("v9")


@pytest.mark.parametrize(("subjects", "seed"), [(0, 1), (1, -1)])
def test_no_subjects_and_negative_seeds_are_refused(subjects: int, seed: int) -> None:
    with pytest.raises(InputError, match="must"):
        plan_subjects(subjects, seed)
