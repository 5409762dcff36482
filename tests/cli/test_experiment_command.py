from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mmocnet.cli import main
from mmocnet.cli.experiment import Experiment
from mmocnet.train.experiments import Plan
from mmocnet.train.variants import EXPERIMENTS


def write_study(folder: Path, label: str) -> None:
    at = np.meshgrid(np.arange(64), np.arange(72), np.arange(3), indexing="ij")
    brain = ((at[0] - 32) / 28) ** 2 + ((at[1] - 36) / 32) ** 2 < 1
    labels = (((at[0] - 30) ** 2 + (at[1] - 30) ** 2 < 9) & (at[2] == 1)).astype(np.int16)
    grain = np.random.default_rng(int(label)).normal(0, 4, brain.shape)
    image = np.where(brain, 100.0 + grain - 70 * labels, 0.0).astype(np.float32)
    anat = folder / f"sub-{label}" / "anat"
    reference = folder / "derivatives" / "reference" / f"sub-{label}" / "anat"
    name = f"sub-{label}_acq-swi"
    affine = np.diag([2.5, 2.5, 3.0, 1.0])
    for path in (anat, reference):
        path.mkdir(parents=True)
    nib.save(nib.Nifti1Image(image, affine), anat / f"{name}_T2starw.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), reference / f"{name}_desc-cmb_dseg.nii.gz")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for number in range(7):
        write_study(tmp_path / "set", f"{number:02d}")
    (tmp_path / "set" / "dataset_description.json").write_text('{"By": "mmocnet simulate"}')
    return tmp_path / "set"


def test_names_and_label_reach_the_plan(dataset: Path, tmp_path: Path) -> None:
    plan = Experiment("all", dataset, tmp_path / "out", folds_to_run=(1,))._plan("cpu")
    assert plan.names == EXPERIMENTS
    assert plan.folds_to_run == (1,)
    assert plan.label == {"dataset": "set", "preset": "small", "simulated": True}
    assert Experiment("lambda", dataset, tmp_path)._plan("cpu").names == ("lambda",)


def test_a_finished_experiment_is_reported(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[Plan] = []

    def run(scans: object, plan: Plan) -> None:
        ran.append(plan)

    monkeypatch.setattr("mmocnet.train.experiments.run_folds", run)
    words = ["experiment", "ablation", str(dataset), "-o", str(tmp_path / "out")]
    assert main([*words, "--device", "cpu"]) == 0
    assert "folds [0, 1, 2, 3, 4] are not finished" in capsys.readouterr().out
    assert ran[0].names == ("ablation",)
    assert (tmp_path / "out" / "folds.json").exists()
    assert main([*words, "--device", "cpu", "--preset", "full"]) == 2
    assert "was begun with" in capsys.readouterr().err


def test_the_comparison_needs_a_finished_cross_validation(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["experiment", "comparison", str(dataset), "-o", str(tmp_path / "out")]
    assert main([*words, "--device", "cpu"]) == 2
    assert "finished cross-validation" in capsys.readouterr().err


def test_a_missing_dataset_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["experiment", "lambda", str(tmp_path / "none"), "-o", str(tmp_path / "out")]
    assert main([*words, "--device", "cpu"]) == 2
    assert "none" in capsys.readouterr().err
