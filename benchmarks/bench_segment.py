"""End to end: a simulated head with microbleeds and its phase, from files to report."""

import tempfile
import time
from pathlib import Path

import numpy as np

from mmocnet.config import SegmentSettings
from mmocnet.io.nifti import write_nifti
from mmocnet.predict.pipeline import segment_file
from mmocnet.predict.provenance import FileOptions
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.study import simulate_study

MICROBLEEDS = 12
SEED = 20
STUDY = StudySettings(
    "ukb", lesion_free_share=0.0, lesion_count=(MICROBLEEDS, MICROBLEEDS), images="phase"
)


def write_head(folder: Path) -> tuple[Path, Path, str]:
    """Write SWI and phase of a simulated head; return their paths, and its size in words."""
    study = simulate_study(STUDY, SEED)
    assert study.phase_rad is not None  # its settings ask for it
    image, phase = folder / "head_swi.nii.gz", folder / "head_phase.nii.gz"
    write_nifti(image, study.swi, np.float32)
    write_nifti(phase, study.phase_rad, np.float32)
    return image, phase, " x ".join(map(str, study.swi.shape))


def measure() -> list[tuple[str, float, str]]:
    """Return seconds, candidates and lesions of one segmentation.

    Raises:
        RuntimeError: If no lesion is found: most of the work was not done then.
    """
    with tempfile.TemporaryDirectory() as folder:
        image, phase, size = write_head(Path(folder))
        start, busy = time.perf_counter(), time.process_time()
        found = segment_file(
            image, Path(folder) / "out", SegmentSettings(), options=FileOptions(phase=phase)
        ).result
        passed, worked = time.perf_counter() - start, time.process_time() - busy
    if found is None or not found.lesions:
        raise RuntimeError(f"expected lesions in the simulated head of seed {SEED}, got none")
    name = f"segment head of {size}"
    return [
        (f"{name}, file to report", passed, "s"),
        # What others run at the same time does not change it much.
        (f"{name}, processor time", worked, "s"),
        (f"{name}, candidates", len(found.candidates), ""),
        (f"{name}, found of {MICROBLEEDS} microbleeds", len(found.lesions), ""),
    ]
