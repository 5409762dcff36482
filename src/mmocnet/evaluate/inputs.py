"""What was scored: the names of both folders and the models that made the predictions."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmocnet.evaluate.facts import table_beside
from mmocnet.evaluate.files import CaseFiles


def input_names(predictions: Path, references: Path, files: Sequence[CaseFiles]) -> dict[str, str]:
    """Return the names of both folders, without their places, and the predictions' models."""
    made = _models(one.lesions for one in files)
    names = {"predictions": predictions.resolve().name, "references": references.resolve().name}
    return names | ({"model": ", ".join(made)} if made else {})


def mask_names(
    files: Sequence[CaseFiles], ignore: Path | None, window: Path | None
) -> dict[str, str | int]:
    """Return which masks of what is left out were given, and how many scans have one to ignore."""
    given = {"ignore": ignore, "window": window}
    names: dict[str, str | int] = {k: path.name for k, path in given.items() if path is not None}
    if ignore is None:
        return names
    return names | {"scans_with_ignore": sum(one.ignore is not None for one in files)}


def machine_warnings(files: Sequence[CaseFiles]) -> list[str]:
    """Say where references are what `mmocnet segment` found."""
    made = _models(one.reference for one in files)
    if not made:
        return []
    return [
        f"the references were found by a network ({', '.join(made)}): if PREDICTIONS and "
        "REFERENCES are in each other's place, swap them"
    ]


def _models(images: Iterable[Path | None]) -> list[str]:
    """Return which models label images are of, as far as the summaries beside them say."""
    return sorted({model for path in images if path is not None and (model := _model(path))})


def _model(labels: Path) -> str:
    try:
        text = table_beside(labels).with_suffix(".json").read_text(encoding="utf-8")
        made = json.loads(text)["Provenance"]
        return f"{made['Model']['Name']}, mmocnet {made['Version']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
