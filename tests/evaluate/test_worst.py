from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from mmocnet.evaluate.cases import Case
from mmocnet.evaluate.instances import Instances
from mmocnet.evaluate.worst import Kind, read_scan, scan_beside, worst_crops


@pytest.fixture
def case():
    """A found, a small missed and a large missed lesion; a sure and an unsure false call."""
    reference = np.zeros((60, 70, 9), dtype=np.int32)
    reference[10:13, 10:13, 3:5] = 1
    reference[40:42, 50:52, 5:7] = 2
    reference[2:6, 60:64, 1:3] = 4
    predicted = np.zeros_like(reference)
    predicted[11:13, 10:13, 3:5] = 1
    predicted[30:33, 30:33, 4] = 2
    predicted[55:57, 5:7, 8] = 3
    labels = Instances(predicted, np.array([0.9, 0.6, 0.8]))
    return Case(
        name="scan",
        subject="a",
        spacing_mm=(1.0, 1.0, 2.0),
        slice_axis=2,
        reference=reference,
        predicted=predicted,
        candidates=labels,
        probability=None,
        valid=None,
    )


def test_the_worst_come_first(case):
    crops = worst_crops(case)
    assert [(crop.kind, crop.severity) for crop in crops] == [
        (Kind.MISSED, 64.0),
        (Kind.MISSED, 16.0),
        (Kind.FALSE, 0.8),
        (Kind.FALSE, 0.6),
    ]
    assert crops[0].title == "scan, slice 1: missed, 64 mm³"
    assert crops[2].title == "scan, slice 8: false call, confidence 0.80"


def test_the_limit_is_of_each_kind(case):
    assert [crop.severity for crop in worst_crops(case, limit=1)] == [64.0, 0.8]


def test_a_crop_holds_the_lesion_even_at_the_border_with_front_up(case):
    crop = worst_crops(case)[0]
    assert crop.image.shape == crop.reference.shape == (40, 40)
    assert np.argwhere(crop.reference).tolist() == [
        [r, c] for r in range(6, 10) for c in range(2, 6)
    ]
    assert not crop.predicted.any()


def test_a_crop_shows_the_scan_where_it_is_on_the_grid(case):
    image = np.arange(case.reference.size, dtype=np.float32).reshape(case.reference.shape)
    crop = worst_crops(case, read_image=lambda: image)[0]
    assert crop.image[crop.reference].min() == image[2:6, 60:64, 1].min()
    assert not worst_crops(case, read_image=lambda: image[1:])[0].image.any()


def test_without_candidates_the_probability_is_the_confidence(case):
    probability = np.where(case.predicted == 2, 0.7, 0.0).astype(np.float32)
    bare = replace(case, candidates=None, probability=probability)
    crops = worst_crops(bare)
    assert crops[2].severity == pytest.approx(0.7)
    assert crops[2].image.max() == pytest.approx(0.7)


def test_without_any_confidence_the_largest_false_call_is_the_worst(case):
    crops = worst_crops(replace(case, candidates=None))
    assert [crop.severity for crop in crops[2:]] == [18.0, 8.0]
    assert crops[2].title.endswith("18 mm³")


def test_a_perfect_scan_has_no_crop_and_its_image_is_not_read(case):
    def fail():
        raise AssertionError

    assert worst_crops(replace(case, predicted=case.reference), read_image=fail) == ()


def test_the_scan_is_found_beside_its_reference_or_in_its_dataset(tmp_path):
    reference = tmp_path / "derivatives" / "reference" / "sub-1" / "anat" / "sub-1_dseg.nii.gz"
    reference.parent.mkdir(parents=True)
    reference.touch()
    assert scan_beside(reference, "sub-1") is None
    raw = tmp_path / "sub-1" / "anat" / "sub-1_T2starw.nii.gz"
    raw.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4)), raw)
    assert scan_beside(reference, "sub-1") == raw
    assert read_scan(reference, "sub-1", None).shape == (3, 4, 5)
    near = reference.with_name("sub-1_swi.nii.gz")
    near.write_bytes(b"damaged")
    assert scan_beside(reference, "sub-1") == near
    assert read_scan(reference, "sub-1", None) is None
