"""The findings of a reading as they are now, who holds each voxel, and what can be undone."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from mmocnet.errors import InputError
from mmocnet.review.events import Event, take
from mmocnet.review.finding import Finding, Voxels

Part = tuple[str, Finding | None, Finding | None]
"""A finding's id, as it was and as it is; None where there was or is none."""


class Board:
    """Findings that change together, one edit after the other.

    Attributes:
        found: By id; those that are hidden too.
    """

    def __init__(self, findings: Iterable[Finding]) -> None:
        """Begin with findings of which no two share a voxel."""
        self.found = {one.id: one for one in findings}
        self._owner: dict[int, str] | None = None
        self._undo: list[tuple[int, tuple[Part, ...]]] = []
        self._redo: list[tuple[int, tuple[Part, ...]]] = []
        self._hidden = False

    @property
    def undoable(self) -> tuple[int, ...]:
        """Numbers of the events that can be undone, the last one last."""
        return tuple(number for number, _ in self._undo)

    @property
    def redoable(self) -> tuple[int, ...]:
        """Numbers of the undone events that can be done again, the next one last."""
        return tuple(number for number, _ in self._redo)

    def reset(self, findings: Iterable[Finding], hidden: bool) -> None:
        """Begin anew: nothing that came before can be undone.

        Args:
            findings: What there is now.
            hidden: Whether the machine's hold no voxel, as nobody sees them.
        """
        self.found = {one.id: one for one in findings}
        self._hidden = hidden
        self._owner = None
        self._undo.clear()
        self._redo.clear()

    def shown(self, one: Finding) -> bool:
        """Return whether a finding is one that the reader sees."""
        return one.origin == "reader" or not self._hidden

    def owners(self) -> dict[int, str]:
        """Return which finding holds each voxel, of those that the reader sees."""
        if self._owner is None:
            self._owner = {}
            for one in self.found.values():
                if self.shown(one):
                    self._owner.update(dict.fromkeys(one.voxels.tolist(), one.id))
        return self._owner

    def losses(self, voxels: Voxels, keeper: str | None) -> list[Part]:
        """Return how the findings that hold some of the voxels, but for one, lose them."""
        owners = self.owners()
        holders = {owners[at] for at in voxels.tolist() if at in owners} - {keeper}
        parts: list[Part] = []
        for name in sorted(holders):
            one = self.found[name]
            kept = np.setdiff1d(one.voxels, voxels, assume_unique=True)
            parts.append((name, one, outlined(one, kept)))
        return parts

    def edit(self, event: Event, parts: Sequence[Part]) -> None:
        """Change findings; what was undone before cannot be done again from here.

        What changes nothing is no edit: there is nothing to undo in it.
        """
        kept = tuple(part for part in parts if part[1] is not part[2])
        if not kept:
            return
        self._put(kept)
        self._undo.append((event.number, kept))
        self._redo.clear()

    def undo(self, event: Event) -> None:
        """Take the last edit back.

        Raises:
            InputError: If there is none, or the event means another.
        """
        number, parts = _top(self._undo, event)
        self._put([(name, after, before) for name, before, after in parts])
        self._redo.append((number, parts))

    def redo(self, event: Event) -> None:
        """Do the edit again that was undone last.

        Raises:
            InputError: If there is none, or the event means another.
        """
        number, parts = _top(self._redo, event)
        self._put(parts)
        self._undo.append((number, parts))

    def _put(self, parts: Sequence[Part]) -> None:
        """Give findings their new state, and voxels their new owners."""
        for name, before, after in parts:
            if after is None:
                del self.found[name]
            else:
                self.found[name] = after
            if self._owner is None:
                continue
            for at in _lost(before, after).tolist():
                # Another finding of the same edit may hold it by now.
                if self._owner.get(at) == name:
                    del self._owner[at]
            self._owner.update(dict.fromkeys(_lost(after, before).tolist(), name))


def _top(stack: list[tuple[int, tuple[Part, ...]]], event: Event) -> tuple[int, tuple[Part, ...]]:
    """Take the last edit from a stack, if it is the one that is meant."""
    if not stack:
        raise InputError(f"there is nothing to {event.kind}")
    of = take(event, "of", int)
    if stack[-1][0] != of:
        raise InputError(f"expected to {event.kind} event {stack[-1][0]}, got {of}")
    return stack.pop()


def outlined(one: Finding, voxels: Voxels) -> Finding | None:
    """Return a finding with another outline.

    An added one without a voxel is gone; the machine's counts as rejected then, and as not
    judged where it is drawn again.
    """
    voxels = voxels.astype(np.uint32, copy=False)
    if len(voxels) == len(one.voxels) and np.array_equal(voxels, one.voxels):
        return one
    if voxels.size:
        drawn = replace(one, voxels=voxels, edited=True)
        return drawn if one.voxels.size else replace(drawn, verdict=None, reason=None)
    if one.origin == "reader":
        return None
    return replace(one, voxels=voxels, edited=True, verdict="reject", reason="other")


def _lost(before: Finding | None, after: Finding | None) -> Voxels:
    """Return the voxels that one state holds and the other does not."""
    if before is None or (after is not None and after.voxels is before.voxels):
        return np.zeros(0, np.uint32)
    if after is None:
        return before.voxels
    return np.setdiff1d(before.voxels, after.voxels, assume_unique=True)
