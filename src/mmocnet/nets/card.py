"""The models that ship and what their cards say, read without torch."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POINTS = ("screening", "balanced", "report")


@dataclass(frozen=True)
class Measured:
    """A score with its 95 % interval; NaN where undefined or not given."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PointMeaning:
    """What an operating point finds in whole volumes.

    Attributes:
        name: screening, balanced or report.
        threshold: Confidence from which a candidate is a lesion.
        sensitivity: Share of the lesions that are found.
        precision: Share of the calls that are lesions.
        fp_per_scan: False calls a scan.
    """

    name: str
    threshold: float
    sensitivity: Measured
    precision: Measured
    fp_per_scan: Measured


def shipped_folder() -> Path:
    """Return the folder of the models that come with the package."""
    return Path(__file__).resolve().parent.parent / "weights"


def default_model() -> str:
    """Return the model used when none is named: standard where it ships, else compact."""
    return "standard" if (shipped_folder() / "standard").is_dir() else "compact"


def read_card(model: str) -> dict[str, Any]:
    """Return the card of a shipped model; empty where there is none that can be read."""
    try:
        text = (shipped_folder() / model / "card.json").read_text(encoding="utf-8")
        card = json.loads(text)
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def point_meanings(card: Mapping[str, Any]) -> tuple[PointMeaning, ...]:
    """Return what a card says of the operating points of volumes; empty where it says nothing."""
    points = card.get("operating_points")
    if not isinstance(points, dict) or not all(name in points for name in POINTS):
        return ()
    return tuple(
        PointMeaning(
            name,
            float(points[name]["threshold"]),
            *(
                _measured(points[name], score)
                for score in ("lesion_sensitivity", "lesion_precision", "fp_per_scan")
            ),
        )
        for name in POINTS
    )


def _measured(meaning: Mapping[str, Any], score: str) -> Measured:
    low, high = meaning.get(f"{score}_interval") or (None, None)
    return Measured(*(_defined(value) for value in (meaning.get(score), low, high)))


def _defined(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def kind_of_scans(points: Mapping[str, Any]) -> str:
    """Return what operating points were measured on, in words.

    >>> kind_of_scans({"volumes": 40, "simulated": True})
    '40 simulated volumes'
    """
    # Cards of the first models do not say it: they were measured on simulated volumes.
    kind = "simulated" if points.get("simulated", True) else "real"
    return f"{points['volumes']} {kind} volumes"


def point_sentence(card: Mapping[str, Any], threshold: float) -> str | None:
    """Return what a threshold means in volumes; None where the card does not know it."""
    for point in point_meanings(card):
        if point.threshold == threshold:
            points = card["operating_points"]
            return f"{kind_of_scans(points)}{_phase(points)}: {_meaning(point)} a scan"
    return None


def slice_point_sentence(card: Mapping[str, Any], threshold: float) -> str | None:
    """Return what a threshold means on single slices; None where the card does not know it."""
    points = card.get("operating_points")
    if not isinstance(points, dict):
        return None
    kind = "simulated slices" if points.get("simulated", True) else "slices"
    # The card says of slices what it says of volumes, one level below.
    for point in point_meanings({"operating_points": points.get("single_slices")}):
        if point.threshold == threshold:
            return f"{points['slices']} {kind}{_phase(points)}: {_meaning(point)} a slice"
    return None


def _phase(points: Mapping[str, Any]) -> str:
    """Return what is said of phase: training writes it behind the dataset's name."""
    return " without phase" if str(points.get("dataset")).endswith("without phase") else ""


def _meaning(point: PointMeaning) -> str:
    return (
        f"{share_text(point.sensitivity)} of lesions found, {share_text(point.precision)} of calls "
        f"right, {rate_text(point.fp_per_scan)} false calls"
    )


def simulated_only(card: Mapping[str, Any]) -> bool:
    """Return whether a card says that its model knows simulated scans only.

    One that was fine-tuned does not say so, nor one that a user trained before cards told.

    >>> simulated_only({"dataset": "mine", "operating_points": {"simulated": True}})
    False
    """
    points = card.get("operating_points")
    if "finetune" in card:
        return False
    if "simulated" in card:
        return card["simulated"] is True
    if not isinstance(points, dict):
        return False
    # Those of the first models do not say it, and no later ones are silent.
    simulated = str(card.get("dataset")).endswith("simulated") and points.get("simulated")
    return "simulated" not in points or bool(simulated)


def training_text(card: Mapping[str, Any]) -> str:
    """Return what a model was trained on, in words.

    >>> training_text({"dataset": "mine", "finetune": {}})
    "mine, then fine-tuned on a user's scans"
    >>> training_text({"dataset": "m", "train_scans": 9, "train_subjects": 5, "train_lesions": 40})
    'm (scans: 9, subjects: 5, microbleeds: 40)'
    """
    if "finetune" in card:
        before = {key: value for key, value in card.items() if key != "finetune"}
        return f"{training_text(before)}, then fine-tuned on a user's scans"
    name = str(card.get("dataset", "not stated"))
    if "train_scans" in card:
        return (
            f"{name}{', simulated' if simulated_only(card) else ''} (scans: {card['train_scans']}, "
            f"subjects: {card['train_subjects']}, microbleeds: {card['train_lesions']})"
        )
    return "simulated scans" if simulated_only(card) else name


def share_text(score: Measured) -> str:
    """Return a share in per cent with its interval.

    >>> share_text(Measured(0.915, 0.89, 0.94)), share_text(Measured(math.nan, 0.0, 0.0))
    ('92 % (89-94)', 'n/a')
    """
    if not math.isfinite(score.value):
        return "n/a"
    return f"{100 * score.value:.0f} %{_interval(100 * score.low, 100 * score.high, 0)}"


def rate_text(score: Measured) -> str:
    """Return a rate with its interval.

    >>> rate_text(Measured(1.85, math.nan, math.nan))
    '1.85'
    """
    if not math.isfinite(score.value):
        return "n/a"
    return f"{score.value:.2f}{_interval(score.low, score.high, 2)}"


def _interval(low: float, high: float, digits: int) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f" ({low:.{digits}f}-{high:.{digits}f})"
