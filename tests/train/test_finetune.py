from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmocnet.config import (
    AugmentationSettings,
    CascadeSettings,
    ContextSettings,
    DetectorSettings,
    LossSettings,
    SegmenterSettings,
    TrainSettings,
)
from mmocnet.errors import InputError
from mmocnet.nets.checkpoint import Cascade
from mmocnet.nets.detector import Detector
from mmocnet.nets.losses import joint_loss
from mmocnet.nets.segmenter import Segmenter
from mmocnet.predict.context import FEATURES
from mmocnet.train.finetune import Judged, choose, comparable
from mmocnet.train.finetune_confidence import (
    Rows,
    confidence,
    fit_weights,
    start_weights,
    with_weights,
)
from mmocnet.train.finetune_fit import keep_statistics, mixed, patches_of, tune
from mmocnet.train.finetune_networks import Material, tune_networks
from mmocnet.train.finetune_settings import FinetuneSettings
from mmocnet.train.patches import PatchCut, PatchSampler, TrainingScan, lesion_places

MakeScan = Callable[..., TrainingScan]
SMALL = CascadeSettings(
    DetectorSettings((4, 4, 8, 8, 8)), SegmenterSettings(4, 1), candidate_threshold=0.5
)
LOSS = LossSettings()


def small_training() -> TrainSettings:
    training = TrainSettings(cascade=SMALL, crop_shape=(48, 48))
    return replace(
        training,
        detector=replace(training.detector, batch_size=4),
        segmenter=replace(training.segmenter, batch_size=6),
    )


def judged(name: str, own: float, simulated: float) -> Judged:
    return Judged(name, {"lesion_f1": own}, {"lesion_f1": simulated})


START = judged("start", 0.5, 0.6)


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([judged("confidence", 0.6, 0.6), judged("networks", 0.7, 0.59)], ("networks", True)),
        ([judged("confidence", 0.6, 0.6), judged("networks", 0.7, 0.58)], ("confidence", True)),
        ([judged("confidence", 0.6, 0.6), judged("networks", 0.605, 0.6)], ("confidence", True)),
        ([judged("confidence", 0.5, 0.9), judged("networks", 0.4, 0.9)], ("start", False)),
        ([judged("confidence", float("nan"), 0.6)], ("start", False)),
    ],
)
def test_only_what_is_better_and_forgot_nothing_is_kept(
    attempts: list[Judged], expected: tuple[str, bool]
) -> None:
    assert choose([START, *attempts]) == expected


@pytest.mark.parametrize("own", [(float("nan"), 0.0), (float("nan"), 0.4), (0.5, float("nan"))])
def test_by_an_undefined_f1_nothing_is_better(own: tuple[float, float]) -> None:
    silent = [judged("start", own[0], 0.6), judged("confidence", own[1], 0.6)]
    assert choose(silent) == ("start", False)
    assert not comparable(silent)


def test_where_the_simulated_f1_is_undefined_the_start_is_kept() -> None:
    unknown = [judged("start", 0.5, float("nan")), judged("confidence", 0.6, 0.0)]
    assert choose(unknown) == ("start", False)
    assert not comparable(unknown)
    assert comparable([START, judged("confidence", 0.0, 0.0)])


def test_force_writes_the_best_attempt_and_does_not_call_it_better() -> None:
    attempts = [judged("confidence", 0.4, 0.6), judged("networks", 0.45, 0.1)]
    assert choose([START, *attempts], force=True) == ("networks", False)


def rows(rng: np.random.Generator, shift: float, count: int = 600) -> Rows:
    """Candidates whose log odds are 2 x plus a shift, in a column of x and one of 1."""
    x = np.stack([rng.normal(size=count), np.ones(count)], axis=1)
    return Rows(x, rng.random(count) < confidence(x, np.array([2.0, shift])))


def test_the_confidence_becomes_that_of_the_users_scans(rng: np.random.Generator) -> None:
    start, nothing = np.array([2.0, -3.0]), Rows(np.zeros((0, 2)), np.zeros(0, bool))
    settings = FinetuneSettings(ridge=0.01)
    weights = fit_weights(rows(rng, 1.0), nothing, start, np.zeros(0), settings)
    assert weights == pytest.approx([2.0, 1.0], abs=0.3)


def test_simulated_candidates_keep_their_confidence(rng: np.random.Generator) -> None:
    own, other = rows(rng, 1.0), rows(rng, 0.0)
    start = np.array([2.0, -3.0])
    before = confidence(other.x, start)
    moved = [
        np.abs(
            confidence(
                other.x,
                fit_weights(own, other, start, before, FinetuneSettings(replay_weight=w)),
            )
            - before
        ).mean()
        for w in (0.0, 1.0, 100.0)
    ]
    assert moved[0] > 0.4
    assert moved[0] > moved[1] > moved[2]
    assert moved[2] < 0.02


def test_a_strong_ridge_moves_the_intercept_alone(rng: np.random.Generator) -> None:
    start, nothing = np.array([2.0, -3.0]), Rows(np.zeros((0, 2)), np.zeros(0, bool))
    settings = FinetuneSettings(ridge=1e4)
    weights = fit_weights(rows(rng, 1.0), nothing, start, np.zeros(0), settings)
    assert weights[0] == pytest.approx(2.0, abs=1e-3)
    assert weights[1] == pytest.approx(1.0, abs=0.3)


def test_one_kind_of_candidate_is_refused(rng: np.random.Generator) -> None:
    own = Rows(np.ones((3, 2)), np.zeros(3, bool))
    with pytest.raises(InputError, match="microbleeds and others"):
        fit_weights(own, own, np.zeros(2), np.zeros(3), FinetuneSettings())


def test_weights_go_into_the_context_and_come_back() -> None:
    count = len(FEATURES) + 1
    context = ContextSettings((0.0,) * count, (1.0,) * count, (0.5,) * count)
    settings = replace(SMALL, context=context)
    changed = with_weights(settings, start_weights(settings) + 1)
    assert start_weights(changed) == pytest.approx(1.5)
    with pytest.raises(InputError, match="a confidence in context or a classifier"):
        start_weights(SMALL)


def test_statistics_stay_while_weights_move(
    make_toy_scan: MakeScan, rng: np.random.Generator
) -> None:
    scans = [make_toy_scan(rng, "a")]
    sampler = PatchSampler(
        scans,
        {"lesion": lesion_places(scans)},
        small_training().segmenter_shares,
        PatchCut((32, 32), (4.0, 4.0)),
    )
    draw = patches_of(sampler, 4, AugmentationSettings(), (1,))
    torch.manual_seed(0)
    network = Segmenter(SMALL.segmenter)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    tune(network, mixed(draw, draw), LOSS, 3, FinetuneSettings(learning_rate=1e-2))
    after = network.state_dict()
    statistics = [key for key in after if "running" in key or "tracked" in key]
    assert statistics
    assert all(torch.equal(before[key], after[key]) for key in statistics)
    assert not torch.equal(before["output.weight"], after["output.weight"])
    assert not network.training


def test_tuning_lowers_the_loss_and_the_pull_holds_it_back(
    make_toy_scan: MakeScan, rng: np.random.Generator
) -> None:
    scans = [make_toy_scan(rng, "a")]
    sampler = PatchSampler(
        scans,
        {"lesion": lesion_places(scans)},
        small_training().segmenter_shares,
        PatchCut((32, 32), (4.0, 4.0)),
    )
    draw = patches_of(sampler, 8, AugmentationSettings(), (1,))
    images, masks = draw(1000)

    def tuned(pull: float) -> tuple[float, float]:
        torch.manual_seed(0)
        network = Segmenter(SMALL.segmenter)
        start = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
        tune(network, draw, LOSS, 40, FinetuneSettings(learning_rate=1e-2, pull=pull))
        away = torch.nn.utils.parameters_to_vector(network.parameters()).detach() - start
        with torch.inference_mode():
            loss = joint_loss(network(images), masks, LOSS)
        return float(loss), float(away.norm())

    free, held, tight = tuned(0.0), tuned(0.1), tuned(1.0)
    assert free[0] < tight[0]
    assert tight[1] < held[1] < free[1]


def test_batch_norm_alone_is_in_eval_mode() -> None:
    network = Segmenter(SMALL.segmenter)
    keep_statistics(network)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert [m for m in network.modules() if not m.training] == norms


def test_both_stages_are_tuned_and_the_start_is_left_alone(
    make_toy_scan: MakeScan, rng: np.random.Generator
) -> None:
    scans = [make_toy_scan(rng, name) for name in "ab"]
    torch.manual_seed(0)
    start = Cascade(SMALL, Detector(SMALL.detector), Segmenter(SMALL.segmenter), {})
    before = [
        {key: value.clone() for key, value in network.state_dict().items()}
        for network in (start.detector, start.segmenter)
    ]
    told: list[tuple[str, int, int]] = []
    tuned = tune_networks(
        start,
        Material(scans[:1], scans[1:], small_training()),
        FinetuneSettings(steps=(2, 2, 0)),
        lambda *what: told.append(what),
    )
    networks = (tuned.detector, start.detector), (tuned.segmenter, start.segmenter)
    for (new, old), kept in zip(networks, before, strict=True):
        assert all(torch.equal(value, kept[key]) for key, value in old.state_dict().items())
        assert not torch.equal(new.state_dict()["output.weight"], kept["output.weight"])
    assert told[-1] == ("Tuning stage 2", 2, 2)


def test_no_steps_leave_the_networks_as_they_are(
    make_toy_scan: MakeScan, rng: np.random.Generator
) -> None:
    start = Cascade(SMALL, Detector(SMALL.detector), Segmenter(SMALL.segmenter), {})
    material = Material([make_toy_scan(rng, "a")], [], small_training())
    tuned = tune_networks(start, material, FinetuneSettings(steps=(0, 0, 0)))
    for key, value in tuned.detector.state_dict().items():
        assert torch.equal(value, start.detector.state_dict()[key])
