"""What a notebook meets: arrays, texts for paths, and wrong arguments."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import mmocnet
from mmocnet.compare.visit import CompareSettings
from mmocnet.config import LossSettings, StageSettings, train_settings
from mmocnet.evaluate.score import ScoreSettings
from mmocnet.predict.pipeline import segment_file
from mmocnet.simulate.dataset import WriteSettings
from mmocnet.simulate.settings import StudySettings

SHAPE = (96, 120, 42)
QUICK = mmocnet.SegmentSettings(location=False)


def test_every_public_name_is_there():
    for name in mmocnet.__all__:
        assert getattr(mmocnet, name).__doc__


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: mmocnet.SegmentSettings(operating_point="best"),
            "operating_point must be screening, balanced or report, got 'best'",
        ),
        (
            lambda: mmocnet.SegmentSettings(threshold="0.5"),
            "threshold must be a number or None, got '0.5'",
        ),
        (lambda: mmocnet.SegmentSettings(location=1), "location must be True or False, got 1"),
        (lambda: mmocnet.FileOptions(mask=3), "mask must be a path or None, got 3"),
        (lambda: StudySettings(protocol="3t"), "protocol must be ukb, .* or random, got '3t'"),
        (lambda: StudySettings(images="mag"), "images must be all, phase or swi, got 'mag'"),
        (lambda: StudySettings(slab_mm="5"), "slab_mm must be a number or None, got '5'"),
        (lambda: StudySettings(lesion_count=3), "lesion_count must be a tuple or None, got 3"),
        (lambda: StudySettings(lesion_count=np.arange(2)), "lesion_count must be a tuple or None"),
        (lambda: WriteSettings(workers=1.5), "workers must be a whole number, got 1.5"),
        (lambda: WriteSettings(workers=True), "workers must be a whole number, got True"),
        (lambda: CompareSettings(growth_ratio="2"), "growth_ratio must be a number, got '2'"),
        (lambda: ScoreSettings(allow_missing="no"), "allow_missing must be True or False"),
        (lambda: StageSettings(optimiser="sgd"), "optimiser must be adam or adamw, got 'sgd'"),
        (lambda: LossSettings(kind="dice"), "kind must be joint or marking, got 'dice'"),
        (lambda: train_settings("big"), "preset must be compact, standard or paper, got 'big'"),
        (lambda: mmocnet.train_model("d", "o", "big"), "preset must be compact, standard or paper"),
        (lambda: mmocnet.train_model("d", "o", stage=1), "stage must be 1, 2 or both, got 1"),
        (lambda: mmocnet.train_model("d", "o", device="gpu"), "expected device cpu or cuda"),
        (lambda: mmocnet.simulate_dataset("o", visits=3), "visits must be 1 or 2, got 3"),
        (
            lambda: mmocnet.simulate_dataset("o", write=WriteSettings(device="mps")),
            "expected device cpu or cuda, got 'mps'",
        ),
    ],
)
def test_a_wrong_value_is_told_in_a_sentence(make, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mmocnet.InputError, match=told):
        make()
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_numpy_are_numbers():
    assert mmocnet.SegmentSettings(threshold=np.float32(0.5)).threshold == 0.5
    assert WriteSettings(workers=np.int64(2)).workers == 2
    assert StudySettings(lesion_count=[1, 2]).lesion_count == (1, 2)


def test_texts_for_paths_become_paths():
    options = mmocnet.FileOptions(mask="mask.nii.gz", phase="phase.nii.gz", series=5)
    assert options.series == "5"
    assert (options.mask, options.phase) == (Path("mask.nii.gz"), Path("phase.nii.gz"))
    assert mmocnet.VisitFiles("scan.nii.gz").scan == Path("scan.nii.gz")
    data = mmocnet.TrainData("learn", thresholds_on="natural")
    assert (data.learn, data.thresholds_on) == (Path("learn"), Path("natural"))


@pytest.mark.parametrize("given", ["scan.nii.gz", Path("scan.nii.gz"), np.zeros((8, 8, 8)), None])
def test_what_is_no_scan_is_told_how_to_make_one(given, dark_spots):
    with pytest.raises(mmocnet.InputError, match=r"load_scan\(path\) reads one, Volume\(array"):
        mmocnet.segment(given, QUICK, cascade=dark_spots)


def test_lists_make_a_volume():
    volume = mmocnet.Volume([[[1, 2]]], np.eye(4).tolist())
    assert volume.shape == (1, 1, 2)
    assert volume.spacing_mm == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("array", [np.zeros((2, 2, 2), complex), np.full((2, 2, 2), "a")])
def test_what_is_no_real_number_makes_no_volume(array):
    with pytest.raises(mmocnet.InputError, match="expected real numbers, got"):
        mmocnet.Volume(array, np.eye(4))


@pytest.fixture
def scan(phantom, head_affine):
    return phantom(head_affine, SHAPE, [((-31.0, 9.0, 0.0), 7.0), ((31.0, 9.0, 0.0), 7.0)])


@pytest.fixture
def inside(scan):
    """A brain that holds one of the two spots."""
    brain = scan.array > 0
    brain[:48] = False
    return brain


def test_numbers_above_0_are_brain(scan, inside, dark_spots):
    wanted = mmocnet.segment(scan, QUICK, cascade=dark_spots, brain=inside)
    assert len(wanted.lesions) == 1
    turned = np.diag([-1.0, 1.0, 1.0, 1.0])
    turned[0, 3] = SHAPE[0] - 1
    flipped = mmocnet.Volume(inside[::-1], scan.affine @ turned)
    others = (inside.astype(np.uint8), 0.7 * inside, inside.tolist(), scan.like(inside), flipped)
    for brain in others:
        found = mmocnet.segment(scan, QUICK, cascade=dark_spots, brain=brain)
        np.testing.assert_array_equal(found.probability.array, wanted.probability.array)
        assert found.lesions == wanted.lesions


@pytest.mark.parametrize(
    ("brain", "told"),
    [
        (np.ones((3, 3, 3)), r"brain mask of shape \(96, 120, 42\), got \(3, 3, 3\)"),
        (np.zeros(SHAPE), "expected a brain mask, got no voxel above 0"),
        (mmocnet.Volume(np.ones(SHAPE), np.eye(4)), "expected a mask on the grid of"),
    ],
)
def test_a_mask_of_another_grid_is_refused(scan, dark_spots, brain, told):
    with pytest.raises(mmocnet.InputError, match=told):
        mmocnet.segment(scan, QUICK, cascade=dark_spots, brain=brain)


def test_phase_as_an_array_is_refused(scan, dark_spots):
    with pytest.raises(mmocnet.InputError, match="expected phase as a Volume, got ndarray"):
        mmocnet.segment(scan, QUICK, cascade=dark_spots, phase=np.zeros(scan.shape))


def test_results_that_were_there_are_read_again(tmp_path, scan, dark_spots):
    nib.save(nib.Nifti1Image(scan.array, scan.affine), tmp_path / "scan.nii.gz")
    first, again = (
        segment_file(str(tmp_path / "scan.nii.gz"), tmp_path / "out", QUICK, cascade=dark_spots)
        for _ in range(2)
    )
    assert again.result is None
    assert first.lesions
    assert [one.name for one in again.lesions] == [one.name for one in first.lesions]
    np.testing.assert_allclose(
        [one.volume_mm3 for one in again.lesions],
        [one.volume_mm3 for one in first.lesions],
        rtol=1e-3,
    )


def test_a_scan_keeps_what_its_file_says(tmp_path, scan, dark_spots):
    nib.save(nib.Nifti1Image(scan.array, scan.affine), tmp_path / "scan.nii.gz")
    (tmp_path / "scan.json").write_text('{"EchoTime": 0.02}')
    loaded = mmocnet.load_scan(str(tmp_path / "scan.nii.gz"))
    assert loaded.echo_s == 0.02
    by_call = mmocnet.segment(loaded, QUICK, cascade=dark_spots)
    by_file = segment_file(tmp_path / "scan.nii.gz", tmp_path / "out", QUICK, cascade=dark_spots)
    assert by_file.result is not None
    assert by_call.lesions == by_file.result.lesions
    assert by_call.warnings == by_file.result.warnings
    np.testing.assert_array_equal(
        mmocnet.load_volume(tmp_path / "scan.nii.gz").array, loaded.volume.array
    )


def test_what_a_training_gives_is_taken_as_a_model(tmp_path):
    assert mmocnet.SegmentSettings(model=tmp_path / "model").model == str(tmp_path / "model")


def test_numbers_of_numpy_are_written(tmp_path, scan, dark_spots):
    nib.save(nib.Nifti1Image(scan.array, scan.affine), tmp_path / "scan.nii.gz")
    settings = mmocnet.SegmentSettings(threshold=np.float32(0.5), location=np.bool_(False))
    done = segment_file(tmp_path / "scan.nii.gz", tmp_path / "out", settings, cascade=dark_spots)
    assert done.files.summary.is_file()


@pytest.mark.parametrize("settings", [None, 5])
def test_what_is_no_way_to_train_is_told(settings):
    with pytest.raises(mmocnet.InputError, match="expected a preset or TrainSettings, got"):
        mmocnet.train_model("d", "o", settings)
