"""Two methods on the same scans: paired differences of their scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmocnet.errors import InputError
from mmocnet.evaluate.lesions import LESION_FORMULAS, lesion_table
from mmocnet.evaluate.matching import Rule
from mmocnet.evaluate.pixels import MEAN_FORMULAS, POOLED_FORMULAS, mean_table, pooled_table
from mmocnet.evaluate.score import CaseScore, Report
from mmocnet.evaluate.statistics import Interval, bootstrap_differences, ratio
from mmocnet.types import FloatArray

Formula = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Shared:
    """The scans that two reports have in common, in the same order.

    Attributes:
        first: Of the first report.
        second: Of the second report.
        only_in_one: Names of scans that one report lacks.
    """

    first: tuple[CaseScore, ...]
    second: tuple[CaseScore, ...]
    only_in_one: tuple[str, ...]


def shared_scans(first: Report, second: Report) -> Shared:
    """Find the scans that both reports have scored.

    Raises:
        InputError: If there is none, or a scan's references differ.
    """
    one, two = ({case.name: case for case in report.cases} for report in (first, second))
    names = [name for name in one if name in two]
    if not names:
        raise InputError("expected scans that both methods have segmented, got none")
    for name in names:
        if not np.array_equal(one[name].diameter_mm, two[name].diameter_mm):
            raise InputError(f"expected the same reference in both reports, they differ in {name}")
    return Shared(
        tuple(one[name] for name in names),
        tuple(two[name] for name in names),
        tuple(sorted(set(one) ^ set(two))),
    )


def compare_reports(first: Report, second: Report) -> dict[str, Interval]:
    """Return each score of the second method less that of the first, with its interval.

    Subjects are drawn once for both methods, so that what makes a subject hard for both cancels.
    A lesion score's name begins with its matching rule, a pixel score's says how it was pooled.

    Raises:
        InputError: If no scan is in both reports.
    """
    shared = shared_scans(first, second)
    subjects = [case.subject for case in shared.first]
    settings = first.settings
    result: dict[str, Interval] = {}
    for prefix, (formulas, table_of) in _tables().items():
        tables = table_of(shared.first), table_of(shared.second)
        named = {f"{prefix}_{name}": formula for name, formula in formulas.items()}
        result |= bootstrap_differences(named, tables, subjects, settings.seed, settings.draws)
    return result


def _tables() -> dict[str, tuple[dict[str, Formula], Callable[[Sequence[CaseScore]], FloatArray]]]:
    return {
        **{rule.value: (LESION_FORMULAS, _rule_table(rule)) for rule in Rule},
        "count": ({"mean_absolute_error": _mean}, _count_table),
        "pooled_voxels": (POOLED_FORMULAS, lambda cases: pooled_table([[c.pixels] for c in cases])),
        "pooled_lesion_slices": (
            POOLED_FORMULAS,
            lambda cases: pooled_table([c.slices for c in cases]),
        ),
        "mean_lesion_slice": (MEAN_FORMULAS, lambda cases: mean_table([c.slices for c in cases])),
    }


def _rule_table(rule: Rule) -> Callable[[Sequence[CaseScore]], FloatArray]:
    return lambda cases: lesion_table([case.lesions[rule] for case in cases])


def _count_table(cases: Sequence[CaseScore]) -> FloatArray:
    rows = [(abs(case.predicted_count - case.reference_count), 1) for case in cases]
    return np.array(rows, dtype=float)


def _mean(sums: FloatArray) -> FloatArray:
    return ratio(sums[..., 0], sums[..., 1])
