"""Inputs of a command that fail, each told as it does, while the others go on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmocnet.errors import InputError, reason_of


@dataclass
class Failures:
    """How many inputs of a command could not be processed.

    Attributes:
        command: As in `mmocnet segment`.
        inputs: How many there are.
        failed: How many failed so far.
    """

    command: str
    inputs: int
    failed: int = 0

    @contextmanager
    def told(self, path: Path) -> Iterator[None]:
        """Process an input; say why it failed and go on, unless it is the only one."""
        try:
            yield
        except Exception as error:  # one scan's failure is reported, the others go on
            # Nor where nobody reads any more what is printed.
            if self.inputs == 1 or isinstance(error, BrokenPipeError):
                raise
            print(f"mmocnet {self.command}: {reason_of(path.name, error)}", file=sys.stderr)
            self.failed += 1

    def check(self) -> None:
        """Say at the end how many failed.

        Raises:
            InputError: If any did.
        """
        if self.failed:
            raise InputError(f"{self.failed} of {self.inputs} inputs could not be processed")
