import stat

NAME = "Meier_Hans_1942.nii"


def _holding(desk) -> list[str]:
    """Names of the room's files in which a study's name can be read."""
    files = [one for one in desk.room.root.rglob("*") if one.is_file()]
    return [one.name for one in files if NAME.encode() in one.read_bytes()]


def _call(desk) -> None:
    with desk.store.transaction() as base:
        base.execute("UPDATE studies SET name = ? WHERE id = ?", (NAME, desk.study))


def test_what_is_deleted_is_in_no_file_of_the_room(desk):
    _call(desk)
    assert "room.sqlite-wal" in _holding(desk)
    assert desk.client.delete(f"/api/studies/{desk.study}").status_code == 204
    assert _holding(desk) == []


def test_what_was_deleted_is_in_no_file_once_the_room_opens(desk):
    _call(desk)
    with desk.store.transaction() as base:
        base.execute("DELETE FROM studies")
    assert _holding(desk) == ["room.sqlite-wal"]
    desk.store.tidy()
    assert _holding(desk) == []


def test_no_file_of_the_database_is_for_others(desk):
    files = desk.room.root.glob("room.sqlite*")
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in files}
    assert modes == {f"room.sqlite{ending}": 0o600 for ending in ("", "-wal", "-shm")}
