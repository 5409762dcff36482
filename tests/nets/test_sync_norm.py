from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch import multiprocessing as mp

from mmocnet.config import SegmenterSettings
from mmocnet.nets.blocks import PooledBatchNorm
from mmocnet.nets.segmenter import Segmenter
from mmocnet.nets.sync_norm import SynchronisedBatchNorm, synchronise_norms

SHARES = (slice(0, 4), slice(4, 5))


def batch(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    # Far from zero, where sums of squares would lose the variance.
    return 300 + torch.randn(5, 3, size, size, generator=generator)


def results(norm: nn.BatchNorm2d, x: Tensor) -> dict[str, Tensor]:
    """Output, gradient of the input of a loss that differs by image, and running values."""
    x = x.clone().requires_grad_()
    y = norm(x)
    # Of each image's own values: a sum over the batch is the sum over its shares.
    (y.sigmoid() * x.detach().sin()).sum().backward()
    assert x.grad is not None
    return {"y": y.detach(), "x": x.grad, **norm.state_dict()}


def fresh(kind: type[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    norm = kind(3)
    nn.init.constant_(norm.weight, 1.5)
    nn.init.constant_(norm.bias, 0.3)
    return norm


def _process(number: int, folder: Path) -> None:
    from mmocnet.train.distributed import sum_over_processes

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=number, world_size=2
    )
    for size, kind in ((6, nn.BatchNorm2d), (1, PooledBatchNorm)):
        norm = SynchronisedBatchNorm(fresh(kind), sum_over_processes)
        torch.save(results(norm, batch(size)[SHARES[number]]), folder / f"{size}-{number}.pt")
    dist.destroy_process_group()


def test_statistics_outputs_and_gradients_are_the_whole_batch_s(tmp_path: Path) -> None:
    mp.spawn(  # type: ignore[attr-defined, no-untyped-call]
        _process, (tmp_path,), nprocs=2
    )
    for size, kind in ((6, nn.BatchNorm2d), (1, PooledBatchNorm)):
        expected = results(fresh(kind), batch(size))
        for number, share in enumerate(SHARES):
            found = torch.load(tmp_path / f"{size}-{number}.pt")
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                wanted = value[share] if name in ("x", "y") else value
                torch.testing.assert_close(found[name], wanted, rtol=1e-4, atol=1e-4, msg=name)


def test_alone_it_is_batch_norm_in_training_and_in_use() -> None:
    torch.manual_seed(0)
    plain = Segmenter(SegmenterSettings(width=4, blocks=1, dilations=(2,)))
    synced = Segmenter(SegmenterSettings(width=4, blocks=1, dilations=(2,)))
    synced.load_state_dict(plain.state_dict())
    weights = list(synced.parameters())
    synchronise_norms(synced, lambda values: values)
    assert all(one is other for one, other in zip(weights, synced.parameters(), strict=True))
    assert list(synced.state_dict()) == list(plain.state_dict())
    x = torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(synced(x), plain(x))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(synced.state_dict()[name], value, msg=name)
    torch.testing.assert_close(synced.eval()(x), plain.eval()(x))


@pytest.mark.parametrize("times", [1, 2])
def test_every_norm_is_replaced_once(times: int) -> None:
    model = Segmenter(SegmenterSettings(width=4, blocks=1, dilations=(2,)))
    before = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    for _ in range(times):
        synchronise_norms(model, lambda values: values)
    after = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(after) == before
    assert all(isinstance(m, SynchronisedBatchNorm) for m in after)
