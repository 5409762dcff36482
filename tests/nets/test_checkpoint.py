import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmocnet.config import CascadeSettings, DetectorSettings, SegmenterSettings, Thresholds
from mmocnet.errors import InputError, ModelError
from mmocnet.io.digest import file_sha256
from mmocnet.nets import card, checkpoint
from mmocnet.nets.card import default_model
from mmocnet.nets.checkpoint import Cascade, load_cascade, save_cascade, start_from
from mmocnet.nets.detector import Detector
from mmocnet.nets.pretrained import load_pretrained_encoder
from mmocnet.nets.segmenter import Segmenter

SETTINGS = CascadeSettings(
    detector=DetectorSettings(widths=(4, 4, 8, 8, 8)),
    segmenter=SegmenterSettings(width=4, dilations=(2, 3)),
    thresholds=Thresholds(0.1, 0.2, 0.9),
    candidate_threshold=0.25,
)


@pytest.fixture
def cascade() -> Cascade:
    torch.manual_seed(0)
    made = Cascade(
        SETTINGS, Detector(SETTINGS.detector), Segmenter(SETTINGS.segmenter), {"seed": 3}
    )
    # A step in train mode gives the running statistics something to keep.
    made.detector(torch.rand(2, 1, 32, 32))
    made.segmenter(torch.rand(2, 1, 16, 16))
    return made


@pytest.fixture
def folder(tmp_path: Path, cascade: Cascade) -> Path:
    save_cascade(tmp_path / "model", cascade)
    return tmp_path / "model"


def test_a_cascade_comes_back_in_half_precision(folder: Path, cascade: Cascade) -> None:
    back = load_cascade(folder)
    assert (back.settings, back.card) == (SETTINGS, {"seed": 3})
    for one, other in ((cascade.detector, back.detector), (cascade.segmenter, back.segmenter)):
        for name, value in one.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                again = other.state_dict()[name]
                assert again.dtype == torch.float32
                assert torch.equal(value.half().float(), again), name


def test_a_model_takes_the_place_of_another(folder: Path, cascade: Cascade) -> None:
    cascade.card = {"seed": 4}
    save_cascade(folder, cascade)
    assert load_cascade(folder).card == {"seed": 4}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_loaded_cascade_is_in_eval_mode(folder: Path) -> None:
    back = load_cascade(folder)
    assert not back.detector.training
    assert not back.segmenter.training


def test_digests_are_those_of_the_files(folder: Path) -> None:
    import hashlib

    for file, digest in load_cascade(folder).sha256.items():
        assert digest == hashlib.sha256((folder / file).read_bytes()).hexdigest()


def test_weight_files_are_for_all_to_read(folder: Path) -> None:
    assert (folder / "detector.safetensors").stat().st_mode & 0o777 == 0o644


def test_saving_again_replaces_the_folder(folder: Path, cascade: Cascade) -> None:
    cascade.card = {"seed": 4}
    save_cascade(folder, cascade)
    assert load_cascade(folder).card == {"seed": 4}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_an_altered_weight_file_is_refused(folder: Path) -> None:
    path = folder / "segmenter.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="was altered"):
        load_cascade(folder)


@pytest.mark.parametrize(
    "file", ["detector.safetensors", "settings.json", "card.json", "SHA256SUMS"]
)
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(ModelError, match=file):
        load_cascade(folder)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"magic": 1}, "unknown settings"),
        ({"roi_size": "32"}, "expected int"),
        ({"detector": {"widths": [4, 4]}}, "expected 5 values"),
        ({"detector": {"depth": 3}}, "unknown settings"),
        ({"preparation": {"normalisation": "zscore"}}, "expected one of"),
        ({"detector": {"widths": [8, 8, 8, 8, 8]}}, "does not fit"),
        ({"detector": {"widths": [-1, 4, 8, 8, 8]}}, "detector.widths from 1 to 1024, got -1"),
        ({"detector": {"widths": [10**6] * 5}}, "got 1000000 in model/settings.json"),
        ({"segmenter": {"width": 4, "blocks": 0}}, "segmenter.blocks from 1 to 16, got 0"),
        ({"roi_size": 0}, "roi_size from 16 to 128, got 0"),
        ({"preparation": {"pixel_mm": 1e-4}}, "pixel_mm from 0.1 to 5.0, got 0.0001"),
        ({"thresholds": {"balanced": 1.5}}, "thresholds from 0.0 to 1.0, got 1.5"),
        ({"thresholds": {"balanced": math.nan}}, "a finite number, got nan in .*balanced"),
    ],
)
def test_wrong_settings_are_refused(folder: Path, change: dict[str, object], text: str) -> None:
    path = folder / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=text):
        load_cascade(folder)


@pytest.mark.parametrize("network", ["detector", "segmenter"])
def test_weights_that_are_not_finite_are_not_loaded(folder: Path, network: str) -> None:
    path = folder / f"{network}.safetensors"
    before = file_sha256(path)
    weights = load_file(path)
    weights["output.bias"] *= math.nan
    save_file(weights, path)
    sums = folder / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(before, file_sha256(path)))
    with pytest.raises(ModelError, match=f"output.bias of model/{network}.safetensors"):
        load_cascade(folder)


@pytest.mark.parametrize(
    ("file", "content", "text"),
    [
        ("settings.json", b"[" * 100_000, "expected JSON in model/settings.json"),
        ("settings.json", b"\xff{}", "expected JSON in model/settings.json"),
        ("card.json", b"[]", "expected a table in model/card.json, got list"),
        ("SHA256SUMS", b"\xff\xfe\x00", "was altered"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, file: str, content: bytes, text: str) -> None:
    (folder / file).write_bytes(content)
    with pytest.raises(ModelError, match=text):
        load_cascade(folder)


def test_settings_that_older_files_lack_keep_their_defaults(folder: Path) -> None:
    path = folder / "settings.json"
    data = json.loads(path.read_text())
    del data["thresholds"]
    path.write_text(json.dumps(data))
    assert load_cascade(folder).settings == replace(SETTINGS, thresholds=Thresholds())


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, cascade: Cascade) -> None:
    with torch.no_grad():
        cascade.detector.output.weight.fill_(1e6)
    with pytest.raises(ModelError, match="finite"):
        save_cascade(tmp_path / "model", cascade)
    assert not (tmp_path / "model").exists()


def test_a_name_never_trained_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compact").mkdir()
    monkeypatch.setattr(checkpoint, "shipped_folder", lambda: tmp_path)
    with pytest.raises(ModelError, match="'paper' has not been trained yet: use compact"):
        load_cascade("paper")


def test_standard_is_the_default_once_it_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "shipped_folder", lambda: tmp_path)
    assert default_model() == "compact"
    (tmp_path / "standard").mkdir()
    assert default_model() == "standard"


def resnet34_like(rng_seed: int) -> dict[str, torch.Tensor]:
    """Torchvision's names and shapes of the four layers, at widths 8, 8, 16, 16."""
    generator = torch.Generator().manual_seed(rng_seed)
    widths, blocks, weights = (8, 8, 16, 16), (2, 1, 1, 1), {}
    for layer, (width, count) in enumerate(zip(widths, blocks, strict=True), 1):
        for block in range(count):
            start = f"layer{layer}.{block}"
            source = width if block or layer == 1 else widths[layer - 2]
            weights[f"{start}.conv1.weight"] = torch.rand(width, source, 3, 3, generator=generator)
            weights[f"{start}.conv2.weight"] = torch.rand(width, width, 3, 3, generator=generator)
            weights[f"{start}.bn1.running_mean"] = torch.rand(width, generator=generator)
            if block == 0 and layer > 1:
                weights[f"{start}.downsample.0.weight"] = torch.rand(
                    width, source, 1, 1, generator=generator
                )
    weights["fc.weight"] = torch.rand(10, 16, generator=generator)
    return weights


def test_a_resnet_fills_every_stage_but_stage_2_s_entrance(tmp_path: Path) -> None:
    weights = resnet34_like(1)
    save_file(weights, tmp_path / "resnet.safetensors")
    detector = Detector(DetectorSettings(widths=(4, 8, 8, 16, 16), blocks=(2, 1, 1, 1)))
    filled = load_pretrained_encoder(detector, tmp_path / "resnet.safetensors")
    state = detector.state_dict()
    assert len(filled) == len(weights) - 2  # fc, and layer1.0.conv1 with its 8 inputs
    assert torch.equal(
        state["stages.2.0.shortcut.0.weight"], weights["layer3.0.downsample.0.weight"]
    )
    assert torch.equal(state["stages.0.1.second.0.weight"], weights["layer1.1.conv2.weight"])
    assert torch.equal(
        state["stages.3.0.first.1.running_mean"], weights["layer4.0.bn1.running_mean"]
    )


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="ResNet-34"):
        load_pretrained_encoder(Detector(SETTINGS.detector), tmp_path / "other.safetensors")


def test_a_resnet_is_refused_by_a_narrower_stage_1(tmp_path: Path) -> None:
    save_file(resnet34_like(1), tmp_path / "resnet.safetensors")
    detector = Detector(DetectorSettings(widths=(4, 4, 8, 8, 8), blocks=(2, 1, 1, 1)))
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    told = r"as of the paper preset, for resnet.safetensors: layer1.0.* is \(8,\), not \(4,\)"
    with pytest.raises(ModelError, match=told):
        load_pretrained_encoder(detector, tmp_path / "resnet.safetensors")
    assert all(torch.equal(before[key], value) for key, value in detector.state_dict().items())


def test_a_resnet_with_weights_that_are_not_finite_is_refused(tmp_path: Path) -> None:
    weights = resnet34_like(1)
    weights["layer2.0.conv2.weight"][0, 0, 0, 0] = math.nan
    save_file(weights, tmp_path / "resnet.safetensors")
    detector = Detector(DetectorSettings(widths=(4, 8, 8, 16, 16), blocks=(2, 1, 1, 1)))
    with pytest.raises(ModelError, match="finite weights"):
        load_pretrained_encoder(detector, tmp_path / "resnet.safetensors")


def replaced(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    """Write other weights into a model folder, with their digest."""
    path = folder / "segmenter.safetensors"
    save_file(weights, path)
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if path.name not in line]
    lines.append(f"{file_sha256(path)}  {path.name}")
    (folder / "SHA256SUMS").write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("blocks", [2, 4])
def test_a_network_of_other_blocks_is_no_start(folder: Path, blocks: int) -> None:
    other = Segmenter(replace(SETTINGS.segmenter, blocks=blocks))
    with pytest.raises(ModelError, match="does not fit the networks that start from it"):
        start_from(other, folder / "segmenter.safetensors")


@pytest.mark.parametrize("width", [2, 8])
def test_a_network_of_another_width_that_sees_more_is_no_start(folder: Path, width: int) -> None:
    other = Segmenter(replace(SETTINGS.segmenter, width=width, in_channels=3))
    with pytest.raises(ModelError, match="does not fit the networks that start from it"):
        start_from(other, folder / "segmenter.safetensors")


def test_weights_of_nothing_are_no_start(folder: Path) -> None:
    path = replaced(folder, {"nothing.weight": torch.zeros(3)})
    with pytest.raises(ModelError, match="does not fit the networks that start from it"):
        start_from(Segmenter(SETTINGS.segmenter), path)


def test_weights_that_are_not_finite_are_no_start(folder: Path) -> None:
    weights = load_file(folder / "segmenter.safetensors")
    path = replaced(folder, {key: value * math.nan for key, value in weights.items()})
    with pytest.raises(ModelError, match="expected finite weights"):
        start_from(Segmenter(SETTINGS.segmenter), path)


def test_altered_weights_are_no_start(folder: Path) -> None:
    path = folder / "segmenter.safetensors"
    save_file({key: value + 1 for key, value in load_file(path).items()}, path)
    with pytest.raises(ModelError, match=r"segmenter\.safetensors was altered"):
        start_from(Segmenter(SETTINGS.segmenter), path)


@pytest.mark.parametrize("missing", ["segmenter.safetensors", "SHA256SUMS"])
def test_a_model_folder_that_lacks_a_file_is_no_start(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=f"incomplete: {missing} is missing"):
        start_from(Segmenter(SETTINGS.segmenter), folder / "segmenter.safetensors")


def test_like_weights_are_a_start(folder: Path, cascade: Cascade) -> None:
    network = Segmenter(SETTINGS.segmenter)
    start_from(network, folder / "segmenter.safetensors")
    trained = cascade.segmenter.state_dict()
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, trained[name].half().float()), name
