"""Whom a model was fine-tuned on, round after round: digests of labels, and no label."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

LEARNED, EARLIER = "learned", "earlier"


def subject_digest(label: str) -> str:
    """Return what a card says in place of a subject's label."""
    return hashlib.sha256(f"mmocnet finetune {label}".encode()).hexdigest()[:16]


def rounds(card: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the records of a card's fine-tunings, the last one first."""
    record = card.get("finetune")
    while record is not None:
        yield record
        record = record.get(EARLIER)


def learned_before(card: Mapping[str, Any]) -> frozenset[str]:
    """Return the digests of the subjects that a fine-tuned model learned from.

    A round that kept the start taught nothing; rounds of earlier versions do not say whom.
    """
    kept = (record for record in rounds(card) if record.get("kept") != "start")
    return frozenset(digest for record in kept for digest in record.get(LEARNED, ()))


def is_untold(card: Mapping[str, Any]) -> bool:
    """Return whether a model learned in a fine-tuning whose record does not say from whom."""
    return any(one.get("kept") != "start" and LEARNED not in one for one in rounds(card))
