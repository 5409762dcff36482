"""What a blind reading and the machine's findings have in common, once they are shown."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mmocnet.review.finding import Finding


def after_reveal(found: Mapping[str, Finding]) -> dict[str, Finding]:
    """Return the findings, of which none shares a voxel with another any more.

    A finding that the reader marked blind and that overlaps the machine's is one with the
    machine's that it overlaps most: that one takes the reader's outline and verdict, so that a
    lesion found by both is counted once. What else the machine drew there gives way.

    Args:
        found: Findings by id; the reader's do not overlap each other, nor the machine's.
    """
    readers = [one for one in found.values() if one.origin == "reader"]
    machines = {name: one for name, one in found.items() if one.origin == "machine"}
    shared = sorted(
        (
            (-len(np.intersect1d(one.voxels, mine.voxels, assume_unique=True)), mine.id, name)
            for mine in readers
            for name, one in machines.items()
            if shares_range(one, mine)
        ),
        key=lambda row: (row[0], int(row[1][1:]), int(row[2][1:])),
    )
    pairs: dict[str, str] = {}
    for overlap, mine_id, name in shared:
        if overlap and mine_id not in pairs and name not in pairs.values():
            pairs[mine_id] = name
    joined = {name: _joined(machines[name], found[mine_id]) for mine_id, name in pairs.items()}
    held = [one.voxels for one in readers]
    drawn = np.unique(np.concatenate(held)) if held else np.zeros(0, np.uint32)
    result = {
        name: joined[name] if name in joined else _without(one, drawn)
        for name, one in machines.items()
    }
    return result | {one.id: one for one in readers if one.id not in pairs}


def _joined(machine: Finding, mine: Finding) -> Finding:
    same = np.array_equal(machine.voxels, mine.voxels)
    return replace(
        machine,
        voxels=mine.voxels,
        verdict=mine.verdict,
        reason=mine.reason,
        certainty=mine.certainty,
        edited=not same,
        found_blind=True,
    )


def _without(machine: Finding, drawn: np.ndarray) -> Finding:
    kept = np.setdiff1d(machine.voxels, drawn, assume_unique=True)
    if len(kept) == len(machine.voxels):
        return machine
    if not kept.size:
        return replace(machine, voxels=kept, edited=True, verdict="reject", reason="other")
    return replace(machine, voxels=kept, edited=True)


def shares_range(one: Finding, other: Finding) -> bool:
    """Return whether two findings may share a voxel: their ranges of numbers overlap."""
    if not one.voxels.size or not other.voxels.size:
        return False
    return bool(one.voxels[0] <= other.voxels[-1] and other.voxels[0] <= one.voxels[-1])
