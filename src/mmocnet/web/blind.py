"""What the work list may say to a reader whose reading of a study is blind still."""

import json
from typing import Any

from mmocnet.web.store import Store


def as_told(
    store: Store, studies: list[dict[str, Any]], reader: str | None
) -> list[dict[str, Any]]:
    """Return studies as a reader may see them: how many findings there are is not told too early.

    Args:
        store: The room's.
        studies: As the page has them.
        reader: Who asks; None where nobody has said who reads.

    Returns:
        The studies, each with `begun`: whether the reader has done anything on its result.
        `counts` is None where the reader reads blind and the machine's marks are hidden.
    """
    query = "SELECT DISTINCT study, result FROM events WHERE reader = ?"
    begun = {(row["study"], row["result"]) for row in store.rows(query, (reader,))}
    hidden = _hidden(store, reader)
    told = []
    for one in studies:
        key = (one["id"], one["result"])
        counts = None if key in hidden else one["counts"]
        told.append(one | {"begun": key in begun, "counts": counts})
    return told


def _hidden(store: Store, reader: str | None) -> set[tuple[str, str]]:
    """Return the studies, with the result, that a reader reads blind and has not revealed."""
    hidden = set()
    query = (
        "SELECT study, result, kind, payload FROM events WHERE reader = ? "
        "AND kind IN ('blind', 'reveal') ORDER BY number"
    )
    for row in store.rows(query, (reader,)):
        key = (row["study"], row["result"])
        if row["kind"] == "blind" and json.loads(row["payload"])["on"]:
            hidden.add(key)
        else:
            hidden.discard(key)
    return hidden
