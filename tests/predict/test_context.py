from dataclasses import replace

import numpy as np
import pytest

from mmocnet.config import CascadeSettings, ClassifierSettings, ContextSettings, Thresholds
from mmocnet.predict.context import (
    FEATURES,
    MIN_SLICES,
    context_features,
    expanded,
    limits_for,
    with_context,
)
from mmocnet.predict.fuse import Outlines, outline_candidates
from mmocnet.prepare.geometry import working_grid
from mmocnet.prepare.slices import PreparedSlices
from mmocnet.volume import Volume

REACH = FEATURES.index("reach of the connected dark structure, mm")
BEYOND = FEATURES.index("darkness beyond, brighter side")
COUNT = len(FEATURES)


def scene(slices: int = 21) -> tuple[PreparedSlices, Outlines]:
    """A ball of 3 mm and a vertical vein of 2 mm, in tissue of 0.5, on voxels of 1 mm; each is
    called on the middle slice alone."""
    grid = working_grid(Volume(np.zeros((64, 64, slices)), np.eye(4)), 1.0, (64, 64), None)
    shape = grid.shape
    s, r, c = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    middle = slices // 2
    ball = (s - middle) ** 2 + (r - 16) ** 2 + (c - 16) ** 2 <= 1.5**2
    vein = (r - 44) ** 2 + (c - 44) ** 2 <= 1
    array = np.where(ball | vein, 0.1, 0.5).astype(np.float32)
    probability = np.where((ball | vein) & (s == middle), 0.9, 0.0).astype(np.float32)
    probability[ball & (s == middle)] = 0.95
    prepared = PreparedSlices(array, np.ones(shape, bool), np.ones(shape, bool), grid)
    return prepared, outline_candidates(probability)


def test_a_vein_goes_on_where_a_microbleed_ends() -> None:
    prepared, outlines = scene()
    ball, vein = context_features(prepared, outlines)
    assert vein[BEYOND] > 0.5 > ball[BEYOND] + 0.3
    # The structure fills the measured surroundings, 9 mm up and down.
    assert vein[REACH] > 7
    assert ball[REACH] < 1


def test_confidence_follows_the_weights() -> None:
    prepared, outlines = scene()
    weights = np.zeros(COUNT + COUNT * (COUNT + 1) // 2 + 1)
    weights[BEYOND] = -5.0
    settings = ContextSettings((0.5,) * COUNT, (1.0,) * COUNT, tuple(weights))
    ball, vein = with_context(outlines, prepared, settings).confidence
    feature = context_features(prepared, outlines)[:, BEYOND]
    np.testing.assert_allclose([ball, vein], 1 / (1 + np.exp(5 * (feature - 0.5))), rtol=1e-6)
    assert ball > 0.8
    assert vein < 0.5


def test_expansion_holds_each_product_once() -> None:
    features = np.arange(float(COUNT))[None] / 10
    settings = ContextSettings((0.0,) * COUNT, (1.0,) * COUNT, ())
    row = expanded(features, settings)[0]
    x = features[0]
    products = sum(x[i] * x[j] for i in range(COUNT) for j in range(i, COUNT))
    assert row.sum() == pytest.approx(x.sum() + products + 1)


def test_without_weights_or_with_few_slices_nothing_changes() -> None:
    prepared, outlines = scene()
    assert with_context(outlines, prepared, None) is outlines
    settings = ContextSettings((0.0,) * COUNT, (1.0,) * COUNT, (0.0,) * 91)
    thin, called = scene(MIN_SLICES - 1)
    assert with_context(called, thin, settings) is called


def test_few_slices_have_operating_points_of_their_own() -> None:
    own = Thresholds(0.1, 0.2, 0.3)
    settings = CascadeSettings(slice_thresholds=own)
    assert limits_for(settings, MIN_SLICES - 1) is own
    assert limits_for(settings, MIN_SLICES) is settings.thresholds
    assert limits_for(CascadeSettings(), 1) == Thresholds()
    with_classifier = replace(settings, classifier=ClassifierSettings())
    assert limits_for(with_classifier, 1) is own
    assert limits_for(with_classifier, 2) is settings.thresholds
