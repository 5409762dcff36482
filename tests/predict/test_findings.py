import numpy as np
import pytest

from mmocnet.config import Thresholds
from mmocnet.predict.findings import list_findings
from mmocnet.volume import Volume


@pytest.mark.parametrize(("gap", "found"), [(0, 1), (1, 2)])
def test_candidates_that_touch_are_one_with_the_confidence_of_the_surest(gap, found):
    labels = np.zeros((20, 20, 10), np.int32)
    labels[5:8, 5:8, 4:6] = 2
    labels[8 + gap, 8 + gap, 6] = 1
    labels[15, 15, 2] = 3
    confidence = np.array([0.9, 0.99, 0.4])
    findings = list_findings(Volume(labels, np.eye(4)), confidence, None, Thresholds(), 0.5)
    assert [one.confidence for one in findings.lesions] == [0.99, 0.9][:found]
    assert findings.lesions[0].volume_mm3 == 18 + (found == 1)
    assert len(findings.candidates) == found + 1
    assert np.unique(findings.labels).tolist() == list(range(found + 2))
    assert (findings.labels > 0).sum() == 20


@pytest.mark.parametrize(("confidence", "set_aside"), [(0.6, True), (0.9, False)])
def test_a_long_thin_deep_finding_is_a_vessel_unless_it_is_sure(confidence, set_aside):
    labels = np.zeros((30, 20, 20), np.int32)
    labels[5:25, 10, 10] = 1
    brain = np.pad(np.ones((30, 20, 20), bool), 20)
    placed = Volume(np.pad(labels, 20), np.eye(4))
    found = list_findings(placed, np.array([confidence]), brain, Thresholds(), 0.5)
    assert found.vessels == ((1,) if set_aside else ())
    assert [one.certainty.value for one in found.lesions] == (
        [] if set_aside else ["macrohaemorrhage"]
    )


@pytest.mark.parametrize(("slices", "certainty"), [(3, "definite"), (4, "macrohaemorrhage")])
def test_a_haemorrhage_over_10_mm_is_so_whatever_the_thickness_of_its_slices(slices, certainty):
    labels = np.zeros((20, 20, 8), np.int32)
    labels[8:12, 8:12, 3] = 1
    labels[9, 9, 2 : 2 + slices] = 1
    placed = Volume(labels, np.diag([0.8, 0.8, 5.0, 1.0]))
    (lesion,) = list_findings(placed, np.array([0.9]), None, Thresholds(), 0.5).lesions
    assert lesion.diameter_mm > 10
    assert lesion.certainty == certainty
