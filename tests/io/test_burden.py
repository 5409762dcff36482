import dataclasses

import pytest

from mmocnet.io.burden import (
    rad_element_baseline,
    rad_element_follow_up,
    region_counts,
)
from mmocnet.lesion import Certainty, Lesion

REGIONS = [("frontal", "lobar"), ("thalamus", "deep")]
ONE = Lesion(
    1, "CMB 1", (0.0, 0.0, 0.0), (0, 0, 0), 5.0, 2.0, 2.0, 0.9, Certainty.DEFINITE, "frontal"
)


def _lesion(**changes):
    return dataclasses.replace(ONE, **changes)


def test_regions_count_certainty_and_side_and_keep_the_order():
    lesions = [
        _lesion(side="left"),
        _lesion(side="right", certainty=Certainty.POSSIBLE),
        _lesion(region="thalamus"),
        _lesion(certainty=Certainty.MACROHAEMORRHAGE, side="left"),
    ]
    frontal, thalamus = region_counts(lesions, REGIONS)
    assert (frontal.definite, frontal.possible, frontal.total) == ((1, 0, 0), (0, 1, 0), 2)
    assert (thalamus.definite, thalamus.group) == ((0, 0, 1), "deep")


def test_lesions_without_a_region_are_not_lost():
    rows = region_counts([_lesion(region="n/a"), _lesion()], REGIONS)
    assert [row.region for row in rows] == ["frontal", "thalamus", "not located"]
    assert sum(row.total for row in rows) == 2


@pytest.mark.parametrize(
    ("count", "total"), [(0, "absent"), (1, "1-4"), (4, "1-4"), (5, "greater than 4")]
)
def test_baseline_fields_have_the_values_of_the_set(count, total):
    fields = rad_element_baseline([ONE] * count, {"MagneticFieldStrength": 3})["RDES289"]
    assert fields["Total microhemorrhages"] == total
    assert fields["Macrohemorrhages"] == "absent"
    assert fields["Field strength"] == "3 T"


def test_a_larger_haemorrhage_is_no_microbleed():
    fields = rad_element_baseline([_lesion(certainty=Certainty.MACROHAEMORRHAGE)], {})["RDES289"]
    assert fields["Total microhemorrhages"] == "absent"
    assert fields["Macrohemorrhages"] == "present"
    assert "Field strength" not in fields


@pytest.mark.parametrize(
    ("new", "total", "grade"),
    [
        (0, "0", "absent"),
        (4, "1-4", "mild"),
        (9, "5-9", "moderate"),
        (10, "10", "severe"),
        (11, "greater than 10", "severe"),
    ],
)
def test_follow_up_fields_have_the_values_of_the_set(new, total, grade):
    fields = rad_element_follow_up(2, new, 0, {"MagneticFieldStrength": 7.0})["RDES291"]
    assert fields["Total new microhemorrhages"] == total
    assert fields["Grading of ARIA-H related microhemorrhages"] == grade
    assert fields["Baseline microhemorrhages (ARIA-H)"] == 2
    assert "Field strength" not in fields


@pytest.mark.parametrize("kind", ["SWI", "magnitude", None])
def test_only_what_is_known_to_be_swi_is_called_so(kind):
    acquired = {} if kind is None else {"ImageKind": kind}
    for sets in (rad_element_baseline([ONE], acquired), rad_element_follow_up(2, 1, 0, acquired)):
        (fields,) = sets.values()
        assert fields.get("Blood sensitive sequence") == ("SWI" if kind == "SWI" else None)
