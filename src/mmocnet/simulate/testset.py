"""Who is simulated: seeds for training, and the fixed test sets that scores name.

A study's seed says what it is for: below `FIRST_TEST_SEED` for training, at or above it for a
test set. The two can therefore never meet, whatever the seed of a data set.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

import numpy as np

from mmocnet.config.checked import check_choice
from mmocnet.errors import InputError
from mmocnet.simulate.settings import ProtocolName, StudySettings
from mmocnet.simulate.study import SIMULATOR_VERSION

FIRST_TEST_SEED = 2**48
TRAINING_KEY, TEST_KEY = 0, 1

# Subjects of a test set for each protocol; 60 in all.
TEST_PROTOCOLS: dict[ProtocolName, int] = {
    "ukb": 12,
    "clinical": 14,
    "dou": 10,
    "aibl": 6,
    "t2star": 6,
    "1.5t": 6,
    "7t": 6,
}
TEST_LESION_FREE_SHARE = 0.3


@dataclass(frozen=True)
class SubjectPlan:
    """A subject to simulate.

    Attributes:
        subject: Number, from 1; the BIDS label is "0001".
        seed: Seed of the study.
        settings: What to simulate.
        visits: 1, or 2 for two sessions between which microbleeds change.
    """

    subject: int
    seed: int
    settings: StudySettings
    visits: Literal[1, 2] = 1

    @property
    def label(self) -> str:
        """BIDS subject label, without "sub-"."""
        return f"{self.subject:04d}"


def _hashed_seed(dataset_seed: int, key: int, subject: int) -> int:
    if dataset_seed < 0 or subject < 0:
        raise InputError(f"seed and subject must not be negative, got {dataset_seed}, {subject}")
    sequence = np.random.SeedSequence(dataset_seed, spawn_key=(key, subject))
    return int(sequence.generate_state(1, np.uint64)[0]) % FIRST_TEST_SEED


def training_seed(dataset_seed: int, subject: int) -> int:
    """Return the seed of one subject of a data set, the same whoever is made before it.

    Returns:
        An integer below `FIRST_TEST_SEED`.
    """
    return _hashed_seed(dataset_seed, TRAINING_KEY, subject)


def held_out_seed(set_seed: int, subject: int) -> int:
    """Return the seed of one subject of a test set, at or above `FIRST_TEST_SEED`."""
    return FIRST_TEST_SEED + _hashed_seed(set_seed, TEST_KEY, subject)


def plan_subjects(
    subjects: int, seed: int, settings: StudySettings | None = None, visits: Literal[1, 2] = 1
) -> tuple[SubjectPlan, ...]:
    """Return who a data set consists of.

    Args:
        subjects: Number of subjects; more of them keep the first ones as they are.
        seed: Seed of the data set.
        settings: What to simulate for each; None takes the defaults.
        visits: Of each.

    Raises:
        InputError: If there is none, or the number of visits is neither 1 nor 2.
    """
    check_choice("visits", visits, Literal[1, 2])
    if subjects < 1:
        raise InputError(f"subjects must be 1 or more, got {subjects}")
    settings = StudySettings() if settings is None else settings
    numbers = range(1, subjects + 1)
    return tuple(SubjectPlan(n, training_seed(seed, n), settings, visits) for n in numbers)


def make_test_set(set_seed: int) -> tuple[SubjectPlan, ...]:
    """Return a new test set: every protocol, natural counts, all mimics, 30 % lesion-free."""
    rng = np.random.default_rng(np.random.SeedSequence(set_seed, spawn_key=(TEST_KEY,)))
    protocols = [name for name, count in TEST_PROTOCOLS.items() for _ in range(count)]
    free = np.arange(len(protocols)) < round(TEST_LESION_FREE_SHARE * len(protocols))
    return tuple(
        SubjectPlan(
            number,
            held_out_seed(set_seed, number),
            StudySettings(protocol, lesion_free_share=float(lesion_free)),
        )
        for number, (protocol, lesion_free) in enumerate(
            zip(rng.permutation(protocols).tolist(), rng.permutation(free), strict=True), 1
        )
    )


def _rows(plans: tuple[SubjectPlan, ...]) -> Iterator[dict[str, object]]:
    for plan in plans:
        yield {
            "subject": plan.subject,
            "seed": plan.seed,
            "protocol": plan.settings.protocol,
            "lesion_free": plan.settings.lesion_free_share == 1.0,
        }


def format_test_set(name: str, plans: tuple[SubjectPlan, ...]) -> str:
    """Return a test set as the JSON that is committed, a line a subject."""
    lines = ",\n".join(f"    {json.dumps(row)}" for row in _rows(plans))
    return (
        f'{{\n  "name": "{name}",\n  "simulator_version": {SIMULATOR_VERSION},\n'
        f'  "subjects": [\n{lines}\n  ]\n}}\n'
    )


def load_test_set(name: str = "v3") -> tuple[SubjectPlan, ...]:
    """Return a committed test set.

    Raises:
        InputError: If it is unknown, or was fixed for another version of the simulator.
    """
    resource = files("mmocnet.simulate") / f"testset_{name}.json"
    if not resource.is_file():
        raise InputError(f"expected a test set of this package, as v3, got {name!r}")
    content = json.loads(resource.read_text(encoding="utf-8"))
    if content["simulator_version"] != SIMULATOR_VERSION:
        raise InputError(
            f"test set {name} needs simulator version {content['simulator_version']}, "
            f"got {SIMULATOR_VERSION}"
        )
    return tuple(
        SubjectPlan(
            row["subject"],
            row["seed"],
            StudySettings(row["protocol"], lesion_free_share=float(row["lesion_free"])),
        )
        for row in content["subjects"]
    )
