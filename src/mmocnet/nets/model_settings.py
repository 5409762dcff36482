"""What a model folder says of itself, checked, read without torch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmocnet.config import CascadeSettings
from mmocnet.errors import ModelError
from mmocnet.nets.settings_json import settings_from_json, settings_to_json

RANGES = {
    "detector.widths": (1, 1024),
    "detector.blocks": (1, 16),
    "detector.in_channels": (1, 31),
    "segmenter.width": (1, 1024),
    "segmenter.blocks": (1, 16),
    "segmenter.dilations": (1, 64),
    "segmenter.in_channels": (1, 31),
    "preparation.pixel_mm": (0.1, 5.0),
    "preparation.input_shape": (16, 4096),
    "preparation.margin_mm": (0.0, 20.0),
    "roi_size": (16, 128),
    "candidate_threshold": (0.0, 1.0),
    "slice_candidate_threshold": (0.0, 1.0),
    "contrast_share": (0.0, 1.0),
    "thresholds": (0.0, 1.0),
    "slice_thresholds": (0.0, 1.0),
    "classifier.size": (8, 256),
    "classifier.widths": (1, 1024),
    "classifier.blocks": (1, 16),
}
"""Least and largest value of settings, wide about any use; beyond, a model takes all memory."""


def model_settings(folder: Path) -> CascadeSettings:
    """Return the settings in a model folder.

    Raises:
        ModelError: If they cannot be read, or one is unknown, of another type or out of range.
    """
    where = f"{folder.name}/settings.json"
    settings = settings_from_json(CascadeSettings, _json(folder / "settings.json"), where)
    data = settings_to_json(settings)
    for name, (low, high) in RANGES.items():
        for number in _numbers(data, name.split(".")):
            if not low <= number <= high:
                raise ModelError(f"expected {name} from {low} to {high}, got {number} in {where}")
    return settings


def model_card(folder: Path) -> dict[str, Any]:
    """Return the card in a model folder.

    Raises:
        ModelError: If it cannot be read.
    """
    card = _json(folder / "card.json")
    if not isinstance(card, dict):
        raise ModelError(f"expected a table in {folder.name}/card.json, got {type(card).__name__}")
    return card


def _numbers(value: Any, keys: list[str]) -> Iterator[float]:
    """Yield the numbers at or below a place of nested values; none where there is nothing."""
    if isinstance(value, dict):
        for key, one in value.items():
            if not keys or key == keys[0]:
                yield from _numbers(one, keys[1:])
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _numbers(one, keys)
    elif value is not None:
        yield value


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"expected JSON in {path.parent.name}/{path.name}") from error
