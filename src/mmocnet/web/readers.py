"""Readers: a name for people, an id for everything else."""

import unicodedata

from mmocnet.errors import InputError
from mmocnet.web.problems import NotFoundError
from mmocnet.web.store import Store
from mmocnet.web.studies import new_id

MAX_NAME = 40


def add_reader(store: Store, name: str) -> dict[str, str]:
    """Return the reader of a name, a new one where there is none yet.

    Raises:
        InputError: If the name is empty, too long, or cannot be shown.
    """
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InputError(f"expected a name of 1 to {MAX_NAME} characters")
    with store.transaction() as base:
        base.execute("INSERT OR IGNORE INTO readers VALUES (?, ?)", (new_id(), name))
        row = base.execute("SELECT id, name FROM readers WHERE name = ?", (name,)).fetchone()
    return {"id": row["id"], "name": row["name"]}


def list_readers(store: Store) -> list[dict[str, str]]:
    """Return all readers by name."""
    rows = store.rows("SELECT id, name FROM readers ORDER BY name")
    return [{"id": row["id"], "name": row["name"]} for row in rows]


def check_reader(store: Store, reader: str) -> None:
    """Check that there is such a reader.

    Raises:
        NotFoundError: If there is none.
    """
    if store.row("SELECT 1 FROM readers WHERE id = ?", (reader,)) is None:
        raise NotFoundError("there is no such reader")
