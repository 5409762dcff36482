from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.review.candidates import read_candidates, voxels_of, write_candidates
from mmocnet.review.reading import finding_json


def test_voxels_are_those_of_brute_force(rng: np.random.Generator) -> None:
    labels = np.asfortranarray(rng.integers(0, 5, (4, 5, 6)))
    found = voxels_of(labels)
    assert sorted(found) == [1, 2, 3, 4]
    for number, voxels in found.items():
        expected = [at for at, value in enumerate(labels.ravel(order="C")) if value == number]
        assert voxels.tolist() == expected
        assert voxels.dtype == np.uint32


def test_candidates_come_back_as_they_were_written(made: Any, tmp_path: Path) -> None:
    write_candidates(tmp_path, made.machine)
    again = read_candidates(tmp_path)
    assert again.provenance == made.machine.provenance
    assert again.warnings == made.machine.warnings == ("a doubt",)
    assert (again.threshold, again.thresholds) == (0.5, made.machine.thresholds)
    assert (again.grid.shape, again.grid.slice_axis) == (made.grid.shape, made.grid.slice_axis)
    assert np.array_equal(again.grid.affine, made.grid.affine)
    before, after = (
        [finding_json(one, made.grid) for one in each.findings] for each in (made.machine, again)
    )
    assert before == after
    assert [one["status"] for one in after] == [
        "lesion", "lesion", "below threshold", "below threshold",
    ]  # fmt: skip


def test_the_same_candidates_are_the_same_bytes(made: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_candidates(tmp_path / name, made.machine)
    for file in ("findings.json", "findings.npz"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_result_without_candidates_is_read_too(made: Any, tmp_path: Path) -> None:
    empty = type(made.machine)(made.grid, (), made.machine.provenance)
    write_candidates(tmp_path, empty)
    assert read_candidates(tmp_path).findings == ()


@pytest.mark.parametrize("file", ["findings.json", "findings.npz"])
def test_damaged_or_missing_files_are_refused(made: Any, tmp_path: Path, file: str) -> None:
    write_candidates(tmp_path, made.machine)
    data = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="damaged"):
        read_candidates(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(InputError, match="expected findings"):
        read_candidates(tmp_path)


def test_outlines_are_connected_components_of_the_labels(made: Any) -> None:
    labels = made.result.candidate_labels.array
    for one in made.machine.findings:
        mask = np.zeros(made.grid.size, bool)
        mask[one.voxels] = True
        assert ndimage.label(mask.reshape(labels.shape), np.ones((3, 3, 3)))[1] == 1
