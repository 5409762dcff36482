"""Which scans are trained on and which validate: by subject, always."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmocnet.errors import InputError
from mmocnet.train.patches import TrainingScan


@dataclass(frozen=True)
class Split:
    """Scans to train on and to validate on; no subject is in both.

    Attributes:
        train: Scans.
        validation: Scans of other subjects.
        across: Planes across the slices of the training scans, and of the validation scans.
    """

    train: tuple[TrainingScan, ...]
    validation: tuple[TrainingScan, ...]
    across: tuple[tuple[TrainingScan, ...], tuple[TrainingScan, ...]] = ((), ())

    @property
    def sides(self) -> tuple[tuple[TrainingScan, ...], tuple[TrainingScan, ...]]:
        """Training scans, validation scans."""
        return self.train, self.validation


def split_by_subject(scans: Sequence[TrainingScan], share: float, seed: int) -> Split:
    """Return a split in which all scans of a subject are on one side.

    Args:
        scans: Any order; the split does not depend on it.
        share: Of the subjects, for validation; at least one subject is on each side. Where two
            subjects or more have a lesion, one of them is on each side.
        seed: Shuffles the subjects.

    Raises:
        InputError: If there are fewer than two subjects.
    """
    subjects = sorted({scan.subject for scan in scans})
    if len(subjects) < 2:
        raise InputError(f"expected scans of at least 2 subjects to train, got {len(subjects)}")
    order = np.random.default_rng([seed, 1]).permutation(len(subjects))
    count = int(np.clip(round(share * len(subjects)), 1, len(subjects) - 1))
    kept = _validating(scans, [subjects[i] for i in order], count)
    ordered = sorted(scans, key=lambda scan: (scan.subject, scan.name))
    (train, validation), across = (
        [
            tuple(s for s in ordered if s.across == planes and (s.subject in kept) == validates)
            for validates in (False, True)
        ]
        for planes in (False, True)
    )
    return Split(train, validation, (across[0], across[1]))


def _validating(scans: Sequence[TrainingScan], ordered: Sequence[str], count: int) -> set[str]:
    """Return the first subjects; one changes places where a side lacks lesions that two give."""
    kept, others = list(ordered[:count]), list(ordered[count:])
    for poor, rich in ((kept, others), (others, kept)):
        if any(scan.labels.any() for scan in scans if scan.subject in poor):
            continue
        ill = _with_lesions(scans, rich)
        if len(ill) > 1:
            at = next(i for i, subject in enumerate(rich) if subject in ill)
            rich[at], poor[-1] = poor[-1], rich[at]
    return set(kept)


def _with_lesions(scans: Sequence[TrainingScan], subjects: Sequence[str]) -> set[str]:
    """Return which of some subjects have a lesion."""
    return {scan.subject for scan in scans if scan.subject in subjects and scan.labels.any()}


def warning_of(split: Split, count: int) -> str | None:
    """Return a sentence where the first validation scans, which decide thresholds, have no lesion.

    Args:
        split: The scans.
        count: How many of them decide.
    """
    deciding = split.validation[:count]
    if any(scan.labels.any() for scan in deciding):
        return None
    return (
        f"no microbleed in the {len(deciding)} scans that validate: the thresholds are defaults, "
        "and the model may find next to nothing"
    )
