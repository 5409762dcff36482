"""Figures of the score page, as PNG with a caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmocnet.evaluate import plots
from mmocnet.evaluate.matching import Rule
from mmocnet.evaluate.panels import draw_outcomes, panel
from mmocnet.evaluate.pixels import pixel_scores, precision_recall
from mmocnet.evaluate.score import FROC_RULE, CaseScore, Report, case_froc
from mmocnet.evaluate.worst import MAX_CROPS, Crop, Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_POINTS = 2000
"""Most points of a drawn curve."""


class Picture(NamedTuple):
    """A PNG and what it shows."""

    png: bytes
    title: str
    caption: str


def score_pictures(report: Report, summary: Mapping[str, Any]) -> list[Picture]:
    """Draw each plot whose scores there are."""
    drawn = (
        _froc(report.cases, summary["lesion"][FROC_RULE.value]),
        _precision_recall(report.cases),
        _raincloud(report.cases),
        _bland_altman(report.cases, summary.get("counts")),
        _reliability(summary.get("calibration")),
    )
    return [picture for picture in drawn if picture is not None]


def _axes(width_in: float = 4.4, height_in: float = 3.6) -> Axes:
    axes: Axes = plots.new_figure(width_in, height_in).subplots()
    return axes


def _picture(ax: Axes, title: str, caption: str) -> Picture:
    figure = ax.get_figure(root=True)
    assert figure is not None  # made by _axes
    return Picture(plots.png_bytes(figure), title, caption)


def _froc(cases: Sequence[CaseScore], scores: Mapping[str, Any]) -> Picture | None:
    curve = case_froc(cases)
    if curve is None or not np.isfinite(curve.lesion_sensitivity).any():
        return None
    ax = _axes()
    used = scores["fp_per_scan"]["value"], scores["lesion_sensitivity"]["value"]
    plots.froc_plot(ax, {"": curve}, used)
    text = (
        "Sensitivity against false positives per scan. Diamond: the operating point whose scores "
        "are above; dot: the highest lesion F1 that these scans allow."
    )
    return _picture(ax, "FROC", text)


def _precision_recall(cases: Sequence[CaseScore]) -> Picture | None:
    samples = [case.sample for case in cases if case.sample is not None]
    if not samples or len(samples) < len(cases):
        return None
    curve = precision_recall(samples)
    if not np.isfinite(curve.recall).any():
        return None
    places = np.arange(len(curve.recall))
    if len(places) > MAX_POINTS:
        # Evenly along the recall: thresholds crowd where hardly a voxel is added.
        grid = np.linspace(curve.recall[0], curve.recall[-1], MAX_POINTS)
        places = np.unique(np.searchsorted(curve.recall, grid))
    ax = _axes()
    chosen = (curve.recall[places], curve.precision[places], curve.average_precision)
    plots.precision_recall_curves(ax, {"all voxels": chosen})
    text = "Voxels of all scans pooled; the last step is the threshold 0, which calls every voxel."
    return _picture(ax, "Precision and recall", text)


def _raincloud(cases: Sequence[CaseScore]) -> Picture | None:
    scores = [(pixel_scores(counts), case.subject) for case in cases for counts in case.slices]
    if not scores:
        return None
    groups = {
        name.upper(): np.array([getattr(score, name) for score, _ in scores])
        for name in ("dsc", "f2")
    }
    whose = [subject for _, subject in scores]
    ax = _axes()
    plots.raincloud(ax, groups, "per slice with a lesion", dict.fromkeys(groups, whose))
    ax.set_xlim(-0.02, 1.02)
    text = (
        "Each slice that has a reference lesion: density, box of the quartiles, points, and the "
        "mean with its 95 % bootstrap interval over subjects."
    )
    return _picture(ax, "DSC and F2 per image", text)


def _bland_altman(
    cases: Sequence[CaseScore], counts: Mapping[str, Any] | None
) -> Picture | None:  # fmt: skip
    needed = ("mean_difference", "limits_low", "limits_high")
    if not counts or any(counts.get(name) is None for name in needed):
        return None
    scans = [case.lesions[Rule.OVERLAP] for case in cases]
    reference = [scan.references for scan in scans]
    predicted = [scan.found + scan.false_positives for scan in scans]
    ax = _axes()
    agreement: Any = SimpleNamespace(**{name: counts[name] for name in needed})
    plots.bland_altman(ax, reference, predicted, agreement)
    text = (
        "Predicted less reference lesions of each scan, the mean and the 95 % limits of "
        "agreement; a bigger dot stands for more scans."
    )
    return _picture(ax, "Lesion counts (Bland-Altman)", text)


def _reliability(calibration: Mapping[str, Any] | None) -> Picture | None:
    if not calibration or not calibration.get("candidates", 1):
        return None
    names = ("mean_confidence", "share_true", "count", "ece", "brier")
    if any(calibration.get(name) is None for name in names):
        return None
    ax = _axes()
    shown = {name: calibration[name] for name in names}
    for name in names[:2]:
        shown[name] = np.array(shown[name], dtype=float)
    bins: Any = SimpleNamespace(**shown)
    plots.reliability(ax, bins)
    text = (
        f"Share of candidates of confidence {calibration['min_confidence']:g} or more that match "
        "a lesion against their confidence; a number is how many candidates are in the bin."
    )
    return _picture(ax, "Reliability", text)


def worst_pictures(report: Report, kind: Kind) -> list[Picture]:
    """Draw the worst misses or false calls of all scans, the worst first."""
    crops: list[Crop] = [crop for case in report.cases for crop in case.crops if crop.kind is kind]
    crops.sort(key=lambda crop: -crop.severity)
    return [_crop_picture(crop) for crop in crops[:MAX_CROPS]]


def _crop_picture(crop: Crop) -> Picture:
    figure = plots.new_figure(2.4, 2.4 * crop.image.shape[0] / max(crop.image.shape[1], 1))
    figure.set_layout_engine("none")
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    panel(ax, crop.image)
    draw_outcomes(ax, crop.found, crop.reference, crop.predicted)
    return _picture(ax, "", crop.title)
