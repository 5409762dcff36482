import pytest
import torch

from mmocnet.config import SegmenterSettings
from mmocnet.errors import InputError
from mmocnet.nets.segmenter import Segmenter


def count(settings: SegmenterSettings) -> int:
    return sum(p.numel() for p in Segmenter(settings).parameters())


def reach_px(network: torch.nn.Module, size: int = 65) -> set[int]:
    """Columns of the middle row that the middle output depends on, from the middle."""
    x = torch.rand(1, network_channels(network), size, size, requires_grad=True)
    network(x)[0, 0, size // 2, size // 2].backward()
    return {int(c) - size // 2 for c in torch.nonzero(x.grad[0].abs().sum((0, 1)) > 1e-12)}


def network_channels(network: torch.nn.Module) -> int:
    first = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
    return first.in_channels


def test_the_article_s_network_has_145089_parameters() -> None:
    assert count(SegmenterSettings()) == 145_089


def test_a_plain_branch_makes_147201_parameters() -> None:
    assert count(SegmenterSettings(plain_branch=True)) == 147_201


def test_without_dilations_the_r_aspp_is_gone() -> None:
    assert count(SegmenterSettings(dilations=())) == 145_089 - 33_088


def test_nothing_is_downsampled() -> None:
    network = Segmenter(SegmenterSettings(width=4))
    sizes = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
            module.register_forward_hook(lambda _m, _i, out: sizes.append(tuple(out.shape[2:])))
    network.eval()(torch.rand(1, 1, 32, 24))
    assert set(sizes) == {(32, 24)}
    assert len(sizes) == 1 + 6 + 3 + 6 + 1


def test_each_dilated_branch_reaches_exactly_its_dilation() -> None:
    torch.manual_seed(0)
    aspp = Segmenter(SegmenterSettings(width=4)).eval().aspp
    reached = [reach_px(branch[:1]) for branch in aspp.branches]
    assert reached == [{-4, 0, 4}, {-8, 0, 8}, {-12, 0, 12}]


def test_the_pooled_branch_sees_the_whole_patch() -> None:
    torch.manual_seed(0)
    aspp = Segmenter(SegmenterSettings(width=4)).eval().aspp
    x = torch.rand(1, 4, 16, 16)
    corner = x.clone()
    corner[..., 0, 0] += 10
    assert (aspp(corner) - aspp(x))[0, :, 8, 15].abs().max() > 0


def test_r_aspp_adds_its_input() -> None:
    aspp = Segmenter(SegmenterSettings(width=4)).eval().aspp
    torch.nn.init.zeros_(aspp.fuse[0].weight)
    x = torch.rand(2, 4, 16, 16)
    assert torch.equal(aspp(x), x)


def test_a_training_batch_of_one_is_accepted_and_keeps_the_pooled_branch() -> None:
    network = Segmenter(SegmenterSettings(width=4)).train()
    network(torch.rand(1, 1, 32, 32)).mean().backward()
    assert network.aspp.pooled[0].weight.grad is not None


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_logits_have_the_size_of_the_patch(size: int) -> None:
    assert Segmenter(SegmenterSettings(width=4))(torch.rand(2, 1, size, size)).shape == (
        2,
        1,
        size,
        size,
    )


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(InputError, match=r"expects shape \(B, 1, H, W\)"):
        Segmenter(SegmenterSettings(width=4))(torch.rand(1, 3, 32, 32))


def test_checkpointing_updates_running_statistics_once() -> None:
    torch.manual_seed(1)
    plain, saving = Segmenter(SegmenterSettings(width=4)), Segmenter(SegmenterSettings(width=4))
    saving.load_state_dict(plain.state_dict())
    saving.checkpointing = True
    images = torch.rand(3, 1, 16, 16)
    for network in (plain, saving):
        network(images).mean().backward()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, saving.state_dict()[name]), name
