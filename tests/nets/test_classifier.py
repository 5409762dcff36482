import pytest
import torch

from mmocnet.config import ClassifierSettings
from mmocnet.errors import InputError
from mmocnet.nets.classifier import Classifier


def test_one_logit_a_patch_and_a_gradient_to_every_weight() -> None:
    network = Classifier(ClassifierSettings(widths=(8, 16), blocks=1, size=16))
    x = torch.rand(4, network.channels, 16, 16)
    logits = network(x)
    assert logits.shape == (4, 1, 1, 1)
    logits.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())


def test_channels_are_planes_twice_phase_and_thickness() -> None:
    settings = ClassifierSettings(offsets_mm=(-2.0, 0.0, 2.0), phase_offsets_mm=(0.0,))
    assert Classifier(settings).channels == 3 + 3 + 1 + 1


def test_another_number_of_channels_is_refused() -> None:
    network = Classifier(ClassifierSettings(widths=(8,), blocks=1))
    with pytest.raises(InputError, match="expects shape"):
        network(torch.zeros(1, 3, 16, 16))
