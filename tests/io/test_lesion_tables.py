from dataclasses import replace

import pytest

from mmocnet.errors import InputError
from mmocnet.io.dataset import read_tsv, write_tsv
from mmocnet.io.tables import (
    CANDIDATE_COLUMNS,
    LESION_COLUMNS,
    candidate_rows,
    lesion_row,
    read_lesions,
)
from mmocnet.lesion import Certainty, Lesion

LESION = Lesion(
    3, "CMB 3", (-1.5, 20.25, 7.0), (4, 5, 6), 33.5, 4.25, 4.0, 0.875, Certainty.POSSIBLE
)


def test_a_table_gives_back_what_was_written(tmp_path):
    write_tsv(tmp_path / "a.tsv", list(LESION_COLUMNS), [lesion_row(LESION)])
    assert read_lesions(tmp_path / "a.tsv") == (LESION,)


def test_a_table_without_rows_holds_no_lesion(tmp_path):
    write_tsv(tmp_path / "a.tsv", list(LESION_COLUMNS), [])
    assert read_lesions(tmp_path / "a.tsv") == ()


def test_an_undefined_number_is_n_a_and_comes_back_undefined(tmp_path):
    row = lesion_row(LESION) | {"volume_mm3": float("nan")}
    write_tsv(tmp_path / "a.tsv", list(LESION_COLUMNS), [row])
    assert read_tsv(tmp_path / "a.tsv")[0]["volume_mm3"] == "n/a"
    (found,) = read_lesions(tmp_path / "a.tsv")
    assert found.volume_mm3 != found.volume_mm3


def test_a_row_has_every_column():
    assert list(lesion_row(LESION)) == list(LESION_COLUMNS)
    (row,) = candidate_rows([LESION], [], [3], [])
    assert set(CANDIDATE_COLUMNS) <= set(row)
    assert row["status"] == "siderosis"
    assert candidate_rows([LESION], [], [], [3])[0]["status"] == "vessel"


def test_another_table_is_refused(tmp_path):
    write_tsv(tmp_path / "a.tsv", ["index", "name"], [{"index": 1, "name": "x"}])
    with pytest.raises(InputError, match="lesion table"):
        read_lesions(tmp_path / "a.tsv")


def test_a_lesion_keeps_where_it_lies(tmp_path):
    placed = replace(LESION, region="insula", side="left", group="lobar")
    write_tsv(tmp_path / "a.tsv", list(LESION_COLUMNS), [lesion_row(placed)])
    assert read_lesions(tmp_path / "a.tsv") == (placed,)


def test_a_table_without_side_and_group_can_be_read(tmp_path):
    columns = [name for name in LESION_COLUMNS if name not in ("side", "group")]
    row = {name: cell for name, cell in lesion_row(LESION).items() if name in columns}
    write_tsv(tmp_path / "a.tsv", columns, [row])
    assert read_lesions(tmp_path / "a.tsv") == (LESION,)
