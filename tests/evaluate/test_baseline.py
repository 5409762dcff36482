import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.evaluate.baseline import blob_candidates


def ball(shape, centre, radius_mm, spacing_mm):
    axes = np.indices(shape).T * spacing_mm - np.multiply(centre, spacing_mm)
    return radius_mm >= np.linalg.norm(axes, axis=-1).T


@pytest.fixture
def plane(rng):
    image = 100 + rng.normal(0, 1, (80, 90))
    image[ball(image.shape, (30, 40), 1.4, (0.5, 0.5))] = 30
    image[:, 70:73] = 30  # a vein in the plane
    return image


def test_the_strongest_blob_is_the_disc_and_its_outline_the_discs(plane):
    found = blob_candidates(plane, np.ones(plane.shape, bool), (0.5, 0.5))
    strongest = found.labels == 1 + np.argmax(found.confidence)
    disc = ball(plane.shape, (30, 40), 1.4, (0.5, 0.5))
    assert 2 * (strongest & disc).sum() / (strongest.sum() + disc.sum()) > 0.9


def test_a_vein_answers_less_than_half_of_a_disc(plane):
    found = blob_candidates(plane, np.ones(plane.shape, bool), (0.5, 0.5))
    in_vein = np.setdiff1d(found.labels[:, 68:75], [0])
    weaker = max((found.confidence[i - 1] for i in in_vein), default=0.0)
    strongest = found.confidence.max()
    assert weaker / (1 - weaker) < 0.5 * strongest / (1 - strongest)


def test_intensity_scale_does_not_change_what_is_found(plane):
    mask = np.ones(plane.shape, bool)
    one, other = (blob_candidates(plane * k, mask, (0.5, 0.5)) for k in (1.0, 37.0))
    assert np.array_equal(one.labels, other.labels)
    assert np.allclose(one.confidence, other.confidence)


def test_a_ball_is_found_in_a_volume_with_thick_slices():
    image = np.full((40, 40, 12), 100.0)
    centre = ball(image.shape, (20, 15, 6), 1.6, (0.6, 0.6, 2.0))
    image[centre] = 20
    found = blob_candidates(image, np.ones(image.shape, bool), (0.6, 0.6, 2.0))
    strongest = found.labels == 1 + np.argmax(found.confidence)
    assert strongest[20, 15, 6]
    assert 2 * (strongest & centre).sum() / (strongest.sum() + centre.sum()) > 0.8


def test_the_brains_rim_is_no_blob():
    rows, columns = np.ogrid[:80, :80]
    brain = (rows - 40) ** 2 + (columns - 40) ** 2 < 35**2
    found = blob_candidates(np.where(brain, 100.0, 0.0), brain, (0.5, 0.5))
    assert len(found.confidence) == 0


def test_an_empty_brain_is_refused():
    with pytest.raises(InputError, match="empty"):
        blob_candidates(np.ones((9, 9)), np.zeros((9, 9), bool), (1.0, 1.0))
