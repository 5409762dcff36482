import ast
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mmocnet.train
from mmocnet.config import (
    DetectorSettings,
    LossSettings,
    SegmenterSettings,
    TrainSettings,
    train_settings,
)
from mmocnet.errors import InputError
from mmocnet.nets.checkpoint import load_cascade
from mmocnet.train.patches import TrainingScan
from mmocnet.train.run_folder import UNFINISHED
from mmocnet.train.split import split_by_subject, warning_of
from mmocnet.train.stage_data import patch_scores
from mmocnet.train.stages import train_cascade, train_first_stage

MakeScan = Callable[..., TrainingScan]


def tiny(preset: str = "compact") -> TrainSettings:
    """Networks and lengths that train in seconds."""
    settings = train_settings(preset)  # type: ignore[arg-type]
    stage = {"steps_per_epoch": 5, "max_epochs": 2, "warmup_steps": 2, "ema_decay": 0.5}
    return replace(
        settings,
        cascade=replace(
            settings.cascade,
            detector=DetectorSettings(widths=(4, 4, 8, 8, 8), output_bias=-2.0),
            segmenter=SegmenterSettings(width=4, blocks=1),
            roi_size=16,
        ),
        detector=replace(settings.detector, batch_size=4, **stage),
        segmenter=replace(settings.segmenter, batch_size=8, **stage),
        crop_shape=(48, 48),
        validation_patches=(8, 16),
        mining_slices=12,
    )


def scans_of(make: MakeScan, count: int, shape: tuple[int, int, int]) -> list[TrainingScan]:
    rng = np.random.default_rng(5)
    return [make(rng, f"{i:02d}", shape) for i in range(count)]


def scan_named(subject: str, name: str) -> TrainingScan:
    array = np.ones((1, 2, 2), np.uint8)
    return TrainingScan(subject, array, array * 0, np.zeros((0, 3)), (1, 1, 1), name)


@given(
    st.lists(st.integers(0, 9), min_size=2, max_size=30).filter(lambda s: len(set(s)) > 1),
    st.floats(0, 1),
    st.integers(0, 5),
)
def test_no_subject_is_on_both_sides(subjects: list[int], share: float, seed: int) -> None:
    scans = [scan_named(str(s), f"{s}-{i}") for i, s in enumerate(subjects)]
    split = split_by_subject(scans, share, seed)
    sides = [{scan.subject for scan in side} for side in (split.train, split.validation)]
    assert not sides[0] & sides[1]
    assert all(sides)
    assert len(split.train) + len(split.validation) == len(scans)


def test_planes_across_are_on_the_side_of_their_subject() -> None:
    scans = [scan_named(str(i), str(i)) for i in range(10)]
    planes = [replace(scan, name=f"{scan.name}-across", across=True) for scan in scans]
    split = split_by_subject([*planes, *scans], 0.3, 2)
    for side, across in zip(split.sides, split.across, strict=True):
        assert [s.subject for s in side] == [s.subject for s in across]
        assert not any(s.across for s in side)
        assert all(s.across for s in across)


def test_the_split_depends_on_the_seed_but_not_on_the_order() -> None:
    scans = [scan_named(str(i), str(i)) for i in range(40)]

    def kept(order: list[TrainingScan], seed: int) -> list[str]:
        return [scan.name for scan in split_by_subject(order, 0.2, seed).validation]

    assert kept(scans, 1) == kept(scans[::-1], 1)
    assert kept(scans, 1) != kept(scans, 2)
    assert len(kept(scans, 1)) == 8


def test_one_subject_is_too_few() -> None:
    with pytest.raises(InputError, match="at least 2 subjects"):
        split_by_subject([scan_named("1", "a"), scan_named("1", "b")], 0.2, 0)


def with_lesion(scan: TrainingScan) -> TrainingScan:
    return replace(scan, labels=np.ones_like(scan.labels))


@pytest.mark.parametrize("seed", range(10))
def test_a_subject_with_a_lesion_validates_where_two_have_one(seed: int) -> None:
    free = [scan_named(str(i), str(i)) for i in range(10)]
    before = {scan.subject for scan in split_by_subject(free, 0.2, seed).validation}
    scans = [with_lesion(scan) if scan.subject in "37" else scan for scan in free]
    split = split_by_subject(scans, 0.2, seed)
    kept = {scan.subject for scan in split.validation}
    assert (len(kept), len(split.train)) == (2, 8)
    assert kept & {"3", "7"}
    assert kept == before or not before & {"3", "7"}
    assert warning_of(split, 16) is None
    # One alone is learned from, or nothing is.
    one = split_by_subject([*free[:9], with_lesion(free[9])], 0.2, seed)
    assert {scan.subject for scan in one.validation} == before


@pytest.mark.parametrize("seed", range(10))
def test_a_subject_with_a_lesion_is_learned_from_where_two_have_one(seed: int) -> None:
    scans = [with_lesion(scan_named(str(i), str(i))) for i in range(10)]
    first = split_by_subject(scans, 0.4, seed)
    ill = {scan.subject for scan in first.validation[:2]}
    free = [scan_named(str(i), str(i)) for i in range(10)]
    scans = [with_lesion(scan) if scan.subject in ill else scan for scan in free]
    split = split_by_subject(scans, 0.4, seed)
    assert (len(split.train), len(split.validation)) == (6, 4)
    for side in split.sides:
        assert len({scan.subject for scan in side} & ill) == 1
    assert split == split_by_subject(scans[::-1], 0.4, seed)


def test_where_the_one_subject_with_lesions_validates_the_seed_is_named(tmp_path: Path) -> None:
    scans = [scan_named(str(i), str(i)) for i in range(3)]
    (kept,) = {scan.subject for scan in split_by_subject(scans, 0.2, 0).validation}
    scans = [with_lesion(scan) if scan.subject == kept else scan for scan in scans]
    with pytest.raises(InputError, match=r"got none: the one subject .* with another --seed"):
        train_cascade(scans, tmp_path / "run", tiny())


def test_a_validation_without_a_lesion_is_warned_of(
    make_toy_scan: MakeScan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = scans_of(make_toy_scan, 2, (6, 48, 48))
    (free,) = split_by_subject(scans, 0.2, 0).validation
    scans = [replace(s, labels=s.labels * 0) if s.name == free.name else s for s in scans]
    train_cascade(scans, tmp_path, tiny())
    assert "warning: no microbleed in the 1 scans that validate" in capsys.readouterr().err
    validation = load_cascade(tmp_path / UNFINISHED).card["validation"]
    assert validation["warning"].startswith("no microbleed in the 1 scans")


@pytest.mark.parametrize("preset", ["compact", "paper"])
def test_both_stages_make_a_model_that_loads(
    make_toy_scan: MakeScan, tmp_path: Path, preset: str
) -> None:
    scans = scans_of(make_toy_scan, 3, (6, 48, 48))
    out = train_cascade(scans, tmp_path, tiny(preset), card={"dataset": "toy", "command": "x"})
    assert out == tmp_path / UNFINISHED
    cascade = load_cascade(tmp_path / UNFINISHED)
    assert cascade.card["dataset"] == "toy"
    assert cascade.card["train_subjects"] == cascade.card["train_scans"] == 2
    learned = split_by_subject(scans, tiny(preset).validation_share, 0).train
    assert cascade.card["train_lesions"] == sum(len(np.unique(s.labels)) - 1 for s in learned)
    assert 0.02 <= cascade.settings.candidate_threshold <= 0.5
    points = cascade.settings.thresholds
    assert points.screening <= points.balanced <= points.report


def test_stages_run_apart_as_together(make_toy_scan: MakeScan, tmp_path: Path) -> None:
    scans = scans_of(make_toy_scan, 3, (6, 48, 48))
    train_cascade(scans, tmp_path / "both", tiny())
    assert train_cascade(scans, tmp_path / "apart", tiny(), "1") is None
    train_cascade(scans, tmp_path / "apart", tiny(), "2")
    both, apart = (load_cascade(tmp_path / name / UNFINISHED) for name in ("both", "apart"))
    assert both.settings == apart.settings
    assert both.sha256 == apart.sha256


def test_planes_across_teach_stage_1_and_choose_nothing(
    make_toy_scan: MakeScan, tmp_path: Path
) -> None:
    scans = scans_of(make_toy_scan, 3, (6, 48, 48))
    planes = [replace(s, name=f"{s.name}-across", across=True) for s in scans]
    train_cascade(scans, tmp_path / "without", tiny(), "1")
    train_cascade([*scans, *planes], tmp_path / "with", tiny(), "1")
    runs = [tmp_path / name / "stage1" for name in ("without", "with")]
    weights = [(run / "detector.safetensors").read_bytes() for run in runs]
    assert weights[0] != weights[1]
    mined = [json.loads((run / "mined.json").read_text("utf-8")) for run in runs]
    assert mined[0]["scans"] == mined[1]["scans"]


def test_a_finished_run_is_not_trained_again(make_toy_scan: MakeScan, tmp_path: Path) -> None:
    scans = scans_of(make_toy_scan, 3, (6, 48, 48))
    train_cascade(scans, tmp_path, tiny())
    before = load_cascade(tmp_path / UNFINISHED).sha256
    history = (tmp_path / "stage2" / "history.jsonl").stat().st_mtime_ns
    train_cascade(scans, tmp_path, tiny())
    assert load_cascade(tmp_path / UNFINISHED).sha256 == before
    assert (tmp_path / "stage2" / "history.jsonl").stat().st_mtime_ns == history


def test_candidates_whose_file_is_damaged_are_made_anew(
    make_toy_scan: MakeScan, tmp_path: Path
) -> None:
    scans = scans_of(make_toy_scan, 2, (6, 48, 48))
    train_cascade(scans, tmp_path, tiny(), "1")
    mined = tmp_path / "stage1" / "mined.json"
    before = mined.read_bytes()
    mined.write_bytes(before[: len(before) // 2])
    train_cascade(scans, tmp_path, tiny(), "1")
    assert mined.read_bytes() == before


def test_stage_2_needs_stage_1(make_toy_scan: MakeScan, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="finished stage 1"):
        train_cascade(scans_of(make_toy_scan, 2, (6, 48, 48)), tmp_path, tiny(), "2")


def test_candidates_of_another_dataset_are_refused(make_toy_scan: MakeScan, tmp_path: Path) -> None:
    scans = scans_of(make_toy_scan, 4, (6, 48, 48))
    train_cascade(scans, tmp_path, tiny(), "1")
    with pytest.raises(InputError, match="stage 1 was trained on"):
        train_first_stage(split_by_subject(scans[:2], 0.2, 0), tmp_path / "stage1", tiny())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"crop_shape": (32, 48)}, r"crop_shape \(\[48, 48\] before, \[32, 48\] now\)"),
        ({"seed": 3}, r"seed \(0 before, 3 now\)"),
        ({"start_from": "compact"}, "start_from"),
    ],
)
def test_other_settings_in_the_same_run_folder_are_refused(
    make_toy_scan: MakeScan, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    scans = scans_of(make_toy_scan, 2, (6, 48, 48))
    train_cascade(scans, tmp_path, tiny(), "1")
    with pytest.raises(InputError, match=f"begun with, got others at {told}"):
        train_cascade(scans, tmp_path, replace(tiny(), **change))
    assert not (tmp_path / "stage2").exists()


def longer(settings: TrainSettings, stage: str) -> TrainSettings:
    return replace(settings, **{stage: replace(getattr(settings, stage), max_epochs=3)})  # type: ignore[arg-type]


def test_only_a_stage_that_is_not_trained_may_be_longer(
    make_toy_scan: MakeScan, tmp_path: Path
) -> None:
    scans = scans_of(make_toy_scan, 2, (6, 48, 48))
    train_cascade(scans, tmp_path, tiny(), "1")
    with pytest.raises(InputError, match="max_epochs"):
        train_cascade(scans, tmp_path, longer(tiny(), "detector"))
    train_cascade(scans, tmp_path, longer(tiny(), "segmenter"))
    trained = load_cascade(tmp_path / UNFINISHED).card["training"]
    assert (trained["detector"]["max_epochs"], trained["segmenter"]["max_epochs"]) == (2, 3)


def test_memory_may_be_saved_on_the_way(make_toy_scan: MakeScan, tmp_path: Path) -> None:
    scans, settings = scans_of(make_toy_scan, 2, (6, 48, 48)), tiny()
    train_cascade(scans, tmp_path, settings, "1")
    saving = [
        replace(stage, gradient_checkpointing=True)
        for stage in (settings.detector, settings.segmenter)
    ]
    settings = replace(settings, detector=saving[0], segmenter=saving[1])
    assert train_cascade(scans, tmp_path, settings) is not None


def test_stage_2_alone_leaves_stage_1_as_long_as_it_was(
    make_toy_scan: MakeScan, tmp_path: Path
) -> None:
    scans = scans_of(make_toy_scan, 2, (6, 48, 48))
    train_cascade(scans, tmp_path, tiny(), "1")
    train_cascade(scans, tmp_path, longer(tiny(), "detector"), "2")
    assert load_cascade(tmp_path / UNFINISHED).card["training"]["detector"]["max_epochs"] == 2


@pytest.mark.parametrize("part", ["image", "labels"])
def test_other_scans_of_the_same_names_are_refused(
    make_toy_scan: MakeScan, tmp_path: Path, part: str
) -> None:
    scans = scans_of(make_toy_scan, 2, (6, 48, 48))
    train_cascade(scans, tmp_path, tiny())
    scans[1] = replace(scans[1], **{part: getattr(scans[1], part)[:, ::-1]})
    with pytest.raises(InputError, match=r"expected the scans that .* got others at sub-01"):
        train_cascade(scans, tmp_path, tiny())


def test_scans_without_a_lesion_train_nothing(make_toy_scan: MakeScan, tmp_path: Path) -> None:
    scans = [replace(s, labels=s.labels * 0) for s in scans_of(make_toy_scan, 3, (6, 48, 48))]
    with pytest.raises(InputError, match="microbleeds in the 2 scans to train on, got none"):
        train_cascade(scans, tmp_path / "run", tiny())
    assert not (tmp_path / "run").exists()


def test_the_card_is_json_without_nan(make_toy_scan: MakeScan, tmp_path: Path) -> None:
    train_cascade(scans_of(make_toy_scan, 2, (6, 48, 48)), tmp_path, tiny())
    text = (tmp_path / UNFINISHED / "card.json").read_text()

    def refuse(name: str) -> float:
        raise AssertionError(name)

    card = json.loads(text, parse_constant=refuse)
    assert card["notice"] == "Research use only - not a medical device."
    assert card["training"]["seed"] == 0


def test_patch_scores_take_the_best_dice() -> None:
    masks = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    masks[0, 0, :2] = True
    logits = torch.where(masks, torch.tensor(-1.0), torch.tensor(-3.0))
    scores = patch_scores(logits, masks, LossSettings())
    assert scores["score"] == 1.0
    assert scores["val_dice"] == scores["val_sensitivity"] == 0.0


def test_patches_without_lesions_are_scored_by_their_loss() -> None:
    scores = patch_scores(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4) > 0, LossSettings())
    assert scores["score"] == -scores["val_loss"]
    assert np.isnan(scores["val_dice"])


def test_marks_are_scored_by_their_loss() -> None:
    masks = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    masks[0, 0, 1, 1] = True
    scores = patch_scores(torch.zeros(1, 1, 4, 4), masks, LossSettings(kind="marking"))
    assert scores["score"] == -scores["val_loss"]


def test_training_imports_nothing_that_a_gpu_machine_lacks() -> None:
    folder = Path(mmocnet.train.__file__).parent
    for path in folder.glob("*.py"):
        if path.name == "scans.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not {n.split(".")[0] for n in names} & {"nibabel", "nilearn", "tyro"}, path


def test_a_minute_of_training_finds_and_outlines_toy_lesions(
    make_toy_scan: MakeScan, tmp_path: Path
) -> None:
    settings = tiny()
    full = train_settings("compact")
    settings = replace(
        settings,
        cascade=replace(full.cascade, detector=replace(full.cascade.detector)),
        detector=replace(settings.detector, max_epochs=24, ema_decay=0.95),
        segmenter=replace(settings.segmenter, max_epochs=24, ema_decay=0.95),
    )
    train_cascade(scans_of(make_toy_scan, 4, (8, 80, 80)), tmp_path, settings)
    card = load_cascade(tmp_path / UNFINISHED).card
    assert card["validation"]["pooled_dice"] > 0.5
    assert card["validation"]["balanced"]["sensitivity"] > 0.5
