import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmocnet.cli import main
from mmocnet.io.dataset import read_dataset, read_tsv
from mmocnet.io.nifti import read_nifti, write_nifti
from mmocnet.simulate.bids import write_root
from mmocnet.volume import Volume

OPTIONS = ["--lesion-free-share", "0", "--lesion-count", "3", "3", "--phase-sign", "1"]


def implant(folder: Path, out: Path, *words: str) -> int:
    return main(["simulate", "-o", str(out), "--implant", str(folder), *OPTIONS, *words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a BIDS subject of two visits and a simply named scan, small, of even tissue."""
    root = tmp_path_factory.mktemp("held")
    rng = np.random.default_rng(2)
    brain = np.zeros((64, 64, 20), bool)
    brain[6:-6, 6:-6, :] = True
    named = [
        ("sub-07/ses-1/anat/sub-07_ses-1_part-{}_T2starw", ("mag", "phase")),
        ("sub-07/ses-2/anat/sub-07_ses-2_part-{}_T2starw", ("mag", "phase")),
        ("Smith John/{}", ("magnitude", "phase")),
    ]
    for pattern, (first, second) in named:
        magnitude = Volume(brain * rng.normal(200, 4, brain.shape), np.diag([1.0, 1, 2, 1]))
        write = root / f"{pattern.format(first)}.nii.gz"
        write.parent.mkdir(parents=True)
        write_nifti(write, magnitude, np.float32)
        phase = magnitude.like(rng.normal(0, 0.05, brain.shape))
        write_nifti(root / f"{pattern.format(second)}.nii.gz", phase, np.float32)
        sidecar = {"EchoTime": 0.02, "MagneticFieldStrength": 3}
        write.with_name(write.name[:-7] + ".json").write_text(json.dumps(sidecar), "utf-8")
    return root


@pytest.fixture(scope="module")
def dataset(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("implanted") / "data"
    assert implant(folder, out, "--seed", "4") == 0
    return out


def test_visits_of_a_subject_stay_together_and_names_are_not_copied(dataset: Path) -> None:
    scans = read_dataset(dataset)
    assert [scan.session for scan in scans if scan.subject == "07"] == ["1", "2"]
    assert len({scan.subject for scan in scans}) == 2
    text = "".join(p.name + p.read_text("utf-8") for p in dataset.rglob("*.json"))
    assert "Smith" not in text
    assert not any("Smith" in str(path.relative_to(dataset)) for path in dataset.rglob("*"))


def test_scans_without_a_folder_of_their_own_are_told_to_be_subjects(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "held").mkdir()
    for name, visit in (("John_2019", 1), ("John_2021", 2)):
        for kind in ("mag", "phase"):
            of = folder / f"sub-07/ses-{visit}/anat/sub-07_ses-{visit}_part-{kind}_T2starw.nii.gz"
            shutil.copy(of, tmp_path / "held" / f"{name}_{kind}.nii.gz")
    # Without an echo time nothing is implanted, which takes no time here.
    assert implant(tmp_path / "held", tmp_path / "out") != 0
    assert "warning: 2 scans lie in held itself, each is taken for a subject" in (
        " ".join(capsys.readouterr().err.split())
    )


def test_every_scan_has_a_twin_and_references_that_its_table_describes(dataset: Path) -> None:
    for scan in read_dataset(dataset):
        assert scan.twin is not None
        assert scan.labels is not None
        assert scan.table is not None
        assert scan.brain is not None
        labels = read_nifti(scan.labels)
        swi, twin = (read_nifti(path).array for path in (scan.image, scan.twin))
        rows = [row for row in read_tsv(scan.table) if row["kind"] == "microbleed"]
        assert [row["index"] for row in rows] == ["1", "2", "3"]
        for row in rows:
            mine = labels.array == int(row["index"])
            volume = mine.sum() * labels.voxel_mm3
            assert float(row["apparent_mm3"]) == pytest.approx(volume, rel=1e-4)
            if mine.any():
                assert swi[mine].mean() < 0.85 * twin[mine].mean()
        far = ~np.isin(np.arange(swi.shape[2]), np.argwhere(labels.array > 0)[:, 2])
        assert np.isclose(swi[:, :, far], twin[:, :, far], atol=3).mean() > 0.9


def test_provenance_says_implanted_and_names_the_hash_and_the_users_duty(
    dataset: Path, folder: Path
) -> None:
    import hashlib

    image = dataset / "sub-07" / "ses-1" / "anat" / "sub-07_ses-1_acq-swi_T2starw.json"
    record = json.loads(image.read_text("utf-8"))["Implantation"]
    source = folder / "sub-07" / "ses-1" / "anat" / "sub-07_ses-1_part-mag_T2starw.nii.gz"
    assert record["OriginalSHA256"]["magnitude"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert record["Settings"]["seed"] == 4
    readme = (dataset / "README.md").read_text("utf-8")
    assert "consent" in readme
    assert "Research use only - not a medical device." in readme
    assert "real images" in json.loads(
        (dataset / "dataset_description.json").read_text("utf-8")
    )["License"]  # fmt: skip


def test_a_second_run_resumes_and_another_seed_is_refused(
    dataset: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert implant(folder, dataset, "--seed", "4") == 0
    assert "0 subjects written, 2 there already" in capsys.readouterr().out
    assert implant(folder, dataset, "--seed", "5") == 2
    assert "another seed" in capsys.readouterr().err


@pytest.mark.parametrize("changed", ["part-mag_T2starw.json", "part-mag_T2starw.nii.gz"])
def test_a_scan_that_was_corrected_is_not_taken_for_done(
    dataset: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: str
) -> None:
    scans, out = tmp_path / "held", tmp_path / "out"
    shutil.copytree(folder, scans)
    shutil.copytree(dataset, out)
    second = scans / "sub-07" / "ses-2" / "anat" / f"sub-07_ses-2_{changed}"
    if second.suffix == ".json":
        second.write_text(json.dumps({"EchoTime": 0.025, "MagneticFieldStrength": 3}), "utf-8")
    else:
        shutil.copy(str(second).replace("ses-2", "ses-1"), second)
    assert implant(scans, out, "--seed", "4") == 2
    assert "got sub-07_ses-2 of another scan" in capsys.readouterr().err


def test_implants_of_another_simulator_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert implant(folder / "Smith John", tmp_path, "--images", "swi") == 0
    (path,) = tmp_path.rglob("sub-*_acq-swi_T2starw.json")
    sidecar = json.loads(path.read_text("utf-8"))
    sidecar["Implantation"]["SimulatorVersion"] = 2
    path.write_text(json.dumps(sidecar), "utf-8")
    assert implant(folder / "Smith John", tmp_path, "--images", "swi") == 2
    assert "of version 2 in" in capsys.readouterr().err


@pytest.mark.parametrize("place", [".", "sub-07/implanted", ".."])
def test_nothing_is_written_into_or_around_the_scans_that_are_given(
    folder: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.parent.rglob("*"))
    assert implant(folder, folder / place) == 2
    assert "a folder apart from the scans in" in capsys.readouterr().err
    assert sorted(folder.parent.rglob("*")) == before


def test_a_simulated_dataset_takes_no_implants(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_root(tmp_path)
    assert implant(folder, tmp_path) == 2
    assert "one that mmocnet simulate --implant made" in capsys.readouterr().err


def test_images_swi_writes_what_training_reads(folder: Path, tmp_path: Path) -> None:
    assert implant(folder / "Smith John", tmp_path, "--images", "swi") == 0
    (scan,) = read_dataset(tmp_path)
    assert scan.twin is None
    assert scan.labels is not None
    names = [path.name for path in tmp_path.rglob("*.nii.gz")]
    assert not any("part-" in name or "source" in name for name in names)
    assert read_nifti(scan.image).spacing_mm == pytest.approx((1.0, 1.0, 2.0))


@pytest.mark.parametrize(
    "words",
    [
        ["--test-set", "v3"],
        ["--protocol", "dou"],
        ["--slab-mm", "9"],
        ["--te-ms", "0"],
        ["--subjects", "5"],
        ["--workers", "2"],
        ["--device", "cuda"],
    ],
)
def test_options_that_do_not_apply_end_with_one_sentence(
    folder: Path, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert implant(folder, tmp_path / "out", *words) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_scan_that_cannot_be_read_is_reported_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "held").mkdir()
    for name in ("mag", "phase"):
        (tmp_path / "held" / f"{name}.nii.gz").write_bytes(b"no image")
    assert implant(tmp_path / "held", tmp_path / "out", "--te-ms", "20", "--field-t", "3") != 0
    assert "1 of 1 subjects failed" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("sub-*"))


def test_a_scan_that_cannot_be_used_is_named_and_no_second_run_advised(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = folder / "sub-07/ses-1/anat/sub-07_ses-1_part-{}_T2starw.nii.gz"
    (tmp_path / "held" / "one").mkdir(parents=True)
    for kind in ("mag", "phase"):
        shutil.copy(str(of).format(kind), tmp_path / "held" / "one" / f"{kind}.nii.gz")
    assert implant(tmp_path / "held", tmp_path / "out") == 2
    last = capsys.readouterr().err[-400:]
    assert "1 of 1 subjects failed\n" in last
    assert ": one/mag.nii.gz: expected EchoTime in the JSON beside mag.nii.gz, or --te-ms" in last
    assert "Error" not in last
