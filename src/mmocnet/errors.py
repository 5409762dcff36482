"""The exceptions that the package raises on purpose, and the system's word for a full disk."""

import errno

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""`errno` of an `OSError` where nothing more can be written."""


class MmocnetError(Exception):
    """Base of every exception raised on purpose; its text is one sentence for the user."""


class InputError(MmocnetError):
    """What was given cannot be processed; the text says what was expected, what came and where."""


class ModelError(MmocnetError):
    """A model folder is missing, incomplete, altered, or was never trained."""


class DependencyError(MmocnetError):
    """An optional dependency is missing; the text names the extra that brings it."""


def reason_of(name: str, error: Exception) -> str:
    """Return why one input of several failed.

    Args:
        name: Of the input.
        error: What was raised; what is not said on purpose can hold anything, so not its text.
    """
    if isinstance(error, MmocnetError):
        return str(error)
    return f"{name} failed with {type(error).__name__}: segment it alone to see where"
