import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmocnet.config import DetectorSettings
from mmocnet.errors import InputError
from mmocnet.nets.detector import Detector

NARROW = DetectorSettings(widths=(4, 4, 8, 8, 8))


@pytest.fixture(scope="module")
def full() -> Detector:
    with torch.device("meta"):
        return Detector(DetectorSettings()).eval()


def test_full_width_has_24_40_million_parameters(full: Detector) -> None:
    assert sum(p.numel() for p in full.parameters()) == 24_403_905


def test_full_width_takes_137_4_gflop_at_352_x_448(full: Detector) -> None:
    with FlopCounterMode(display=False) as counter:
        full(torch.zeros(1, 1, 352, 448, device="meta"))
    assert round(counter.get_total_flops() / 1e9, 1) == 137.4


def test_logits_have_the_size_of_the_slice() -> None:
    assert Detector(NARROW)(torch.rand(2, 1, 48, 32)).shape == (2, 1, 48, 32)


def test_encoder_stages_have_3_4_6_3_blocks_and_one_stride_each_but_the_first(
    full: Detector,
) -> None:
    strides = [[block.first[0].stride[0] for block in stage] for stage in full.stages]
    assert strides == [[1] * 3, [2] + [1] * 3, [2] + [1] * 5, [2] + [1] * 2]


def test_only_the_output_convolution_has_a_bias(full: Detector) -> None:
    convolutions = [(n, m) for n, m in full.named_modules() if isinstance(m, torch.nn.Conv2d)]
    assert [name for name, module in convolutions if module.bias is not None] == ["output"]


def test_output_bias_sets_the_first_probability() -> None:
    torch.manual_seed(0)
    detector = Detector(DetectorSettings(widths=NARROW.widths, output_bias=-4.0)).eval()
    with torch.no_grad():
        detector.output.weight.zero_()
        probability = torch.sigmoid(detector(torch.rand(1, 1, 16, 16)))
    assert torch.allclose(probability, torch.tensor(0.0180), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 24, 32), (1, 1, 32, 8), (1, 2, 32, 32), (1, 32, 32)])
def test_a_shape_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="the detector expects"):
        Detector(NARROW)(torch.zeros(shape))


def test_checkpointing_changes_neither_gradients_nor_running_statistics() -> None:
    torch.manual_seed(1)
    plain = Detector(NARROW)
    saving = Detector(NARROW)
    saving.load_state_dict(plain.state_dict())
    saving.checkpointing = True
    images = torch.rand(2, 1, 32, 32)
    for network in (plain, saving):
        network(images).square().mean().backward()
    for (name, one), other in zip(
        plain.named_parameters(), dict(saving.named_parameters()).values(), strict=True
    ):
        assert torch.allclose(one.grad, other.grad, atol=1e-6), name
    for name, value in plain.state_dict().items():
        assert torch.equal(value, saving.state_dict()[name]), name
