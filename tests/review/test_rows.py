from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmocnet.config import Thresholds
from mmocnet.lesion import Certainty, Lesion
from mmocnet.locate.locate import place
from mmocnet.predict.measure import Measurement
from mmocnet.review.reading import Finding, Grid, Reading, finding_json
from mmocnet.review.rows import certainty_and_source, reviewed_rows

LIMITS = Thresholds(screening=0.1, balanced=0.3, report=0.7)
LESION = Lesion(
    1, "CMB 1", (0.0, 0.0, 0.0), (0, 0, 0), 20.0, 4.0, 3.4, 0.8, Certainty.DEFINITE, "frontal"
)
MACHINE = Finding("m1", "machine", np.arange(3, dtype=np.uint32), 0.8, LESION, "lesion")
ADDED = Finding("r1", "reader", np.arange(3, dtype=np.uint32), verdict="accept")


@pytest.mark.parametrize(
    ("finding", "diameter_mm", "expected"),
    [
        (MACHINE, 4.0, ("definite", "machine")),
        (replace(MACHINE, certainty="possible"), 4.0, ("possible", "reader")),
        (replace(MACHINE, certainty="definite"), 1.0, ("definite", "reader")),
        (replace(MACHINE, edited=True), 4.0, ("definite", "machine")),
        (replace(MACHINE, edited=True), 1.5, ("possible", "machine")),
        (replace(MACHINE, edited=True, confidence=0.5), 4.0, ("possible", "machine")),
        (replace(MACHINE, certainty="definite"), 10.5, ("macrohaemorrhage", "size")),
        (ADDED, 3.0, ("definite", "size")),
        (ADDED, 1.9, ("possible", "size")),
        (replace(ADDED, certainty="possible"), 3.0, ("possible", "reader")),
        (ADDED, 11.0, ("macrohaemorrhage", "size")),
    ],
)
def test_certainty_is_the_readers_word_but_for_what_is_too_large(
    finding: Finding, diameter_mm: float, expected: tuple[str, str]
) -> None:
    size = Measurement((0.0, 0.0, 0.0), (0, 0, 0), 20.0, diameter_mm, diameter_mm, 3.4)
    assert certainty_and_source(finding, size, LIMITS) == expected


@pytest.mark.parametrize("finding", [MACHINE, ADDED])
def test_thick_slices_alone_make_nothing_too_large(finding: Finding) -> None:
    size = Measurement((0.0, 0.0, 0.0), (0, 0, 0), 45.0, 11.2, 7.1, 4.4)
    assert certainty_and_source(finding, size, LIMITS)[0] == "definite"


@pytest.mark.parametrize("radius_mm", [4.0, 6.0])
def test_the_page_is_told_what_is_too_large_to_count(
    kit: SimpleNamespace, radius_mm: float
) -> None:
    grid = Grid((30, 30, 30), np.eye(4), 2)
    reading = Reading(grid, (), kit.events(kit.add(kit.ball(grid, (15, 15, 15), radius_mm))))
    (row,) = reviewed_rows(reading, LIMITS)
    too_large = row.lesion.certainty is Certainty.MACROHAEMORRHAGE
    assert finding_json(reading.findings[0], grid)["macrohaemorrhage"] is too_large
    assert too_large is (2 * radius_mm > 10)


def test_what_counts_is_numbered_from_one_and_the_rest_not_at_all(
    made: Any, kit: SimpleNamespace
) -> None:
    reading = made.reading(
        kit.verdict("m3", "accept"),
        kit.verdict("m1", "reject"),
        kit.add(made.spot("missed")),
    )
    rows = reviewed_rows(reading, made.machine.thresholds)
    told = [(row.finding.id, row.lesion.index, row.verdict) for row in rows]
    assert told == [
        ("m3", 1, "accept"),
        ("r1", 2, "added"),
        ("m1", 0, "reject"),
        ("m2", 0, "not judged"),
        ("m4", 0, "not judged"),
    ]


def test_an_added_finding_has_its_region_where_the_scan_is_registered(
    kit: SimpleNamespace,
) -> None:
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (-60.0, -100.0, -40.0)
    # The scan's world is 5 mm to the left of the template's.
    to_mni = np.eye(4)
    to_mni[0, 3] = 5.0
    grid = Grid((120, 160, 100), affine, 2, to_mni)
    centre_mni = np.array([-40.0, 20.0, 30.0])
    voxel = centre_mni - [5, 0, 0] - affine[:3, 3]
    index = np.rint(voxel).astype(int) + np.argwhere(np.ones((3, 3, 3))) - 1
    voxels = grid.flat(index)
    (found,) = Reading(grid, (), kit.events(kit.add(voxels))).findings
    said = finding_json(found, grid)
    expected = place(centre_mni)
    assert expected.side == "left"
    assert expected.group == "lobar"
    assert (said["region"], said["side"], said["group"]) == (
        expected.region, expected.side, expected.group,
    )  # fmt: skip
    bare = Grid(grid.shape, affine, 2)
    assert finding_json(found, bare)["region"] == "n/a"


def test_an_edited_finding_keeps_the_machines_region_where_nothing_is_registered(
    made: Any, kit: SimpleNamespace
) -> None:
    first = replace(
        made.machine.findings[0],
        machine=replace(made.machine.findings[0].machine, region="frontal"),
    )
    steps = kit.events(kit.paint("m1", first.voxels[:2], erase=True))
    reading = Reading(made.grid, (first,), steps)
    assert finding_json(reading.findings[0], made.grid)["region"] == "frontal"
