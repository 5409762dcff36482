"""Commands as calls; what they do is tested with the commands."""

import json
from pathlib import Path

import pytest
from PIL import Image

import mmocnet
from mmocnet.errors import InputError
from mmocnet.evaluate.score import ScoreSettings
from mmocnet.io.dataset import plain
from mmocnet.simulate.settings import StudySettings

SETTINGS = StudySettings("reference3t", lesion_count=(2, 2), images="swi", slab_mm=20.0)


def test_a_simulation_tells_its_progress_and_goes_on(tmp_path: Path) -> None:
    out, told = tmp_path / "set", []

    def progress(done: int, total: int) -> None:
        told.append((done, total))

    first = mmocnet.simulate_dataset(str(out), 1, 5, SETTINGS, progress=progress)
    assert [(one.label, one.state) for one in first] == [("0001", "written")]
    (again,) = mmocnet.simulate_dataset(out, 1, 5, SETTINGS, progress=progress)
    assert again.state == "present"
    assert told == [(1, 1), (1, 1)]
    with pytest.raises(InputError, match="sub-0001"):
        mmocnet.simulate_dataset(out, 1, 6, SETTINGS)


def test_a_path_is_a_visit(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (64, 64), 90).save(path)
    with pytest.raises(InputError, match=r"baseline: expected a volume .*a\.png"):
        mmocnet.compare_scans(path, str(path), tmp_path / "out")


def test_a_folder_s_scores_are_what_is_written(tmp_path: Path) -> None:
    for folder, columns in (("found", (8, 12)), ("other", (8, 10)), ("truth", (8, 12))):
        mask = Image.new("L", (32, 32), 0)
        mask.paste(255, (columns[0], 8, columns[1], 12))
        (tmp_path / folder).mkdir()
        mask.save(tmp_path / folder / "a.png")
    told: list[tuple[str, int, int]] = []
    scores = mmocnet.score_folder(
        tmp_path / "found",
        tmp_path / "truth",
        tmp_path / "out",
        ScoreSettings(spacing_mm=0.5),
        compare_with=tmp_path / "other",
        progress=lambda *now: told.append(now),
    )
    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert written == {key: plain(value) for key, value in scores.items() if key != "page"}
    assert told == [("found", 1, 1), ("other", 1, 1)]
