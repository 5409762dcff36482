"""Whether the datasets of a training can do what they are given for: said before the work."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmocnet.errors import InputError
from mmocnet.io.dataset import DatasetScan, read_dataset, stem
from mmocnet.io.digest import file_sha256
from mmocnet.io.references import loose_references, reference_doubts
from mmocnet.train.finetune_data import count_lesions
from mmocnet.train.log import warn

LEAST_WITH_LESIONS = 2
"""Subjects with a microbleed that a dataset to decide on needs: one is held against others."""


def check_datasets(learnt: Path, others: Mapping[str, Path]) -> None:
    """Refuse datasets that share scans, or hold too few microbleeds.

    Scans without a reference, and references without a scan, are warned of.

    Args:
        learnt: BIDS folder to train on.
        others: Further folders, of other subjects, by what errors call them.

    Raises:
        InputError: If one cannot be read, holds too few subjects with a microbleed, or has a scan
            that another has too.
    """
    seen: dict[Path, str] = {}
    for name, folder in {"the training": learnt, **others}.items():
        scans = labelled_scans(folder)
        for path in (scan.image.resolve() for scan in scans):
            if path in seen:
                raise InputError(
                    f"expected other subjects for {name} than for {seen[path]}, got the same scan "
                    f"{stem(path.name)} in {folder.name}"
                )
        seen |= {scan.image.resolve(): name for scan in scans}
        least = 1 if folder == learnt else LEAST_WITH_LESIONS
        found = _with_lesions(scans, least)
        if found < least:
            raise InputError(
                f"expected {least} or more subjects with microbleeds in their references for "
                f"{name}, got {found} in {folder.name}"
            )


def labelled_scans(folder: Path) -> tuple[DatasetScan, ...]:
    """Return the scans of a dataset that have a reference; warn of what lacks its other half.

    Raises:
        InputError: If it cannot be read, or no scan has a reference.
    """
    scans = read_dataset(folder)
    found = tuple(scan for scan in scans if scan.labels is not None)
    if not found:
        told = f"expected scans with a reference, got none in {folder.name}"
        raise InputError("; ".join((told, *loose_references(folder, scans))))
    for doubt in reference_doubts(folder, scans):
        warn(doubt)
    return found


def dataset_digest(scans: Sequence[DatasetScan]) -> str:
    """Return what tells a dataset of other scans or other references, wherever it lies."""
    # A cohort's images take long to read: their sizes and all references tell enough.
    rows = sorted(
        (stem(scan.image.name), scan.image.stat().st_size, file_sha256(scan.labels))
        for scan in scans
        if scan.labels is not None
    )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def _with_lesions(scans: Sequence[DatasetScan], enough: int) -> int:
    """Return how many subjects have a microbleed, at most as many as are enough."""
    found: set[str] = set()
    for scan in scans:
        if len(found) < enough and scan.subject not in found and count_lesions(scan):
            found.add(scan.subject)
    return len(found)
