"""Which scans are trained on and which validate: by subject, always."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmocnet.errors import InputError
from mmocnet.train.patches import TrainingScan


@dataclass(frozen=True)
class Split:
    """Scans to train on and to validate on; no subject is in both."""

    train: tuple[TrainingScan, ...]
    validation: tuple[TrainingScan, ...]

    @property
    def sides(self) -> tuple[tuple[TrainingScan, ...], tuple[TrainingScan, ...]]:
        """Training scans, validation scans."""
        return self.train, self.validation


def split_by_subject(scans: Sequence[TrainingScan], share: float, seed: int) -> Split:
    """Return a split in which all scans of a subject are on one side.

    Args:
        scans: Any order; the split does not depend on it.
        share: Of the subjects, for validation; at least one subject is on each side.
        seed: Shuffles the subjects.

    Raises:
        InputError: If there are fewer than two subjects.
    """
    subjects = sorted({scan.subject for scan in scans})
    if len(subjects) < 2:
        raise InputError(f"expected scans of at least 2 subjects to train, got {len(subjects)}")
    order = np.random.default_rng([seed, 1]).permutation(len(subjects))
    count = int(np.clip(round(share * len(subjects)), 1, len(subjects) - 1))
    kept = {subjects[i] for i in order[:count]}
    ordered = sorted(scans, key=lambda scan: (scan.subject, scan.name))
    return Split(
        train=tuple(scan for scan in ordered if scan.subject not in kept),
        validation=tuple(scan for scan in ordered if scan.subject in kept),
    )
