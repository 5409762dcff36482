from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mmocnet.config import DetectorSettings, SegmenterSettings
from mmocnet.errors import InputError
from mmocnet.nets.detector import Detector
from mmocnet.nets.segmenter import Segmenter
from mmocnet.predict.engine import fold_batch_norm, make_engine

NARROW = DetectorSettings(widths=(4, 4, 8, 8, 8), blocks=(1, 1, 1, 1))
THIN = SegmenterSettings(width=4, blocks=1)


def _trained(network):
    """Give batch norm statistics that are not the identity, as after training."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return network.eval()


@pytest.fixture
def networks():
    torch.manual_seed(1)
    return (
        _trained(Detector(NARROW)),
        _trained(Segmenter(THIN)),
    )


def test_folding_batch_norm_changes_no_result(networks):
    for network in networks:
        x = torch.rand(2, 1, 32, 48)
        with torch.inference_mode():
            before, after = network(x), fold_batch_norm(network)(x)
        assert torch.allclose(before, after, atol=1e-3 * float(before.abs().max()))


def test_folding_leaves_only_the_pooled_batch_norm_or_none(networks):
    left = [
        m for m in fold_batch_norm(networks[0]).modules() if isinstance(m, torch.nn.BatchNorm2d)
    ]
    assert left == []


def test_detection_equals_the_network_on_each_whole_slice(networks, rng):
    slices = rng.random((3, 40, 50)).astype(np.float32)
    brain = np.ones(slices.shape, dtype=bool)
    padded = np.pad(slices, ((0, 0), (0, 8), (0, 14)))
    with torch.inference_mode():
        expected = torch.sigmoid(networks[0](torch.from_numpy(padded)[:, None]))[:, 0, :40, :50]
    found = make_engine(networks).detect(slices, brain)
    assert np.allclose(found, expected.numpy(), atol=1e-3)


def test_detection_sees_neighbours_as_channels_and_the_end_repeated(rng):
    torch.manual_seed(2)
    three = _trained(Detector(replace(NARROW, in_channels=3)))
    slices = rng.random((4, 32, 48)).astype(np.float32)
    seen = torch.from_numpy(slices[[[0, 0, 2], [0, 1, 3], [0, 2, 3], [1, 3, 3]]])
    with torch.inference_mode():
        expected = torch.sigmoid(three(seen))[:, 0].numpy()
    engine = make_engine((three, _trained(Segmenter(THIN))))
    found = engine.detect(slices, np.ones(slices.shape, dtype=bool), step=2)
    assert np.allclose(found, expected, atol=1e-3)
    alone = engine.detect(slices[:1], np.ones((1, 32, 48), dtype=bool), step=2)
    with torch.inference_mode():
        expected = torch.sigmoid(three(torch.from_numpy(slices[[[0, 0, 0]]])))[:, 0].numpy()
    assert np.allclose(alone, expected, atol=1e-3)


def test_outlines_of_patches_with_neighbours_equal_the_network(networks, rng):
    torch.manual_seed(3)
    three = _trained(Segmenter(replace(THIN, in_channels=3)))
    patches = rng.random((5, 3, 16, 16)).astype(np.float32)
    with torch.inference_mode():
        expected = torch.sigmoid(three(torch.from_numpy(patches)))[:, 0].numpy()
    found = make_engine((networks[0], three)).outline(patches)
    assert np.allclose(found, expected, atol=1e-3)


def test_classification_gives_one_logit_a_patch_in_order(networks, rng):
    torch.manual_seed(4)
    classifier = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1))
    patches = rng.random((70, 2, 8, 8)).astype(np.float32)
    engine = make_engine((*networks, classifier))
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(patches))[:, 0].numpy()
    assert np.allclose(engine.classify(patches), expected, atol=1e-4)
    assert engine.classify(patches[:0]).shape == (0,)


def test_a_model_without_classifier_classifies_nothing(networks):
    with pytest.raises(InputError, match="classifier"):
        make_engine(networks).classify(np.zeros((1, 2, 8, 8), np.float32))


def test_slices_without_brain_are_not_run_and_outside_is_0(networks, rng):
    slices = rng.random((4, 64, 64)).astype(np.float32)
    brain = np.zeros(slices.shape, dtype=bool)
    brain[2, 20:40, 25:50] = True
    told = []
    engine = make_engine(networks)
    found = engine.detect(slices, brain, lambda done, total: told.append((done, total)))
    assert told == [(1, 1)]
    assert not found[~brain].any()
    assert (found[brain] > 0).all()


def test_patches_in_batches_equal_patches_one_by_one(networks, rng):
    patches = rng.random((130, 16, 16)).astype(np.float32)
    engine = make_engine(networks)
    together = engine.outline(patches)
    alone = np.concatenate([engine.outline(patch[None]) for patch in patches])
    assert together.shape == (130, 16, 16)
    assert np.allclose(together, alone, atol=1e-5)


def test_no_patch_gives_no_probability(networks):
    assert make_engine(networks).outline(np.zeros((0, 16, 16), np.float32)).shape == (0, 16, 16)


@pytest.mark.parametrize("device", ["tpu", *([] if torch.cuda.is_available() else ["cuda"])])
def test_a_device_that_is_not_there_is_refused(networks, device):
    with pytest.raises(InputError, match="device"):
        make_engine(networks, device=device)
