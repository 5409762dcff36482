"""`mmocnet evaluate` of folders as one call."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmocnet.errors import InputError
from mmocnet.evaluate.score import Report, ScoreSettings, evaluate_folder
from mmocnet.evaluate.tables import write_report
from mmocnet.io.atomic import check_folder


def score_folder(
    predictions: Path | str,
    references: Path | str,
    out: Path | str,
    settings: ScoreSettings | None = None,
    *,
    ignore: Path | str | None = None,
    window: Path | str | None = None,
    compare_with: Path | str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Score predictions against references, and write tables, plots and a page.

    Args:
        predictions: What `segment` wrote, or masks, numbered lesions or probability maps of any
            tool; a folder or a file.
        references: Masks or numbered lesions of the same names.
        out: Folder of the tables; made if missing.
        settings: How to score; None takes the defaults.
        ignore: Masks of what is left out, named as the references.
        window: Masks of where the references are complete.
        compare_with: Predictions of a second method; its scores less those of the first.
        progress: Told which folder, what is done and what there is to do, in scans.

    Returns:
        What scores.json holds; `page` is the page's file name, or why there is none.

    Raises:
        InputError: If something is missing, not on its reference's grid, or cannot be read, or
            there is a threshold and no probability map to cut at it.
    """
    check_folder(Path(out))

    def report(folder: Path) -> Report:
        def told(done: int, total: int) -> None:
            if progress is not None:
                progress(folder.name, done, total)

        left_out = None if ignore is None else Path(ignore)
        complete = None if window is None else Path(window)
        return evaluate_folder(folder, Path(references), settings, left_out, told, complete)

    first = report(Path(predictions))
    other = None if compare_with is None else report(Path(compare_with))
    threshold = first.settings.threshold
    if threshold is not None and not first.maps and not (other is not None and other.maps):
        raise InputError(
            f"expected probability maps to cut at {threshold:g}, got masks or numbered lesions "
            f"only in {Path(predictions).name}"
        )
    return write_report(first, Path(out), other)
