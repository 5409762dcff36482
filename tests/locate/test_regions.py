import dataclasses

import pytest

from mmocnet.lesion import Certainty, Lesion
from mmocnet.locate.pattern import pattern
from mmocnet.locate.regions import GROUPS, REGIONS, SIDE_CODES


def lesion(region: str, certainty: Certainty = Certainty.DEFINITE) -> Lesion:
    return Lesion(
        1, "CMB 1", (0.0, 0.0, 0.0), (0, 0, 0), 9.0, 3.0, 2.5, 0.9, certainty, region=region
    )


def test_codes_are_those_of_the_dicom_tables():
    from pydicom.sr.codedict import codes

    table = codes.SCT
    of = {
        "frontal": table.FrontalLobe,
        "parietal": table.ParietalLobe,
        "temporal": table.TemporalLobe,
        "occipital": table.OccipitalLobe,
        "insula": table.Insula,
        "thalamus": table.Thalamus,
        "internal capsule": table.InternalCapsule,
        "external capsule": table.ExternalCapsule,
        "corpus callosum": table.CorpusCallosum,
        "deep and periventricular white matter": table.CerebralWhiteMatter,
        "brainstem": table.BrainStem,
        "cerebellum": table.Cerebellum,
    }
    coded = {one.name: one.code for one in REGIONS if one.code is not None}
    assert {name: code.value for name, code in coded.items()} == {
        name: code.value for name, code in of.items()
    }
    assert {name: code.meaning.lower() for name, code in coded.items()} == {
        name: code.meaning.lower() for name, code in of.items()
    }
    assert SIDE_CODES["left"].value == table.Left.value
    assert SIDE_CODES["right"].value == table.Right.value


def test_the_scale_has_thirteen_regions_in_three_groups():
    assert [one.label for one in REGIONS] == list(range(1, 14))
    assert {one.group for one in REGIONS} == set(GROUPS)
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
