"""The thirteen regions of the Microbleed Anatomical Rating Scale, their groups and codes.

Gregoire 2009, Neurology 73:1759.
"""

from dataclasses import dataclass

UNKNOWN = "n/a"
"""Region, side or group of a lesion whose place is not known."""
GROUPS = ("lobar", "deep", "infratentorial")
SIDES = ("left", "right")


@dataclass(frozen=True)
class Code:
    """A coded term.

    Attributes:
        value: The code.
        scheme: Its scheme's short name, "SCT" for SNOMED CT.
        meaning: The term.
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Region:
    """A region of the scale.

    Attributes:
        label: Its value in the region map, from 1.
        name: As the lesion table has it.
        group: "lobar", "deep" or "infratentorial".
        code: Its SNOMED CT code; None where DICOM's tables have none for the whole region.
    """

    label: int
    name: str
    group: str
    code: Code | None


def _region(label: int, name: str, group: str, code: tuple[str, str] | None) -> Region:
    return Region(label, name, group, None if code is None else Code(code[0], "SCT", code[1]))


REGIONS = (
    _region(1, "frontal", "lobar", ("83251001", "Frontal lobe")),
    _region(2, "parietal", "lobar", ("16630005", "Parietal lobe")),
    _region(3, "temporal", "lobar", ("78277001", "Temporal lobe")),
    _region(4, "occipital", "lobar", ("31065004", "Occipital lobe")),
    _region(5, "insula", "lobar", ("36169008", "Insula")),
    _region(6, "basal ganglia", "deep", None),
    _region(7, "thalamus", "deep", ("42695009", "Thalamus")),
    _region(8, "internal capsule", "deep", ("85637007", "Internal capsule")),
    _region(9, "external capsule", "deep", ("10517005", "External capsule")),
    _region(10, "corpus callosum", "deep", ("88442005", "Corpus callosum")),
    _region(
        11,
        "deep and periventricular white matter",
        "deep",
        ("68523003", "Cerebral White Matter"),
    ),
    _region(12, "brainstem", "infratentorial", ("119238007", "Brain Stem")),
    _region(13, "cerebellum", "infratentorial", ("113305005", "Cerebellum")),
)
"""In the order in which they are counted."""
REGION_BY_LABEL = {region.label: region for region in REGIONS}
REGION_BY_NAME = {region.name: region for region in REGIONS}
SIDE_CODES = {
    "left": Code("7771000", "SCT", "Left"),
    "right": Code("24028007", "SCT", "Right"),
}
