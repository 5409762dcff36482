"""Progress bars of commands whose work has parts, one after another."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol


class Told(Protocol):
    """Told what is being done, how much of it is done and how much there is to do."""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Show it."""


@contextmanager
def bars() -> Iterator[Told]:
    """Give a bar for each part; none is left open by a part that is done.

    A training shows its own, and two at a time cannot be drawn.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with ExitStack() as stack:
        open_parts: dict[str, Progress] = {}

        def told(what: str, done: int, total: int, /) -> None:
            if what not in open_parts:
                stack.close()
                open_parts.clear()
                open_parts[what] = stack.enter_context(Progress(console=console))
                open_parts[what].add_task(what)
            bar = open_parts[what]
            bar.update(bar.task_ids[0], completed=done, total=total)
            if done >= total:
                stack.close()
                open_parts.clear()

        yield told
