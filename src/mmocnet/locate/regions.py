"""The thirteen regions of the Microbleed Anatomical Rating Scale and their groups.

Gregoire 2009, Neurology 73:1759.
"""

from dataclasses import dataclass

UNKNOWN = "n/a"
"""Region, side or group of a lesion whose place is not known."""


@dataclass(frozen=True)
class Region:
    """A region of the scale.

    Attributes:
        label: Its value in the region map, from 1.
        name: As the lesion table has it.
        group: "lobar", "deep" or "infratentorial".
    """

    label: int
    name: str
    group: str


REGIONS = (
    Region(1, "frontal", "lobar"),
    Region(2, "parietal", "lobar"),
    Region(3, "temporal", "lobar"),
    Region(4, "occipital", "lobar"),
    Region(5, "insula", "lobar"),
    Region(6, "basal ganglia", "deep"),
    Region(7, "thalamus", "deep"),
    Region(8, "internal capsule", "deep"),
    Region(9, "external capsule", "deep"),
    Region(10, "corpus callosum", "deep"),
    Region(11, "deep and periventricular white matter", "deep"),
    Region(12, "brainstem", "infratentorial"),
    Region(13, "cerebellum", "infratentorial"),
)
"""In the order in which they are counted."""
REGION_BY_LABEL = {region.label: region for region in REGIONS}
REGION_BY_NAME = {region.name: region for region in REGIONS}
