import numpy as np
import pytest
import torch
from scipy import ndimage

from mmocnet.config import LossSettings
from mmocnet.nets.losses import (
    LossSums,
    batch_sums,
    joint_loss,
    loss_parts,
    marking_loss,
    stage_loss,
)


def by_hand(logits: np.ndarray, y: np.ndarray, weight: float) -> float:
    p = 1 / (1 + np.exp(-logits.astype(float)))
    bce = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    missed = 1 - (p * y).sum() / y.sum() if y.any() else 0.0
    return bce + dice + weight * missed


@pytest.fixture
def batch(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    reference = rng.random((3, 1, 8, 8)) < 0.2
    reference[2] = False
    return rng.normal(size=(3, 1, 8, 8)).astype(np.float32), reference.astype(np.float32)


@pytest.mark.parametrize("weight", [0.0, 1.0, 10.0])
def test_loss_over_the_batch_is_the_formula(
    batch: tuple[np.ndarray, np.ndarray], weight: float
) -> None:
    logits, y = batch
    value = joint_loss(torch.tensor(logits), torch.tensor(y), LossSettings(weight, "batch"))
    assert float(value) == pytest.approx(by_hand(logits, y, weight), rel=1e-5)


def test_loss_per_image_is_the_mean_of_the_images(batch: tuple[np.ndarray, np.ndarray]) -> None:
    logits, y = batch
    value = joint_loss(torch.tensor(logits), torch.tensor(y), LossSettings(10.0, "image"))
    expected = np.mean([by_hand(one, other, 10.0) for one, other in zip(logits, y, strict=True)])
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("over", ["batch", "image"])
def test_empty_slices_have_a_finite_loss_and_gradient(over: str) -> None:
    logits = torch.full((2, 1, 8, 8), -30.0, requires_grad=True)
    value = joint_loss(logits, torch.zeros(2, 1, 8, 8), LossSettings(10.0, over))
    value.backward()
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-6)
    assert bool(torch.isfinite(logits.grad).all())


def test_empty_slices_have_no_sensitivity_term() -> None:
    sums = batch_sums(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8), LossSettings())
    assert float(loss_parts(sums).sensitivity) == 0.0


def test_sums_of_two_halves_add_up_to_the_batch(batch: tuple[np.ndarray, np.ndarray]) -> None:
    logits, y = torch.tensor(batch[0]), torch.tensor(batch[1])
    settings = LossSettings(10.0, "batch")
    halves = [batch_sums(logits[part], y[part], settings) for part in (slice(0, 1), slice(1, 3))]
    joined = LossSums(*(a + b for a, b in zip(*(vars(h).values() for h in halves), strict=True)))
    whole = loss_parts(batch_sums(logits, y, settings))
    for one, other in zip(vars(loss_parts(joined)).values(), vars(whole).values(), strict=True):
        assert float(one) == pytest.approx(float(other), rel=1e-5)


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = torch.zeros(1, 1, 512, 512, dtype=torch.bfloat16)
    assert float(batch_sums(logits, logits, LossSettings()).probability) == 512 * 512 / 2


@pytest.fixture
def marks() -> tuple[np.ndarray, np.ndarray]:
    """Logits, and an image with a lesion of 1 and one of 9 pixels beside an empty image."""
    reference = np.zeros((2, 1, 40, 40), np.float32)
    reference[0, 0, 5, 5] = 1
    reference[0, 0, 24:27, 30:33] = 1
    rng = np.random.default_rng(4)
    return rng.normal(size=reference.shape).astype(np.float32), reference


def marks_by_hand(logits: np.ndarray, y: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-logits.astype(float)))
    total, lesions = 0.0, 0
    for q, plane in zip(p[:, 0], y[:, 0] > 0, strict=True):
        labels, count = ndimage.label(plane)
        lesions += count
        for number in range(1, count + 1):
            inside = q[labels == number]
            total -= ((1 - inside) ** 2 * np.log(inside)).mean()
        far = q[ndimage.distance_transform_cdt(~plane, "chessboard") > 3] if count else q
        total -= (far**2 * np.log(1 - far)).sum()
    return total / lesions


def test_marking_loss_is_the_formula(marks: tuple[np.ndarray, np.ndarray]) -> None:
    logits, y = marks
    value = stage_loss(torch.tensor(logits), torch.tensor(y), LossSettings(kind="marking"))
    assert float(value) == pytest.approx(marks_by_hand(logits, y), rel=1e-5)


def test_to_miss_a_small_lesion_costs_what_a_large_one_does(
    marks: tuple[np.ndarray, np.ndarray],
) -> None:
    y = torch.tensor(marks[1])
    all_found = torch.where(y > 0, 8.0, -8.0)
    losses = []
    for missed in (np.s_[0, 0, :15], np.s_[0, 0, 15:]):
        logits = all_found.clone()
        logits[missed] = -8.0
        losses.append(float(marking_loss(logits, y)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] > 100 * float(marking_loss(all_found, y))


def test_marks_beside_a_lesion_are_neither_right_nor_wrong(
    marks: tuple[np.ndarray, np.ndarray],
) -> None:
    y = torch.tensor(marks[1])
    logits = torch.full_like(y, -4.0)
    beside, away = logits.clone(), logits.clone()
    beside[0, 0, 5, 8] = 4.0
    away[0, 0, 5, 9] = 4.0
    assert float(marking_loss(beside, y)) == pytest.approx(float(marking_loss(logits, y)), rel=1e-5)
    assert float(marking_loss(away, y)) > float(marking_loss(logits, y)) + 1


def test_empty_slices_have_a_finite_marking_loss_and_gradient() -> None:
    logits = torch.full((2, 1, 8, 8), 60.0, requires_grad=True)
    marking_loss(logits, torch.zeros(2, 1, 8, 8)).backward()
    assert bool(torch.isfinite(logits.grad).all())


def test_stage_loss_is_the_joint_one_unless_told() -> None:
    logits, y = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    assert torch.equal(stage_loss(logits, y, LossSettings()), joint_loss(logits, y, LossSettings()))
