from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmocnet.errors import InputError
from mmocnet.review.grow import RADIUS_MM, add_at
from mmocnet.review.reading import Grid
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.study import simulate_study

GRID = Grid((60, 60, 24), np.diag([0.6, 0.6, 1.5, 1.0]), 2)
NOTHING = np.zeros(0, np.uint32)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * len(np.intersect1d(one, other)) / (len(one) + len(other))


def noisy(grid: Grid, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(500, 15, grid.shape)


@pytest.mark.parametrize("off", [(0, 0, 0), (2, 0, 0), (0, -2, 1), (1, 1, -1)])
def test_a_click_beside_the_middle_outlines_the_whole_ball(
    kit: SimpleNamespace, rng: np.random.Generator, off: tuple[int, int, int]
) -> None:
    image = noisy(GRID, rng)
    ball = kit.ball(GRID, (30, 30, 12), 2.0)
    image.ravel()[ball] = 150
    grown = add_at(image, None, GRID, (30 + off[0], 30 + off[1], 12 + off[2]), NOTHING)
    assert grown.how == "growing"
    assert grown.voxels.tolist() == ball.tolist()


def test_where_nothing_is_dark_nothing_grows(rng: np.random.Generator) -> None:
    image = noisy(GRID, rng)
    for seed in rng.integers((8, 8, 4), (52, 52, 20), (30, 3)):
        with pytest.raises(InputError, match="nothing dark is there"):
            add_at(image, None, GRID, tuple(seed.tolist()), NOTHING)


def test_an_image_of_one_value_grows_nothing() -> None:
    with pytest.raises(InputError, match="nothing dark is there"):
        add_at(np.full(GRID.shape, 7, np.int16), None, GRID, (30, 30, 12), NOTHING)


def test_other_findings_keep_their_voxels(kit: SimpleNamespace, rng: np.random.Generator) -> None:
    image = noisy(GRID, rng)
    ball = kit.ball(GRID, (30, 30, 12), 2.0)
    image.ravel()[ball] = 150
    half = ball[: len(ball) // 2]
    seed = tuple(np.array(np.unravel_index(int(ball[-1]), GRID.shape)).tolist())
    grown = add_at(image, None, GRID, seed, set(half.tolist()))
    assert not np.intersect1d(grown.voxels, half).size
    assert len(grown.voxels) > 5
    with pytest.raises(InputError, match="another finding"):
        add_at(image, None, GRID, seed, ball)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.tuples(st.integers(0, 59), st.integers(0, 59), st.integers(0, 23)),
    radius_mm=st.floats(1.0, 20.0),
)
def test_no_outline_is_wider_than_ten_mm(
    kit: SimpleNamespace, seed: tuple[int, int, int], radius_mm: float
) -> None:
    image = noisy(GRID, np.random.default_rng(3))
    image.ravel()[kit.ball(GRID, seed, radius_mm)] = 60
    try:
        grown = add_at(image, None, GRID, seed, NOTHING)
    except InputError:
        # All around is as dark: there is no background to be darker than.
        assert radius_mm > 5
        return
    assert GRID.measure(grown.voxels).diameter_mm <= 2 * RADIUS_MM + 1e-9
    assert int(np.ravel_multi_index(seed, GRID.shape)) in grown.voxels.tolist()


def test_a_vein_is_cut_off_where_the_spot_on_it_ends(
    kit: SimpleNamespace, rng: np.random.Generator
) -> None:
    image = noisy(GRID, rng)
    image[:, 29:31, 12] = 330
    ball = kit.ball(GRID, (30, 30, 12), 2.0)
    image.ravel()[ball] = 100
    grown = add_at(image, None, GRID, (30, 30, 12), NOTHING)
    assert dice(grown.voxels, ball) > 0.9


def test_where_the_networks_said_something_it_is_taken(
    kit: SimpleNamespace, rng: np.random.Generator
) -> None:
    image = noisy(GRID, rng)
    probability = np.zeros(GRID.shape, np.float16)
    halo, core = (kit.ball(GRID, (30, 30, 12), radius) for radius in (2.4, 1.6))
    probability.ravel()[halo] = 0.1
    probability.ravel()[core] = 0.4
    grown = add_at(image, probability, GRID, (31, 30, 12), NOTHING)
    assert grown.how == "probability"
    assert grown.voxels.tolist() == core.tolist()


def test_a_picture_grows_in_its_plane(kit: SimpleNamespace, rng: np.random.Generator) -> None:
    grid = Grid((80, 80, 1), np.diag([0.5, 0.5, 1.0, 1.0]), 2)
    image = noisy(grid, rng)
    disc = kit.ball(grid, (40, 40, 0), 2.0)
    image.ravel()[disc] = 150
    assert add_at(image, None, grid, (40, 41, 0), NOTHING).voxels.tolist() == disc.tolist()


def test_a_click_at_the_border_works_and_one_outside_is_refused(
    kit: SimpleNamespace, rng: np.random.Generator
) -> None:
    image = noisy(GRID, rng)
    ball = kit.ball(GRID, (0, 0, 0), 2.0)
    image.ravel()[ball] = 150
    assert add_at(image, None, GRID, (0, 0, 0), NOTHING).voxels.tolist() == ball.tolist()
    for seed in ((60, 0, 0), (-1, 0, 0)):
        with pytest.raises(InputError, match="inside the grid"):
            add_at(image, None, GRID, seed, NOTHING)
    with pytest.raises(InputError, match="expected an image"):
        add_at(image[1:], None, GRID, (1, 1, 1), NOTHING)


def test_a_file_that_is_mapped_gives_the_same(
    kit: SimpleNamespace, rng: np.random.Generator, tmp_path: Path
) -> None:
    image = noisy(GRID, rng).astype(np.int16)
    image.ravel()[kit.ball(GRID, (30, 30, 12), 2.0)] = 150
    np.save(tmp_path / "image.npy", image)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    one, other = (
        add_at(each, None, GRID, (30, 30, 12), NOTHING).voxels for each in (image, mapped)
    )
    assert one.tolist() == other.tolist()


def test_a_click_outlines_most_simulated_microbleeds_as_a_reader_would() -> None:
    study = StudySettings("clinical", 0.0, (14, 14), slab_mm=16.0, images="swi")
    done = simulate_study(study, 3)
    grid = Grid(done.swi.shape, done.swi.affine, 2)
    scores = []
    for lesion in done.lesions:
        reference = np.flatnonzero(done.apparent.array.ravel() == lesion.index)
        if lesion.kind != "microbleed" or not reference.size:
            continue
        middle = np.rint(grid.indices(reference.astype(np.uint32)).mean(axis=0)).astype(int)
        try:
            grown = add_at(done.swi.array, None, grid, tuple(middle.tolist()), NOTHING)
            scores.append(dice(grown.voxels, reference))
        except InputError:
            scores.append(0.0)
    assert len(scores) >= 8
    # On six slabs of two protocols it is nine in ten, with a median Dice of 0.92.
    assert np.mean(np.array(scores) > 0.5) >= 0.75
    assert np.median(scores) > 0.8
