"""Cut the slices that openvino-int8 is calibrated with from a simulated dataset.

Usage: python scripts/make_calibration.py DATASET src/mmocnet/predict/calibration.npz

The shipped file was cut from eight subjects of mixed protocols of simulator version 1 that are in
no test set. A file cut from other subjects gives another network in 8 bits: score it again.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmocnet.config import PreparationSettings
from mmocnet.io.read import read_scan
from mmocnet.prepare.brain import brain_mask
from mmocnet.prepare.neighbours import neighbour_step, stack
from mmocnet.prepare.slices import prepare_slices

SUBJECTS = 8
CHANNELS = 3
SIZE = (160, 192)


def calibration_block(path: Path) -> NDArray[np.uint8]:
    """Return neighbouring slices of a scan at half its height, shape (CHANNELS, *SIZE).

    A quarter of the brain's box is taken: brain, its border and background.
    """
    volume = read_scan(path).volume
    slices = prepare_slices(volume, PreparationSettings(), brain_mask(volume))
    area = slices.brain.sum(axis=(1, 2))
    middle = int(np.average(np.arange(len(area)), weights=area))
    step = neighbour_step(slices.grid.thickness_mm)
    block = stack(slices.array, [middle], step, CHANNELS)[0]
    rows, columns = np.nonzero(slices.brain[middle])
    corner = [max(0, int(at.min()) - 16) for at in (rows, columns)]
    spans = [slice(at, at + size) for at, size in zip(corner, SIZE, strict=True)]
    cut = block[:, *spans]
    ends = [(0, size - have) for size, have in zip(SIZE, cut.shape[1:], strict=True)]
    padded: NDArray[np.uint8] = np.pad(np.rint(cut * 255).astype(np.uint8), [(0, 0), *ends])
    return padded


def main(dataset: str, out: str) -> None:
    """Write the blocks of the first subjects."""
    paths = sorted(Path(dataset).glob("sub-*/anat/*_acq-swi_*.nii.gz"))[:SUBJECTS]
    np.savez_compressed(out, slices=np.stack([calibration_block(path) for path in paths]))


if __name__ == "__main__":
    main(*sys.argv[1:])
