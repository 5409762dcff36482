"""pydicom on damaged files: what it raises, and how it is kept from quoting a patient."""

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom import config
from pydicom.errors import BytesLengthException, InvalidDicomError

UNREADABLE = (
    BytesLengthException,
    InvalidDicomError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    struct.error,
    TypeError,
    ValueError,
    zlib.error,
)
"""What pydicom raises on damaged files; the list has grown with files that were broken on
purpose."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom from warning: its sentences quote values, a patient's name among them."""
    logger, mode = logging.getLogger("pydicom"), config.settings.reading_validation_mode
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        config.settings.reading_validation_mode = config.IGNORE
        try:
            yield
        finally:
            config.settings.reading_validation_mode = mode
            logger.setLevel(level)
