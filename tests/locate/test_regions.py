import dataclasses

import pytest

from mmocnet.lesion import Certainty, Lesion
from mmocnet.locate.pattern import pattern
from mmocnet.locate.regions import REGIONS


def lesion(region: str, certainty: Certainty = Certainty.DEFINITE) -> Lesion:
    return Lesion(
        1, "CMB 1", (0.0, 0.0, 0.0), (0, 0, 0), 9.0, 3.0, 2.5, 0.9, certainty, region=region
    )


def test_the_scale_has_thirteen_regions_in_three_groups():
    assert [one.label for one in REGIONS] == list(range(1, 14))
    assert {one.group for one in REGIONS} == {"lobar", "deep", "infratentorial"}
    assert [one.name for one in REGIONS if one.group == "infratentorial"] == [
        "brainstem",
        "cerebellum",
    ]


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([], "none"),
        (["cerebellum"], "none"),
        (["frontal", "insula", "cerebellum"], "strictly lobar"),
        (["thalamus", "cerebellum"], "strictly deep"),
        (["brainstem"], "strictly deep"),
        (["deep and periventricular white matter", "occipital"], "mixed"),
        (["frontal", "n/a"], "unknown"),
        (["n/a"], "unknown"),
        (["frontal", "brainstem", "n/a"], "mixed"),
    ],
)
def test_pattern(regions, expected):
    assert pattern([lesion(name) for name in regions]) == expected


def test_a_macrohaemorrhage_is_left_out_of_the_pattern():
    large = lesion("thalamus", Certainty.MACROHAEMORRHAGE)
    assert pattern([lesion("frontal"), large]) == "strictly lobar"
    assert pattern([dataclasses.replace(large, region="n/a")]) == "none"
