import math

import numpy as np
import pytest

from mmocnet.simulate.lesions import Source
from mmocnet.simulate.reference import apparent_labels, source_labels
from mmocnet.volume import Volume

SPACING = np.array([0.3, 0.3, 0.6])
SHAPE = (70, 72, 40)
AFFINE = np.diag([*SPACING, 1.0])
AFFINE[:3, 3] = (-10, -11, -12)
GRID = Volume(np.zeros(SHAPE, np.uint8), AFFINE, "grid")
SIGNAL = np.full(SHAPE, 100.0, np.float32)


def ball(x: float, radius: float = 0.8) -> Source:
    return Source("microbleed", np.array([x, 0.0, 0.0]), (((0.0, 0.0, 0.0), radius, 1.0),), 1.0)


def distance(source: Source) -> np.ndarray:
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    return np.linalg.norm(GRID.world(voxels) - source.centre_mm, axis=-1)


def blob(source: Source, peak: float, sigma: float) -> np.ndarray:
    return peak * np.exp(-0.5 * (distance(source) / sigma) ** 2)


def test_a_gaussian_loss_is_outlined_at_half_its_peak() -> None:
    source, sigma = ball(0.0), 1.5
    labels = apparent_labels(blob(source, 80.0, sigma), SIGNAL, GRID, [source])
    volume = (labels == 1).sum() * GRID.voxel_mm3
    expected = 4 / 3 * math.pi * (sigma * math.sqrt(2 * math.log(2))) ** 3
    assert volume == pytest.approx(expected, rel=0.06)


def test_a_faint_loss_is_outlined_where_it_exceeds_15_percent_of_the_signal() -> None:
    source, sigma, peak = ball(0.0), 1.5, 20.0
    labels = apparent_labels(blob(source, peak, sigma), SIGNAL, GRID, [source])
    volume = (labels == 1).sum() * GRID.voxel_mm3
    radius = sigma * math.sqrt(2 * math.log(peak / 15))
    assert volume == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.1)


def test_a_loss_below_15_percent_of_the_signal_is_not_visible() -> None:
    source = ball(0.0)
    assert not apparent_labels(blob(source, 14.0, 1.5), SIGNAL, GRID, [source]).any()


def test_a_loss_away_from_the_centre_belongs_to_no_lesion() -> None:
    source, other = ball(-5.0), ball(5.0)
    assert not apparent_labels(blob(other, 80.0, 1.0), SIGNAL, GRID, [source]).any()


def test_a_second_island_is_left_out() -> None:
    source = ball(0.0)
    loss = blob(source, 80.0, 0.8) + blob(ball(4.0), 80.0, 0.8)
    labels = apparent_labels(loss, SIGNAL, GRID, [source])
    assert not labels[distance(source) > 2].any()
    assert labels[distance(source) < 0.5].all()


def test_where_outlines_overlap_the_nearer_centre_wins() -> None:
    sources = [ball(-1.0), ball(1.0)]
    loss = np.maximum(*(blob(s, 80.0, 1.2) for s in sources))
    labels = apparent_labels(loss, SIGNAL, GRID, sources)
    first, second = (distance(s) for s in sources)
    both = labels > 0
    assert set(np.unique(labels)) == {0, 1, 2}
    np.testing.assert_array_equal(labels[both] == 1, (first <= second)[both])


def test_no_lesion_gives_no_label() -> None:
    assert not apparent_labels(blob(ball(0.0), 80.0, 1.0), SIGNAL, GRID, []).any()
    assert not source_labels(GRID, []).any()


def test_a_lesion_beyond_the_border_is_skipped() -> None:
    far = ball(500.0)
    assert not apparent_labels(SIGNAL, SIGNAL, GRID, [far]).any()
    assert not source_labels(GRID, [far]).any()


def test_the_source_has_the_volume_of_its_sphere() -> None:
    labels = source_labels(GRID, [ball(0.0), ball(5.0, radius=2.0)])
    assert (labels == 2).sum() * GRID.voxel_mm3 == pytest.approx(4 / 3 * math.pi * 8, rel=0.05)
    assert (distance(ball(5.0))[labels == 2] <= 2.0 + 1e-9).all()


def test_a_source_smaller_than_a_voxel_has_its_centres_voxel() -> None:
    tiny = ball(1.03, radius=0.01)
    labels = source_labels(GRID, [tiny])
    index = np.argwhere(labels == 1)
    assert len(index) == 1
    assert (np.abs(GRID.voxel(tiny.centre_mm) - index[0]) <= 0.5 + 1e-9).all()
