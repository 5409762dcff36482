import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mmocnet.cli import main
from mmocnet.commands.simulate import simulate_dataset
from mmocnet.errors import InputError
from mmocnet.io.dataset import read_dataset, read_tsv
from mmocnet.io.nifti import read_nifti
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.study import simulate_study
from mmocnet.simulate.testset import training_seed

SLAB = ["--protocol", "aibl", "--slab-mm", "6", "--seed", "5", "--images", "swi"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def simulate(out: Path, *words: str) -> int:
    return main(["simulate", "-o", str(out), *SLAB, *words])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "data"
    assert simulate(out, "--subjects", "2", "--workers", "2") == 0
    return out


def test_two_workers_write_every_subject_of_the_seed(dataset: Path) -> None:
    assert [scan.subject for scan in read_dataset(dataset)] == ["0001", "0002"]
    rows = read_tsv(dataset / "participants.tsv")
    assert [int(row["seed"]) for row in rows] == [training_seed(5, 1), training_seed(5, 2)]


def test_a_second_run_makes_nothing_again(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(dataset, "--subjects", "2") == 0
    assert "0 subjects written, 2 there already, 0 failed" in capsys.readouterr().out


def test_a_worker_writes_what_this_process_simulates(dataset: Path) -> None:
    settings = StudySettings("aibl", images="swi", slab_mm=6.0)
    study = simulate_study(settings, training_seed(5, 2))
    (scan,) = (scan for scan in read_dataset(dataset) if scan.subject == "0002")
    written = read_nifti(scan.image).array
    # Images are stored in 65535 steps, and float32 sums may differ in the last digit.
    assert np.abs(written - study.swi.array).max() < 1e-4 * np.ptp(study.swi.array)
    assert scan.labels is not None
    assert np.array_equal(read_nifti(scan.labels).array, study.apparent.array)


def test_another_seed_in_the_same_folder_ends_with_one_sentence(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(dataset, "--subjects", "1", "--seed", "6") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["--implant", "SCANS"]])
def test_a_file_as_dataset_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    (tmp_path / "out").touch()
    (tmp_path / "scans").mkdir()
    words = [word.replace("SCANS", str(tmp_path / "scans")) for word in words]
    assert main(["simulate", "-o", str(tmp_path / "out"), *words]) == 2
    assert "expected a folder for the results, got the file 'out'" in capsys.readouterr().err
    with pytest.raises(InputError, match="got the file 'out'"):
        simulate_dataset(tmp_path / "out", 1)


@pytest.mark.parametrize(
    "words",
    [
        ["--subjects", "0"],
        ["--workers", "0"],
        ["--lesion-free-share", "1.5"],
        ["--lesion-count", "30", "5"],
        ["--lesion-count", "-3", "-1"],
        ["--slab-mm", "-5"],
        pytest.param(
            ["--device", "cuda"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_impossible_options_end_with_code_two(tmp_path: Path, words: list[str]) -> None:
    assert simulate(tmp_path / "data", *words) == 2
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("words", [["--te-ms", "20"], ["--field-t", "3"], ["--phase-sign", "-1"]])
def test_what_is_said_of_real_scans_is_refused_where_none_are_given(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(tmp_path / "data", "--subjects", "1", *words) == 2
    said = capsys.readouterr().err
    assert "expected --te-ms, --field-t and --phase-sign with --implant only" in said
    assert not (tmp_path / "data").exists()


def test_a_killed_run_leaves_no_half_subject_and_resumes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mmocnet", "simulate", "-o", str(tmp_path), *SLAB]
    process = subprocess.Popen([*command, "--subjects", "50"], env=ONE_THREAD)
    for _ in range(600):
        if (tmp_path / "sub-0001").is_dir():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    scans = read_dataset(tmp_path)
    assert 1 <= len(scans) < 50
    assert all(scan.labels is not None and scan.brain is not None for scan in scans)
    assert simulate(tmp_path, "--subjects", str(len(scans))) == 0
    assert not (tmp_path / ".unfinished").exists()
