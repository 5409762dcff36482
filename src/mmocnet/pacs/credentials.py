"""Who we are to the archive: from the environment or a file that only its owner can read."""

import os
import re
import stat
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmocnet.errors import InputError

USER, PASSWORD, TOKEN = "MMOCNET_PACS_USER", "MMOCNET_PACS_PASSWORD", "MMOCNET_PACS_TOKEN"
FILE_BYTES = 2**16


@dataclass(frozen=True)
class Credentials:
    """A user with a password, or a bearer token; no attribute is ever printed."""

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def header(self) -> str:
        """What a request's Authorization says."""
        if self.token:
            return f"Bearer {self.token}"
        return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()


def read_credentials(file: Path | None, environ: Mapping[str, str]) -> Credentials | None:
    """Return what to say to the server, None for a server that asks nothing.

    Args:
        file: Lines NAME=VALUE with the names of the environment; None reads the environment.
        environ: The process's environment.

    Raises:
        InputError: If others may read the file, or it does not make a user or a token that can be
            sent.
    """
    values = environ if file is None else _read_file(file)
    user, password, token = (values.get(name, "") for name in (USER, PASSWORD, TOKEN))
    place = "the environment" if file is None else file.name
    if token and (user or password):
        raise InputError(f"expected {TOKEN} or {USER} with {PASSWORD}, got both in {place}")
    if bool(user) != bool(password):
        raise InputError(f"expected {USER} and {PASSWORD} together, got one of them in {place}")
    if not token and not user:
        if file is not None:
            raise InputError(f"expected {TOKEN} or {USER} and {PASSWORD} in {place}, got neither")
        return None
    _check_sendable(user, password, token, place)
    return Credentials(user, password, token)


def _check_sendable(user: str, password: str, token: str, place: str) -> None:
    """Refuse what cannot stand in a header, without a word of it."""
    if token and not re.fullmatch("[!-~]+", token):
        raise InputError(f"expected {TOKEN} of visible ASCII characters, got others in {place}")
    try:
        (user + password).encode()
    except UnicodeEncodeError:
        # The error quotes it.
        raise InputError(
            f"expected {USER} and {PASSWORD} as text, got other bytes in {place}"
        ) from None
    if ":" in user:
        raise InputError(f"expected {USER} without a colon, which ends it, got one in {place}")


def _read_file(file: Path) -> dict[str, str]:
    try:
        with file.open("rb") as opened:
            # Asked of the open file, so that no other can be put in its place in between.
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if mode & 0o077:
                raise InputError(
                    f"expected {file.name} to be readable by its owner alone (mode 0600), "
                    f"got mode {mode:04o}"
                )
            text = opened.read(FILE_BYTES).decode("utf-8")
    except OSError as error:
        raise InputError(f"cannot read {file.name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"expected text in {file.name}, got other bytes") from error
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}
