import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mmocnet.config import SegmenterSettings, StageSettings
from mmocnet.errors import InputError, MmocnetError
from mmocnet.nets.segmenter import Segmenter
from mmocnet.train.loop import fit
from mmocnet.train.trainer import Trainer

TINY = SegmenterSettings(width=4, blocks=1, dilations=(2,))
SHORT = StageSettings(
    learning_rate=1e-2, warmup_steps=3, ema_decay=0.8, batch_size=4, steps_per_epoch=5, max_epochs=4
)


def network(seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter(TINY)


def draw(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Dark discs on noise; a function of the step."""
    generator = torch.Generator().manual_seed(step)
    at = torch.arange(16.0)
    centre = torch.rand(4, 2, 1, 1, generator=generator) * 10 + 3
    distance = (at[:, None] - centre[:, 0]) ** 2 + (at[None, :] - centre[:, 1]) ** 2
    masks = (distance < 9).float()[:, None]
    noise = 0.05 * torch.randn(4, 1, 16, 16, generator=generator)
    return 0.6 - 0.3 * masks + noise, masks


def validate(model: nn.Module) -> Mapping[str, float]:
    images, masks = draw(10_000)
    found = model(images) > 0
    hit = float((found * masks).sum())
    return {"score": 2 * hit / float(found.sum() + masks.sum())}


def without_time(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "elapsed_s"} for row in history]


@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
@pytest.mark.parametrize("first_part", [7, 10])
def test_a_resumed_training_is_the_uninterrupted_one(
    tmp_path: Path, optimiser: str, first_part: int
) -> None:
    settings = replace(SHORT, optimiser=optimiser)
    whole = network()
    expected = fit(whole, draw, validate, settings, tmp_path / "whole")
    fit(network(), draw, validate, settings, tmp_path / "parts", max_steps=first_part)
    resumed = network(seed=99)
    got = fit(resumed, draw, validate, settings, tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert without_time(got.history) == without_time(expected.history)
    assert got.best_epoch == expected.best_epoch


def test_training_learns_dark_discs(tmp_path: Path) -> None:
    model = network()
    result = fit(model, draw, validate, replace(SHORT, max_epochs=12), tmp_path)
    assert not model.training
    assert validate(model)["score"] > 0.8
    assert result.stopped == "epochs"


def test_history_is_written_a_line_an_epoch(tmp_path: Path) -> None:
    fit(network(), draw, validate, SHORT, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert {"loss", "score", "learning_rate", "elapsed_s"} <= set(rows[0])


def test_the_rate_warms_up_then_falls_to_a_hundredth(tmp_path: Path) -> None:
    trainer = Trainer(network(), SHORT, tmp_path)
    rates = []
    for step in range(21):
        trainer.step = step
        rates.append(trainer.rate())
    assert rates[0] == pytest.approx(SHORT.learning_rate / 3)
    assert rates[10] == pytest.approx(SHORT.learning_rate * (0.01 + 0.99 / 2))
    assert rates[20] == pytest.approx(SHORT.learning_rate / 100)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_the_rate_and_the_end_follow_the_time_budget(tmp_path: Path) -> None:
    trainer = Trainer(network(), replace(SHORT, budget_minutes=2.0, max_epochs=1000), tmp_path)
    trainer.step, trainer.result.elapsed_s = 10, 60.0
    assert trainer.progress() == 0.5
    assert trainer.rate() == pytest.approx(SHORT.learning_rate * (0.01 + 0.99 / 2))
    assert trainer.seconds_left() == pytest.approx(60.0)
    trainer.result.elapsed_s = 120.0
    assert trainer.finished()
    assert trainer.result.stopped == "budget"


def test_patience_stops_a_training_that_does_not_improve(tmp_path: Path) -> None:
    scores = iter([0.1, 0.9, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    settings = replace(SHORT, patience=3, max_epochs=50, score_smoothing=0.0)
    result = fit(network(), draw, lambda _: {"score": next(scores)}, settings, tmp_path)
    assert (result.stopped, result.best_epoch, len(result.history)) == ("patience", 2, 5)


def test_scores_before_the_average_is_warm_are_not_judged(tmp_path: Path) -> None:
    settings = replace(SHORT, warmup_steps=10, ema_decay=0.8, score_smoothing=0.0)
    scores = iter([0.9, 0.8, 0.3, 0.2])  # warm from step 10 + 5 = 15: epoch 3
    result = fit(network(), draw, lambda _: {"score": next(scores)}, settings, tmp_path)
    assert result.best_epoch == 3


def test_the_best_epoch_s_weights_are_kept(tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    scores = iter([0.1, 0.9, 0.5, 0.4])

    def remember(model: nn.Module) -> Mapping[str, float]:
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"score": next(scores)}

    model = network()
    fit(model, draw, remember, replace(SHORT, score_smoothing=0.0), tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(value, seen[1][name]), name


def test_the_average_follows_its_recursion(tmp_path: Path) -> None:
    trainer = Trainer(network(), SHORT, tmp_path)
    expected = trainer.network.output.weight.detach().clone()
    for step in range(1, 8):
        trainer.train_step(draw(step))
        decay = min(0.8, step / (step + 10))
        expected = decay * expected + (1 - decay) * trainer.network.output.weight.detach()
    torch.testing.assert_close(trainer.ema["output.weight"], expected)


def test_one_bad_batch_changes_no_weight(tmp_path: Path) -> None:
    trainer = Trainer(network(), SHORT, tmp_path)
    before = [p.detach().clone() for p in trainer.network.parameters()]
    images, masks = draw(0)
    trainer.train_step((images * math.nan, masks))
    for one, other in zip(before, trainer.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_loss_of_an_epoch_is_that_of_the_steps_that_counted(tmp_path: Path) -> None:
    trainer = Trainer(network(), SHORT, tmp_path)
    losses = []
    for step in range(10):
        images, masks = draw(step)
        loss = trainer.train_step(
            (images * math.nan if step in (1, 5, 6, 7, 8, 9) else images, masks)
        )
        losses.append(float(loss))
        if step == 2:
            # A resumed training knows how many they were.
            trainer.save()
            trainer = Trainer(network(9), SHORT, tmp_path)
        if trainer.step % 5 == 0:
            trainer.end_epoch(validate)
    first, second = trainer.result.history
    assert first["loss"] == pytest.approx((losses[0] + losses[2] + losses[3] + losses[4]) / 4)
    assert math.isnan(second["loss"])


def test_bad_batches_without_end_stop_training(tmp_path: Path) -> None:
    def bad(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, masks = draw(step)
        return images * math.nan, masks

    with pytest.raises(MmocnetError, match="not finite"):
        fit(network(), bad, validate, replace(SHORT, max_epochs=20), tmp_path)


def test_a_run_folder_of_another_network_is_refused(tmp_path: Path) -> None:
    fit(network(), draw, validate, SHORT, tmp_path, max_steps=2)
    with pytest.raises(InputError, match="give another run folder"):
        fit(Segmenter(replace(TINY, width=8)), draw, validate, SHORT, tmp_path)


def test_tensorboard_events_are_written(tmp_path: Path) -> None:
    fit(network(), draw, validate, SHORT, tmp_path)
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1


def test_a_score_that_is_no_number_judges_nothing(tmp_path: Path) -> None:
    scores = iter([0.1, math.nan, 0.5, 0.9])
    settings = replace(SHORT, score_smoothing=0.5)
    result = fit(network(), draw, lambda _: {"score": next(scores)}, settings, tmp_path)
    assert result.best_epoch == 4
