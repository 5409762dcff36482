"""A cohort on this machine: a process for each core against one process with all cores."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from mmocnet import CohortSettings, SegmentSettings, segment_cohort
from mmocnet.io.nifti import write_nifti
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.study import simulate_study

SCANS_A_CORE = 3
SEED = 21
STUDY = StudySettings("clinical", lesion_free_share=0.0, images="swi")


def _seconds(dataset: Path, out: Path, workers: int, threads: int) -> float:
    begun = time.perf_counter()
    run = CohortSettings(workers=workers, threads=threads)
    done = segment_cohort(dataset, out, SegmentSettings(location=False), run=run)
    if not all(one.is_done for one in done.results):
        raise RuntimeError("expected all scans to be segmented")
    return time.perf_counter() - begun


def measure() -> list[tuple[str, float, str]]:
    """Return seconds a scan both ways, and of a second run that finds all done."""
    cores = len(os.sched_getaffinity(0))
    number = SCANS_A_CORE * cores
    with tempfile.TemporaryDirectory() as place:
        dataset = Path(place) / "dataset"
        dataset.mkdir()
        first = dataset / "scan-0_swi.nii.gz"
        write_nifti(first, simulate_study(STUDY, SEED).swi, np.float32)
        for other in range(1, number):
            shutil.copy(first, dataset / f"scan-{other}_swi.nii.gz")
        many, one = Path(place) / "many", Path(place) / "one"
        each = _seconds(dataset, many, cores, 1)
        alone = _seconds(dataset, one, 1, cores)
        again = _seconds(dataset, many, cores, 1)
    return [
        (f"cohort of {number} scans, {cores} processes of one thread", each / number, "s a scan"),
        (f"cohort of {number} scans, one process of {cores} threads", alone / number, "s a scan"),
        ("cohort, one process over several", alone / each, "x"),
        ("cohort, a second run, all done", again, "s"),
    ]
