"""How two readers agree on a study's result, or a reader and the machine."""

from typing import Any

from mmocnet.review.agreement import Side, agreement, agreement_json, machine_side
from mmocnet.web.readings import Readings

MACHINE = "machine"


def compare_sides(
    readings: Readings, of: tuple[str, str], first: str, second: str
) -> dict[str, Any]:
    """Return the agreement of two sides as the page has it.

    Args:
        readings: The room's.
        of: The study, and the result that the page shows.
        first: A reader's id, or "machine".
        second: The same.

    Raises:
        NotFoundError: If there is no such study or reader.
        StaleError: If the study has another result by now.
        InputError: If one reads blind and the machine's marks are still hidden.
    """
    study, result = of
    machine = readings.current(study, result)

    def side(name: str) -> Side:
        if name == MACHINE:
            return machine_side(machine.findings, machine.threshold)
        return readings.side(study, name, result)

    found = agreement(side(first), side(second), machine.grid)
    return {"first": first, "second": second} | agreement_json(found)
