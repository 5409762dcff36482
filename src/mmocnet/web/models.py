"""The models to choose from, as their folders say, read without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmocnet.config import CascadeSettings, Thresholds
from mmocnet.errors import InputError, ModelError
from mmocnet.nets.card import (
    POINTS,
    default_model,
    point_sentence,
    shipped_folder,
    slice_point_sentence,
)
from mmocnet.nets.model_settings import model_card, model_settings
from mmocnet.predict.context import MIN_SLICES, limits_for

SHIPPED = ("standard", "compact", "paper")
MEANINGS = {
    "screening": "sensitivity first",
    "balanced": "best lesion F1 with few false calls",
    "report": "precision first",
}


@dataclass(frozen=True)
class Model:
    """A model that a reader can choose.

    Attributes:
        name: What the page and a study's settings call it.
        path: Name of a shipped model, or the folder.
        settings: The cascade's.
        card: What is known of it.
        stamp: Changes when its files do.
    """

    name: str
    path: str
    settings: CascadeSettings
    card: dict[str, Any]
    stamp: str


def find_models(given: tuple[str, ...]) -> dict[str, Model]:
    """Return the models by name, the one used first where none is chosen.

    Args:
        given: Names of shipped models and folders, the preferred one first.

    Raises:
        ModelError: If one cannot be read.
        InputError: If two have the same name.
    """
    shipped = [name for name in SHIPPED if (shipped_folder() / name).is_dir()]
    usual = sorted(shipped, key=lambda name: name != default_model())
    found: dict[str, Model] = {}
    for word in dict.fromkeys([*given, *usual]):
        model = read_model(word)
        if model.name in found:
            raise InputError(f"two models are named {model.name!r}: rename a folder")
        found[model.name] = model
    return found


def read_model(word: str) -> Model:
    """Return a shipped model, or that in a folder.

    Raises:
        ModelError: If it is not there or cannot be read.
    """
    folder = shipped_folder() / word if word in SHIPPED else Path(word).resolve()
    if not folder.is_dir():
        raise ModelError(f"expected a model folder or one of {SHIPPED}, got {folder.name!r}")
    try:
        digests = (folder / "SHA256SUMS").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelError(f"the model folder {folder.name!r} is incomplete or damaged") from error
    return Model(
        name=folder.name,
        path=word if word in SHIPPED else str(folder),
        settings=model_settings(folder),
        card=model_card(folder),
        stamp=digests,
    )


def model_json(model: Model, *, default: bool) -> dict[str, Any]:
    """Return a model as the page has it."""
    thresholds: Thresholds = model.settings.thresholds
    return {
        "name": model.name,
        "title": model.name if model.path in SHIPPED else f"{model.name} (your own)",
        "points": [
            {
                "name": point,
                "threshold": getattr(thresholds, point),
                "text": point_sentence(model.card, getattr(thresholds, point)) or MEANINGS[point],
                "slices": slice_sentence(model, point),
            }
            for point in POINTS
        ],
        "reads_phase": model.settings.reads_phase,
        "default": default,
    }


def slice_sentence(model: Model, point: str) -> str | None:
    """Return from which confidence single slices are lesions, and what that means on them.

    None where they are judged as volumes are.
    """
    settings = model.settings
    limits = limits_for(settings, 1)
    if limits is limits_for(settings, MIN_SLICES):
        return None
    alone = limits is not limits_for(settings, 2)
    which = "Single slices" if alone else f"Fewer than {MIN_SLICES} slices"
    threshold: float = getattr(limits, point)
    # Two digits would make 1.00 of 0.996.
    said = f"{which}: {threshold:.3f}"
    measured = slice_point_sentence(model.card, threshold)
    return said if measured is None else f"{said}. {measured}"
