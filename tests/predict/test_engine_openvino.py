import sys

import numpy as np
import pytest
import torch
from torch import nn

from mmocnet.config import DetectorSettings, SegmenterSettings
from mmocnet.errors import InputError
from mmocnet.nets.detector import Detector
from mmocnet.nets.segmenter import Segmenter
from mmocnet.predict.engine import make_engine
from mmocnet.predict.openvino import cache_folder, calibration_slices


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mmocnet" / "openvino"


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(1)
    settings = DetectorSettings(widths=(4, 4, 8, 8, 8), blocks=(1, 1, 1, 1), in_channels=3)
    classifier = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    made = (
        Detector(settings),
        Segmenter(SegmenterSettings(width=4, blocks=1, in_channels=3)),
        nn.Sequential(*classifier, nn.Linear(4, 1)),
    )
    for network in made:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2.0)
        network.eval()
    return made


@pytest.fixture
def slices(rng):
    """Three slices whose brains have boxes of different sizes."""
    brain = np.zeros((3, 80, 96), dtype=bool)
    brain[0, 30:50, 30:50] = brain[1, 10:70, 20:80] = brain[2, :, :] = True
    return rng.random(brain.shape).astype(np.float32), brain


def test_openvino_gives_what_torch_gives(networks, slices, rng):
    exact, other = make_engine(networks), make_engine(networks, engine="openvino")
    told = []
    found = other.detect(*slices, lambda done, total: told.append((done, total)), step=2)
    expected = exact.detect(*slices, step=2)
    assert expected.std() > 1e-3
    assert np.allclose(found, expected, atol=1e-3)
    assert told == [(1, 3), (2, 3), (3, 3)]
    patches = rng.random((70, 3, 16, 16)).astype(np.float32)
    assert np.allclose(other.outline(patches), exact.outline(patches), atol=1e-3)
    assert np.allclose(other.classify(patches[:, :2]), exact.classify(patches[:, :2]), atol=1e-3)
    assert other.outline(patches[:0]).shape == (0, 16, 16)


def test_8_bits_run_stage_1_close_and_the_rest_exactly(networks, slices, rng):
    # And nobody is told that they ran.
    exact, rough = make_engine(networks), make_engine(networks, engine="openvino-int8")
    expected, found = exact.detect(*slices), rough.detect(*slices)
    difference = np.abs(found - expected)
    assert 0 < difference.max() < 0.1
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    patches = rng.random((3, 3, 16, 16)).astype(np.float32)
    assert np.allclose(rough.outline(patches), exact.outline(patches), atol=1e-3)
    assert sys.modules.get("openvino_telemetry") is None


def test_a_converted_network_is_kept_and_another_one_is_not_taken_for_it(
    networks, slices, cache, monkeypatch
):
    first = make_engine(networks, engine="openvino").detect(*slices)
    kept = sorted(cache.iterdir())
    assert len(kept) == 2 * len(networks)
    with monkeypatch.context() as without:
        without.setattr("openvino.convert_model", None)
        again = make_engine(networks, engine="openvino").detect(*slices)
    assert np.array_equal(again, first)
    torch.manual_seed(2)
    altered = Detector(networks[0].settings).eval()
    make_engine((altered, *networks[1:]), engine="openvino")
    assert len(list(cache.iterdir())) == len(kept) + 2


def test_a_spoilt_file_in_the_cache_is_made_again(networks, slices, cache):
    first = make_engine(networks, engine="openvino").detect(*slices)
    for path in cache.glob("*.xml"):
        path.write_text("no network", encoding="utf-8")
    assert np.array_equal(make_engine(networks, engine="openvino").detect(*slices), first)


def test_a_cache_that_cannot_be_written_stops_nothing(networks, slices, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert make_engine(networks, engine="openvino").detect(*slices).any()


@pytest.mark.parametrize(
    ("engine", "missing"), [("openvino", "openvino"), ("openvino-int8", "nncf")]
)
def test_a_missing_package_gives_one_sentence(networks, engine, missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf"{missing}.*pip install 'mmocnet\[openvino\]'"):
        make_engine(networks, engine=engine)


def test_wrong_engines_are_refused(networks):
    with pytest.raises(InputError, match="engine"):
        make_engine(networks, engine="onnx")
    with pytest.raises(InputError, match="device cpu"):
        make_engine(networks, device="cuda", engine="openvino")


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_calibration_shows_brain_of_several_scans(channels):
    found = calibration_slices(channels)
    assert found.shape[1] == channels
    assert len(found) >= 16
    assert found.min() >= 0
    assert found.max() <= 1
    assert ((found > 0.3).mean(axis=(1, 2, 3)) > 0.2).all()


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_the_cache_folder_is_the_platforms(platform, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    folder = cache_folder()
    assert folder.parts[-2:] == ("mmocnet", "openvino")
    assert platform == "darwin" or folder.is_relative_to(tmp_path)
