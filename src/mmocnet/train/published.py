"""Figures that others published, each with its source; none of them is ours.

A cell that its source does not give, or that we could not read there, stays empty. Data, reference
and definitions differ from study to study, so the figures cannot be ranked against each other.
"""

from dataclasses import dataclass

ARTICLE = "10.3389/fbioe.2022.937314"
"""DOI of the article whose experiments these are, Wei et al. 2022."""

CITED = f"as cited by Wei et al. 2022, doi:{ARTICLE}"


@dataclass(frozen=True)
class Published:
    """One row of published figures, as text, in the words of its source.

    Attributes:
        study: First author, year and, where there are several, which result.
        data: What it was measured on.
        definition: What the figures are of.
        source: Where the figures were read.
        sensitivity: In percent.
        precision: In percent.
        false_positives: Per subject or scan.
        dice: In percent.
        f2: In percent.
    """

    study: str
    data: str
    definition: str
    source: str
    sensitivity: str = ""
    precision: str = ""
    false_positives: str = ""
    dice: str = ""
    f2: str = ""


DETECTION = (
    Published(
        study="Dou et al. 2016",
        data="320 volumes",
        definition="lesions; false positives a subject",
        source="its abstract, doi:10.1109/TMI.2016.2528129",
        sensitivity="93.16",
        false_positives="2.74",
    ),
    Published(
        study="Dou et al. 2016, as cited",
        data="",
        definition="lesions",
        source=CITED,
        sensitivity="92.31",
    ),
    Published(
        study="Chen et al. 2018",
        data="7 T SWI, 73 patients with radiation-induced microbleeds, 12 of them for testing",
        definition="lesions, among the calls of an earlier method",
        source="its abstract, doi:10.1007/s10278-018-0146-z",
        precision="71.9",
    ),
    Published(
        study="Standvoss et al. 2018",
        data="SWI of traumatic brain injury, 8 test scans",
        definition="lesions; false positives a scan",
        source="its abstract, doi:10.1117/12.2294016",
        sensitivity="87",
        false_positives="16.75",
    ),
    Published(
        study="Liu et al. 2019",
        data="",
        definition="lesions",
        source=CITED,
        sensitivity="93.50",
    ),
    Published(
        study="Al-masni et al. 2020, first stage",
        data="SWI and phase, high in-plane resolution, 72 subjects, 188 microbleeds",
        definition="lesions, five folds; false positives a subject",
        source="its abstract, doi:10.1016/j.nicl.2020.102464",
        sensitivity="93.62",
        false_positives="52.18",
    ),
    Published(
        study="Al-masni et al. 2020, both stages",
        data="as above",
        definition="false positives a subject",
        source="its abstract, doi:10.1016/j.nicl.2020.102464",
        false_positives="1.42",
    ),
    Published(
        study="Myung et al. 2021, YOLO",
        data="gradient echo, 1737 test images",
        definition="lesions; false positives a person",
        source="its abstract, doi:10.1016/j.jstrokecerebrovasdis.2021.105886",
        sensitivity="80.96",
        precision="60.98",
        false_positives="6.57",
    ),
    Published(
        study="Myung et al. 2021, YOLO and CSF filter",
        data="as above",
        definition="lesions; false positives a person",
        source="its abstract, doi:10.1016/j.jstrokecerebrovasdis.2021.105886",
        sensitivity="66.90",
        precision="79.75",
        false_positives="2.15",
    ),
    Published(
        study="Rashid et al. 2021 (DEEPMIR)",
        data="T2, SWI and QSM, 24 participants",
        definition="average of microbleeds; a range over models",
        source="its abstract; the sensitivity also " + CITED,
        sensitivity="84 to 88",
        precision="40 to 59",
    ),
    Published(
        study="Li et al. 2021b",
        data="",
        definition="lesions",
        source=CITED,
        sensitivity="90.00",
    ),
    Published(
        study="Wei et al. 2022 (the article)",
        data="private: 625 SWI slices of 316 patients",
        definition="its Table 5, which we could not read",
        source=f"doi:{ARTICLE}",
    ),
)

SEGMENTATION = (
    Published(
        study="Duan et al. 2020",
        data="microbleeds, not SWI",
        definition="Dice",
        source=CITED,
        dice="50.30",
    ),
    Published(
        study="Duan et al. 2020, experienced clinicians by hand",
        data="microbleeds, not SWI",
        definition="Dice of manual outlines",
        source=CITED,
        dice="57.60",
    ),
    Published(
        study="Fan et al. 2022",
        data="microbleeds, 3D",
        definition="Dice",
        source=CITED,
        dice="72.00",
    ),
    Published(
        study="Dang et al. 2022",
        data="brain vessels",
        definition="in the article's Table 6, which we could not read",
        source=CITED,
    ),
    Published(
        study="Li et al. 2021a",
        data="haemorrhagic stroke",
        definition="in the article's Table 6, which we could not read",
        source=CITED,
    ),
    Published(
        study="Li et al. 2018",
        data="white-matter hyperintensities",
        definition="in the article's Table 6, which we could not read",
        source=CITED,
    ),
    Published(
        study="Wei et al. 2022 (the article), ROI 32",
        data="private: 625 SWI slices of 316 patients",
        definition="pixels, average of five folds; whether pooled is not stated",
        source=f"doi:{ARTICLE}",
        dice="87.93",
        f2="90.69",
    ),
)
