"""A reading as a table: what counts as a microbleed, what was rejected, what nobody judged."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmocnet.config import Thresholds
from mmocnet.io.reviewed import Source
from mmocnet.lesion import Certainty, Lesion
from mmocnet.predict.findings import MAXIMUM_MM, MINIMUM_MM, certainty_of
from mmocnet.predict.measure import Measurement
from mmocnet.review.finding import Finding, Grid, measured, placed
from mmocnet.review.reading import Reading

RowVerdict = Literal["accept", "added", "reject", "not judged"]
By = Literal["reader", "machine", "size", "n/a"]
ORDER: tuple[RowVerdict, ...] = ("accept", "added", "reject", "not judged")
NEAR_MM = 3.0
"""How near an accepted outline lies to the place of an erased one that it has taken over."""


@dataclass(frozen=True, eq=False)
class Row:
    """One finding as it goes into tables, reports and images.

    Attributes:
        finding: What it is made from.
        lesion: Place and size as it is outlined now; its index is 1, 2, ... where it counts,
            else 0. Its confidence is the machine's, NaN where the reader added it.
        verdict: "accept" of the machine's, "added" of the reader's own, "reject", "not judged".
        source: Who drew the outline.
        certainty_by: Who says how sure it is.
    """

    finding: Finding
    lesion: Lesion
    verdict: RowVerdict
    source: Source
    certainty_by: By

    @property
    def counted(self) -> bool:
        """Whether the reader says that it is one."""
        return self.lesion.index > 0

    @property
    def reason(self) -> str:
        """Why it was rejected, "n/a" otherwise."""
        return self.finding.reason or "n/a"


def reviewed_rows(reading: Reading, limits: Thresholds) -> tuple[Row, ...]:
    """Return the findings that the reader has seen: accepted, added, rejected, not judged.

    What is never judged counts as nothing; it is listed last.

    Args:
        reading: What the reader made of the candidates.
        limits: The model's operating points: where the reader does not say how sure an accepted
            finding is, they tell from the machine's confidence.
    """
    seen = sorted(reading.visible_findings(), key=lambda one: ORDER.index(verdict_of(one)))
    rows = []
    for number, one in enumerate(seen, 1):
        verdict = verdict_of(one)
        counted = verdict in ("accept", "added")
        rows.append(_row(one, verdict, number if counted else 0, reading.grid, limits))
    return tuple(rows)


def verdict_of(one: Finding) -> RowVerdict:
    """Return what tables say of a finding."""
    if one.verdict is None:
        return "not judged"
    if one.verdict == "reject":
        return "reject"
    return "added" if one.origin == "reader" else "accept"


def _row(one: Finding, verdict: RowVerdict, index: int, grid: Grid, limits: Thresholds) -> Row:
    size = measured(one, grid)
    region, side, group = placed(one, size, grid)
    certainty, by = certainty_and_source(one, size, limits)
    lesion = Lesion(
        index=index,
        name=one.name,
        centre_mm=size.centre_mm,
        centre_voxel=size.centre_voxel,
        volume_mm3=size.volume_mm3,
        diameter_mm=size.diameter_mm,
        diameter_eq_mm=size.diameter_eq_mm,
        confidence=one.confidence,
        certainty=certainty,
        region=region,
        side=side,
        group=group,
    )
    source = Source.EDITED if one.edited else Source.MODEL
    return Row(one, lesion, verdict, Source.READER if one.origin == "reader" else source, by)


def certainty_and_source(
    one: Finding, size: Measurement, limits: Thresholds
) -> tuple[Certainty, By]:
    """Return how sure a finding is, and who says so.

    Over 10 mm its size decides. Else the reader's word counts, then the machine's confidence; of
    an added one without a word the size alone: under 2 mm it is possible.
    """
    if size.sure_diameter_mm > MAXIMUM_MM:
        return Certainty.MACROHAEMORRHAGE, "size"
    if one.certainty is not None:
        return Certainty(one.certainty), "reader"
    if one.machine is not None:
        if not one.edited:
            return one.machine.certainty, "machine"
        return certainty_of(one.confidence, size, limits), "machine"
    return (Certainty.DEFINITE if size.diameter_mm >= MINIMUM_MM else Certainty.POSSIBLE), "size"


def label_array(numbered: Iterable[tuple[int, Finding]], grid: Grid) -> NDArray[np.int32]:
    """Return an image of outlines, shape (I, J, K), int32.

    Args:
        numbered: Findings with the number that each is drawn with.
        grid: Of the scan.
    """
    labels = np.zeros(grid.size, np.int32)
    for number, one in numbered:
        labels[one.voxels] = number
    return labels.reshape(grid.shape)


def taken_over(row: Row, rows: Iterable[Row], grid: Grid) -> bool:
    """Return whether an erased outline's place lies in or beside an accepted one.

    Then it was drawn anew under another number, which is no word against a microbleed there.
    """
    if row.finding.voxels.size:
        return False
    columns, origin = grid.affine[:3, :3], grid.affine[:3, 3]
    for other in rows:
        if other.counted:
            places = grid.indices(other.finding.voxels) @ columns.T + origin
            away = np.linalg.norm(places - np.array(row.lesion.centre_mm), axis=1)
            if float(away.min()) <= NEAR_MM:
                return True
    return False
