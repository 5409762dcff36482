from pathlib import Path

import pytest

from mmocnet.cli import main
from mmocnet.io.dataset import read_dataset, read_tsv

SLAB = ["--protocol", "aibl", "--slab-mm", "24", "--seed", "5", "--images", "swi", "--no-mimics"]
MANY = ["--lesion-free-share", "0", "--lesion-count", "8", "8"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("visits") / "data"
    words = ["simulate", "-o", str(out), "--subjects", "1", "--visits", "2", *SLAB, *MANY]
    assert main(words) == 0
    return out


def test_the_command_writes_both_visits_and_does_not_write_them_again(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [scan.session for scan in read_dataset(dataset)] == ["01", "02"]
    words = ["simulate", "-o", str(dataset), "--subjects", "1", "--visits", "2", *SLAB, *MANY]
    assert main(words) == 0
    assert "0 subjects written, 1 there already, 0 failed" in capsys.readouterr().out


def test_the_same_folder_without_visits_is_refused(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "-o", str(dataset), "--subjects", "1", *SLAB, *MANY]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_compare_tells_what_changed_between_the_visits(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK", reason="registration needs SimpleITK")
    first, second = read_dataset(dataset)
    words = ["compare", str(first.image), str(second.image), "-o", str(tmp_path), "--no-location"]
    words += ["--baseline-mask", str(first.labels), "--follow-up-mask", str(second.labels)]
    assert main(words) == 0
    (table,) = tmp_path.glob("*_compare.tsv")
    numbers = ("baseline_index", "follow_up_index")
    found = {tuple(row[name] for name in numbers) for row in read_tsv(table)}
    path = dataset / "derivatives" / "reference" / "sub-0001" / "sub-0001_changes.tsv"
    volumes = ("baseline_volume_mm3", "follow_up_volume_mm3")
    seen = [row for row in read_tsv(path) if all(row[name] != "0" for name in volumes)]
    assert found >= {tuple(row[name] for name in numbers) for row in seen}
    assert {row["state"] for row in seen} >= {"stable", "new"}


@pytest.mark.parametrize("words", [["--implant", "scans"], ["--test-set", "v3"]])
def test_visits_are_refused_where_they_do_not_fit(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    assert main(["simulate", "-o", str(out), "--visits", "2", *words]) == 2
    said = capsys.readouterr().err
    assert "expected --visits 2 without --implant and --test-set" in said
    assert said.count("\n") == 1
    assert not out.exists()
