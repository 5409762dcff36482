"""Tables and figures of an experiment, from the results of its folds."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmocnet.errors import InputError
from mmocnet.evaluate.text_tables import NOTICE, Section
from mmocnet.io.dataset import write_text
from mmocnet.train.experiment_figures import write_figures
from mmocnet.train.experiment_result import HELD_OUT, FoldResult, load_fold
from mmocnet.train.experiment_tables import (
    HOW,
    TIMES,
    csv_text,
    environment_table,
    latex,
    markdown,
    plain_csv,
    published_tables,
    score_rows,
    score_tables,
)

TITLES = {
    "environment": "Environment (the article's Table 1)",
    "lambda": "Weight of the sensitivity loss (the article's pre-experiments)",
    "cross-validation": "Five-fold cross-validation (the article's Table 2, Figure 4)",
    "roi-size": "Size of the regions (the article's Table 3, Figures 5 and 6)",
    "ablation": "What each part adds (the article's Table 4, Figures 7 and 8)",
    "comparison": "Beside published figures (the article's Tables 5 and 6)",
}
PUBLISHED_NOTE = (
    "Ours, held out, is the mean map of the cross-validation's cascades on the subjects that none "
    "of them saw, scored once. Published figures are of other data, other references and other "
    "definitions than ours: no difference between the blocks says which method is better. An "
    "empty cell is a figure that its source does not give or that we could not read there."
)
OURS = ("comparison", "cross-validation", "roi-size")
"""Experiments whose results stand for ours in the comparison, the first that has any."""


def read_folds(out: Path, experiment: str) -> dict[str, list[FoldResult]]:
    """Return the results by variant, folds in order, the held-out subjects last."""
    variants: dict[str, list[FoldResult]] = {}
    for path in sorted((out / experiment).glob("*/*.json")):
        if re.fullmatch(r"fold-\d+|held-out", path.stem):
            variants.setdefault(path.parent.name, []).append(load_fold(path))
    # Numbers inside names sort as numbers: 16, 32, 64, 128.
    names = sorted(variants, key=_natural)
    return {
        name: sorted(variants[name], key=lambda r: (r.fold == HELD_OUT, r.fold)) for name in names
    }


def _natural(name: str) -> list[tuple[int, float, str]]:
    if name == "full":
        return []
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(0, float(p), "") if re.match(r"\d", p) else (1, 0.0, p) for p in parts]


def data_label(settings: Sequence[Mapping[str, Any]]) -> str:
    """Return whose data, whether simulated, which preset, and the notice, in one line.

    >>> data_label([{"dataset": "demo", "simulated": True, "preset": "small"}])
    'Simulated data: demo; preset small. Research use only - not a medical device.'
    """
    names = _named(settings, "dataset") or "dataset without a name"
    presets = _named(settings, "preset") or "not named"
    simulated = any(one.get("simulated") for one in settings)
    kind = "Simulated data" if simulated else "Data"
    return f"{kind}: {names}; preset {presets}. {NOTICE}"


def _named(settings: Sequence[Mapping[str, Any]], key: str) -> str:
    return ", ".join(sorted({str(one[key]) for one in settings if one.get(key)}))


def _settings(out: Path, results: Sequence[FoldResult]) -> list[Mapping[str, Any]]:
    path = out / "settings.json"
    shared = [json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []
    return [*shared, *(result.settings for result in results)]


def _ours(out: Path) -> dict[str, list[FoldResult]]:
    for name in OURS:
        found = read_folds(out, name)
        if found:
            return found
    return {}


def _every_result(out: Path) -> dict[str, list[FoldResult]]:
    found = {name: list(read_folds(out, name).values()) for name in TITLES}
    return {
        name: [r for results in lists for r in results] for name, lists in found.items() if lists
    }


def check_environment(out: Path) -> None:
    """Refuse to tell the environment before any other experiment has a result.

    Args:
        out: Folder of the experiments.

    Raises:
        InputError: If nothing has been scored yet.
    """
    if not _every_result(out):
        raise InputError(
            f"expected results of another experiment in {out.name}, got none: run one first, "
            "environment is told from its results"
        )


def write_experiment(out: Path, experiment: str) -> None:
    """Write table.md, table.csv, table.tex and the figures of an experiment.

    Args:
        out: Folder of the experiments.
        experiment: Name of one; its results lie in a folder of that name.

    Raises:
        InputError: If nothing has been scored yet or the experiment has no such name.
    """
    if experiment not in TITLES:
        raise InputError(f"expected one of {', '.join(TITLES)}, got {experiment}")
    folder = out / experiment
    if experiment == "environment":
        variants = _every_result(out)
    else:
        variants = _ours(out) if experiment == "comparison" else read_folds(out, experiment)
    if not variants:
        raise InputError(f"expected results of finished folds under {folder}, got none")
    flat = [result for results in variants.values() for result in results]
    label = data_label(_settings(out, flat))
    folder.mkdir(parents=True, exist_ok=True)
    if experiment == "environment":
        _write(folder, label, [environment_table(variants)], [TIMES])
    elif experiment == "comparison":
        tables = score_tables(score_rows(variants))
        whose = label.removesuffix(f" {NOTICE}")
        ours = [replace(one, title=f"Ours: {one.title.lower()}. {whose}") for one in tables]
        _write(folder, label, [*published_tables(), *ours], [PUBLISHED_NOTE, HOW])
    else:
        _write_scores(folder, label, variants)


def _write_scores(folder: Path, label: str, variants: Mapping[str, list[FoldResult]]) -> None:
    rows = score_rows(variants)
    _write(folder, label, score_tables(rows), [HOW])
    write_text(folder / "table.csv", csv_text(rows, label))
    write_figures(folder, variants, label)


def _write(folder: Path, label: str, tables: Sequence[Section], notes: Sequence[str]) -> None:
    title = TITLES[folder.name]
    top = f"Ours: {label}" if folder.name == "comparison" else label
    write_text(folder / "table.md", markdown(title, top, tables, notes))
    write_text(folder / "table.tex", latex(title, label, tables))
    write_text(folder / "table.csv", plain_csv(tables, label))
