from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from mmocnet.evaluate.cases import Case, read_case
from mmocnet.evaluate.files import CaseFiles
from mmocnet.evaluate.instances import Instances
from mmocnet.evaluate.worst import Kind, read_scan, scan_beside, worst_crops
from mmocnet.io.nifti import write_nifti
from mmocnet.volume import Volume


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
    slices = case.reference.shape[2]
    assert crops[0].title == f"scan, slice 2 of {slices}: missed, 64 mm³"
    assert crops[2].title == f"scan, slice 9 of {slices}: false call, confidence 0.80"


def test_the_limit_is_of_each_kind(case):
    assert [crop.severity for crop in worst_crops(case, limit=1)] == [64.0, 0.8]


def test_a_crop_holds_the_lesion_even_at_the_border_with_front_up(case):
    crop = worst_crops(case)[0]
    assert crop.image.shape == crop.reference.shape == (40, 40)
    assert np.argwhere(crop.reference).tolist() == [
        [r, c] for r in range(6, 10) for c in range(2, 6)
    ]
    assert not crop.predicted.any()


def stored(folder, array, axcodes):
    """Write a head that is RAS, voxels of 1 x 1 x 2 mm, in another order of its axes."""
    image = nib.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0]))
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(axcodes)
    )
    turned = image.as_reoriented(turn)
    path = folder / f"{axcodes}_mask.nii.gz"
    write_nifti(path, Volume(np.asarray(turned.dataobj), turned.affine), np.int16)
    return path, np.asarray(turned.dataobj)


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "LAI", "PSR", "SRA"])
def test_a_crop_has_front_up_and_right_on_the_left_however_the_head_is_stored(tmp_path, axcodes):
    head = np.zeros((40, 40, 12), np.int16)
    head[15:25, 15:25, 6] = 1
    head[18:22, 30:34, 6], head[30:34, 18:22, 6] = 2, 3  # in front, and on the right
    truth, _ = stored(tmp_path, np.where(head == 1, 1, 0).astype(np.int16), axcodes)
    empty, image = stored(tmp_path / "p", head, axcodes)
    write_nifti(empty, Volume(image * 0, nib.load(empty).affine), np.int16)
    case = read_case(CaseFiles("scan", "a", truth, lesions=empty))
    (crop,) = worst_crops(case, read_image=lambda: image)
    front, right = (np.argwhere(crop.image == value).mean(axis=0) for value in (2, 3))
    middle = np.argwhere(crop.image == 1).mean(axis=0)
    assert (front - middle).tolist() == [-12, pytest.approx(0, abs=1)]
    assert (right - middle).tolist() == [pytest.approx(0, abs=1), -12]


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
