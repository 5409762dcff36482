"""`mmocnet simulate` as one call."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mmocnet.io.atomic import check_folder
from mmocnet.nets.device import check_device
from mmocnet.simulate.dataset import SubjectResult, WriteSettings, write_subjects
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.testset import plan_subjects


def simulate_dataset(
    out: Path | str,
    subjects: int = 10,
    seed: int = 0,
    settings: StudySettings | None = None,
    *,
    visits: Literal[1, 2] = 1,
    write: WriteSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SubjectResult, ...]:
    """Make a BIDS dataset of simulated studies with exact references.

    A subject that is there already is not made again.

    Args:
        out: Folder of the dataset; made if missing.
        subjects: Number of subjects.
        seed: The same seed gives the same subjects.
        settings: What to simulate for each; None takes the defaults.
        visits: Of each subject.
        write: Processes and device; None takes the defaults.
        progress: Told what is done and what there is to do, in subjects.

    Returns:
        What became of each subject, with the reason where it failed.

    Raises:
        InputError: If the folder holds another dataset or cannot be written to, or a setting is
            impossible.
    """
    write = WriteSettings() if write is None else write
    check_device(write.device)
    check_folder(Path(out))
    plans = plan_subjects(subjects, seed, settings, visits)
    results = []
    for result in write_subjects(Path(out), plans, write):
        results.append(result)
        if progress is not None:
            progress(len(results), len(plans))
    return tuple(results)
