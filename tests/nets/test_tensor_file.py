import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmocnet.errors import MmocnetError
from mmocnet.nets.tensor_file import save_tensors


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Let no file grow beyond 100 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_the_file_as_it_was_and_is_told_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "stage2" / "segmenter.safetensors"
    save_tensors(path, {"a": torch.ones(3)})
    with pytest.raises(MmocnetError, match=r"cannot write stage2/segmenter.safetensors: .*large"):
        save_tensors(path, {"a": torch.zeros(100_000)})
    assert torch.equal(load_file(path)["a"], torch.ones(3))
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_tensors_of_any_layout_come_back(tmp_path: Path) -> None:
    turned = torch.rand(3, 4).T.requires_grad_()
    save_tensors(tmp_path / "a.safetensors", {"a": turned})
    assert torch.equal(load_file(tmp_path / "a.safetensors")["a"], turned)
