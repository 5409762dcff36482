"""Tables of an experiment, from the results of its folds."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmocnet.evaluate.pixels import SCORE_NAMES, Counts, mean_scores, pooled_scores
from mmocnet.evaluate.tables import cell, markdown_table
from mmocnet.train.experiment_result import HELD_OUT, FoldResult
from mmocnet.train.published import DETECTION, SEGMENTATION, Published

AREAS = ("ap", "recall_ceiling")
LESIONS = ("lesion_sensitivity", "lesion_precision", "lesion_f1", "fp_per_scan")
COLUMNS = (*SCORE_NAMES, *AREAS, *LESIONS)
HEADS = {name: name.upper() for name in (*SCORE_NAMES, "ap")} | {
    "recall_ceiling": "recall ceiling",
    "lesion_sensitivity": "sensitivity",
    "lesion_precision": "precision",
    "lesion_f1": "F1",
    "fp_per_scan": "FP a scan",
}
MAIN_SETTINGS = (
    "cascade preparation input_shape",
    "cascade roi_size",
    "cascade segmenter dilations",
    *(
        f"{stage} {name}"
        for stage in ("detector", "segmenter")
        for name in (
            "optimiser",
            "learning_rate",
            "batch_size",
            "steps_per_epoch",
            "max_epochs",
            "patience",
            "loss sensitivity_weight",
            "loss over",
        )
    ),
    "crop_shape",
    "seed",
)
"""Settings that the environment table shows; each fold's JSON has all of them."""
TIMES = (
    "A result's time is that of the trainings that it rests on and of its scoring. Variants of a "
    "fold share trainings, above all stage 1, so that the sums count some of them several times."
)
HOW = (
    "Pixels are those of the slices with a lesion in the reference. 'Mean over folds' averages "
    "each score over a fold's images, those in which it is defined, then over the folds; in "
    "brackets the standard deviation over folds. 'Pooled' counts all pixels of all folds' images "
    "together. 'Held out' is of the subjects that no fold saw. AP and the recall ceiling (the "
    "highest recall at a probability above 0, which stage 1 sets) are of pooled pixels, a fold at "
    "a time. Lesions are matched one to one by any overlap in whole scans, those without a "
    "lesion included."
)


def _lesion_scores(results: Sequence[FoldResult]) -> dict[str, float]:
    scans = [scan for result in results for scan in result.scans]
    found = sum(scan.found for scan in scans)
    false = sum(scan.false_positives for scan in scans)
    references = sum(scan.references for scan in scans)

    def ratio(part: float, whole: float) -> float:
        return part / whole if whole else math.nan

    return {
        "lesion_sensitivity": ratio(found, references),
        "lesion_precision": ratio(found, found + false),
        "lesion_f1": ratio(2 * found, references + found + false),
        "fp_per_scan": ratio(false, len(scans)),
    }


def _counts(results: Sequence[FoldResult]) -> list[Counts]:
    return [Counts(i.tp, i.fp, i.fn, i.tn) for result in results for i in result.images]


def fold_scores(result: FoldResult) -> dict[str, float]:
    """Return one fold's scores: pixels averaged over images, areas, lesions."""
    areas = {"ap": result.average_precision, "recall_ceiling": result.recall_ceiling}
    return vars(mean_scores(_counts([result]))) | areas | _lesion_scores([result])


def pooled(results: Sequence[FoldResult]) -> dict[str, float]:
    """Return the scores of all folds' images and scans together; no areas."""
    return vars(pooled_scores(_counts(results))) | _lesion_scores(results)


def _over_folds(
    results: Sequence[FoldResult], statistic: Callable[[list[float]], float]
) -> dict[str, float]:
    rows = [fold_scores(result) for result in results]
    return {
        name: statistic([row[name] for row in rows if math.isfinite(row[name])]) for name in COLUMNS
    }


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _deviation(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def split_held_out(results: Sequence[FoldResult]) -> tuple[list[FoldResult], list[FoldResult]]:
    """Return the folds and the held-out result, apart: they are never averaged together."""
    return (
        [one for one in results if one.fold != HELD_OUT],
        [one for one in results if one.fold == HELD_OUT],
    )


Row = dict[str, object]


def score_rows(variants: Mapping[str, Sequence[FoldResult]]) -> list[Row]:
    """Return a row a fold, then mean, SD and pooled, of each variant."""
    rows: list[Row] = []
    for variant, results in variants.items():
        folds, held = split_held_out(results)
        for result in results:
            name = "held-out" if result.fold == HELD_OUT else str(result.fold)
            about: Row = {"images": len(result.images), "scans": len(result.scans)}
            about |= {"threshold": result.threshold, "seconds": result.seconds}
            rows.append({"variant": variant, "row": name, **about, **fold_scores(result)})
        if folds:
            mean = _over_folds(folds, _mean)
            rows.append({"variant": variant, "row": "mean", "folds": len(folds), **mean})
            rows.append({"variant": variant, "row": "sd", **_over_folds(folds, _deviation)})
            rows.append({"variant": variant, "row": "pooled", **pooled(folds)})
        if held:
            # Lesions are pooled over scans either way, so they are given once.
            pixels = vars(pooled_scores(_counts(held)))
            rows.append({"variant": variant, "row": "held-out pooled", **pixels})
    return rows


SHOWN = {
    "pooled": "pooled",
    "held-out": "held out, mean over images",
    "held-out pooled": "held out, pooled",
}


def _shown(rows: Sequence[Row], columns: Sequence[str]) -> list[list[object]]:
    spread = {row["variant"]: row for row in rows if row["row"] == "sd"}
    table: list[list[object]] = []
    for row in rows:
        if row["row"] == "mean":
            sd = spread[row["variant"]]
            cells = [f"{cell(row[name])} ({cell(sd[name])})" for name in columns]
            way = f"mean over {row['folds']} fold{'s' * (row['folds'] != 1)} (SD)"
            table.append([row["variant"], way, *cells])
        elif row["row"] in SHOWN and any(name in row for name in columns):
            way = SHOWN[str(row["row"])]
            # Lesion scores are of all scans together, not means over images.
            way = way.removesuffix(", mean over images") if columns == LESIONS else way
            table.append([row["variant"], way, *(row.get(name) for name in columns)])
    return table


def latex_table(columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str) -> str:
    """Return a LaTeX table that needs no package."""
    lines = [r"\begin{table}", rf"\caption{{{_tex(caption)}}}"]
    lines += [rf"\begin{{tabular}}{{{'l' * len(columns)}}}", r"\hline"]
    lines += [" & ".join(_tex(name) for name in columns) + r" \\", r"\hline"]
    lines += [" & ".join(_tex(cell(value)) for value in row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}", r"\end{table}", ""])


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    sign: "\\" + sign for sign in "&%$#_{}"
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(sign, sign) for sign in text)


Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]


def score_tables(rows: Sequence[Row]) -> list[Table]:
    """Return the pixel table and the lesion table."""
    head = ("variant", "over")
    pixels, lesions = (*SCORE_NAMES, *AREAS), LESIONS
    return [
        ("Pixels", [*head, *(HEADS[n] for n in pixels)], _shown(rows, pixels)),
        ("Lesions", [*head, *(HEADS[n] for n in lesions)], _shown(rows, lesions)),
    ]


def _published(title: str, rows: Sequence[Published], heads: Mapping[str, str]) -> Table:
    names = ["study", *heads, "data", "definition", "source"]
    table = [[getattr(row, name) for name in names] for row in rows]
    return (title, [heads.get(name, name) for name in names], table)


def published_tables() -> list[Table]:
    """Return what others published; empty cells are figures we could not read."""
    detection = {"sensitivity": "SEN %", "precision": "PRE %", "false_positives": "FP"}
    return [
        _published("Published, not ours: detection (Table 5)", DETECTION, detection),
        _published(
            "Published, not ours: segmentation (Table 6)",
            SEGMENTATION,
            {"dice": "DSC %", "f2": "F2 %"},
        ),
    ]


def environment_table(variants: Mapping[str, Sequence[FoldResult]]) -> Table:
    """Return hardware, versions, the main settings and the times.

    Args:
        variants: Results by experiment; settings are those of the cross-validation where it has
            been run. Values that differ between folds are all listed.
    """
    kept: dict[str, list[str]] = {}
    for results in variants.values():
        for result in results:
            _add(kept, _flat(result.environment))
    own = next(iter(variants.get("cross-validation") or next(iter(variants.values()))))
    training = dict(_flat(own.settings.get("training", {})))
    _add(kept, ((f"setting: {key}", training[key]) for key in MAIN_SETTINGS if key in training))
    for name, results in variants.items():
        seconds = sum(one.seconds for one in results)
        kept[f"time: {name}"] = [f"{seconds / 60:.1f} min in {len(results)} results"]
    return ("Environment", ["what", "value"], [[k, "; ".join(v)] for k, v in kept.items()])


def _add(kept: dict[str, list[str]], pairs: Iterable[tuple[str, Any]]) -> None:
    for key, value in pairs:
        known = kept.setdefault(key, [])
        if str(value) not in known:
            known.append(str(value))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key} ")
        else:
            yield f"{prefix}{key}", value


def csv_text(rows: Sequence[Row], label: str) -> str:
    """Return rows of scores as CSV; each row says whose data it is of."""
    columns = ["variant", "row", "images", "scans", "threshold", "seconds", *COLUMNS]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, "data"])
    for row in rows:
        writer.writerow([*("" if c not in row else cell(row[c], 6) for c in columns), label])
    return text.getvalue()


def plain_csv(tables: Sequence[Table], label: str) -> str:
    """Return tables as one CSV, one block after another; each row says which block it is of."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for title, columns, rows in tables:
        whose = title if title.startswith("Published") else f"{title}; {label}"
        writer.writerow([*columns, "block"])
        writer.writerows([*(cell(value, 6) for value in row), whose] for row in rows)
    return text.getvalue()


def markdown(title: str, label: str, tables: Sequence[Table], notes: Sequence[str]) -> str:
    """Return a page of tables with the label on top."""
    lines = [f"# {title}", "", label, ""]
    for name, columns, rows in tables:
        lines += [f"## {name}", "", markdown_table(columns, rows), ""]
    return "\n".join([*lines, *(f"{note}\n" for note in notes)])


def latex(title: str, label: str, tables: Sequence[Table]) -> str:
    """Return the tables in LaTeX; the published ones are not labelled as of our data."""
    return "\n".join(
        latex_table(columns, rows, _caption(title, name, label)) for name, columns, rows in tables
    )


def _caption(title: str, name: str, label: str) -> str:
    return name if name.startswith("Published") else f"{title}: {name.lower()}. {label}"
