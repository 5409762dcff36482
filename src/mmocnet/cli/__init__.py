"""The command line: one module a command, each a frozen dataclass with a `run` method.

Command modules import nothing heavy at the top: torch and the like are imported inside `run`.
"""

import importlib
import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Protocol

from mmocnet import __version__
from mmocnet.errors import FULL_DISK, MmocnetError

NOTICE = "Research use only - not a medical device."
ENDING = [signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""What ends a program; Windows has no SIGHUP."""

PIPE = 13
"""Number of the signal that ends a program whose output is no longer read."""

COMMANDS = {
    "segment": ("Segment", "find and outline microbleeds in SWI scans"),
    "cohort": ("Cohort", "segment every scan of a dataset, with one table of all"),
    "compare": ("Compare", "tell what is new, grown or not seen between two visits"),
    "serve": ("Serve", "open the reading room in the browser"),
    "pacs": ("Pacs", "give SWI series in a DICOMweb archive a segmentation and a report"),
    "simulate": ("Simulate", "make a BIDS dataset of simulated studies with references"),
    "train": ("Train", "train both stages on a dataset"),
    "finetune": ("Finetune", "improve a model by your own labelled or reviewed scans"),
    "evaluate": ("Evaluate", "score segmentations against references"),
    "experiment": ("Experiment", "run the article's experiments on a dataset"),
    "baseline": ("Baseline", "train a plain U-Net to compare with, and segment with it"),
}


class Command(Protocol):
    """A command: settings as fields, work in `run`."""

    def run(self) -> None:
        """Do the work; print for people; raise MmocnetError for what a user can mend."""


def _usage() -> str:
    lines = [f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: mmocnet COMMAND [options]      (mmocnet COMMAND --help for its options)",
            "",
            "Find, outline, count and report cerebral microbleeds in SWI.",
            NOTICE,
            "",
            *lines,
            "",
            "  --version  print the version",
        ]
    )


def _parse(name: str, words: list[str]) -> Command:
    import tyro

    from mmocnet.cli.shown import REGISTRY, join_texts

    module = importlib.import_module(f"mmocnet.cli.{name}")
    kind = getattr(module, COMMANDS[name][0])
    join_texts(kind)
    # A command whose help tells more than its docstring has a function for it.
    more = getattr(module, "description", None)
    command: Command = tyro.cli(
        kind,
        args=words,
        prog=f"mmocnet {name}",
        description=None if more is None else more(),
        registry=REGISTRY,
    )
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; None takes them from the process.

    Returns:
        0 when done, 2 when the input cannot be processed, 130 when interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # Names of files can hold bytes that are no UTF-8.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if words[:1] == ["--version"]:
        print(f"mmocnet {__version__}")
        return 0
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if words[0] not in COMMANDS:
        print(
            f"mmocnet: expected a command ({', '.join(COMMANDS)}), got {words[0]!r}",
            file=sys.stderr,
        )
        return 2
    return _run(words[0], words[1:])


def _run(name: str, words: list[str]) -> int:
    """Run a command; return the exit code, a sentence printed where it failed."""
    try:
        _parse(name, words).run()
    except MmocnetError as error:
        print(f"mmocnet {name}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        print(f"mmocnet {name}: the disk is full: nothing more was written", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mmocnet: interrupted", file=sys.stderr)
        return 130
    return 0


def run() -> None:
    """Entry point of the `mmocnet` script; a signal that ends it lets it clean up behind itself."""
    from mmocnet.io.dicom.archive import remove_unpacked

    for one in ENDING:
        # What nohup has us ignore stays ignored.
        if signal.getsignal(one) is signal.SIG_DFL:
            signal.signal(one, _end)
    remove_unpacked()
    try:
        try:
            sys.exit(main())
        finally:
            # There is none where it was closed.
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        if not _unread():
            raise
        sys.exit(128 + PIPE)


def _unread() -> bool:
    """Return whether nobody reads what is printed any more, as `head` when it has enough."""
    try:
        print(flush=True)
    except BrokenPipeError:
        # Python would try again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _end(number: int, _: FrameType | None) -> None:
    """End this process as Ctrl-C does, and those that it has started."""
    for one in ENDING:
        # A terminal that closes sends some twice: the second must not interrupt the cleaning.
        signal.signal(one, signal.SIG_IGN)
    for child in multiprocessing.active_children():
        child.terminate()
    sys.exit(128 + number)
