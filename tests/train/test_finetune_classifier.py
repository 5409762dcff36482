import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmocnet.config import (
    BurdenSettings,
    CascadeSettings,
    ClassifierSettings,
    DetectorSettings,
    LocalConfidence,
    SegmenterSettings,
    SegmentSettings,
    TrainSettings,
)
from mmocnet.errors import InputError
from mmocnet.io.dataset import DatasetScan
from mmocnet.io.nifti import read_nifti
from mmocnet.io.read import read_scan
from mmocnet.nets.checkpoint import Cascade, load_cascade
from mmocnet.nets.classifier import Classifier
from mmocnet.nets.detector import Detector
from mmocnet.nets.segmenter import Segmenter
from mmocnet.predict.classify import confidence_of
from mmocnet.predict.confidence import probability
from mmocnet.predict.pipeline import segment
from mmocnet.train.candidate_sets import MARGIN_PX, CandidateSet
from mmocnet.train.classifier_stage import scored
from mmocnet.train.finetune_classifier import tune_classifier
from mmocnet.train.finetune_confidence import Found, confidence, fitted, rows_of, with_scores
from mmocnet.train.finetune_networks import training_of
from mmocnet.train.finetune_settings import FinetuneSettings
from mmocnet.types import Triple

SEEN = ClassifierSettings(
    offsets_mm=(-3.0, 0.0, 3.0), phase_offsets_mm=(0.0,), size=16, widths=(8, 16), blocks=1
)
SMALL = CascadeSettings(DetectorSettings((4, 4, 8, 8, 8)), SegmenterSettings(4, 1), classifier=SEEN)


def cascade() -> Cascade:
    torch.manual_seed(0)
    networks = Detector(SMALL.detector), Segmenter(SMALL.segmenter)
    return Cascade(SMALL, *networks, {}, classifier=Classifier(SEEN).eval())


def candidates(rng: np.random.Generator, count: int = 60) -> Found:
    """Candidates of which those of a dark middle plane alone are microbleeds."""
    side, hit = SEEN.size + 2 * MARGIN_PX, np.arange(count) % 3
    hit = np.where(hit == 1, np.arange(count) + 1, 0)
    patches = rng.uniform(0.4, 0.6, (count, 8, side, side))
    patches[hit > 0, 1, 8:16, 8:16] = 0.05
    patches[hit == 0, 0:3, 8:16, 8:16] = 0.05
    return Found(sets=(CandidateSet("a", patches.astype(np.float16), hit, count // 3, False),))


def loss(model: Cascade, found: Found) -> float:
    rows = rows_of(found, model)
    return float(np.logaddexp(0, np.where(rows.truth, -1, 1) * rows.x[:, 0]).mean())


def test_a_tuned_classifier_knows_the_users_candidates(rng: np.random.Generator) -> None:
    start, found, unseen = cascade(), candidates(rng), candidates(rng)
    before = loss(start, unseen)
    training = TrainSettings(cascade=SMALL)
    training = replace(training, classifier=replace(training.classifier, batch_size=16))
    settings = FinetuneSettings(steps=(0, 0, 120), learning_rate=1e-2, pull=0.0)
    tuned = tune_classifier(start, (found, candidates(rng)), training, settings)
    assert loss(tuned, unseen) < 0.8 * before
    assert loss(start, unseen) == pytest.approx(before)


def own_candidates(
    rng: np.random.Generator, model: Cascade, voxel: Triple = (0.5, 0.5, 2.0)
) -> Found:
    found = candidates(rng)
    assert model.classifier is not None
    _, volumes = scored(found.sets, model.classifier)
    return replace(found, volumes=tuple(volumes), voxels_mm=(voxel,))


@pytest.mark.parametrize("burden", [None, BurdenSettings(0.9, -1.2, 0.3)])
def test_a_line_for_the_users_voxels_is_fitted_and_nothing_else(
    rng: np.random.Generator, burden: BurdenSettings | None
) -> None:
    start, seen = cascade(), replace(SEEN, burden=burden)
    own = own_candidates(rng, start)
    start.settings = replace(SMALL, classifier=seen)
    changed = fitted(start, own, candidates(rng), FinetuneSettings(ridge=0.0), start)
    assert changed.classifier is start.classifier
    assert changed.settings.classifier is not None
    assert replace(changed.settings.classifier, local=()) == seen
    (local,) = changed.settings.classifier.local
    assert local.voxels_mm == own.voxels_mm
    assert local.slope > 0
    # A third of the candidates are microbleeds: the mean confidence says so.
    logit = rows_of(candidates(rng), start).x[:, 0]
    given = probability(logit, local.slope, local.intercept, burden)
    assert given.mean() == pytest.approx(1 / 3, abs=0.05)


def test_it_is_fitted_on_all_that_segment_finds_with_phase(
    rng: np.random.Generator,
    make_dataset: Callable[..., list[DatasetScan]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = load_cascade("standard")
    volume, plane = make_dataset(rng, "own", 2)
    for path in (plane.image, plane.labels):
        assert path is not None
        image = nib.load(path)
        nib.save(image.slicer[:, :, 4:5], path)
    image, phase = nib.load(volume.image), tmp_path / "phase.nii.gz"
    field = np.where(image.get_fdata() < 90, 1.5, 0) + rng.normal(0, 0.1, image.shape)
    field += np.linspace(0, 20, image.shape[0])[:, None, None]
    wrapped = np.angle(np.exp(1j * field)).astype(np.float32)
    nib.save(nib.Nifti1Image(wrapped, image.affine), phase)
    monkeypatch.setattr("mmocnet.train.candidate_sets.MOST_FALSE", 1)
    found = with_scores(Found(), (replace(volume, phase=phase), plane), model)
    assert found.voxels_mm == ((0.5, 0.5, 1.0),)
    (row,) = found.volumes
    asked = []

    def spy(logits: NDArray[np.floating], *rest: Any) -> NDArray[np.floating]:
        asked.append(logits)
        return confidence_of(logits, *rest)

    monkeypatch.setattr("mmocnet.predict.classify.confidence_of", spy)
    settings = SegmentSettings(location=False)
    for given in (None, read_nifti(phase)):
        segment(read_scan(volume.image), settings, cascade=model, phase=given)
    without, seen = asked
    assert not np.array_equal(without, seen)
    np.testing.assert_array_equal(row.logit, seen)
    assert (row.hit == 0).sum() > 1


def test_on_single_slices_alone_the_confidence_stays(rng: np.random.Generator) -> None:
    start, replay = cascade(), candidates(rng)
    slices = Found(sets=(replace(candidates(rng).sets[0], single=True),))
    assert fitted(start, slices, replay, FinetuneSettings(), start).settings == start.settings
    tuned = replace(start, classifier=copy.deepcopy(start.classifier))
    after = fitted(tuned, slices, replay, FinetuneSettings(), start).settings.classifier
    assert after is not None
    assert after.local == ()


def test_a_second_tuning_replaces_the_line_of_the_same_voxels(rng: np.random.Generator) -> None:
    start, settings = cascade(), FinetuneSettings()
    model = start
    for voxel in ((0.5, 0.5, 2.0), (1.0, 1.0, 3.0), (0.5, 0.5, 2.0)):
        model = fitted(model, own_candidates(rng, start, voxel), Found(), settings, model)
    assert model.settings.classifier is not None
    voxels = [one.voxels_mm for one in model.settings.classifier.local]
    assert voxels == [((0.5, 0.5, 2.0),), ((1.0, 1.0, 3.0),)]


def test_other_candidates_keep_the_confidence_from_before_the_tuning(
    rng: np.random.Generator,
) -> None:
    start, replay = cascade(), candidates(rng)
    own = own_candidates(rng, start)
    earlier = LocalConfidence(((1.0, 1.0, 3.0),), 2.0, 0.5)
    start.settings = replace(SMALL, classifier=replace(SEEN, local=(earlier,)))
    planes = replace(candidates(rng).sets[0], single=True)
    replay = replace(replay, sets=(*replay.sets, planes))
    tuned = replace(start, classifier=copy.deepcopy(start.classifier))
    assert tuned.classifier is not None
    with torch.no_grad():  # a tuning that makes it surer of everything
        list(tuned.classifier.parameters())[-1].add_(2.0)

    def believed(model: Cascade, single: bool) -> NDArray[np.floating]:
        line = model.settings.classifier
        assert line is not None
        weights = (
            (line.slice_slope, line.slice_intercept) if single else (line.slope, line.intercept)
        )
        return confidence(rows_of(replay, model, single=single).x, np.array(weights))

    kept = fitted(tuned, own, replay, FinetuneSettings(ridge=0.0), start)
    for single in (False, True):
        assert believed(tuned, single).mean() > believed(start, single).mean() + 0.1
        np.testing.assert_allclose(believed(kept, single), believed(start, single), atol=1e-3)
    # What an earlier tuning gave for other voxels is what it was, too.
    before, after = (rows_of(replay, one).x for one in (start, kept))
    assert kept.settings.classifier is not None
    now = kept.settings.classifier.local[1]
    np.testing.assert_allclose(
        confidence(after, np.array([now.slope, now.intercept])),
        confidence(before, np.array([earlier.slope, earlier.intercept])),
        atol=1e-3,
    )


def test_patches_are_cut_as_the_model_reads_them() -> None:
    assert training_of(cascade()).cascade == SMALL


@pytest.mark.parametrize("kind", ["joint", "marking"])
def test_stage_1_is_tuned_with_the_loss_that_it_was_trained_with(kind: str) -> None:
    one = cascade()
    assert training_of(one).detector.loss.kind == "joint"
    one.card = {"training": {"detector": {"loss": {"kind": kind}}}}
    assert training_of(one).detector.loss.kind == kind
    assert training_of(load_cascade("standard")).detector.loss.kind == "marking"


def test_a_model_without_classifier_is_refused(rng: np.random.Generator) -> None:
    plain = replace(cascade(), settings=replace(SMALL, classifier=None), classifier=None)
    found = candidates(rng)
    with pytest.raises(InputError, match="a model with a classifier"):
        tune_classifier(plain, (found, found), TrainSettings(), FinetuneSettings())
