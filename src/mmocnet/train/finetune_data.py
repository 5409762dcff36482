"""What a model is fine-tuned on: a user's references and reviews, and simulated scans."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmocnet.errors import InputError
from mmocnet.io.dataset import DatasetScan, read_dataset, write_tsv
from mmocnet.io.lesion_labels import MICROBLEED, read_reference
from mmocnet.io.nifti import read_nifti, write_nifti
from mmocnet.io.read import read_scan
from mmocnet.io.references import loose_references, reference_doubts
from mmocnet.io.reviewed import Review, find_review, review_path
from mmocnet.prepare.brain import brain_mask
from mmocnet.prepare.refuse import check_scan
from mmocnet.simulate.dataset import WriteSettings, write_subjects
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.testset import SubjectPlan, plan_subjects
from mmocnet.train.finetune_settings import LEAST_LESIONS, LEAST_SUBJECTS
from mmocnet.train.finetune_subjects import EARLIER, LEARNED, subject_digest
from mmocnet.volume import on_grid

REJECTED = "rejected"
REPLAY_STUDY = StudySettings(lesion_free_share=0.1, lesion_count=(4, 24), slab_mm=30.0)
"""To learn from: many microbleeds and mimics in little space, each subject by another protocol."""
REPLAY_JUDGE = StudySettings(lesion_count=(1, 7))
"""To judge by: whole heads with about as many microbleeds as those of test set v3 have (3 a head),
evenly spread, and some without any. Among many microbleeds false calls count for little."""


@dataclass(frozen=True)
class Labelled:
    """A user's scans with what is known of them.

    Attributes:
        scans: Each with labels; those of a review lie in the run folder.
        reviewed: How many of them come from a review.
        rejected: Candidates that readers rejected.
        unfinished: Names of scans whose review is not complete, which are left out.
        doubts: A sentence on scans that have nothing, and one on references without a scan.
    """

    scans: tuple[DatasetScan, ...]
    reviewed: int
    rejected: int
    unfinished: tuple[str, ...]
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sides:
    """Scans to learn from and scans to judge by; no subject is in both."""

    learn: tuple[DatasetScan, ...]
    judge: tuple[DatasetScan, ...]


def read_labelled(dataset: Path, folder: Path) -> Labelled:
    """Return the scans of a dataset that have a complete review or a reference.

    A review goes before a reference: it is the later word. Its accepted and added outlines become
    the reference, its rejected candidates places to learn from.

    Args:
        dataset: BIDS folder with `derivatives/reviewed`, `derivatives/reference` or both.
        folder: Where the references that reviews give are written.

    Raises:
        InputError: If a review is not what it should be, or no scan has anything.
    """
    found = read_dataset(dataset)
    scans, unfinished, judged, reviewed, rejected = [], [], [], 0, 0
    for scan in found:
        review = find_review(dataset, scan)
        if review is not None:
            judged.append(scan.image)
        if review is not None and review.complete:
            scans.append(_by_review(dataset, scan, review, folder))
            reviewed += 1
            rejected += len(review.rejected())
        elif review is not None:
            unfinished.append(scan.image.name)
        elif scan.labels is not None:
            scans.append(scan)
    if not scans:
        told = f"expected scans with a reference or a complete review in {dataset.name}, got none"
        raise InputError("; ".join((told, *loose_references(dataset, found))))
    doubts = reference_doubts(dataset, found, judged)
    return Labelled(tuple(scans), reviewed, rejected, tuple(unfinished), doubts)


def _by_review(dataset: Path, scan: DatasetScan, review: Review, folder: Path) -> DatasetScan:
    """Write a review as a reference, and return the scan with it."""
    visit = scan.image.parent.relative_to(dataset)
    name = review_path(dataset, scan.image).name.removesuffix("reviewed_dseg.nii.gz")
    reference = folder / visit / f"{name}cmb_dseg.nii.gz"
    table = folder / visit / f"{name}cmb_dseg.tsv"
    image = read_nifti(scan.image)
    labels = on_grid(review.microbleeds(), image, "the review")
    columns = ("index", "kind", "x_mm", "y_mm", "z_mm")
    rows: list[dict[str, object]] = []
    for row in review.rows:
        cells = (row.index, MICROBLEED if row.microbleed else REJECTED, *row.centre_mm)
        rows.append(dict(zip(columns, cells, strict=True)))
    write_tsv(table, columns, rows)
    write_nifti(reference, image.like(labels.array), np.int16)
    return replace(scan, labels=reference, table=table)


def check_scans(scans: Sequence[DatasetScan]) -> None:
    """Refuse scans that `segment` refuses, before anything takes time.

    Raises:
        InputError: Of the first of them.
    """
    for scan in scans:
        read = read_scan(scan.image)
        check_scan(read, brain_mask(read.volume))


def _is_refused(scan: DatasetScan) -> bool:
    try:
        check_scans([scan])
    except InputError:
        return True
    return False


def count_lesions(scan: DatasetScan) -> int:
    """Return the number of reference lesions of a scan, 0 without a reference."""
    if scan.labels is None:
        return 0
    return int(read_reference(scan, read_nifti(scan.image)).max())


def split_for_tuning(
    scans: Sequence[DatasetScan], share: float, seed: int, learned: Set[str] = frozenset()
) -> Sides:
    """Return which subjects are learned from and which judge, both with microbleeds.

    Subjects are ranked by their number of microbleeds, and one of each few of a rank judges, so
    that a handful is split fairly. Where none of them has a microbleed, one of the highest rank's
    that have judges in place of that rank's. Subjects that the model learned from do not judge.

    Args:
        scans: All with a reference.
        share: Of the subjects that judge, as far as there are.
        seed: Chooses among subjects of a rank.
        learned: Digests of those that the model learned from, see `learned_before`.

    Raises:
        InputError: If there are too few subjects or microbleeds to learn anything from, or none
            with a microbleed to judge by.
    """
    counts: dict[str, int] = {}
    for scan in scans:
        counts[scan.subject] = counts.get(scan.subject, 0) + count_lesions(scan)
    ill, lesions = sum(n > 0 for n in counts.values()), sum(counts.values())
    if ill < LEAST_SUBJECTS or lesions < LEAST_LESIONS:
        raise InputError(
            f"expected at least {LEAST_SUBJECTS} subjects with microbleeds and {LEAST_LESIONS} "
            f"microbleeds to fine-tune on, got {ill} and {lesions}: label or review more scans"
        )
    if not 0 < share < 1:
        raise InputError(f"expected a held-out share between 0 and 1, got {share}")
    fresh = {subject for subject in counts if subject_digest(subject) not in learned}
    if not any(counts[subject] for subject in fresh):
        raise InputError(
            "expected subjects with microbleeds that the model did not learn from before, to judge "
            "it by, got none: label or review others, or start from the model before that"
        )
    ranked = sorted(fresh, key=lambda subject: (-counts[subject], subject))
    teaches = any(counts[subject] for subject in counts.keys() - fresh)
    most = len(ranked) if teaches else len(ranked) - 1
    parts = int(np.clip(round(share * len(counts)), 1, most))
    rng = np.random.default_rng([seed, 21])
    blocks = np.array_split(np.array(ranked), parts)
    judges = [str(block[int(rng.integers(len(block)))]) for block in blocks]
    if not any(counts[subject] for subject in judges):
        # The first block has some of the ill, two or more unless others teach: they come first.
        having = [str(subject) for subject in blocks[0] if counts[subject]]
        judges[0] = having[int(rng.integers(len(having)))]
    return Sides(
        tuple(scan for scan in scans if scan.subject not in judges),
        tuple(scan for scan in scans if scan.subject in judges),
    )


def record_of(labelled: Labelled, sides: Sides, card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of scans that a model was fine-tuned on, and of rounds before.

    Args:
        labelled: The scans.
        sides: Their split.
        card: Of the model that was tuned.
    """
    learned, held_out = (
        sorted({subject_digest(scan.subject) for scan in side})
        for side in (sides.learn, sides.judge)
    )
    return {
        "learned_subjects": len(learned),
        "held_out_subjects": len(held_out),
        LEARNED: learned,
        "held_out": held_out,
        "reviewed_scans": labelled.reviewed,
        "rejected_candidates": labelled.rejected,
        EARLIER: card.get("finetune"),
    }


def simulate_replay(
    folder: Path,
    subjects: int,
    seed: int,
    phase: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Sides:
    """Make simulated scans that keep what a model knew: slabs to learn from, heads to judge by.

    A third of the subjects judges, less those whose random protocol gave what `segment` refuses.

    Args:
        folder: Of the dataset; subjects that are there are not made again.
        subjects: At least 2.
        seed: Of the dataset.
        phase: Whether phase images are kept, for a model that reads them.
        workers: Processes.
        progress: Told what is done and what there is to do, in subjects.

    Raises:
        InputError: If fewer than 2 subjects are asked for or could be made.
    """
    plans = replay_plans(subjects, seed, phase)
    jobs = write_subjects(folder, (*plans[0], *plans[1]), WriteSettings(workers))
    for done, _ in enumerate(jobs, 1):
        if progress is not None:
            progress(done, subjects)
    scans = {s.subject: s for s in read_dataset(folder) if s.labels is not None}
    learn, judge = (
        tuple(scans[plan.label] for plan in side if plan.label in scans) for side in plans
    )
    judge = tuple(scan for scan in judge if not _is_refused(scan))
    if not learn or not judge:
        raise InputError(
            "expected simulated subjects to learn from and to judge by, "
            f"got {len(learn)} and {len(judge)}"
        )
    return Sides(learn, judge)


def replay_plans(
    subjects: int, seed: int, phase: bool = False
) -> tuple[tuple[SubjectPlan, ...], tuple[SubjectPlan, ...]]:
    """Return the simulated subjects to learn from, and those that judge: about a third.

    Args:
        subjects: At least 2.
        seed: Of the dataset.
        phase: Whether they have phase images.

    Raises:
        InputError: If there are fewer than 2.
    """
    if subjects < 2:
        raise InputError(f"expected at least 2 simulated subjects, got {subjects}")
    learn = subjects - max(1, round(subjects / 3))
    slabs, heads = (
        plan_subjects(subjects, seed, replace(study, images="phase" if phase else "swi"))
        for study in (REPLAY_STUDY, REPLAY_JUDGE)
    )
    return slabs[:learn], heads[learn:]
