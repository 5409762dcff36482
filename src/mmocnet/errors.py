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
