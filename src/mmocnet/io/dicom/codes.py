"""Coded terms of the objects that are written (PS3.16; SNOMED CT where DICOM has none).

Each is in pydicom's tables, and a test looks them up; the one exception is `MICROBLEED`.
"""

from typing import NamedTuple


class Term(NamedTuple):
    """A coded term: code, scheme, meaning."""

    value: str
    scheme: str
    meaning: str


ABNORMAL_STRUCTURE = Term("49755003", "SCT", "Morphologically Abnormal Structure")
HAEMORRHAGE = Term("50960005", "SCT", "Hemorrhage")
MICROBLEED = Term("723857007", "SCT", "Silent micro-hemorrhage of brain")
ARTIFICIAL_INTELLIGENCE = Term("123110", "DCM", "Artificial Intelligence")
MEASUREMENT_REPORT = Term("126000", "DCM", "Imaging Measurement Report")
BRAIN_MRI = Term("24590-2", "LN", "Brain MRI")
COMMENT = Term("121106", "DCM", "Comment")

NUMBER_OF_LESIONS = Term("246206008", "SCT", "Number of lesions")
VOLUME = Term("118565006", "SCT", "Volume")
LONG_AXIS = Term("103339001", "SCT", "Long axis")
PROBABILITY = Term("122157", "DCM", "Probability")
CUBIC_MM = Term("mm3", "UCUM", "cubic millimeter")
MM = Term("mm", "UCUM", "mm")
NO_UNITS = Term("1", "UCUM", "no units")

BRAIN = Term("12738006", "SCT", "Brain")
SITES = {
    "frontal": Term("83251001", "SCT", "Frontal lobe"),
    "parietal": Term("16630005", "SCT", "Parietal lobe"),
    "temporal": Term("78277001", "SCT", "Temporal lobe"),
    "occipital": Term("31065004", "SCT", "Occipital lobe"),
    "insula": Term("36169008", "SCT", "Insula"),
    "thalamus": Term("42695009", "SCT", "Thalamus"),
    "internal capsule": Term("85637007", "SCT", "Internal capsule"),
    "external capsule": Term("10517005", "SCT", "External capsule"),
    "corpus callosum": Term("88442005", "SCT", "Corpus callosum"),
    "deep and periventricular white matter": Term("68523003", "SCT", "Cerebral White Matter"),
    "brainstem": Term("119238007", "SCT", "Brain Stem"),
    "cerebellum": Term("113305005", "SCT", "Cerebellum"),
}
"""Of MARS regions; the tables have no code for the basal ganglia as a whole."""
SIDES = {"left": Term("7771000", "SCT", "Left"), "right": Term("24028007", "SCT", "Right")}


def site(region: str) -> Term:
    """Return the code of a MARS region; the brain's where it has none or is not known.

    >>> site("insula").value, site("basal ganglia").meaning
    ('36169008', 'Brain')
    """
    return SITES.get(region, BRAIN)
