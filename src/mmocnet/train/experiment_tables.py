"""Tables of an experiment, from the results of its folds."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmocnet.evaluate.lesions import LESION_FORMULAS, lesion_table
from mmocnet.evaluate.pixels import SCORE_NAMES, Counts, mean_scores, pooled_scores
from mmocnet.evaluate.text_tables import Section, cell, latex_table, markdown_section
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
    "brackets the standard deviation over folds, and after 'of' the number of folds in which the "
    "score is defined where that is not all. 'Pooled' counts all pixels of all folds' images "
    "together. 'Held out' is of the subjects that no fold saw. AP and the recall ceiling (the "
    "highest recall at a probability above 0, which stage 1 sets) are of pooled pixels, a fold at "
    "a time. Lesions are matched one to one by any overlap in whole scans, those without a "
    "lesion included."
)


def _lesion_scores(results: Sequence[FoldResult]) -> dict[str, float]:
    sums = lesion_table([scan for result in results for scan in result.scans]).sum(axis=0)
    return {name: float(LESION_FORMULAS[name](sums)) for name in LESIONS}


def _counts(results: Sequence[FoldResult]) -> list[Counts]:
    return [Counts(i.tp, i.fp, i.fn, i.tn) for result in results for i in result.images]


def fold_scores(result: FoldResult) -> dict[str, float]:
    """Return one fold's scores: pixels averaged over images, areas, lesions."""
    areas = {"ap": result.average_precision, "recall_ceiling": result.recall_ceiling}
    return vars(mean_scores(_counts([result]))) | areas | _lesion_scores([result])


def pooled(results: Sequence[FoldResult]) -> dict[str, float]:
    """Return the scores of all folds' images and scans together; no areas."""
    return vars(pooled_scores(_counts(results))) | _lesion_scores(results)


def over_folds(
    results: Sequence[FoldResult], statistic: Callable[[list[float]], float]
) -> dict[str, float]:
    """Return a statistic of each score over the folds in which it is defined."""
    rows = [fold_scores(result) for result in results]
    return {
        name: statistic([row[name] for row in rows if math.isfinite(row[name])]) for name in COLUMNS
    }


def mean_of(values: list[float]) -> float:
    """Return the mean, NaN of nothing."""
    return float(np.mean(values)) if values else math.nan


def deviation_of(values: list[float]) -> float:
    """Return the standard deviation, NaN of fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def split_held_out(results: Sequence[FoldResult]) -> tuple[list[FoldResult], list[FoldResult]]:
    """Return the folds and the held-out result, apart: they are never averaged together."""
    return (
        [one for one in results if one.fold != HELD_OUT],
        [one for one in results if one.fold == HELD_OUT],
    )


Row = dict[str, object]


def score_rows(variants: Mapping[str, Sequence[FoldResult]]) -> list[Row]:
    """Return a row a fold, then mean, SD, the folds in these, and pooled, of each variant."""
    rows: list[Row] = []
    for variant, results in variants.items():
        folds, held = split_held_out(results)
        for result in results:
            name = "held-out" if result.fold == HELD_OUT else str(result.fold)
            about: Row = {"images": len(result.images), "scans": len(result.scans)}
            about |= {"threshold": result.threshold, "seconds": result.seconds}
            rows.append({"variant": variant, "row": name, **about, **fold_scores(result)})
        if folds:
            mean = over_folds(folds, mean_of)
            rows.append({"variant": variant, "row": "mean", "folds": len(folds), **mean})
            rows.append({"variant": variant, "row": "sd", **over_folds(folds, deviation_of)})
            rows.append({"variant": variant, "row": "folds", **over_folds(folds, len)})
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


def _shown(rows: Sequence[Row], columns: Sequence[str]) -> tuple[tuple[object, ...], ...]:
    spread, defined = (
        {row["variant"]: row for row in rows if row["row"] == name} for name in ("sd", "folds")
    )
    table: list[tuple[object, ...]] = []
    for row in rows:
        if row["row"] == "mean":
            sd, folds = spread[row["variant"]], defined[row["variant"]]
            cells = [
                f"{cell(row[name])} ({cell(sd[name])})"
                + ("" if folds[name] in (0, row["folds"]) else f" of {folds[name]}")
                for name in columns
            ]
            way = f"mean over {row['folds']} fold{'s' * (row['folds'] != 1)} (SD)"
            table.append((row["variant"], way, *cells))
        elif row["row"] in SHOWN and any(name in row for name in columns):
            way = SHOWN[str(row["row"])]
            # Lesion scores are of all scans together, not means over images.
            way = way.removesuffix(", mean over images") if columns == LESIONS else way
            table.append((row["variant"], way, *(row.get(name) for name in columns)))
    return tuple(table)


def score_tables(rows: Sequence[Row]) -> list[Section]:
    """Return the pixel table and the lesion table."""
    head = ("variant", "over")
    shown = {"Pixels": (*SCORE_NAMES, *AREAS), "Lesions": LESIONS}
    return [
        Section(title, "", (*head, *(HEADS[name] for name in names)), _shown(rows, names))
        for title, names in shown.items()
    ]


def _published(title: str, rows: Sequence[Published], heads: Mapping[str, str]) -> Section:
    names = ["study", *heads, "data", "definition", "source"]
    table = tuple(tuple(getattr(row, name) for name in names) for row in rows)
    return Section(title, "", tuple(heads.get(name, name) for name in names), table)


def published_tables() -> list[Section]:
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


def environment_table(variants: Mapping[str, Sequence[FoldResult]]) -> Section:
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
    rows = tuple((name, "; ".join(values)) for name, values in kept.items())
    return Section("Environment", "", ("what", "value"), rows)


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


def plain_csv(tables: Sequence[Section], label: str) -> str:
    """Return tables as one CSV, one block after another; each row says which block it is of."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for table in tables:
        whose = table.title if _is_published(table) else f"{table.title}; {label}"
        writer.writerow([*table.columns, "block"])
        writer.writerows([*(cell(value, 6) for value in row), whose] for row in table.rows)
    return text.getvalue()


def markdown(title: str, label: str, tables: Sequence[Section], notes: Sequence[str]) -> str:
    """Return a page of tables with the label on top."""
    return "\n\n".join([f"# {title}", label, *map(markdown_section, tables), *notes]) + "\n"


def latex(title: str, label: str, tables: Sequence[Section]) -> str:
    """Return the tables in LaTeX (booktabs); published ones are not labelled as of our data."""
    named = [
        table
        if _is_published(table)
        else replace(table, title=f"{title}: {table.title.lower()}", text=label)
        for table in tables
    ]
    return "\n\n".join(map(latex_table, named)) + "\n"


def _is_published(table: Section) -> bool:
    return table.title.startswith("Published")
