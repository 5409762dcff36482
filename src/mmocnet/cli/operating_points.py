"""What the default model's operating points mean, for help texts."""

import math
from collections.abc import Mapping
from typing import Any

from mmocnet.nets.card import Measured, PointMeaning, default_model, point_meanings, read_card

COLUMNS = ("point", "from", "lesions found", "calls right", "false calls a scan")
WIDTHS = (10, 6, 17, 17, 0)


def operating_point_text(model: str | None = None) -> str:
    """Return the measured consequences of a shipped model's operating points, as a table.

    Args:
        model: Name of a shipped model; None takes the default one.

    Returns:
        Empty where the model does not ship or its card says nothing of them.
    """
    model = default_model() if model is None else model
    card = read_card(model)
    meanings = point_meanings(card)
    if not meanings:
        return ""
    rows = [COLUMNS, *map(_row, meanings)]
    table = "\n".join(
        "  " + "".join(f"{cell:<{width}}" for cell, width in zip(row, WIDTHS, strict=True)).rstrip()
        for row in rows
    )
    return f"{_heading(model, card['operating_points'])}\n{table}\n\n{_note(card)}"


def _heading(model: str, points: Mapping[str, Any]) -> str:
    # Cards of the first models say neither: they were simulated, and chosen on the same scans.
    kind = "simulated" if points.get("simulated", True) else "real"
    how = "measured" if "measured" in points else "chosen and measured"
    return (
        f"Operating points of the model {model}, {how} on {points['volumes']} {kind} volumes with "
        "natural lesion counts:"
    )


def _note(card: Mapping[str, Any]) -> str:
    calibration = card["operating_points"].get("calibration", {})
    error = calibration.get("ece")
    parts = ["In brackets: 95 % interval."] if error is not None else []
    if error is not None:
        parts.append(f"Confidence is a probability, off by {error:.3f} on average there (ECE).")
    return " ".join([*parts, "Single slices have thresholds of their own; your scans may differ."])


def _row(point: PointMeaning) -> tuple[str, ...]:
    return (
        point.name,
        f"{point.threshold:.2f}",
        _share(point.sensitivity),
        _share(point.precision),
        _rate(point.fp_per_scan),
    )


def _share(score: Measured) -> str:
    """Return a share in per cent with its interval.

    >>> _share(Measured(0.915, 0.89, 0.94)), _share(Measured(math.nan, math.nan, math.nan))
    ('92 % (89-94)', 'n/a')
    """
    if not math.isfinite(score.value):
        return "n/a"
    return f"{100 * score.value:.0f} %{_interval(100 * score.low, 100 * score.high, 0)}"


def _rate(score: Measured) -> str:
    """Return a rate with its interval.

    >>> _rate(Measured(1.85, math.nan, math.nan))
    '1.85'
    """
    if not math.isfinite(score.value):
        return "n/a"
    return f"{score.value:.2f}{_interval(score.low, score.high, 2)}"


def _interval(low: float, high: float, digits: int) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f" ({low:.{digits}f}-{high:.{digits}f})"
