from dataclasses import replace

import numpy as np
import pytest
import torch

from mmocnet.config import ClassifierSettings
from mmocnet.errors import InputError
from mmocnet.nets.classifier import (
    PLAUSIBLE_LOGIT,
    Classifier,
    Patches,
    mean_logits,
    upside_down,
)
from mmocnet.types import FloatArray


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


SEEN = ClassifierSettings(
    offsets_mm=(-2.0, 0.0, 2.0),
    phase_offsets_mm=(0.0, 1.0),
    place=True,
    mark_offsets_mm=(-1.0, 1.0),
)


def test_upside_down_reverses_planes_and_leaves_thickness_and_place() -> None:
    assert upside_down(SEEN).tolist() == [2, 1, 0, 5, 4, 3, 7, 6, 8, 9, 10, 11, 12, 14, 13]


def test_the_mean_over_half_turns_is_the_same_for_every_half_turn(
    rng: np.random.Generator,
) -> None:
    weights = rng.normal(size=(15, 6, 6))

    def classify(patches: Patches) -> FloatArray:
        return np.tanh((patches * weights).sum(axis=(1, 2, 3)))

    one = rng.normal(size=(1, 15, 6, 6))
    turned = one[:, upside_down(SEEN)]
    images = [view[:, :, ::r, ::c] for view in (one, turned) for r in (1, -1) for c in (1, -1)]
    patches = np.concatenate(images)
    plain = mean_logits(classify, patches, SEEN)
    assert np.array_equal(plain, classify(patches))
    assert np.ptp(plain) > 0.1
    mirrored = mean_logits(classify, patches, replace(SEEN, mirrored=True))
    # Mirrored along two axes or none; the others along one or three.
    turns, others = [0, 3, 5, 6], [1, 2, 4, 7]
    assert mirrored[turns] == pytest.approx(plain[turns].mean())
    assert mirrored[others] == pytest.approx(plain[others].mean())


def test_half_turns_of_what_is_none_are_not_looked_at() -> None:
    seen: list[int] = []

    def classify(patches: Patches) -> FloatArray:
        seen.append(len(patches))
        return patches[:, 0, 0, 0]

    patches = np.zeros((3, 15, 4, 4))
    patches[:, 0, 0, 0] = [PLAUSIBLE_LOGIT - 0.5, PLAUSIBLE_LOGIT, 2.0]
    logits = mean_logits(classify, patches, replace(SEEN, mirrored=True))
    assert seen == [3, *[2] * 3]
    # The corner of the first plane holds it in one of four half turns.
    expected = [PLAUSIBLE_LOGIT - 0.5, PLAUSIBLE_LOGIT / 4, 2.0 / 4]
    assert logits == pytest.approx(expected)
    assert mean_logits(classify, patches[:0], replace(SEEN, mirrored=True)).shape == (0,)
