from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmocnet.config import train_settings
from mmocnet.errors import InputError, ModelError
from mmocnet.train.baseline import scored_scan, thresholds_on, train_baseline
from mmocnet.train.baseline_data import BaselineData, BlockSampler, changed, median_spacing
from mmocnet.train.baseline_net import BaselineSettings, baseline_settings, build, plan
from mmocnet.train.baseline_predict import Baseline, load_baseline, predict_probability
from mmocnet.train.patches import TrainingScan
from mmocnet.train.split import Split, split_by_subject

pytest.importorskip("monai")
MakeScan = Callable[..., TrainingScan]


def tiny(network: str, **stage: float) -> BaselineSettings:
    settings = baseline_settings(network)  # type: ignore[arg-type]
    lengths = {"steps_per_epoch": 4, "max_epochs": 2, "warmup_steps": 1, "ema_decay": 0.5}
    return replace(
        settings,
        width=8,
        widest=16,
        levels=3,
        patch=(1, 48, 48) if network == "unet2d" else (4, 32, 32),
        stage=replace(settings.stage, batch_size=2, **{**lengths, **stage}),
        validation_patches=4,
    )


@pytest.fixture
def scans(make_toy_scan: MakeScan, rng: np.random.Generator) -> list[TrainingScan]:
    return [make_toy_scan(rng, f"{i:02d}", (6, 64, 80)) for i in range(3)]


def test_thin_slices_are_halved_earlier_than_thick_ones() -> None:
    thick, thin = (plan((16, 96, 96), (mm, 0.5, 0.5), 5)[1] for mm in (4.0, 0.8))
    assert [stride[0] for stride in thin] == [1, 2, 2, 1, 1]
    assert [stride[0] for stride in thick] == [1, 1, 1, 1, 2]


def test_a_slice_is_never_halved_in_depth() -> None:
    kernels, strides = plan((1, 64, 64), (0.5, 0.5, 0.5), 4)
    assert {k[0] for k in kernels} == {s[0] for s in strides} == {1}


def test_a_patch_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(InputError, match="multiples of 16"):
        plan((1, 96, 100), (1.0, 0.5, 0.5), 5)


@pytest.mark.parametrize(("network", "shape"), [("unet2d", (48, 48)), ("unet3d", (4, 32, 32))])
def test_each_network_keeps_the_shape_and_starts_near_its_bias(
    network: str, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    net = build(tiny(network)).eval()
    state = net.state_dict()
    # Twice the same tensor could not be written.
    assert len({value.data_ptr() for value in state.values()}) == len(state)
    with torch.inference_mode():
        logits = net(torch.zeros(1, 1, *shape))
    assert logits.shape == (1, 1, *shape)
    assert torch.allclose(logits, torch.full_like(logits, -4.0), atol=1e-3)


def test_the_baseline_is_trained_as_stage_1_but_for_the_loss() -> None:
    ours, theirs = train_settings("compact"), baseline_settings("unet2d")
    assert theirs.stage.loss.sensitivity_weight == 0
    assert theirs.augmentation == ours.augmentation
    assert theirs.preparation == ours.cascade.preparation
    assert theirs.validation_share == ours.validation_share


def test_blocks_hold_neighbouring_slices_with_their_own_lesions(scans: list[TrainingScan]) -> None:
    split = Split(tuple(scans[:2]), tuple(scans[2:]))
    sampler = BlockSampler(replace(tiny("unet3d"), repeated=0.0), split, "train")
    images, masks = sampler.draw(np.random.default_rng(3), 40)
    assert images.shape == masks.shape == (40, 4, 32, 32)
    apart = np.abs(np.diff(images, axis=1)).mean(axis=(1, 2, 3))
    assert (apart > 0).all()
    # A lesion is dark on each slice where its mask says that it is.
    inside, outside = images[masks], images[~masks & (images > 0)]
    assert np.median(inside) < np.median(outside) - 0.1


def test_a_repeated_block_is_one_slice(scans: list[TrainingScan]) -> None:
    split = Split(tuple(scans[:2]), tuple(scans[2:]))
    sampler = BlockSampler(replace(tiny("unet3d"), repeated=1.0), split, "train")
    images, masks = sampler.draw(np.random.default_rng(3), 5)
    assert (images == images[:, :1]).all()
    assert (masks == masks[:, :1]).all()


def test_a_block_deeper_than_the_scan_repeats_its_ends(scans: list[TrainingScan]) -> None:
    split = Split(tuple(scans[:2]), tuple(scans[2:]))
    deep = replace(tiny("unet3d"), patch=(8, 32, 32), repeated=0.0)
    images, _ = BlockSampler(deep, split, "train").draw(np.random.default_rng(3), 5)
    assert (images[:, 0] == images[:, 1]).all()
    assert (images[:, -1] == images[:, -2]).all()
    assert not (images[:, 1] == images[:, 2]).all()


def test_masks_are_turned_as_images(rng: np.random.Generator) -> None:
    settings = replace(train_settings("compact").augmentation, rotation_share=1.0, zoom=(0.8, 1.25))
    masks = torch.from_numpy(rng.random((3, 4, 9, 9)) < 0.4).float()
    masks = masks.repeat_interleave(10, 2).repeat_interleave(10, 3)
    images = 0.5 + 0.4 * masks
    got, turned = changed(images, masks, (48, 48), settings, rng)
    assert got.shape == turned.shape == (3, 4, 48, 48)
    assert not torch.equal(turned, masks[:, :, 21:69, 21:69])
    for image, mask in zip(got.flatten(0, 1), turned.flatten(0, 1), strict=True):
        assert np.corrcoef(image.ravel(), mask.ravel())[0, 1] > 0.75


@pytest.mark.parametrize("network", ["unet2d", "unet3d"])
def test_a_batch_is_a_function_of_the_step(scans: list[TrainingScan], network: str) -> None:
    split = split_by_subject(scans, 0.2, 0)
    one, other = (BaselineData(split, tiny(network), torch.device("cpu")) for _ in range(2))
    assert torch.equal(one.draw(5)[0], other.draw(5)[0])
    assert not torch.equal(one.draw(5)[0], one.draw(6)[0])
    assert one.draw(5)[0].ndim == (4 if network == "unet2d" else 5)
    assert torch.equal(one.images, other.images)


@pytest.mark.parametrize("network", ["unet2d", "unet3d"])
def test_training_learns_resumes_and_writes_a_model(
    scans: list[TrainingScan], tmp_path: Path, network: str
) -> None:
    settings = tiny(network, max_epochs=6, learning_rate=1e-2)
    model = train_baseline(scans, tmp_path, settings, natural=scans[:1])
    loaded = load_baseline(model)
    assert loaded.card["steps"] == 24
    assert loaded.settings.spacing_mm == median_spacing(split_by_subject(scans, 0.2, 0))
    assert loaded.card["thresholds_on"] == "natural lesion counts"
    untrained = Baseline(loaded.settings, build(loaded.settings).eval(), {})
    image = np.asarray(scans[0].image, np.float32) / 255
    lesion = np.asarray(scans[0].labels) > 0
    contrast = []
    for baseline in (untrained, loaded):
        probability = predict_probability(baseline, image, image > 0)
        assert (probability[image == 0] == 0).all()
        contrast.append(probability[lesion].mean() / probability[(image > 0) & ~lesion].mean())
    assert contrast[1] > 1.5 * contrast[0]
    # The same call again finds everything done and gives the same weights.
    again = load_baseline(train_baseline(scans, tmp_path, settings, natural=scans[:1]))
    assert again.sha256 == loaded.sha256


def test_a_run_of_other_scans_or_another_seed_is_not_gone_on_with(
    scans: list[TrainingScan], tmp_path: Path
) -> None:
    settings = tiny("unet2d", max_epochs=0)
    train_baseline(scans, tmp_path, settings)
    train_baseline(scans, tmp_path, replace(settings, stage=replace(settings.stage, max_epochs=1)))
    kept = (tmp_path / "settings.json").read_text(encoding="utf-8")
    with pytest.raises(InputError, match=r"the settings that .* got others at seed"):
        train_baseline(scans, tmp_path, replace(settings, seed=1))
    others = [*scans[:2], replace(scans[2], image=scans[2].image[:, ::-1])]
    with pytest.raises(InputError, match=r"the scans that .* got others at sub-02"):
        train_baseline(others, tmp_path, settings)
    assert (tmp_path / "settings.json").read_text(encoding="utf-8") == kept


def test_a_training_that_ends_within_an_epoch_says_its_steps(
    scans: list[TrainingScan], tmp_path: Path
) -> None:
    settings = tiny("unet2d", steps_per_epoch=1000, budget_minutes=1e-6)
    card = load_baseline(train_baseline(scans, tmp_path, settings)).card
    assert (card["stopped"], card["steps"]) == ("budget", 1)


def test_a_network_and_a_patch_of_different_kinds_are_refused(
    scans: list[TrainingScan], tmp_path: Path
) -> None:
    wrong = replace(tiny("unet3d"), patch=(1, 48, 48))
    with pytest.raises(InputError, match="more for unet3d"):
        train_baseline(scans, tmp_path, wrong)


def test_thresholds_find_the_lesions_of_a_perfect_network(scans: list[TrainingScan]) -> None:
    class Dark(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(60.0))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.scale * (0.3 - images)

    baseline = Baseline(tiny("unet2d"), Dark(), {})
    scored = [scored_scan(baseline, scan) for scan in scans]
    # Lesions that touch are one candidate, which counts for one of them.
    hit = [len(np.unique(s.hit[s.hit > 0])) for s in scored]
    assert min(hit) >= 3
    assert [s.references for s in scored] == [8, 8, 8]
    points = thresholds_on(scored)
    assert points.screening <= points.balanced <= points.report


def test_a_folder_without_a_baseline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"baseline\.json"):
        load_baseline(tmp_path)
