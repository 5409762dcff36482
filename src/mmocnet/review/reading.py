"""A reading: what a reader's events make of the machine's candidates, a fold and nothing else.

The same candidates and events give the same state, always. Undo and redo are events as well, so
nothing that was done is ever lost; a new edit after an undo leaves nothing to redo.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from mmocnet.errors import InputError
from mmocnet.review.board import Board, outlined
from mmocnet.review.events import EVENT_KINDS, HOW, REASONS, Event, choose, event_lines, take
from mmocnet.review.finding import (
    Finding,
    Grid,
    ReaderCertainty,
    Verdict,
    Voxels,
    decode_voxels,
    encode_voxels,
    finding_json,
)
from mmocnet.review.merge import after_reveal

__all__ = [
    "EVENT_KINDS",
    "REASONS",
    "Change",
    "Counts",
    "Event",
    "Finding",
    "Grid",
    "Reading",
    "decode_voxels",
    "encode_voxels",
    "event_lines",
    "finding_json",
]


@dataclass(frozen=True)
class Change:
    """What an event changed of what the reader sees.

    Attributes:
        changed: Findings as they are now, new ones too, in no order.
        removed: Identifiers of findings that are no longer there or no longer shown.
    """

    changed: tuple[Finding, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True)
class Counts:
    """How many findings of each kind there are.

    Attributes:
        accepted: The machine's that the reader accepted.
        added: The reader's own.
        rejected: Of either.
        not_judged: The machine's lesions without a verdict.
    """

    accepted: int
    added: int
    rejected: int
    not_judged: int


class Reading:
    """The findings of one reader on one result.

    Attributes:
        grid: Of the scan.
        events: All that was applied, in order.
        blind: Whether this is read with the machine's marks hidden at first.
        revealed: Whether they were shown then.
        complete: Whether the reader has looked through the whole scan.
    """

    def __init__(
        self, grid: Grid, candidates: Sequence[Finding], events: Iterable[Event] = ()
    ) -> None:
        """Fold events over the machine's candidates.

        Args:
            grid: Of the scan.
            candidates: The machine's findings, without a verdict.
            events: Of one reader, in order.

        Raises:
            InputError: If an event is none that can follow the ones before it.
        """
        self.grid = grid
        self.events: list[Event] = []
        self.blind = self.revealed = self.complete = False
        self._board = Board(candidates)
        self._added = 0
        for event in events:
            self._step(event)

    @property
    def hidden(self) -> bool:
        """Whether the machine's findings are hidden now."""
        return self.blind and not self.revealed

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings: the machine's by confidence, the highest first, then the added ones."""
        return tuple(sorted(self._board.found.values(), key=_order))

    def visible_findings(self) -> tuple[Finding, ...]:
        """Return the findings that the reader sees: without the machine's while hidden."""
        return tuple(one for one in self.findings if self._board.shown(one))

    @property
    def counts(self) -> Counts:
        """How many findings of each kind the reader sees."""
        seen = self.visible_findings()
        machine = [one for one in seen if one.origin == "machine"]
        return Counts(
            accepted=sum(one.accepted for one in machine),
            added=sum(one.accepted for one in seen) - sum(one.accepted for one in machine),
            rejected=sum(one.verdict == "reject" for one in seen),
            not_judged=sum(one.verdict is None and one.status == "lesion" for one in machine),
        )

    @property
    def can_undo(self) -> int:
        """How many edits can be undone."""
        return len(self._board.undoable)

    @property
    def can_redo(self) -> int:
        """How many undone edits can be done again."""
        return len(self._board.redoable)

    @property
    def next_undo(self) -> int | None:
        """Number of the event that an undo takes back: `of` in its payload."""
        return next(reversed(self._board.undoable), None)

    @property
    def next_redo(self) -> int | None:
        """Number of the event that a redo does again: `of` in its payload."""
        return next(reversed(self._board.redoable), None)

    @property
    def last_event(self) -> int:
        """Number of the last event, 0 before the first."""
        return self.events[-1].number if self.events else 0

    def finding(self, name: object) -> Finding:
        """Return a finding that the reader sees, by its id.

        Raises:
            InputError: If there is none.
        """
        found = self._board.found.get(name) if isinstance(name, str) else None
        if found is None or not self._board.shown(found):
            raise InputError(f"there is no finding {str(name)[:20]!r}")
        return found

    def taken(self) -> Voxels:
        """Return the voxels of all findings that the reader sees."""
        held = [one.voxels for one in self._board.found.values() if self._board.shown(one)]
        return np.unique(np.concatenate(held)) if held else np.zeros(0, np.uint32)

    def apply(self, event: Event) -> Change:
        """Add an event; where it is refused, nothing has changed.

        Raises:
            InputError: If it is none that can follow the ones before it.
        """
        before = {one.id: one for one in self._board.found.values() if self._board.shown(one)}
        self._step(event)
        after = {one.id: one for one in self._board.found.values() if self._board.shown(one)}
        return Change(
            changed=tuple(one for name, one in after.items() if before.get(name) is not one),
            removed=tuple(name for name in before if name not in after),
        )

    def _step(self, event: Event) -> None:
        if self.events and event.number <= self.last_event:
            raise InputError(f"expected an event after {self.last_event}, got {event.number}")
        if self.events and event.reader != self.events[-1].reader:
            raise InputError("expected the events of one reader, got another's")
        if not isinstance(event.payload, dict):
            raise InputError(f"expected an object as payload of {str(event.kind)[:20]}")
        if event.kind not in EVENT_KINDS:
            raise InputError(f"expected one of {', '.join(EVENT_KINDS)} as kind of event")
        steps: dict[str, Callable[[Event], None]] = {
            "verdict": self._judge,
            "add": self._add,
            "paint": self._paint,
            "remove": self._remove,
            "undo": self._board.undo,
            "redo": self._board.redo,
            "blind": self._turn_blind,
            "reveal": self._show,
            "complete": self._finish,
        }
        steps[event.kind](event)
        self.events.append(event)

    def _judge(self, event: Event) -> None:
        one = self.finding(take(event, "finding", str))
        verdict = choose(event, "verdict", ("accept", "reject"))
        reason = choose(event, "reason", REASONS)
        certainty = choose(event, "certainty", ("definite", "possible"))
        if verdict == "accept" and not one.voxels.size:
            raise InputError(f"{one.name} was erased: draw its outline before it is accepted")
        reason = reason if verdict == "reject" else None
        certainty = None if verdict == "reject" else certainty
        if (verdict, reason, certainty) == (one.verdict, one.reason, one.certainty):
            return
        judged = replace(
            one,
            verdict=cast(Verdict | None, verdict),
            reason=reason,
            certainty=cast(ReaderCertainty | None, certainty),
        )
        self._board.edit(event, [(one.id, one, judged)])

    def _add(self, event: Event) -> None:
        voxels = decode_voxels(event.payload.get("voxels"), self.grid)
        if not voxels.size:
            raise InputError("expected at least one voxel to add")
        choose(event, "how", HOW)
        number = self._added + 1
        parts = self._board.losses(voxels, None)
        made = Finding(f"r{number}", "reader", voxels, verdict="accept", found_blind=self.hidden)
        self._board.edit(event, [*parts, (made.id, None, made)])
        # Of an added one that is undone the number is not given again.
        self._added = number

    def _paint(self, event: Event) -> None:
        one = self.finding(take(event, "finding", str))
        voxels = decode_voxels(event.payload.get("voxels"), self.grid)
        if take(event, "erase", bool):
            kept = np.setdiff1d(one.voxels, voxels, assume_unique=True)
            self._board.edit(event, [(one.id, one, outlined(one, kept))])
            return
        grown = np.union1d(one.voxels, voxels)
        parts = self._board.losses(voxels, one.id)
        self._board.edit(event, [*parts, (one.id, one, outlined(one, grown))])

    def _remove(self, event: Event) -> None:
        one = self.finding(take(event, "finding", str))
        if one.origin == "machine":
            raise InputError(f"{one.name} is the machine's: reject it, it cannot be removed")
        self._board.edit(event, [(one.id, one, None)])

    def _turn_blind(self, event: Event) -> None:
        on = take(event, "on", bool)
        if on == self.blind:
            return
        if on and (self.revealed or self._board.undoable or self._board.redoable):
            raise InputError("the machine's marks were shown already: blind reading comes first")
        if on:
            self.blind = True
            self._board.reset(self._board.found.values(), hidden=True)
            return
        if self.hidden:
            self._unhide()
        self.blind, self.revealed = False, True

    def _show(self, event: Event) -> None:
        if not self.hidden:
            raise InputError("there is nothing to reveal: the machine's marks are shown")
        self._unhide()
        self.revealed = True

    def _unhide(self) -> None:
        """Settle which of the machine's findings the reader has found without it.

        From here on the blind reading stands: it can be edited, and no longer undone.
        """
        self._board.reset(after_reveal(self._board.found).values(), hidden=False)

    def _finish(self, event: Event) -> None:
        self.complete = take(event, "complete", bool)


def _order(one: Finding) -> tuple[bool, float, int]:
    return (
        one.origin == "reader",
        0.0 if one.origin == "reader" else -one.confidence,
        int(one.id[1:]),
    )
