"""What one fold of one variant of an experiment gave, as a JSON file."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmocnet.errors import InputError
from mmocnet.evaluate.lesions import ScanLesions
from mmocnet.io.dataset import write_json

HELD_OUT = -1
"""Fold number of the held-out subjects."""


@dataclass(frozen=True)
class ImageScore:
    """Pixel outcomes of one slice that has a reference lesion."""

    subject: str
    scan: str
    slice_index: int
    tp: int
    fp: int
    fn: int
    tn: int


@dataclass(frozen=True)
class FoldResult:
    """Scores of one variant on the subjects of one fold.

    Attributes:
        experiment: Such as "roi-size".
        variant: Such as "roi-32".
        fold: From 0; -1 for the held-out subjects.
        settings: Training settings as plain values.
        seconds: Time of what was trained and scored for this result.
        images: Each slice with a reference lesion.
        scans: Lesions of each whole scan, matched one to one by overlap.
        recall: Of the precision-recall curve over the pixels of the images.
        precision: At each recall; NaN where undefined.
        average_precision: Of that curve before it was thinned.
        recall_ceiling: Highest recall at a threshold above 0.
        history: Rows of each stage's epochs, under "stage1" and "stage2".
        threshold: Probability at or above which a pixel was called a lesion.
        environment: Hardware, versions, times.
    """

    experiment: str
    variant: str
    fold: int
    settings: dict[str, Any]
    seconds: float
    images: tuple[ImageScore, ...]
    scans: tuple[ScanLesions, ...]
    recall: list[float]
    precision: list[float]
    average_precision: float
    recall_ceiling: float
    history: dict[str, list[dict[str, float]]]
    threshold: float
    environment: dict[str, Any]


def fold_path(out: Path, experiment: str, variant: str, fold: int) -> Path:
    """Return where a result belongs.

    >>> fold_path(Path("out"), "lambda", "lambda-3", 0).as_posix()
    'out/lambda/lambda-3/fold-0.json'
    """
    name = "held-out.json" if fold == HELD_OUT else f"fold-{fold}.json"
    return out / experiment / variant / name


def save_fold(path: Path, result: FoldResult) -> None:
    """Write a result; NaN becomes null."""
    write_json(path, asdict(result))


def load_fold(path: Path) -> FoldResult:
    """Return what `save_fold` wrote; null in a number's place is NaN.

    Raises:
        InputError: If the file is not such a result.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _result(data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"expected the result of a fold in {path.name}, got {error}") from error


def _result(data: dict[str, Any]) -> FoldResult:
    scans: list[dict[str, Any]] = [
        {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
        for row in data["scans"]
    ]
    return FoldResult(
        **{
            **data,
            "images": tuple(ImageScore(**row) for row in data["images"]),
            "scans": tuple(ScanLesions(**row) for row in scans),
            "recall": [_number(value) for value in data["recall"]],
            "precision": [_number(value) for value in data["precision"]],
            "average_precision": _number(data["average_precision"]),
            "recall_ceiling": _number(data["recall_ceiling"]),
            "history": {
                stage: [{key: _number(value) for key, value in row.items()} for row in rows]
                for stage, rows in data["history"].items()
            },
        }
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value
