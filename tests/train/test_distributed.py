from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch import multiprocessing as mp

from mmocnet.config import DetectorSettings, LossSettings, SegmenterSettings, StageSettings
from mmocnet.errors import InputError
from mmocnet.nets.detector import Detector
from mmocnet.nets.losses import stage_loss
from mmocnet.nets.segmenter import Segmenter
from mmocnet.train.distributed import (
    from_main,
    is_main,
    on_main,
    own_rows,
    parallel,
    process_group,
    rank,
    sum_over_processes,
    world_size,
)
from mmocnet.train.loop import fit
from mmocnet.train.trainer import Trainer

TINY = SegmenterSettings(width=4, blocks=1, dilations=(2,))
SHORT = StageSettings(
    learning_rate=1e-2, warmup_steps=3, ema_decay=0.8, batch_size=5, steps_per_epoch=3, max_epochs=3
)


def _joined(number: int, work: Callable[[Path], None], folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=number, world_size=2
    )
    try:
        work(folder)
    finally:
        dist.destroy_process_group()


def in_two_processes(work: Callable[[Path], None], folder: Path) -> None:
    (folder / "meet").unlink(missing_ok=True)
    mp.spawn(  # type: ignore[attr-defined, no-untyped-call]
        _joined, (work, folder), nprocs=2
    )


def network(seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter(TINY)


def draw(step: int) -> tuple[Tensor, Tensor]:
    """Five images; dark discs in the first, third and last, so one process of two has all."""
    generator = torch.Generator().manual_seed(step)
    at = torch.arange(16.0)
    centre = torch.rand(5, 2, 1, 1, generator=generator) * 10 + 3
    distance = (at[:, None] - centre[:, 0]) ** 2 + (at[None, :] - centre[:, 1]) ** 2
    masks = (distance < 9).float()[:, None]
    masks[1::2] = 0
    noise = 0.05 * torch.randn(5, 1, 16, 16, generator=generator)
    return 0.6 - 0.3 * masks + noise, masks


def validate(model: nn.Module) -> Mapping[str, float]:
    images, masks = draw(10_000)
    found = model(images) > 0
    hit = float((found * masks).sum())
    return {"score": 2 * hit / float(found.sum() + masks.sum())}


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}


LOSSES = {
    "batch": LossSettings(3.0, "batch"),
    "image": LossSettings(3.0, "image"),
    "marking": LossSettings(kind="marking"),
}


def shared_gradients(folder: Path) -> None:
    images, masks = own_rows(draw(0))
    for name, settings in LOSSES.items():
        model = network(seed=rank()).eval()
        shared = parallel(model)
        loss = stage_loss(shared(images), masks, settings, sum_over_processes)
        loss.backward()  # type: ignore[no-untyped-call]
        found = {**gradients(model), "loss": loss.detach()}
        torch.save(found, folder / f"{name}-{rank()}.pt")


def test_two_processes_have_the_whole_batch_s_loss_and_gradients(tmp_path: Path) -> None:
    in_two_processes(shared_gradients, tmp_path)
    images, masks = draw(0)
    assert masks[1::2].sum() == 0
    assert (masks[0::2].sum((1, 2, 3)) > 0).all()
    for kind, settings in LOSSES.items():
        model = network().eval()  # statistics frozen: only the loss joins the images
        loss = stage_loss(model(images), masks, settings)
        loss.backward()  # type: ignore[no-untyped-call]
        expected = {**gradients(model), "loss": loss.detach()}
        for number in (0, 1):
            found = torch.load(tmp_path / f"{kind}-{number}.pt")
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


def model_of(kind: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    if kind == "detector":
        return Detector(DetectorSettings(widths=(4, 4, 8, 8, 8))).double()
    model = Segmenter(TINY).double()
    model.checkpointing = kind == "checkpointed"
    return model


def one_step(folder: Path, kind: str) -> None:
    model = model_of(kind, seed=rank())
    images, masks = draw(0)
    trainer = Trainer(model, SHORT, folder / f"run-{world_size()}-{kind}")
    trainer.train_step((images.double(), masks.double()))
    if is_main():
        found = {**gradients(model), **dict(model.named_buffers())}
        torch.save(found, folder / f"{world_size()}-{kind}.pt")


def all_steps(folder: Path) -> None:
    for kind in ("segmenter", "checkpointed", "detector"):
        one_step(folder, kind)


def test_a_training_step_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    in_two_processes(all_steps, tmp_path)
    all_steps(tmp_path)
    for kind in ("segmenter", "checkpointed", "detector"):
        expected = torch.load(tmp_path / f"1-{kind}.pt")
        found = torch.load(tmp_path / f"2-{kind}.pt")
        assert found.keys() == expected.keys()
        for name, value in expected.items():  # the loss is float32, all else float64
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def first_part(folder: Path) -> None:
    result = fit(network(), draw, validate, SHORT, folder / "from-two", max_steps=4)
    assert len(result.history) == 1


def second_part(folder: Path) -> None:
    model = network(seed=9)
    fit(model, draw, validate, SHORT, folder / "from-one")
    torch.save(model.state_dict(), folder / f"end-{rank()}.pt")


def both_parts(folder: Path) -> None:
    first_part(folder)
    second_part(folder)


def test_a_training_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    whole = network()
    fit(whole, draw, validate, SHORT, tmp_path / "whole")
    fit(network(), draw, validate, SHORT, tmp_path / "from-one", max_steps=4)
    in_two_processes(both_parts, tmp_path)
    resumed = network(seed=9)
    result = fit(resumed, draw, validate, SHORT, tmp_path / "from-two")
    ends = [resumed.state_dict(), *(torch.load(tmp_path / f"end-{i}.pt") for i in (0, 1))]
    for end in ends:
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(end[name], value, rtol=1e-2, atol=1e-3, msg=name)
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert len((tmp_path / "from-one" / "history.jsonl").read_text().splitlines()) == 3


def exchanges(folder: Path) -> None:
    with process_group("cpu"):  # already joined: stays so afterwards
        assert world_size() == 2
    assert from_main({"score": rank()}) == {"score": 0}
    assert on_main(rank) == (0 if is_main() else None)
    mine = torch.tensor([1.0 + rank()], requires_grad=True)
    total = sum_over_processes(mine)
    (total * (10 if is_main() else 100)).sum().backward()  # type: ignore[no-untyped-call]
    assert float(total.detach()) == 3.0
    assert mine.grad is not None
    assert float(mine.grad) == 110.0
    images, _ = own_rows((torch.arange(5), torch.arange(5)))
    assert images.tolist() == ([0, 2, 4] if is_main() else [1, 3])
    with pytest.raises(InputError, match="as many processes as images in a batch, got 2 for 1"):
        own_rows((torch.zeros(1), torch.zeros(1)))


def test_processes_exchange_values_and_sums(tmp_path: Path) -> None:
    in_two_processes(exchanges, tmp_path)


def test_alone_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    model, values = network(), torch.ones(3)
    with process_group("cpu"):
        assert (rank(), world_size(), is_main()) == (0, 1, True)
        assert from_main(4) == 4
        assert on_main(lambda: 5) == 5
        assert parallel(model) is model
        assert sum_over_processes(values) is values
