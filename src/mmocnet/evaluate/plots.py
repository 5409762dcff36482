"""Plots of scores, each drawn on axes that the caller gives."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import gaussian_kde

from mmocnet.errors import InputError
from mmocnet.evaluate.agreement import CountAgreement
from mmocnet.evaluate.calibration import Calibration
from mmocnet.evaluate.lesions import Froc
from mmocnet.evaluate.panels import panel
from mmocnet.evaluate.statistics import Interval, bootstrap
from mmocnet.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = (
    "bland_altman",
    "epoch_curves",
    "froc_plot",
    "mean_interval",
    "new_figure",
    "panel",
    "png_bytes",
    "precision_recall_curves",
    "raincloud",
    "reliability",
    "save_png",
)
Curve = Sequence[float] | FloatArray
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
"""Okabe and Ito's colours, which stay apart for colour-blind readers."""
LINES = ("-", "--", ":", "-.")
"""Styles of lines, the next for each round of the colours."""
DPI = 150
INK, SOFT = "#222222", "#8a9299"
FP_TICKS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
MAX_TICKS = 8
"""Most whose labels have room beside each other."""


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure, white in any colour scheme.

    Raises:
        InputError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("plots need matplotlib: install mmocnet[plots]") from error
    return Figure(figsize=(width_in, height_in), facecolor="white", layout="constrained")


def png_bytes(figure: Figure) -> bytes:
    """Return a figure as PNG; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, its folder made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png_bytes(figure))


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _line(index: int) -> str:
    return LINES[index // len(COLOURS) % len(LINES)]


def _plain(ax: Axes, xlabel: str, ylabel: str) -> None:
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#e6e8ea", linewidth=0.6)
    ax.set_axisbelow(True)


def _unit_square(ax: Axes) -> None:
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")


def _say_empty(ax: Axes, text: str = "nothing to show") -> None:
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=SOFT)


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "n/a"


def mean_interval(values: FloatArray, subjects: Sequence[str] | None = None) -> Interval:
    """Return the mean with its 95 % bootstrap interval.

    Args:
        values: Shape (N,), all defined.
        subjects: Whose each value is; None takes each as its own, which makes the interval too
            narrow where values belong together.
    """
    whose = [str(i) for i in range(len(values))] if subjects is None else subjects
    return bootstrap(lambda times: float(times @ values / times.sum()), whose)


def raincloud(
    ax: Axes,
    groups: Mapping[str, FloatArray],
    label: str,
    subjects: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Draw each group as a cloud, a box, points, and the mean with its 95 % interval.

    Args:
        ax: Where to draw.
        groups: Values of each group; undefined ones are left out and counted.
        label: What the values are.
        subjects: Whose each value is, for the interval.
    """
    names = list(groups)
    for row, name in enumerate(names):
        values = np.asarray(groups[name], dtype=float)
        defined = np.isfinite(values)
        whose = None if subjects is None else list(np.asarray(subjects[name])[defined])
        if defined.any():
            _one_cloud(ax, row, values[defined], whose)
        count = f"n = {int(defined.sum())}"
        if not defined.all():
            count += f", {int((~defined).sum())} undefined"
        names[row] = f"{name}\n{count}"
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.42, -0.6)
    _plain(ax, label, "")
    ax.grid(visible=False, axis="y")


def _one_cloud(ax: Axes, row: int, values: FloatArray, subjects: Sequence[str] | None) -> None:
    colour = _colour(row)
    if np.ptp(values) > 1e-9:
        # The cloud ends where the values end: scores have no room beyond 0 and 1.
        line = np.linspace(values.min(), values.max(), 200)
        height = gaussian_kde(values)(line)
        top = row - 0.1 - 0.38 * height / height.max()
        ax.fill_between(line, top, row - 0.1, color=colour, alpha=0.35, linewidth=0)
        ax.plot(line, top, color=colour, linewidth=1)
    box = {"color": INK, "linewidth": 1.0}
    ax.boxplot(
        [values],
        positions=[row],
        widths=0.1,
        orientation="horizontal",
        showfliers=False,
        manage_ticks=False,
        boxprops=box,
        whiskerprops=box,
        medianprops=box | {"linewidth": 2.0},
        showcaps=False,
    )
    jitter = np.random.default_rng(row).uniform(0.1, 0.26, len(values))
    size = 12 if len(values) < 200 else 5
    ax.scatter(values, row + jitter, s=size, color=colour, alpha=0.5, linewidths=0)
    mean = mean_interval(values, subjects)
    ax.plot([mean.low, mean.high], [row + 0.36] * 2, color=INK, linewidth=1.6)
    ax.plot(mean.value, row + 0.36, marker="D", color=INK, markersize=4.5)
    text = _number(mean.value)
    if math.isfinite(mean.low):
        text += f" ({_number(mean.low)} to {_number(mean.high)})"
    ax.annotate(text, (mean.value, row + 0.38), (0, -4), textcoords="offset points",
                ha="center", va="top", fontsize=7, color=INK)  # fmt: skip


def precision_recall_curves(ax: Axes, curves: Mapping[str, tuple[Curve, Curve, float]]) -> None:
    """Draw precision against recall, one curve a name, each (recall, precision, AP)."""
    for index, (name, (recall, precision, area)) in enumerate(curves.items()):
        text = f"{name} (AP {_number(area, 3)})"
        ax.step(recall, precision, where="pre", color=_colour(index), linestyle=_line(index),
                linewidth=1.6, label=text)  # fmt: skip
    _plain(ax, "recall", "precision")
    _unit_square(ax)
    if curves:
        ax.legend(frameon=False, fontsize=8, loc="best", handlelength=3)


def epoch_curves(
    ax: Axes, histories: Sequence[Sequence[Mapping[str, float]]], key: str, label: str
) -> None:
    """Draw a value against the epoch, thin for each run and thick for their mean."""
    rows: dict[float, list[float]] = {}
    colour = _colour(len({line.get_color() for line in ax.lines}))
    for history in histories:
        epochs = [float(entry.get("epoch", i)) for i, entry in enumerate(history, 1)]
        values = [float(entry.get(key, math.nan)) for entry in history]
        ax.plot(epochs, values, color=colour, linewidth=0.8, alpha=0.45)
        for epoch, value in zip(epochs, values, strict=True):
            if math.isfinite(value):
                rows.setdefault(epoch, []).append(value)
    if not rows:
        _say_empty(ax)
    means = [(epoch, float(np.mean(rows[epoch]))) for epoch in sorted(rows)]
    ax.plot(*np.array(means).reshape(-1, 2).T, color=colour, linewidth=2, label=label)
    ax.locator_params(axis="x", integer=True)
    _plain(ax, "epoch", label)


def froc_plot(
    ax: Axes, curves: Mapping[str, Froc], used: tuple[float, float] | None = None
) -> None:
    """Draw sensitivity against false positives per scan; a dot has the highest lesion F1.

    Args:
        ax: Where to draw.
        curves: By their names.
        used: False positives per scan and sensitivity of the operating point that was used, for
            a diamond; None draws none.
    """
    most = 1.0
    for index, (name, curve) in enumerate(curves.items()):
        colour = _colour(index)
        ax.plot(curve.fp_per_scan, curve.lesion_sensitivity, color=colour, linewidth=1.6,
                linestyle=_line(index), marker=".", markersize=4, label=name)  # fmt: skip
        at = np.flatnonzero(curve.threshold == curve.best_threshold)
        ax.plot(curve.fp_per_scan[at], curve.lesion_sensitivity[at], "o", color=colour,
                markersize=8, markeredgecolor=INK,
                label="highest lesion F1" if used else None)  # fmt: skip
        most = max(most, float(np.max(curve.fp_per_scan, initial=0.0)))
    if used:
        ax.plot(*used, "D", color=COLOURS[1], markersize=6, markeredgecolor=INK, label="scored")
    # Linear up to 1/8 keeps zero on the axis, where a logarithm has none.
    ax.set_xscale("symlog", base=2, linthresh=0.125, linscale=0.6)
    ticks = [tick for tick in FP_TICKS if tick <= most * 1.15]
    ticks = [0.0, *ticks[1 :: math.ceil(len(ticks) / MAX_TICKS)]]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
    ax.set_xticks([], minor=True)
    ax.set(xlim=(-0.015, most * 1.15), ylim=(-0.02, 1.02))
    _plain(ax, "false positives per scan", "lesion sensitivity")
    if len(curves) > 1 or used:
        ax.legend(frameon=False, fontsize=8, loc="lower right")


def bland_altman(
    ax: Axes, reference: Sequence[int], predicted: Sequence[int], agreement: CountAgreement
) -> None:
    """Draw the difference of lesion counts against their mean; a bigger dot is more scans."""
    first, second = np.asarray(reference, dtype=float), np.asarray(predicted, dtype=float)
    places, times = np.unique(
        np.stack([(first + second) / 2, second - first], axis=1), axis=0, return_counts=True
    )
    ax.scatter(places[:, 0], places[:, 1], s=22 * np.sqrt(times), color=COLOURS[0],
               alpha=0.6, linewidths=0)  # fmt: skip
    lines = (
        (agreement.limits_high, "upper limit", "--"),
        (agreement.mean_difference, "mean", "-"),
        (agreement.limits_low, "lower limit", "--"),
    )
    for value, name, style in lines:
        if math.isfinite(value):
            ax.axhline(value, color=INK, linewidth=1.1, linestyle=style)
            ax.annotate(f"{name} {value:.1f}", (1, value), (0, 2), ha="right", va="bottom",
                        xycoords=("axes fraction", "data"), textcoords="offset points",
                        fontsize=8)  # fmt: skip
    ax.margins(y=0.15)
    _plain(ax, "mean of reference and predicted count", "predicted - reference")


def reliability(ax: Axes, calibration: Calibration) -> None:
    """Draw the share of true candidates against confidence; a number is a bin's candidates."""
    ax.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle="--")
    confidence, share = np.asarray(calibration.mean_confidence), np.asarray(calibration.share_true)
    shown = np.isfinite(confidence) & np.isfinite(share)
    count = np.asarray(calibration.count)
    ax.plot(confidence[shown], share[shown], color=COLOURS[0], marker="o", linewidth=1.6)
    for x, y, n in zip(confidence[shown], share[shown], count[shown], strict=True):
        # Under the point, or above it and to the right, clear of both axes.
        ax.annotate(
            f"{n}",
            (x, y),
            (5, -9) if y > 0.1 else (5, 6),
            textcoords="offset points",
            fontsize=7,
            color=INK,
        )
    text = f"ECE {_number(calibration.ece, 3)}\nBrier {_number(calibration.brier, 3)}"
    ax.text(0.03, 0.97, text, transform=ax.transAxes, va="top", fontsize=8)
    _plain(ax, "mean confidence", "share matched to a lesion")
    _unit_square(ax)
