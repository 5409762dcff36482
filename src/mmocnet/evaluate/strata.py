"""Scores of parts of the data: kinds of lesion and kinds of scan."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmocnet.evaluate.agreement import BURDEN_NAMES, burden_class
from mmocnet.evaluate.lesions import lesion_scores
from mmocnet.evaluate.score import FROC_RULE, CaseScore, ScoreSettings
from mmocnet.evaluate.statistics import Interval, bootstrap_sums, ratio
from mmocnet.types import FloatArray

UNKNOWN = "n/a"
SIZE_NAMES = ("under 2 mm", "2-5 mm", "5-10 mm", "over 10 mm")
"""Equivalent diameter; 2 and 5 mm belong to the larger class, 10 mm is not over 10 mm."""
THICKNESS_NAMES = ("up to 1 mm", "1-2 mm", "2-3 mm", "over 3 mm")
"""Slice thickness; the upper bound belongs to each class."""
Strata = dict[str, dict[str, dict[str, Interval]]]


def size_level(diameter_mm: float) -> str:
    """Return the size class of a lesion.

    >>> [size_level(mm) for mm in (1.9, 2.0, 10.0, 10.1)]
    ['under 2 mm', '2-5 mm', '5-10 mm', 'over 10 mm']
    """
    if not math.isfinite(diameter_mm):
        return UNKNOWN
    return SIZE_NAMES[3 if diameter_mm > 10 else int(diameter_mm >= 2) + int(diameter_mm >= 5)]


def thickness_level(thickness_mm: float) -> str:
    """Return the slice thickness class of a scan.

    >>> thickness_level(2.0), thickness_level(float("nan"))
    ('1-2 mm', 'n/a')
    """
    if not math.isfinite(thickness_mm):
        return UNKNOWN
    # Affines are stored in single precision: 2 mm may read 2.0000001.
    return THICKNESS_NAMES[sum(thickness_mm > bound + 1e-3 for bound in (1.0, 2.0, 3.0))]


def field_level(field_t: float) -> str:
    """Return the nominal field, to half a tesla: scanners write 1.494 or 2.89.

    >>> field_level(2.89), field_level(1.494)
    ('3 T', '1.5 T')
    """
    return f"{round(2 * field_t) / 2:g} T" if math.isfinite(field_t) else UNKNOWN


def _burden_level(case: CaseScore) -> str:
    return BURDEN_NAMES[burden_class(case.lesions[FROC_RULE].references)]


LESION_STRATA: dict[str, Callable[[CaseScore], Sequence[str]]] = {
    "size": lambda case: [size_level(float(mm)) for mm in case.diameter_mm],
    "region": lambda case: case.regions,
}
"""The level of each reference lesion of a scan."""
SCAN_STRATA: dict[str, Callable[[CaseScore], str]] = {
    "field strength": lambda case: field_level(case.field_t),
    "slice thickness": lambda case: thickness_level(case.thickness_mm),
    "burden": _burden_level,
}
"""The level of a scan."""
_ORDER = (*SIZE_NAMES, *THICKNESS_NAMES, *BURDEN_NAMES)


def _ordered(levels: set[str]) -> list[str]:
    def rank(level: str) -> tuple[int, str]:
        last = len(_ORDER) + 1 if level == UNKNOWN else len(_ORDER)
        return (_ORDER.index(level) if level in _ORDER else last), level

    return sorted(levels, key=rank)


def _lesion_stratum(
    cases: Sequence[CaseScore], levels: Sequence[Sequence[str]], settings: ScoreSettings
) -> dict[str, dict[str, Interval]]:
    """Sensitivity in each level, subjects without such a lesion drawn as well."""
    subjects = [case.subject for case in cases]
    names = _ordered({level for one in levels for level in one})
    result = {}
    for name in names:
        here = [np.array([level == name for level in one], dtype=bool) for one in levels]
        rows = [(h.sum(), (h & case.found).sum()) for h, case in zip(here, cases, strict=True)]
        scores = bootstrap_sums(
            {"lesion_sensitivity": _sensitivity},
            np.array(rows, dtype=float).reshape(-1, 2),
            subjects,
            settings.seed,
            settings.draws,
        )
        result[name] = scores
    return result


def _sensitivity(sums: FloatArray) -> FloatArray:
    return ratio(sums[..., 1], sums[..., 0])


def _grouped(cases: Sequence[CaseScore], levels: Sequence[str]) -> dict[str, list[CaseScore]]:
    pairs = list(zip(levels, cases, strict=True))
    return {name: [c for level, c in pairs if level == name] for name in _ordered(set(levels))}


def strata_scores(cases: Sequence[CaseScore], settings: ScoreSettings) -> Strata:
    """Return the scores of each level of each stratum, overlap as the matching rule.

    A kind of lesion has a sensitivity alone: a false call is no kind of reference lesion. A kind
    of scan has every lesion score.
    """
    result: Strata = {
        stratum: _lesion_stratum(cases, [levels_of(case) for case in cases], settings)
        for stratum, levels_of in LESION_STRATA.items()
    }
    for stratum, level_of in SCAN_STRATA.items():
        groups = _grouped(cases, [level_of(case) for case in cases])
        result[stratum] = {
            name: lesion_scores(
                [case.lesions[FROC_RULE] for case in group], settings.seed, settings.draws
            )
            for name, group in groups.items()
        }
    return result


def strata_counts(cases: Sequence[CaseScore]) -> dict[str, dict[str, int]]:
    """Return how many reference lesions, or scans, are in each level."""
    result = {
        stratum: _count([level for case in cases for level in levels_of(case)])
        for stratum, levels_of in LESION_STRATA.items()
    }
    per_scan = {
        stratum: _count([level_of(case) for case in cases])
        for stratum, level_of in SCAN_STRATA.items()
    }
    return result | per_scan


def _count(levels: Sequence[str]) -> dict[str, int]:
    return {name: levels.count(name) for name in _ordered(set(levels))}


def case_levels(case: CaseScore) -> Mapping[str, str]:
    """Return a scan's level in each stratum of scans."""
    return {stratum: level_of(case) for stratum, level_of in SCAN_STRATA.items()}
