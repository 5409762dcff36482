"""What the default model's operating points mean, for help texts."""

from collections.abc import Mapping
from typing import Any

from mmocnet.nets.card import (
    PointMeaning,
    default_model,
    kind_of_scans,
    point_meanings,
    rate_text,
    read_card,
    share_text,
)

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
    # The first models' cards do not say how: their points were chosen on the same scans.
    how = "measured" if "measured" in points else "chosen and measured"
    return (
        f"Operating points of the model {model}, {how} on {kind_of_scans(points)} with "
        "natural lesion counts:"
    )


def _note(card: Mapping[str, Any]) -> str:
    calibration = card["operating_points"].get("calibration", {})
    error = calibration.get("ece")
    parts = ["In brackets: 95 % interval."] if error is not None else []
    if error is not None:
        off = f"by {error:.3f}" if error >= 0.001 else "by less than 0.001"
        parts.append(f"Confidence is a probability, off {off} on average there (ECE).")
    return " ".join([*parts, "Single slices have thresholds of their own; your scans may differ."])


def _row(point: PointMeaning) -> tuple[str, ...]:
    return (
        point.name,
        f"{point.threshold:.2f}",
        share_text(point.sensitivity),
        share_text(point.precision),
        rate_text(point.fp_per_scan),
    )
