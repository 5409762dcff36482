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
            return (
                f"{kind_of_scans(card['operating_points'])}: {share_text(point.sensitivity)} of "
                f"lesions found, {share_text(point.precision)} of calls right, "
                f"{rate_text(point.fp_per_scan)} false calls a scan"
            )
    return None


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
