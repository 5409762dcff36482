from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.io.dataset import DatasetScan
from mmocnet.nets.checkpoint import load_cascade
from mmocnet.predict.context import FEATURES, expanded
from mmocnet.train.context import Collected, collect, fit_context


def volume(rng: np.random.Generator, subject: str, count: int = 300) -> Collected:
    features = rng.normal(size=(count, len(FEATURES)))
    # The log odds are 3 a - 2 b - 1, of the first two features.
    odds = 3 * features[:, 0] - 2 * features[:, 1] - 1
    hit = (rng.random(count) < 1 / (1 + np.exp(-odds))).astype(int)
    return Collected(subject, features, hit, int(hit.sum()), ())


def test_the_fit_recovers_the_odds_on_unseen_candidates(rng: np.random.Generator) -> None:
    settings = fit_context([volume(rng, str(n)) for n in range(8)])
    unseen = volume(rng, "unseen", 4000)
    score = expanded(unseen.features, settings) @ np.array(settings.weights)
    confidence = 1 / (1 + np.exp(-score))
    truth = unseen.hit > 0
    assert confidence.mean() == pytest.approx(truth.mean(), abs=0.05)
    chosen = (confidence > 0.7) & (confidence < 0.9)
    assert truth[chosen].mean() == pytest.approx(0.8, abs=0.08)


def test_a_mask_has_the_lesions_that_a_numbered_reference_has(
    rng: np.random.Generator, make_dataset: Callable[..., list[DatasetScan]]
) -> None:
    (scan,) = make_dataset(rng, "own", 1)
    assert scan.labels is not None
    image = nib.load(scan.labels)
    mask = np.asarray(image.dataobj) > 0
    numbered, count = ndimage.label(mask, np.ones((3, 3, 3)))
    found = []
    for labels in (numbered, mask):
        nib.save(nib.Nifti1Image(labels.astype(np.uint8), image.affine), scan.labels)
        found.append(collect(scan, load_cascade("compact")))
    assert found[0].references == found[1].references == count > 1
    np.testing.assert_array_equal(found[0].hit, found[1].hit)


def test_one_kind_of_candidate_cannot_be_fitted(rng: np.random.Generator) -> None:
    features = rng.normal(size=(5, len(FEATURES)))
    with pytest.raises(InputError, match="microbleeds and others"):
        fit_context([Collected("a", features, np.zeros(5, int), 0, ())])
