"""Figures of an experiment, as PNG files that carry whose data they show."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.evaluate.panels import LEGEND
from mmocnet.evaluate.pixels import Counts, pixel_scores
from mmocnet.evaluate.plots import (
    COLOURS,
    epoch_curves,
    new_figure,
    panel,
    precision_recall_curves,
    raincloud,
    save_png,
)
from mmocnet.train.experiment_result import HELD_OUT, FoldResult
from mmocnet.train.experiment_tables import deviation_of, mean_of, over_folds
from mmocnet.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Variants = Mapping[str, Sequence[FoldResult]]
RECALLS = np.linspace(0.0, 1.0, 201)
ROUNDING = 1e-5
"""Of the recall of a kept curve, which has five digits."""
STAGES = {"stage1": "stage 1", "stage2": "stage 2"}
MARGIN = 20
"""Pixels around the lesions that a panel shows."""
MOST_PANELS = 6


def _save(figure: Figure, label: str, path: Path) -> None:
    figure.supxlabel(label, fontsize=7, color="#555555")
    save_png(figure, path)


def _folds(variants: Variants) -> dict[str, list[FoldResult]]:
    folds = {name: [r for r in results if r.fold != HELD_OUT] for name, results in variants.items()}
    return {name: results for name, results in folds.items() if results}


def image_scores(results: Sequence[FoldResult], score: str) -> FloatArray:
    """Return a pixel score of each image, NaN where it is undefined."""
    counts = [Counts(i.tp, i.fp, i.fn, i.tn) for result in results for i in result.images]
    return np.array([getattr(pixel_scores(one), score) for one in counts], dtype=float)


def mean_curve(results: Sequence[FoldResult]) -> tuple[list[float], list[float], float]:
    """Return recall, precision averaged over folds at each recall, and the mean AP.

    A curve is a step: at a recall between two of its points the precision is that of the next. It
    ends at the lowest recall ceiling of the folds.
    """
    rows = [_steps(result) for result in results]
    table = np.array([row for row in rows if row is not None], dtype=float)
    areas = [r.average_precision for r in results if math.isfinite(r.average_precision)]
    area = float(np.mean(areas)) if areas else math.nan
    if not len(table):
        return [], [], area
    # Where one fold's curve has ended, a mean over the others would rise.
    whole = np.isfinite(table).all(axis=0)
    return RECALLS[whole].tolist(), table[:, whole].mean(axis=0).tolist(), area


def _steps(result: FoldResult) -> FloatArray | None:
    recall, precision = np.array(result.recall), np.array(result.precision)
    known = np.isfinite(recall) & np.isfinite(precision)
    if not known.any():
        return None
    # Beyond the ceiling there is but the point at which every pixel is called a lesion.
    known &= recall <= result.recall_ceiling + ROUNDING
    recall, precision = recall[known], precision[known]
    order = np.argsort(recall, kind="stable")
    at = np.searchsorted(recall[order], RECALLS - 1e-12)
    return np.append(precision[order], np.nan)[at]


def _clouds(variants: Variants, label: str, folder: Path) -> None:
    figure = new_figure(9.5, 1.6 + 1.25 * len(variants))
    for ax, (score, title) in zip(
        figure.subplots(1, 2), {"dsc": "DSC", "f2": "F2"}.items(), strict=True
    ):
        groups = {name: image_scores(results, score) for name, results in variants.items()}
        whose = {name: [i.subject for r in rs for i in r.images] for name, rs in variants.items()}
        raincloud(ax, groups, f"{title} of each image", whose)
    _save(figure, f"{label} Mean with 95 % interval over subjects.", folder / "rainclouds.png")


def _recalls(variants: Variants, label: str, folder: Path) -> None:
    figure = new_figure(5.2, 5.2)
    curves = {name: mean_curve(results) for name, results in variants.items()}
    precision_recall_curves(figure.subplots(), curves)
    told = "Pixels; precision averaged over folds, up to the lowest recall ceiling."
    _save(figure, f"{label}\n{told}", folder / "pr-curves.png")


def _epochs(name: str, results: Sequence[FoldResult], label: str, path: Path) -> None:
    stages = [stage for stage in STAGES if any(r.history.get(stage) for r in results)]
    if not stages:
        return
    figure = new_figure(4.6 * len(stages), 6.2)
    axes = figure.subplots(2, len(stages), squeeze=False)
    for column, stage in enumerate(stages):
        histories = [result.history.get(stage, []) for result in results]
        for key, text in (("loss", "training"), ("val_loss", "validation")):
            epoch_curves(axes[0, column], histories, key, text)
        axes[0, column].set(title=f"{name}, {STAGES[stage]}", ylabel="loss")
        axes[0, column].legend(frameon=False, fontsize=8)
        epoch_curves(axes[1, column], histories, "val_sensitivity", "SEN on validation")
        axes[1, column].set_ylim(-0.02, 1.02)
    _save(figure, f"{label}\nThin: each fold. Thick: mean of the folds that reached it.", path)


def lambda_of(variant: str) -> tuple[str, float] | None:
    """Return the stage whose weight was varied and the weight, from a variant's name.

    >>> lambda_of("stage-1-lambda-10"), lambda_of("roi-32")
    (('stage1', 10.0), None)
    """
    found = re.fullmatch(r"stage-?([12])-(?:lambda-)?(\d+(?:\.\d+)?)", variant)
    return None if found is None else (f"stage{found[1]}", float(found[2]))


def _weights(variants: Variants, label: str, folder: Path) -> None:
    by_stage: dict[str, dict[float, Sequence[FoldResult]]] = {}
    for name, results in variants.items():
        found = lambda_of(name)
        if found is not None:
            by_stage.setdefault(found[0], {})[found[1]] = results
    if not by_stage:
        return
    figure = new_figure(4.8 * len(by_stage), 4.2)
    axes = figure.subplots(1, len(by_stage), squeeze=False, sharey=True)[0]
    for ax, stage in zip(axes, sorted(by_stage), strict=True):
        _weight_curves(ax, by_stage[stage])
        ax.set_title(STAGES.get(stage, stage))
    several = any(len(results) > 1 for stage in by_stage.values() for results in stage.values())
    told = "Mean over folds of the mean over images; bars: SD." if several else "Mean over images."
    _save(figure, f"{label}\n{told}", folder / "lambda.png")


def _weight_curves(ax: Axes, results: Mapping[float, Sequence[FoldResult]]) -> None:
    weights = sorted(results)
    for index, score in enumerate(("dsc", "f2", "sen", "pre")):
        mean, spread = (
            [over_folds(results[weight], statistic)[score] for weight in weights]
            for statistic in (mean_of, deviation_of)
        )
        # Equal steps, slightly apart: 0 has no place on a logarithm, and bars would overlap.
        places = np.arange(len(weights)) + 0.06 * (index - 1.5)
        ax.errorbar(places, mean, spread, color=COLOURS[index], marker="os^D"[index],
                    markersize=5, capsize=2, linewidth=1.4, label=score.upper())  # fmt: skip
    ax.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    ax.set(xlabel="lambda", ylabel="score", ylim=(-0.02, 1.02))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, ncols=2)


Window = tuple[slice, slice]


def window_around(masks: Sequence[NDArray[Any]]) -> Window:
    """Return the square that shows every marked pixel with a margin, inside the image."""
    marked = np.logical_or.reduce([np.asarray(mask) > 0 for mask in masks])
    rows, columns = marked.shape
    if not marked.any():
        return slice(0, rows), slice(0, columns)
    places = np.argwhere(marked)
    low, high = places.min(axis=0), places.max(axis=0) + 1
    side = int((high - low).max()) + 2 * MARGIN
    start = [
        min(max(int((a + b - side) // 2), 0), max(size - side, 0))
        for a, b, size in zip(low, high, marked.shape, strict=True)
    ]
    return (
        slice(start[0], min(start[0] + side, rows)),
        slice(start[1], min(start[1] + side, columns)),
    )


def _upright(array: NDArray[Any]) -> NDArray[Any]:
    """Return an axial slice as a radiologist expects it: front on top, right on the left.

    The working grid's axes grow towards the patient's right and front.
    """
    turned = array.T[::-1, ::-1]
    return turned.astype(np.float32) if turned.dtype == np.float16 else turned


def _panels(folder: Path, label: str) -> None:
    files = sorted((folder / "panels").glob("*.npz"))[:MOST_PANELS]
    shown = []
    for path in files:
        with np.load(path) as arrays:
            shown.append((path.stem, {name: _upright(arrays[name]) for name in arrays.files}))
    if not shown:
        return
    names = list(dict.fromkeys(n for _, a in shown for n in a if n not in ("image", "reference")))
    figure = new_figure(2.1 * (len(names) + 2), 2.5 * len(shown) + 0.7)
    axes = figure.subplots(len(shown), len(names) + 2, squeeze=False)
    for row, (title, arrays) in zip(axes, shown, strict=True):
        _panel_row(row, arrays, names)
        row[0].annotate(title, (0, 0), (0, -2), va="top", fontsize=6,
                        xycoords="axes fraction", textcoords="offset points")  # fmt: skip
    for ax, head in zip(axes[0], ["image", "reference", *names], strict=True):
        ax.set_title(head.removeprefix("predicted").lstrip("_-") or "predicted", fontsize=9)
    _save(
        figure,
        f"{label}\nFrame: what the other columns show. {LEGEND[0].upper()}{LEGEND[1:]}.",
        folder / "panels.png",
    )


def _panel_row(
    axes: Sequence[Axes], arrays: Mapping[str, NDArray[Any]], names: Sequence[str]
) -> None:
    from matplotlib.patches import Rectangle

    image, reference = arrays["image"], arrays["reference"]
    rows, columns = window_around([reference, *(arrays[n] for n in names if n in arrays)])
    panel(axes[0], image)
    corner = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    axes[0].add_patch(Rectangle(corner, *size, fill=False, edgecolor="#e69f00", linewidth=1))
    panel(axes[1], image[rows, columns], reference[rows, columns])
    for ax, name in zip(axes[2:], names, strict=True):
        if name in arrays:
            cut = arrays[name][rows, columns]
            panel(ax, image[rows, columns], reference[rows, columns], cut)
        else:
            ax.set_axis_off()


def write_figures(folder: Path, variants: Variants, label: str) -> None:
    """Draw all figures that the results have something for.

    Args:
        folder: Of the experiment; its panels folder is read and the PNGs are written beside it.
        variants: Results by variant; the held-out subjects are drawn only where nothing else is.
        label: Line that every figure carries.

    Raises:
        InputError: If matplotlib is not installed.
    """
    shown = _folds(variants) or {name: list(rs) for name, rs in variants.items()}
    _clouds(shown, label, folder)
    _recalls(shown, label, folder)
    for name, results in shown.items():
        _epochs(name, results, label, folder / f"epochs-{name}.png")
    _weights(shown, label, folder)
    _panels(folder, label)
