"""How many microbleeds, in words that radiology has agreed on: classes, regions, RadElement.

The classes of new lesions are those of amyloid-related imaging abnormalities with haemorrhage
(ARIA-H); RDES289 and RDES291 are the sets of RadElement, the common data elements of RSNA and ACR,
for the scan before such a treatment and for those after it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mmocnet.io.dicom.vendors import SWI
from mmocnet.lesion import Certainty, Lesion

NOT_LOCATED = "not located"
SIDES = ("left", "right")
LEAST_BRAIN_ML = 150.0
"""Brain below which a scan is a fragment of a head, of which no class is given."""
OF_MICROHAEMORRHAGES = (
    "of microhaemorrhages alone; superficial siderosis and oedema (ARIA-E) are not assessed"
)
"""What a class or grade of ARIA does not say here."""


def microbleeds(lesions: Iterable[Lesion]) -> list[Lesion]:
    """Return the lesions that count: all but macrohaemorrhages."""
    return [one for one in lesions if one.certainty is not Certainty.MACROHAEMORRHAGE]


def burden_class(count: int) -> str:
    """Return the class of a number of microbleeds: none, 1-4, 5-9, 10 or more.

    >>> [burden_class(count) for count in (0, 1, 4, 5, 9, 10)]
    ['none', '1-4', '1-4', '5-9', '5-9', '10 or more']
    """
    if count == 0:
        return "none"
    if count < 5:
        return "1-4"
    return "5-9" if count < 10 else "10 or more"


def baseline_burden(count: int) -> str:
    """Return the class of a scan before treatment: 0, 1-4, over 4.

    >>> [baseline_burden(count) for count in (0, 4, 5)]
    ['0', '1-4', 'over 4']
    """
    if count == 0:
        return "0"
    return "1-4" if count < 5 else "over 4"


def aria_h_grade(new: int) -> str:
    """Return the radiographic grade of that many new microbleeds.

    >>> [aria_h_grade(count) for count in (0, 4, 5, 10)]
    ['absent', 'mild', 'moderate', 'severe']
    """
    grades = {"none": "absent", "1-4": "mild", "5-9": "moderate", "10 or more": "severe"}
    return grades[burden_class(new)]


def class_text(kind: Callable[[int], str], count: int, definite: int) -> str:
    """Return the class of a count, and that by the definite microbleeds where it is another.

    Args:
        kind: Gives a count's class.
        count: Definite and possible ones.
        definite: Of them.

    >>> class_text(burden_class, 7, 3), class_text(burden_class, 7, 5)
    ('5-9; by definite ones alone 1-4', '5-9')
    """
    text, sure = kind(count), kind(definite)
    return text if text == sure else f"{text}; by definite ones alone {sure}"


def aria_h_text(new: int, definite: int) -> str:
    """Return class and radiographic grade of new microbleeds, as `class_text` has a class.

    >>> aria_h_text(7, 3), aria_h_text(0, 0)
    ('5-9, moderate; by definite ones alone 1-4, mild', 'none, absent')
    """
    return class_text(lambda count: f"{burden_class(count)}, {aria_h_grade(count)}", new, definite)


@dataclass(frozen=True)
class RegionCount:
    """Microbleeds of one region.

    Attributes:
        region: Its name.
        group: "lobar", "deep", "infratentorial", or "n/a".
        definite: On the left, on the right, side unknown.
        possible: Likewise.
    """

    region: str
    group: str
    definite: tuple[int, int, int]
    possible: tuple[int, int, int]

    @property
    def total(self) -> int:
        """Of either certainty, on either side."""
        return sum(self.definite) + sum(self.possible)


def region_counts(
    lesions: Iterable[Lesion], regions: Sequence[tuple[str, str]]
) -> list[RegionCount]:
    """Return the microbleeds of each region by certainty and side.

    Args:
        lesions: All of them; macrohaemorrhages are left out.
        regions: (region, group) in the order of the rows.

    Returns:
        A row for each region, and a last one for lesions of none where there are any.
    """
    small = microbleeds(lesions)
    names = {name for name, _ in regions}
    rows = [
        _region_count(name, group, [one for one in small if one.region == name])
        for name, group in regions
    ]
    lost = [one for one in small if one.region not in names]
    return [*rows, _region_count(NOT_LOCATED, "n/a", lost)] if lost else rows


def region_sums(rows: Sequence[RegionCount]) -> list[RegionCount]:
    """Return the sums of rows of regions: of each group, and of all of them."""
    groups = [group for group in dict.fromkeys(row.group for row in rows) if group != "n/a"]
    parts = [(f"all {group}", [row for row in rows if row.group == group]) for group in groups]
    return [
        RegionCount(
            name,
            "",
            _added([row.definite for row in some]),
            _added([row.possible for row in some]),
        )
        for name, some in (*parts, ("all", rows))
    ]


def _added(counts: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    left, right, unknown = (sum(side) for side in zip(*counts, strict=True))
    return left, right, unknown


def _region_count(name: str, group: str, lesions: list[Lesion]) -> RegionCount:
    def sides(certainty: Certainty) -> tuple[int, int, int]:
        found = [one.side for one in lesions if one.certainty is certainty]
        left, right = (found.count(side) for side in SIDES)
        return left, right, len(found) - left - right

    return RegionCount(name, group, sides(Certainty.DEFINITE), sides(Certainty.POSSIBLE))


def rad_element_baseline(
    lesions: Iterable[Lesion], acquired: Mapping[str, object]
) -> dict[str, dict[str, str]]:
    """Return the fields of RDES289 that a scan alone can fill.

    Args:
        lesions: All of them.
        acquired: How the scan was: MagneticFieldStrength in tesla and ImageKind, as far as known.

    Returns:
        The set's fields by its identifier; siderosis is not assessed, so indeterminate.
    """
    found = list(lesions)
    small = microbleeds(found)
    burden = {"0": "absent", "1-4": "1-4", "over 4": "greater than 4"}
    return {
        "RDES289": {
            **_technique(acquired),
            "Total microhemorrhages": burden[baseline_burden(len(small))],
            "Macrohemorrhages": "present" if len(found) > len(small) else "absent",
            "Superficial siderosis": "indeterminate",
        }
    }


def rad_element_follow_up(
    baseline: int, new: int, new_macrohaemorrhages: int, acquired: Mapping[str, object]
) -> dict[str, dict[str, str | int]]:
    """Return the fields of RDES291 that two visits can fill.

    Args:
        baseline: Microbleeds at the first visit.
        new: New microbleeds at the second.
        new_macrohaemorrhages: Over 10 mm, new or grown out of a microbleed.
        acquired: As in `rad_element_baseline`, of the second visit.
    """
    total = {"none": "0", "10 or more": "10" if new == 10 else "greater than 10"}
    kind = burden_class(new)
    return {
        "RDES291": {
            **_technique(acquired),
            "Baseline microhemorrhages scan comparison": "present",
            "Baseline microhemorrhages (ARIA-H)": baseline,
            "Total new microhemorrhages": total.get(kind, kind),
            "New macrohemorrhages (ARIA-H)": new_macrohaemorrhages,
            "Grading of ARIA-H related microhemorrhages": aria_h_grade(new),
        }
    }


def _technique(acquired: Mapping[str, object]) -> dict[str, str]:
    """Return what is known of sequence and field; an image of unknown kind is not called SWI."""
    known = {"Blood sensitive sequence": SWI} if acquired.get("ImageKind") == SWI else {}
    return known | _field(acquired.get("MagneticFieldStrength"))


def _field(field_t: object) -> dict[str, str]:
    """Return the field strength as the sets have it: 1.5 or 3 T, to 0.2 T; nothing else fits."""
    if not isinstance(field_t, int | float):
        return {}
    for value, text in ((1.5, "1.5T"), (3.0, "3 T")):
        if math.isclose(field_t, value, abs_tol=0.2):
            return {"Field strength": text}
    return {}
