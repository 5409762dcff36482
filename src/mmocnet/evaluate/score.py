"""Score a folder of predictions against a folder of references."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from mmocnet.config.checked import Checked
from mmocnet.errors import InputError
from mmocnet.evaluate.cases import MASK_THRESHOLD, Case, equivalent_diameter_mm, read_case
from mmocnet.evaluate.files import pair_files
from mmocnet.evaluate.inputs import input_names, machine_warnings, mask_names
from mmocnet.evaluate.instances import check_threshold
from mmocnet.evaluate.lesions import Froc, ScanLesions, froc, outcome
from mmocnet.evaluate.matching import BoolArray, Pairing, Rule, match, pairing, pairings
from mmocnet.evaluate.pixels import (
    Counts,
    PixelSample,
    PixelScores,
    count_pixels,
    mean_scores,
    pooled_scores,
    sample_pixels,
)
from mmocnet.evaluate.statistics import DRAWS, FEW_SUBJECTS, MIN_SUBJECTS
from mmocnet.evaluate.valdo import ValdoCase, valdo_case
from mmocnet.evaluate.worst import Crop, read_scan, worst_crops
from mmocnet.types import FloatArray

FROC_RULE = Rule.OVERLAP
"""The rule of the FROC, of strata and of which candidates are lesions."""
MAX_NAMED = 10
"""Most missing predictions that an error spells out."""


@dataclass(frozen=True)
class ScoreSettings(Checked):
    """How predictions are scored."""

    spacing_mm: float | None = None
    """Pixel size of PNG and TIFF masks in mm; NIfTI files have their own."""
    allow_missing: bool = False
    """Score what there is and list what is missing or off the grid, in place of an error."""
    seed: int = 0
    """Of the bootstrap."""
    draws: int = DRAWS
    """Bootstrap samples of subjects."""
    threshold: float | None = None
    """Where predicted probability maps without lesions of their own are cut; None takes 0.5."""

    min_diameter_mm: float | None = None
    """Reference lesions of a smaller equivalent diameter are left out, and what is predicted of
    them alone; None leaves out none."""

    def __post_init__(self) -> None:
        """Refuse what cannot be scored with."""
        super().__post_init__()
        check_threshold(self.threshold)
        if self.min_diameter_mm is not None and not self.min_diameter_mm > 0:
            raise InputError(f"min_diameter_mm must be above 0, got {self.min_diameter_mm:g}")
        if self.seed < 0:
            raise InputError(f"expected a seed of at least 0, got {self.seed}")


@dataclass(frozen=True)
class CaseScore:
    """What one scan adds to every score.

    Attributes:
        name: What its files' names have in common.
        subject: Whose scan.
        lesions: Lesion counts under each matching rule.
        pixels: Outcomes of all its voxels.
        slices: Outcomes of each slice that has a reference lesion.
        diameter_mm: Equivalent diameter of each reference lesion, of a disc on a single slice.
        regions: Region of each reference lesion, n/a where unknown.
        found: Whether each reference lesion was, lesions overlapping.
        valdo: Its part of VALDO's own numbers.
        field_t: Field strength; NaN where unknown.
        thickness_mm: Slice thickness; NaN of a picture.
        sample: Its voxels for the precision-recall curve, or None without a probability.
        candidates: Its candidates against its reference, or None without candidates.
        confidence: Of those candidates.
        is_lesion: Whether each of those candidates has a reference lesion of its own.
        crops: Its worst misses and false calls.
    """

    name: str
    subject: str
    lesions: dict[Rule, ScanLesions]
    pixels: Counts
    slices: tuple[Counts, ...]
    diameter_mm: FloatArray
    regions: tuple[str, ...]
    found: BoolArray
    valdo: ValdoCase
    field_t: float = float("nan")
    thickness_mm: float = float("nan")
    sample: PixelSample | None = None
    candidates: Pairing | None = None
    confidence: FloatArray = field(default_factory=lambda: np.zeros(0))
    is_lesion: BoolArray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    crops: tuple[Crop, ...] = ()

    @property
    def reference_count(self) -> int:
        """Lesions in the reference."""
        return self.lesions[FROC_RULE].references

    @property
    def predicted_count(self) -> int:
        """Lesions that were called."""
        return self.lesions[FROC_RULE].found + self.lesions[FROC_RULE].false_positives


@dataclass(frozen=True)
class Report:
    """Every scan's score, and what could not be scored.

    Attributes:
        cases: One entry a scored scan.
        missing: Why a reference was not scored, one sentence each.
        unused: Names of predictions without a reference.
        settings: How it was scored.
        warnings: One sentence for each doubt about names, labels and intervals.
        masks: Which masks of what is left out were given, and how many scans have one to ignore.
        inputs: Names of both folders, and of the models as far as they are known.
        maps: How many scans' lesions were cut from a probability map.
    """

    cases: tuple[CaseScore, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    settings: ScoreSettings
    warnings: tuple[str, ...] = ()
    masks: Mapping[str, str | int] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    maps: int = 0


def score_case(case: Case, read_image: Callable[[], FloatArray | None] | None = None) -> CaseScore:
    """Score one scan; the image that `read_image` returns is shown behind what went wrong."""
    pairs = pairings(case.reference, case.predicted, case.spacing_mm)
    voxel_mm3 = float(np.prod(case.spacing_mm))
    sample = None
    if case.probability is not None:
        sample = sample_pixels(case.reference > 0, case.probability, case.valid)
    candidates, confidence, is_lesion = _candidates(case)
    truth = pairs[FROC_RULE].reference
    across = case.slice_axis if case.reference.shape[case.slice_axis] == 1 else None
    found = np.zeros(len(truth.ids), dtype=bool)
    found[match(pairs[FROC_RULE]).pairs[:, 0]] = True
    return CaseScore(
        name=case.name,
        subject=case.subject,
        lesions={
            rule: outcome(pair, case.subject, case.name, voxel_mm3=voxel_mm3)
            for rule, pair in pairs.items()
        },
        pixels=count_pixels(case.reference > 0, case.predicted > 0, case.valid),
        slices=_lesion_slices(case),
        diameter_mm=equivalent_diameter_mm(truth.sizes, case.spacing_mm, across),
        regions=tuple(case.regions.get(int(number), "n/a") for number in truth.ids),
        found=found,
        valdo=valdo_case(case.reference, case.predicted, case.spacing_mm),
        field_t=case.field_t,
        thickness_mm=case.thickness_mm,
        sample=sample,
        candidates=candidates,
        confidence=confidence,
        is_lesion=is_lesion,
        crops=worst_crops(case, read_image=read_image, pair=pairs[Rule.OVERLAP]),
    )


def _candidates(case: Case) -> tuple[Pairing | None, FloatArray, BoolArray]:
    """Return every candidate against the reference, its confidence, and whether it is one."""
    if case.candidates is None:
        return None, np.zeros(0), np.zeros(0, dtype=bool)
    pair = pairing(case.reference, case.candidates.labels, case.spacing_mm, FROC_RULE)
    is_lesion = np.zeros(len(pair.predicted.ids), dtype=bool)
    is_lesion[match(pair).pairs[:, 1]] = True
    return pair, np.asarray(case.candidates.confidence)[pair.predicted.ids - 1], is_lesion


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
    window: Path | None = None,
) -> Report:
    """Score predictions against references that have the same names.

    Args:
        predictions: What `segment` wrote, or masks, numbered lesions or probability maps.
        references: Masks or numbered lesions, as a simulated dataset's `derivatives/reference`.
        settings: How to score.
        ignore: Masks of what is left out, named as the references.
        progress: Told how many scans are done, and of how many.
        window: Masks of where the references are complete: nothing outside is scored.

    Raises:
        InputError: If a prediction is missing or not on its reference's grid (named; with
            `allow_missing` they are listed in the report), none can be scored, or masks of what
            is left out are not there.
    """
    settings = ScoreSettings() if settings is None else settings
    paired, unused = pair_files(predictions, references, ignore, window)
    cut = MASK_THRESHOLD if settings.threshold is None else settings.threshold
    cases, missing, maps = [], [], 0
    warnings: list[str] = []
    for done, files in enumerate(paired, 1):
        try:
            read_image = partial(read_scan, files.reference, files.name, settings.spacing_mm)
            case = read_case(files, settings.spacing_mm, cut, settings.min_diameter_mm)
            cases.append(score_case(case, read_image))
            maps += case.from_map
            warnings += case.warnings
        except InputError as error:
            missing.append(_with_name(str(error), files.name))
        if progress is not None:
            progress(done, len(paired))
    if missing and not (settings.allow_missing and cases):
        more = f"; and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        raise InputError(
            f"{len(missing)} of {len(paired)} references cannot be scored: "
            + "; ".join(missing[:MAX_NAMED])
            + more
        )
    return Report(
        cases=tuple(cases),
        missing=tuple(missing),
        unused=unused,
        settings=settings,
        warnings=(*machine_warnings(paired), *warnings, *_subject_warnings(cases)),
        masks=mask_names(paired, ignore, window),
        inputs=input_names(predictions, references, paired),
        maps=maps,
    )


def _with_name(text: str, name: str) -> str:
    """Return what is wrong with a scan, its name in front where the text has no file of it."""
    named = re.search(rf"(^| ){re.escape(name)}([._]|$)", text)
    return text if named else f"{name}: {text}"


def _subject_warnings(cases: Sequence[CaseScore]) -> list[str]:
    """Say where intervals over subjects are not what they seem."""
    subjects = len({case.subject for case in cases})
    bare = sum(case.subject == case.name for case in cases)
    found = []
    if bare > 1:
        found.append(
            f"expected names that begin with sub-, got {bare} others: each scan counts as a "
            "subject of its own, and intervals are too narrow where it is not"
        )
    if subjects < MIN_SUBJECTS:
        found.append("one subject has no intervals")
    elif subjects < FEW_SUBJECTS:
        found.append(f"intervals over {subjects} subjects are likely to be too narrow")
    return found


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
