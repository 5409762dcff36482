"""The files in a folder or a zip, whatever else is in there."""

import errno
import lzma
import os
import shutil
import struct
import tempfile
import weakref
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath

from mmocnet.errors import InputError
from mmocnet.io.together import lock_folder, release, remove_left

MAX_FILES = 100_000
MAX_UNPACKED_BYTES = 8 * 2**30
MAX_RATIO = 200
"""A zip of more than `_SMALL_BYTES` that is packed tighter is a bomb; DICOM has 2 to 10."""

_SMALL_BYTES = 64 * 2**20
_CHUNK_BYTES = 2**20
_SYMLINK = 0o120000
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError)
_ENTRY_BYTES = 320
"""Of a file in a zip's directory, on average at most: three UIDs as its path have less."""

_END, _END_64 = struct.Struct("<10xHL6x"), struct.Struct("<32xQQ8x")
_LOCATOR_BYTES = 20
_COMMENT_BYTES = 2**16
_UNLOCKED, _UNPACKED = "mmocnet-new", "mmocnet-unpacked"


class Unpacked:
    """A hidden folder of unpacked files, deleted with the last that refers to this object.

    Of a process that is killed before, `remove_unpacked` deletes it.
    """

    def __init__(self) -> None:
        """Make the folder."""
        made = Path(tempfile.mkdtemp(prefix=f".{_UNLOCKED}-"))
        lock = lock_folder(made)
        # Locked before it is called what others may delete.
        self.folder = made.rename(made.with_name(made.name.replace(_UNLOCKED, _UNPACKED)))
        weakref.finalize(self, _delete, self.folder, lock)


def remove_unpacked() -> None:
    """Delete what processes of this user's that were killed had unpacked."""
    # A start does not fail for what cannot be looked through.
    with suppress(OSError):
        remove_left(Path(tempfile.gettempdir()), _UNPACKED)


def _delete(folder: Path, lock: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    release(lock)


def files_below(folder: Path) -> tuple[list[Path], int]:
    """Return the regular files below a folder, sorted, and how many links were left out.

    Links to folders are not followed, so that there are no loops; links to files are where they
    stay in the folder.

    Raises:
        InputError: If there are too many, or a folder cannot be read.
    """
    root = folder.resolve()
    todo, found, left_out = [folder], [], 0
    while todo:
        try:
            entries = list(os.scandir(todo.pop()))
        except OSError as error:
            raise InputError(f"cannot read a folder: {error.strerror}") from error
        for entry in entries:
            path = Path(entry.path)
            if entry.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(root)):
                left_out += 1
            elif entry.is_dir(follow_symlinks=False):
                todo.append(path)
            elif entry.is_file():
                found.append(path)
        if len(found) + len(todo) > MAX_FILES:
            raise InputError(f"expected up to {MAX_FILES} files, got more in {folder.name}")
    return sorted(found), left_out


def unpack(path: Path) -> tuple[list[Path], Unpacked]:
    """Unpack a zip into a hidden folder, its files numbered: no name in it is used.

    Returns:
        The files in the order of their names, and what keeps them.

    Raises:
        InputError: If it is damaged, encrypted, a bomb, or packed by a method that is not read, or
            a name leads outside it.
    """
    keep, files = Unpacked(), []
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            entries = sorted(archive.infolist(), key=lambda one: one.filename)
            _check(entries, path)
            wanted = [one for one in entries if _is_file(one)]
            for number, entry in enumerate(wanted, start=1):
                target = keep.folder / f"{number:06d}.dcm"
                _copy(archive, entry, target, path.name)
                files.append(target)
    except NotImplementedError as error:
        raise InputError(
            f"{path.name} is packed by a method that is not read, as Deflate64: unpack it first"
        ) from error
    except (*_DAMAGED, OSError) as error:
        # A damaged bzip2 stream raises one without a number, a place before the file's start this.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise InputError(f"{path.name} is a damaged zip, or one cut short") from error
    return files, keep


def _check_directory(path: Path) -> None:
    """Refuse too many files by the record at a zip's end: `ZipFile` makes an object of each.

    Where there is no such record, or what it says is not true, `ZipFile` or `_check` refuses.
    """
    before = _END_64.size + _LOCATOR_BYTES
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - before - _END.size - _COMMENT_BYTES))
        tail = file.read()
    at = tail.rfind(b"PK\5\6", 0, max(0, len(tail) - _END.size + 4))
    if at < 0:
        return
    count, size = _END.unpack_from(tail, at)
    if at >= before and tail.startswith(b"PK\6\6", at - before):
        count, size = _END_64.unpack_from(tail, at - before)
    if count > MAX_FILES or size > MAX_FILES * _ENTRY_BYTES:
        raise InputError(f"expected up to {MAX_FILES} files, got more in {path.name}")


def _check(entries: list[zipfile.ZipInfo], path: Path) -> None:
    size, name = path.stat().st_size, path.name
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_FILES:
        raise InputError(f"expected up to {MAX_FILES} files, got {len(entries)} in {name}")
    if total > MAX_UNPACKED_BYTES or (total > _SMALL_BYTES and total > MAX_RATIO * size):
        raise InputError(f"{name} has {size} bytes and declares {total} unpacked: not read")
    for entry in entries:
        parts = PurePosixPath(entry.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts:
            raise InputError(f"expected names inside the zip, got one that leads outside {name}")
        if entry.flag_bits & 1:
            raise InputError(f"{name} is encrypted: unpack it first")


def _is_file(entry: zipfile.ZipInfo) -> bool:
    is_link = (entry.external_attr >> 16) & 0o170000 == _SYMLINK
    return not entry.is_dir() and not is_link and entry.file_size > 0


def _copy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, name: str) -> None:
    left = entry.file_size
    with archive.open(entry) as packed, target.open("wb") as file:
        while chunk := packed.read(_CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise InputError(f"{name} holds more than it declares")
            file.write(chunk)
