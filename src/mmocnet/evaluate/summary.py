"""All scores of a report as plain values: what the tables and the page show."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from mmocnet.evaluate.agreement import BURDEN_NAMES, burden_class, count_agreement
from mmocnet.evaluate.calibration import MIN_CONFIDENCE, calibration
from mmocnet.evaluate.compare import compare_reports, shared_scans
from mmocnet.evaluate.lesions import Froc, lesion_scores
from mmocnet.evaluate.matching import Rule
from mmocnet.evaluate.pixels import Counts, pixel_intervals, precision_recall, undefined_images
from mmocnet.evaluate.score import FROC_RULE, CaseScore, Report, case_froc, pixel_table
from mmocnet.evaluate.statistics import Interval
from mmocnet.evaluate.strata import strata_counts, strata_scores
from mmocnet.evaluate.valdo import VALDO_DIFFERS, valdo_scores


def summarise(report: Report, other: Report | None = None) -> dict[str, Any]:
    """Return all scores as plain values, NaN where undefined.

    Args:
        report: From `evaluate_folder`.
        other: A second method on the same references, to be compared with the first.
    """
    cases = report.cases
    curve = case_froc(cases)
    return {
        "scans": len(cases),
        "subjects": len({case.subject for case in cases}),
        "lesion_free_scans": sum(case.reference_count == 0 for case in cases),
        "reference_lesions": sum(case.reference_count for case in cases),
        "slices_with_a_lesion": sum(len(case.slices) for case in cases),
        "missing": list(report.missing),
        "predictions_without_reference": list(report.unused),
        "warnings": _warnings(report, other),
        "lesion": {rule.value: _lesion_summary(report, rule) for rule in Rule},
        "pixel": {name: asdict(scores) for name, scores in pixel_table(cases).items()},
        "pixel_intervals": _pixel_intervals(report),
        "pixel_undefined": {
            "mean per slice with a lesion": undefined_images(
                c for one in cases for c in one.slices
            ),
            "mean per scan": undefined_images(case.pixels for case in cases),
        },
        "pixel_precision_recall": _average_precision(cases),
        "froc": None if curve is None else _froc_summary(curve),
        "counts": _counts(cases),
        "calibration": _calibration(cases),
        "valdo": valdo_scores([case.valdo for case in cases]) | {"differs": VALDO_DIFFERS},
        "strata": {
            stratum: {level: _plain(scores) for level, scores in levels.items()}
            for stratum, levels in strata_scores(cases, report.settings).items()
        },
        "strata_counts": strata_counts(cases),
        "comparison": None if other is None else _comparison(report, other),
        "settings": {**report.inputs, **asdict(report.settings), **report.masks},
    }


def _warnings(report: Report, other: Report | None) -> list[str]:
    """Return what either method is to be warned of; what both are, once."""
    return list(dict.fromkeys(report.warnings + (() if other is None else other.warnings)))


def _plain(scores: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    return {name: asdict(interval) for name, interval in scores.items()}


def _average_precision(cases: Sequence[CaseScore]) -> dict[str, float]:
    """Return the area of all voxels taken together, and its mean over scans with a lesion."""
    names = ("average_precision", "recall_ceiling", "mean_average_precision_per_scan")
    samples = [case.sample for case in cases if case.sample is not None]
    if len(samples) < len(cases):
        return dict.fromkeys(names, float("nan"))
    curve = precision_recall(samples)
    areas = np.array([precision_recall([sample]).average_precision for sample in samples])
    defined = areas[np.isfinite(areas)]
    mean = float(defined.mean()) if len(defined) else float("nan")
    return dict(zip(names, (curve.average_precision, curve.recall_ceiling, mean), strict=True))


def _froc_summary(curve: Froc) -> dict[str, Any]:
    values = {name: column.tolist() for name, column in vars(curve).items()}
    return {"best_f1_threshold": curve.best_threshold, **values}


def _lesion_summary(report: Report, rule: Rule) -> dict[str, Any]:
    scans = [case.lesions[rule] for case in report.cases]
    return _plain(lesion_scores(scans, report.settings.seed, report.settings.draws))


def _pixel_intervals(report: Report) -> dict[str, Any]:
    """Return intervals under the names of `pixel_table`."""
    cases, settings = report.cases, report.settings
    subjects = [case.subject for case in cases]
    slices = [case.slices for case in cases]
    scans = [(case.pixels,) for case in cases]
    ways: dict[str, tuple[Sequence[Sequence[Counts]], bool]] = {
        "pooled over slices with a lesion": (slices, True),
        "mean per slice with a lesion": (slices, False),
        "pooled over all voxels": (scans, True),
        "mean per scan": (scans, False),
    }
    return {
        way: _plain(pixel_intervals(groups, subjects, pooled, settings.seed, settings.draws))
        for way, (groups, pooled) in ways.items()
    }


def _counts(cases: Sequence[CaseScore]) -> dict[str, Any]:
    """Return agreement of counts, and scans by reference class, then by predicted class."""
    reference = np.array([case.reference_count for case in cases], dtype=int)
    predicted = np.array([case.predicted_count for case in cases], dtype=int)
    table = {truth: dict.fromkeys(BURDEN_NAMES, 0) for truth in BURDEN_NAMES}
    for first, second in zip(reference.tolist(), predicted.tolist(), strict=True):
        table[BURDEN_NAMES[burden_class(first)]][BURDEN_NAMES[burden_class(second)]] += 1
    return asdict(count_agreement(reference, predicted)) | {"by_burden": table}


def _calibration(cases: Sequence[CaseScore]) -> dict[str, Any] | None:
    """Return calibration, or None unless every scan came with its candidates.

    It is that of candidates of `MIN_CONFIDENCE` or more; the errors of all stand beside it.
    """
    if not cases or any(case.candidates is None for case in cases):
        return None
    confidence = np.concatenate([case.confidence for case in cases])
    is_lesion = np.concatenate([case.is_lesion for case in cases])
    of_all = calibration(confidence, is_lesion)
    judged = confidence >= MIN_CONFIDENCE
    found = calibration(confidence[judged], is_lesion[judged])
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(found).items()
    } | {
        "min_confidence": MIN_CONFIDENCE,
        "all_candidates": {name: getattr(of_all, name) for name in ("ece", "brier", "candidates")},
        "rule": FROC_RULE.value,
    }


def _comparison(first: Report, second: Report) -> dict[str, Any]:
    shared = shared_scans(first, second)
    return {
        "scans": len(shared.first),
        "subjects": len({case.subject for case in shared.first}),
        "only_in_one": shared.only_in_one,
        "differences": _plain(compare_reports(first, second)),
    }
