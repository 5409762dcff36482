import numpy as np

from mmocnet.prepare.neighbours import neighbour_indices, neighbour_step, stack


def test_neighbours_are_the_nearest_at_least_1_5_mm_away() -> None:
    assert [neighbour_step(mm) for mm in (0.5, 0.8, 1.0, 1.5, 2.0, 5.0)] == [3, 2, 2, 1, 1, 1]


def test_a_scan_of_one_slice_is_seen_several_times(rng: np.random.Generator) -> None:
    slices = rng.random((1, 4, 5))
    seen = stack(slices, [0], 2, 3)
    assert seen.shape == (1, 3, 4, 5)
    assert (seen == slices[0]).all()


def test_the_middle_channel_is_the_slice_itself(rng: np.random.Generator) -> None:
    slices = rng.random((9, 4, 5))
    for channels in (1, 3, 5):
        seen = stack(slices, [0, 4, 8], 2, channels)
        assert np.array_equal(seen[:, channels // 2], slices[[0, 4, 8]])


def test_beyond_the_ends_the_last_slice_is_repeated() -> None:
    assert neighbour_indices([0, 1, 8], 9, 2, 5).tolist() == [
        [0, 0, 0, 2, 4],
        [0, 0, 1, 3, 5],
        [4, 6, 8, 8, 8],
    ]
