import nibabel as nib
import numpy as np
import pytest

from mmocnet.prepare.slice_numbers import slice_words
from mmocnet.volume import Volume


def _scan(columns, shape=(6, 7, 8)):
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns, float).T
    return Volume(np.zeros(shape, np.float32), affine, "scan")


@pytest.mark.parametrize(
    ("last", "end"),
    [
        ((0, 0, 1), "feet"),
        ((0, 0, -1), "head"),
        ((0, 1, 0), "back"),
        ((0, -1, 0), "front"),
        ((1, 0, 0), "left"),
        ((-1, 0, 0), "right"),
    ],
)
def test_slices_are_counted_from_the_end_of_the_patient_where_they_begin(last, end):
    others = [axis for axis in np.eye(3) if not np.abs(last) @ axis]
    scan = _scan([*others, last])
    turned = Volume(
        scan.array, nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2, 0.1, 0.3)) @ scan.affine,
        "scan",
    )  # fmt: skip
    for one in (scan, turned):
        said = slice_words(one, 2, 1, tuple(range(8, 0, -1)))
        assert said == f"image 7 (slice 2 of 8, counted from the {end})"


def test_a_scan_cut_across_another_axis_has_no_image_numbers():
    assert slice_words(_scan(np.eye(3)), 0, 1, tuple(range(8, 0, -1))) == "slice 2 of 6"
