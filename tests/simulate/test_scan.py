import numpy as np
import pytest

from mmocnet.prepare.separable import box_matrix
from mmocnet.simulate.scan import slice_matrix


def test_slices_that_are_not_moved_are_the_mean_of_their_voxels() -> None:
    np.testing.assert_allclose(slice_matrix(12, 4, 0.0), box_matrix(12, 4), atol=1e-12)


@pytest.mark.parametrize("shift", [-0.5, 0.2, 0.5])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_moved_slices_are_the_mean_of_a_smooth_course_where_they_lie(
    shift: float, count: int
) -> None:
    length = 12 * count

    def course(at: np.ndarray) -> np.ndarray:
        # Even about both ends, so that it goes on as its mirror image.
        return np.asarray(1 + np.cos(np.pi * 3 * (at + 0.5) / length))

    matrix = slice_matrix(length, 12, shift)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    at = (np.arange(length) + shift * count).reshape(12, count)
    inner = slice(1, -1)
    seen = matrix @ course(np.arange(length))
    np.testing.assert_allclose(seen[inner], course(at).mean(axis=1)[inner], atol=1e-9)


def test_a_slice_that_leaves_the_axis_is_the_mean_of_what_it_covers() -> None:
    matrix = slice_matrix(8, 2, 0.5)
    np.testing.assert_allclose(
        matrix, [[0, 0, 1, 1, 1, 1, 0, 0], [0] * 6 + [2, 2]] / np.array(4.0), atol=1e-12
    )
