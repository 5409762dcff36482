"""Score a folder of predictions against a folder of references."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmocnet.errors import InputError
from mmocnet.evaluate.cases import Case, read_case
from mmocnet.evaluate.files import pair_files
from mmocnet.evaluate.lesions import Froc, ScanLesions, froc, lesion_scores, outcome
from mmocnet.evaluate.matching import Pairing, Rule, pairing
from mmocnet.evaluate.pixels import (
    Counts,
    PixelSample,
    PixelScores,
    count_pixels,
    mean_scores,
    pooled_scores,
    precision_recall,
    sample_pixels,
)
from mmocnet.evaluate.statistics import DRAWS
from mmocnet.types import FloatArray

FROC_RULE = Rule.OVERLAP
"""The rule of the FROC."""
MAX_NAMED = 10
"""Most missing predictions that an error spells out."""


@dataclass(frozen=True)
class ScoreSettings:
    """How predictions are scored."""

    spacing_mm: float | None = None
    """Pixel size of PNG and TIFF masks in mm; NIfTI files have their own."""
    allow_missing: bool = False
    """Score what there is and list what is missing or off the grid, in place of an error."""
    seed: int = 0
    """Of the bootstrap."""
    draws: int = DRAWS
    """Bootstrap samples of subjects."""


@dataclass(frozen=True)
class CaseScore:
    """What one scan adds to every score.

    Attributes:
        name: What its files' names have in common.
        subject: Whose scan.
        lesions: Lesion counts under each matching rule.
        pixels: Outcomes of all its voxels.
        slices: Outcomes of each slice that has a reference lesion.
        sample: Its voxels for the precision-recall curve, or None without a probability.
        candidates: Its candidates against its reference, or None without candidates.
        confidence: Of those candidates.
    """

    name: str
    subject: str
    lesions: dict[Rule, ScanLesions]
    pixels: Counts
    slices: tuple[Counts, ...]
    sample: PixelSample | None = None
    candidates: Pairing | None = None
    confidence: FloatArray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Report:
    """Every scan's score, and what could not be scored.

    Attributes:
        cases: One entry a scored scan.
        missing: Why a reference was not scored, one sentence each.
        unused: Names of predictions without a reference.
        settings: How it was scored.
    """

    cases: tuple[CaseScore, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    settings: ScoreSettings


def score_case(case: Case) -> CaseScore:
    """Score one scan."""
    pairs = {rule: pairing(case.reference, case.predicted, case.spacing_mm, rule) for rule in Rule}
    truth, called = case.reference > 0, case.predicted > 0
    sample = None
    if case.probability is not None:
        sample = sample_pixels(truth, case.probability, case.valid)
    candidates = None
    confidence: FloatArray = np.zeros(0)
    if case.candidates is not None:
        listed = case.candidates
        candidates = pairing(case.reference, listed.labels, case.spacing_mm, FROC_RULE)
        confidence = np.asarray(listed.confidence)[candidates.predicted.ids - 1]
    return CaseScore(
        name=case.name,
        subject=case.subject,
        lesions={rule: outcome(pair, case.subject, case.name) for rule, pair in pairs.items()},
        pixels=count_pixels(truth, called, case.valid),
        slices=_lesion_slices(case),
        sample=sample,
        candidates=candidates,
        confidence=confidence,
    )


def _lesion_slices(case: Case) -> tuple[Counts, ...]:
    truth = np.moveaxis(case.reference > 0, case.slice_axis, 0)
    called = np.moveaxis(case.predicted > 0, case.slice_axis, 0)
    valid = None if case.valid is None else np.moveaxis(case.valid, case.slice_axis, 0)
    return tuple(
        count_pixels(truth[index], called[index], None if valid is None else valid[index])
        for index in np.flatnonzero(truth.any(axis=(1, 2)))
    )


def evaluate_folder(
    predictions: Path,
    references: Path,
    settings: ScoreSettings | None = None,
    ignore: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Score predictions against references that have the same names.

    Args:
        predictions: What `segment` wrote, or masks, numbered lesions or probability maps.
        references: Masks or numbered lesions, as a simulated dataset's `derivatives/reference`.
        settings: How to score.
        ignore: Masks of what is left out, named as the references.
        progress: Told how many scans are done, and of how many.

    Raises:
        InputError: If a prediction is missing or not on its reference's grid (named; with
            `allow_missing` they are listed in the report), or none can be scored.
    """
    settings = ScoreSettings() if settings is None else settings
    paired, unused = pair_files(predictions, references, ignore)
    cases, missing = [], []
    for done, files in enumerate(paired, 1):
        try:
            cases.append(score_case(read_case(files, settings.spacing_mm)))
        except InputError as error:
            missing.append(str(error))
        if progress is not None:
            progress(done, len(paired))
    if missing and not (settings.allow_missing and cases):
        more = f"; and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        raise InputError(
            f"{len(missing)} of {len(paired)} references cannot be scored: "
            + "; ".join(missing[:MAX_NAMED])
            + more
        )
    return Report(tuple(cases), tuple(missing), unused, settings)


def pixel_table(cases: Sequence[CaseScore]) -> dict[str, PixelScores]:
    """Return the pixel scores, each way of taking them together under its name.

    The article scored slices that have a lesion: its figures compare with the two rows of
    those.
    """
    slices = [counts for case in cases for counts in case.slices]
    return {
        "pooled over slices with a lesion": pooled_scores(slices),
        "mean per slice with a lesion": mean_scores(slices),
        "pooled over all voxels": pooled_scores(case.pixels for case in cases),
        "mean per scan": mean_scores(case.pixels for case in cases),
    }


def case_froc(cases: Sequence[CaseScore]) -> Froc | None:
    """Return the FROC, or None unless every scan came with its candidates."""
    pairs = [case.candidates for case in cases if case.candidates is not None]
    if not pairs or len(pairs) < len(cases):
        return None
    return froc(pairs, [case.confidence for case in cases])


def summarise(report: Report) -> dict[str, Any]:
    """Return all scores as plain values, NaN where undefined."""
    cases = report.cases
    samples = [case.sample for case in cases if case.sample is not None]
    average: dict[str, float] = {"average_precision": float("nan"), "recall_ceiling": float("nan")}
    if len(samples) == len(cases):
        curve = precision_recall(samples)
        average = {
            "average_precision": curve.average_precision,
            "recall_ceiling": curve.recall_ceiling,
        }
    curve_of_lesions = case_froc(cases)
    return {
        "scans": len(cases),
        "subjects": len({case.subject for case in cases}),
        "lesion_free_scans": sum(case.lesions[FROC_RULE].references == 0 for case in cases),
        "reference_lesions": sum(case.lesions[FROC_RULE].references for case in cases),
        "slices_with_a_lesion": sum(len(case.slices) for case in cases),
        "missing": list(report.missing),
        "predictions_without_reference": list(report.unused),
        "lesion": {rule.value: _lesion_summary(report, rule) for rule in Rule},
        "pixel": {name: asdict(scores) for name, scores in pixel_table(cases).items()},
        "pixel_precision_recall": average,
        "froc": None if curve_of_lesions is None else _froc_summary(curve_of_lesions),
        "settings": asdict(report.settings),
    }


def _froc_summary(curve: Froc) -> dict[str, Any]:
    values = {name: column.tolist() for name, column in vars(curve).items()}
    return {"best_f1_threshold": curve.best_threshold, **values}


def _lesion_summary(report: Report, rule: Rule) -> dict[str, Any]:
    scans = [case.lesions[rule] for case in report.cases]
    scores = lesion_scores(scans, report.settings.seed, report.settings.draws)
    return {name: asdict(interval) for name, interval in scores.items()}
