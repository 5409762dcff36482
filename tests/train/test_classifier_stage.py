import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from mmocnet.config import (
    AugmentationSettings,
    ClassifierSettings,
    DetectorSettings,
    LossSettings,
    SegmentSettings,
    TrainSettings,
    train_settings,
)
from mmocnet.errors import InputError, ModelError
from mmocnet.io.dataset import DatasetScan
from mmocnet.io.read import read_scan
from mmocnet.nets.checkpoint import (
    load_cascade,
    model_folder,
    save_cascade,
    start_from,
    weight_file,
)
from mmocnet.nets.classifier import PLACE_CHANNELS, Classifier
from mmocnet.nets.detector import Detector
from mmocnet.nets.losses import joint_loss
from mmocnet.predict.classify import confidence_of
from mmocnet.predict.pipeline import segment
from mmocnet.train.candidate_sets import MARGIN_PX, CandidateSet
from mmocnet.train.classifier_data import HARD_SHARE, PLACE_SD, CandidateData
from mmocnet.train.classifier_stage import (
    ClassifierScans,
    add_classifier,
    by_subject,
    collect_all,
    score_volumes,
    scored,
    train_classifier,
)
from mmocnet.train.patches import Neighbours, TrainingScan

SEEN = ClassifierSettings(
    offsets_mm=(-2.0, 0.0, 2.0), phase_offsets_mm=(0.0,), size=16, widths=(8, 16), blocks=1
)
CHANNELS = 3 + 3 + 1 + 1


def settings(steps: int = 60) -> TrainSettings:
    standard = train_settings("standard")
    stage = replace(
        standard.classifier, batch_size=16, steps_per_epoch=steps, max_epochs=2, warmup_steps=5
    )
    cascade = replace(standard.cascade, classifier=SEEN)
    return replace(standard, cascade=cascade, classifier=stage, validation_share=0.3)


def candidates(rng: np.random.Generator, subjects: int = 6) -> list[CandidateSet]:
    """Candidates of which those that end are microbleeds and those that go on are not."""
    sets = []
    side = SEEN.size + 2 * MARGIN_PX
    for number in range(subjects):
        hit = np.arange(30) % 3 == 0
        patches = rng.uniform(0.4, 0.6, (30, CHANNELS, side, side)).astype(np.float16)
        middle = slice(side // 2 - 2, side // 2 + 3)
        patches[:, 1, middle, middle] = 0.05
        for plane in (0, 2):
            patches[~hit, plane, middle, middle] = 0.05
        sets.append(CandidateSet(f"{number:02d}", patches, hit.astype(int), 10, False))
    return sets


def test_the_classifier_learns_that_a_vein_goes_on(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    how = settings()
    network = train_classifier(candidates(rng), tmp_path, how)
    one = candidates(np.random.default_rng(99), 1)[0]
    inner = one.patches[:, :, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].astype(np.float32)
    with torch.inference_mode():
        logits = network(torch.from_numpy(inner)).reshape(-1).numpy()
    assert logits[one.hit > 0].min() > logits[one.hit == 0].max()
    again = train_classifier(candidates(rng), tmp_path, how)
    for key, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])


def test_scores_without_phase_do_not_depend_on_it(rng: np.random.Generator) -> None:
    network = Classifier(SEEN).eval()
    one = candidates(rng, 1)[0]
    phase = 2 * len(SEEN.offsets_mm)
    other = replace(one, patches=one.patches.copy())
    other.patches[:, phase] = rng.uniform(-1, 1, other.patches[:, phase].shape)
    before = one.patches.copy()

    def logits(some: CandidateSet, with_phase: bool) -> np.ndarray:
        return scored([some], network, with_phase=with_phase)[1][0].logit

    np.testing.assert_array_equal(logits(one, False), logits(other, False))
    assert (logits(one, True) != logits(other, True)).any()
    other.patches[:, phase] = 0
    np.testing.assert_array_equal(logits(one, False), logits(other, True))
    np.testing.assert_array_equal(one.patches, before)


def test_a_step_always_draws_the_same_batch_and_hides_phase_in_half_of_it(
    rng: np.random.Generator,
) -> None:
    how = settings()
    how = replace(how, classifier=replace(how.classifier, batch_size=200), seed=1)
    data = CandidateData(candidates(rng), [], SEEN, how)
    images, truth = data.draw(7)
    assert torch.equal(images, data.draw(7)[0])
    assert not torch.equal(images, data.draw(8)[0])
    assert images.shape == (200, CHANNELS, 16, 16)
    assert truth.mean() == pytest.approx(0.25, abs=0.1)
    assert (images[:, 6].amax(dim=(1, 2)) == 0).float().mean() == pytest.approx(0.5, abs=0.12)


def test_a_quarter_of_volumes_are_shown_as_single_slices_are(rng: np.random.Generator) -> None:
    how = settings()
    how = replace(how, classifier=replace(how.classifier, batch_size=400), seed=1)
    sets = candidates(rng)
    for one in sets:
        one.patches[:, -1] = 0.25
    images, _ = CandidateData(sets, [], SEEN, how).draw(0)
    hidden = images[:, -1].amax(dim=(1, 2)) == 0
    assert hidden.float().mean() == pytest.approx(0.25, abs=0.06)
    assert (images[hidden][:, (0, 2, 3, 5)] == 0).all()
    for plane in (0, 2, 3, 5):
        assert (images[~hidden, plane].amax(dim=(1, 2)) > 0).all()
    for plane in (1, 4):
        assert (images[:, plane].amax(dim=(1, 2)) > 0).all()


def test_single_slices_alone_are_stretched(rng: np.random.Generator) -> None:
    """The side of a square, up and down over across, by its mean along each axis."""
    how = settings()
    how = replace(
        how,
        classifier=replace(how.classifier, batch_size=200),
        augmentation=AugmentationSettings(
            rotation_share=0, intensity_sd=0, noise_sd=0, stretch=1.8
        ),
        neighbours_hidden=0.0,
    )
    sets = candidates(rng)
    middle = slice(SEEN.size // 2 + MARGIN_PX - 3, SEEN.size // 2 + MARGIN_PX + 3)
    for one in sets:
        one.patches[:, 4] = 0
        one.patches[:, 4, middle, middle] = 1
    ratios = {}
    for single in (False, True):
        some = [replace(one, single=single) for one in sets]
        images, _ = CandidateData(some, [], SEEN, how).draw(0)
        square = images[:, 4]
        ratios[single] = (square.amax(dim=2).sum(dim=1) / square.amax(dim=1).sum(dim=1)).numpy()
    assert ratios[False] == pytest.approx(np.ones(200), abs=0.02)
    assert ratios[True].max() == pytest.approx(1.8, abs=0.25)
    assert ratios[True].min() == pytest.approx(1 / 1.8, abs=0.15)
    assert np.abs(np.log(ratios[True])).mean() == pytest.approx(np.log(1.8) / 2, abs=0.1)


def with_places(rng: np.random.Generator) -> tuple[list[CandidateSet], np.ndarray]:
    """Candidates whose place is known, and that place."""
    place = np.array([0.3, 0.6, -0.4, 0.9], np.float16)
    sets = []
    for one in candidates(rng):
        shape = (len(one.patches), len(place), *one.patches.shape[2:])
        planes = np.broadcast_to(place[None, :, None, None], shape)
        sets.append(replace(one, patches=np.concatenate([one.patches, planes], axis=1)))
    return sets, place


def test_the_place_stays_the_same_everywhere_and_is_hidden_in_a_fifth(
    rng: np.random.Generator,
) -> None:
    how = settings()
    how = replace(how, classifier=replace(how.classifier, batch_size=400), seed=1)
    sets, place = with_places(rng)
    told = replace(SEEN, place=True)
    images, _ = CandidateData(sets, [], told, how).draw(0)
    assert images.shape[1] == CHANNELS + PLACE_CHANNELS
    seen = images[:, CHANNELS:]
    known = seen.abs().amax(dim=(1, 2, 3)) > 0
    assert known.float().mean() == pytest.approx(0.8, abs=0.06)
    # Turned, shifted, hidden neighbours: the place is no part of the patch.
    assert torch.allclose(seen.amax(dim=(2, 3)), seen.amin(dim=(2, 3)), atol=1e-5)
    off = seen[known].mean(dim=(2, 3)) - torch.from_numpy(place.astype(np.float32))
    assert off.std(dim=0).numpy() == pytest.approx(PLACE_SD, rel=0.2)
    assert off.mean(dim=0).numpy() == pytest.approx(0.0, abs=0.01)
    alone = (images[:, CHANNELS - 1] == 0).all(dim=1).all(dim=1)
    assert (known & alone).any()


def test_marks_turn_over_with_the_patch_and_are_hidden_with_its_neighbours(
    rng: np.random.Generator,
) -> None:
    how = settings()
    how = replace(how, classifier=replace(how.classifier, batch_size=400), seed=1)
    sets = candidates(rng)
    for one in sets:
        one.patches[:, 0], one.patches[:, 2] = 0.2, 0.6
    # The marks say what the intensities did before they were changed: which end is up.
    sets = [
        replace(one, patches=np.concatenate([one.patches, one.patches[:, :3]], axis=1))
        for one in sets
    ]
    marked = replace(SEEN, mark_offsets_mm=(-2.0, 0.0, 2.0))
    images, _ = CandidateData(sets, [], marked, how).draw(0)
    marks = images[:, CHANNELS:, 4:12, 4:12].mean(dim=(2, 3))
    alone = (images[:, CHANNELS - 1] == 0).all(dim=1).all(dim=1)
    assert alone.float().mean() == pytest.approx(0.25, abs=0.06)
    assert not marks[alone][:, [0, 2]].any()
    assert (marks[alone][:, 1] > 0).all()
    up = marks[~alone][:, 0] < marks[~alone][:, 2]
    assert up.float().mean() == pytest.approx(0.5, abs=0.1)
    first, last = (images[~alone][:, plane].mean(dim=(1, 2)) for plane in (0, 2))
    assert torch.equal(up, first < last)


def test_an_unknown_place_stays_unknown(rng: np.random.Generator) -> None:
    sets, _ = with_places(rng)
    for one in sets:
        one.patches[:, CHANNELS:] = 0
    images, _ = CandidateData(sets, [], replace(SEEN, place=True), settings()).draw(0)
    assert not images[:, CHANNELS:].any()


def test_a_classifier_goes_on_from_one_that_knew_no_place(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    cascade = load_cascade("compact")
    torch.manual_seed(1)
    cascade.classifier = Classifier(SEEN).eval()
    cascade.settings = replace(cascade.settings, classifier=SEEN, context=None)
    save_cascade(tmp_path / "before", cascade)
    told = replace(SEEN, place=True)
    how = settings()
    how = replace(
        how,
        start_from=str(tmp_path / "before"),
        cascade=replace(how.cascade, classifier=told),
        classifier=replace(how.classifier, max_epochs=0),
    )
    sets, _ = with_places(rng)
    network = train_classifier(sets, tmp_path / "run", how)
    x = torch.from_numpy(rng.random((4, CHANNELS + PLACE_CHANNELS, 16, 16)).astype(np.float32))
    with torch.inference_mode():
        expected = load_cascade(str(tmp_path / "before")).classifier(x[:, :CHANNELS])
        assert torch.allclose(network(x), expected, atol=1e-5)


class _Bright(torch.nn.Module):
    """A network that takes what is bright below for a microbleed."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(8.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.slope * (x[:, :1].mean(dim=(2, 3), keepdim=True) - 0.5)
        return logits


def test_what_the_network_before_took_for_microbleeds_is_drawn_more_often(
    rng: np.random.Generator,
) -> None:
    how = settings()
    how = replace(how, classifier=replace(how.classifier, batch_size=2000), seed=1)
    how = replace(how, augmentation=AugmentationSettings(), neighbours_hidden=0.0)
    sets = candidates(rng)
    for one in sets:
        # One in ten of the others is bright below, and so are all microbleeds.
        bright = (one.hit > 0) | (np.cumsum(one.hit == 0) % 10 == 1)
        one.patches[:, :3] = bright[:, None, None, None]
    bright_share = {}
    for before in (None, _Bright()):
        images, truth = CandidateData(sets, [], SEEN, how, before).draw(0)
        others = images[truth.flatten() == 0, :3].mean(dim=(1, 2, 3))
        bright_share[before is None] = (others > 0.5).float().mean()
        assert truth.mean() == pytest.approx(0.25, abs=0.03)
    assert bright_share[True] == pytest.approx(0.1, abs=0.025)
    # 0.98 and 0.02 are their probabilities.
    likely = 0.1 * 0.982 / (0.1 * 0.982 + 0.9 * 0.018)
    expected = (1 - HARD_SHARE) * 0.1 + HARD_SHARE * likely
    assert bright_share[False] == pytest.approx(expected, abs=0.03)


def test_subjects_stay_together_and_one_is_too_few(rng: np.random.Generator) -> None:
    sets = candidates(rng) + candidates(rng)
    train, kept = by_subject(sets, settings())
    assert len(train) + len(kept) == len(sets)
    assert not {one.subject for one in train} & {one.subject for one in kept}
    with pytest.raises(InputError, match="at least 2 subjects"):
        by_subject(sets[:1], settings())


def test_candidates_of_one_kind_are_refused(rng: np.random.Generator) -> None:
    sets = [replace(one, hit=np.zeros_like(one.hit)) for one in candidates(rng)]
    with pytest.raises(InputError, match="microbleeds and others"):
        CandidateData(sets, [], SEEN, settings())


def test_a_cascade_gets_a_calibrated_classifier_of_scans_on_disk(
    tmp_path: Path,
    rng: np.random.Generator,
    make_dataset: Callable[..., list[DatasetScan]],
) -> None:
    model = tmp_path / "model"
    save_cascade(model, load_cascade("compact"))
    learn, natural = make_dataset(rng, "learn", 4), make_dataset(rng, "natural", 3)
    points = add_classifier(
        model,
        ClassifierScans(learn, natural, "natural"),
        tmp_path / "work",
        replace(settings(steps=5), validation_share=0.5),
    )
    cascade = load_cascade(str(model))
    assert cascade.classifier is not None
    assert cascade.settings.thresholds == points
    assert cascade.card["classifier"]["subjects"] == 4
    assert set(cascade.sha256) == {
        weight_file(name) for name in ("detector", "segmenter", "classifier")
    }
    (found,) = (tmp_path / "work").glob("candidates-*")
    kept = collect_all(learn, cascade, found / "learn")
    assert {one.single for one in kept} == {True, False}
    volume = next(one for one in kept if not one.single)
    (about,) = (found / "learn").glob("learn-0-swi-*.json")
    rows = json.loads(about.read_text("utf-8"))
    assert volume.hit.tolist() == rows[0]["hit"]
    assert volume.patches.shape[1:] == (CHANNELS, 24, 24)
    # What was found on the lesions is dark in the middle plane and marked by stage 2.
    hits = volume.patches[volume.hit > 0].astype(float)
    assert len(hits) >= 3
    assert hits[:, 4, 10:14, 10:14].max(axis=(1, 2)).min() > 0.05


def test_a_confidence_is_calibrated_on_all_that_segment_finds(
    tmp_path: Path,
    rng: np.random.Generator,
    make_dataset: Callable[..., list[DatasetScan]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cascade = load_cascade("standard")
    (scan,) = make_dataset(rng, "natural", 1)
    monkeypatch.setattr("mmocnet.train.candidate_sets.MOST_FALSE", 1)
    (row,) = score_volumes([scan], cascade, tmp_path / "said")
    (again,) = score_volumes(
        [scan], replace(cascade, detector=Detector(cascade.settings.detector)), tmp_path / "said"
    )
    np.testing.assert_array_equal(row.logit, again.logit)
    asked = []

    def spy(logits: np.ndarray, *rest: Any) -> np.ndarray:
        asked.append(logits)
        return confidence_of(logits, *rest)

    monkeypatch.setattr("mmocnet.predict.classify.confidence_of", spy)
    segment(read_scan(scan.image), SegmentSettings(location=False), cascade=cascade)
    np.testing.assert_array_equal(row.logit, asked[0])
    assert (row.hit == 0).sum() > 1
    assert row.references == row.hit.max()
    for path in (scan.image, scan.labels):
        assert path is not None
        image = nib.load(path)
        nib.save(image.slicer[:, :, 4:5], path)
    with pytest.raises(InputError, match=r"got one slice: natural-0-swi\.nii"):
        score_volumes([scan], cascade, tmp_path / "one slice")


def test_scores_of_another_dataset_or_other_labels_are_not_taken(
    tmp_path: Path,
    rng: np.random.Generator,
    make_dataset: Callable[..., list[DatasetScan]],
) -> None:
    cascade = load_cascade("standard")
    first, second = (make_dataset(rng, name, 1)[0] for name in ("first", "second"))
    # Of the same name in a folder of its own, as all simulated sets have them.
    other = tmp_path / "other" / first.image.name
    other.parent.mkdir()
    second = replace(second, image=second.image.rename(other))
    (one,) = score_volumes([first], cascade, tmp_path / "said")
    (two,) = score_volumes([second], cascade, tmp_path / "said")
    assert one.logit.tolist() != two.logit.tolist()
    assert first.labels is not None
    image = nib.load(first.labels)
    flat = nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine)
    nib.save(flat, first.labels)
    (without,) = score_volumes([first], cascade, tmp_path / "said")
    assert one.references > 0
    assert without.references == 0
    np.testing.assert_array_equal(one.logit, without.logit)


def test_a_mask_has_the_lesions_that_a_numbered_reference_has(
    tmp_path: Path,
    rng: np.random.Generator,
    make_dataset: Callable[..., list[DatasetScan]],
) -> None:
    cascade = load_cascade("standard")
    (scan,) = make_dataset(rng, "own", 1)
    assert scan.labels is not None
    image = nib.load(scan.labels)
    mask = np.asarray(image.dataobj) > 0
    numbered, count = ndimage.label(mask, np.ones((3, 3, 3)))
    rows, sets = [], []
    for number, labels in enumerate((numbered, mask)):
        nib.save(nib.Nifti1Image(labels.astype(np.uint8), image.affine), scan.labels)
        rows += score_volumes([scan], cascade, tmp_path / f"said-{number}")
        sets.append(collect_all([scan], cascade, tmp_path / f"found-{number}"))
    assert rows[0].references == rows[1].references == count > 1
    np.testing.assert_array_equal(rows[0].hit, rows[1].hit)
    for one, other in zip(*sets, strict=True):
        np.testing.assert_array_equal(one.hit, other.hit)


def test_subjects_that_validate_without_a_candidate_are_refused(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    how, sets = settings(steps=1), candidates(rng)
    kept = {one.subject for one in by_subject(sets, how)[1]}
    sets = [
        replace(one, patches=one.patches[:0], hit=one.hit[:0]) if one.subject in kept else one
        for one in sets
    ]
    with pytest.raises(InputError, match="that validate the classifier, got none"):
        train_classifier(sets, tmp_path, how)


def test_a_folder_with_a_classifier_of_other_candidates_is_refused(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    how = settings(steps=1)
    train_classifier(candidates(rng), tmp_path, how)
    others = [replace(one, hit=one.hit[::-1]) for one in candidates(rng)]
    with pytest.raises(InputError, match=r"the candidates that .* was begun with, got others"):
        train_classifier(others, tmp_path, how)


def test_a_network_that_sees_neighbours_starts_as_the_one_that_sees_none(
    rng: np.random.Generator,
) -> None:
    cascade = load_cascade("compact")
    wide = Detector(replace(cascade.settings.detector, in_channels=3)).eval()
    start_from(wide, model_folder("compact") / weight_file("detector"))
    x = torch.from_numpy(rng.random((1, 3, 48, 48)).astype(np.float32))
    with torch.inference_mode():
        assert torch.allclose(wide(x), cascade.detector(x[:, 1:2]), atol=1e-4)


def test_weights_of_another_width_are_no_start() -> None:
    other = Detector(DetectorSettings(widths=(4, 4, 8, 8, 8)))
    with pytest.raises(ModelError, match="does not fit"):
        start_from(other, model_folder("compact") / weight_file("detector"))


def test_neighbours_are_hidden_and_reversed_at_random(
    make_toy_scan: Callable[..., TrainingScan], rng: np.random.Generator
) -> None:
    scan = make_toy_scan(rng, "01")
    seen = {tuple(Neighbours(3, 0.5).of(scan, 5, rng)) for _ in range(100)}
    assert seen == {(3, 5, 7), (7, 5, 3), (5, 5, 5)}
    assert Neighbours().of(scan, 5, rng) == [5]


def test_without_dice_the_loss_of_candidates_is_cross_entropy() -> None:
    logits, truth = torch.tensor([[[[0.7]]], [[[-1.2]]]]), torch.tensor([[[[1.0]]], [[[0.0]]]])
    loss = joint_loss(logits, truth, LossSettings(0.0, dice_weight=0.0))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth)
    assert float(loss) == pytest.approx(float(expected))
