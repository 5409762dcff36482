import re

import pytest

from mmocnet.train.published import ARTICLE, DETECTION, SEGMENTATION, Published

ROWS = (*DETECTION, *SEGMENTATION)
NUMBERS = ("sensitivity", "precision", "false_positives", "dice", "f2")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.study)
def test_every_row_names_a_source(row: Published) -> None:
    assert re.search(r"doi:10\.\d{4,}/\S+", row.source)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.study)
def test_cells_are_numbers_a_range_or_empty(row: Published) -> None:
    for name in NUMBERS:
        assert re.fullmatch(r"(\d+(\.\d+)?( to \d+(\.\d+)?)?)?", getattr(row, name))


def test_the_articles_own_results_are_labelled_as_its_own() -> None:
    (own,) = (row for row in ROWS if row.dice == "87.93")
    assert (own.f2, own.source) == ("90.69", f"doi:{ARTICLE}")
    assert "private" in own.data
