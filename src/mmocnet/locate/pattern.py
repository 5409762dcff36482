"""Where the microbleeds of one brain lie, in a word."""

from collections.abc import Iterable
from typing import Literal

from mmocnet.lesion import Certainty, Lesion
from mmocnet.locate.regions import REGION_BY_NAME

Pattern = Literal["strictly lobar", "strictly deep", "mixed", "none", "unknown"]


def pattern(lesions: Iterable[Lesion]) -> Pattern:
    """Return the pattern of the microbleeds: a statement of place, never a diagnosis.

    Brainstem counts as deep, as in the literature on hypertensive microbleeds; cerebellum counts
    neither way. Macrohaemorrhages are left out.

    Returns:
        "none" where there is no microbleed outside the cerebellum, "unknown" where one has no
        region and the others do not make it mixed already.
    """
    counted = [one for one in lesions if one.certainty is not Certainty.MACROHAEMORRHAGE]
    regions = {one.region for one in counted} - {"cerebellum"}
    known = {REGION_BY_NAME[name].group for name in regions if name in REGION_BY_NAME}
    lobar, deep = "lobar" in known, bool(known - {"lobar"})
    if lobar and deep:
        return "mixed"
    if any(name not in REGION_BY_NAME for name in regions):
        return "unknown"
    if lobar:
        return "strictly lobar"
    return "strictly deep" if deep else "none"
