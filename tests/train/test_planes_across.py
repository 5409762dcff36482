import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.config import PreparationSettings
from mmocnet.train.planes_across import ACROSS_PLANES, planes_across
from mmocnet.volume import Volume

SETTINGS = PreparationSettings()


def noise(rng: np.random.Generator, shape: tuple[int, int, int]) -> Volume:
    image = rng.uniform(90, 110, shape).astype(np.float32)
    return Volume(image, np.diag([0.5, 0.5, 2.0, 1.0]), "scan")


def brain(shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[4:56, 4:66] = True
    return mask


def test_planes_pass_through_the_middles_of_lesions_and_through_none(
    rng: np.random.Generator,
) -> None:
    shape = (60, 70, 16)
    reference = np.zeros(shape, np.int64)
    reference[20:25, 30:33, 6:8] = 1
    reference[40:43, 40:45, 9:11] = 2
    planes = list(planes_across(noise(rng, shape), brain(shape), reference, SETTINGS))
    for axis, sides in ((0, (1, 2)), (1, (0, 2))):
        found = [plane for plane in planes if plane.axis == axis]
        for plane in found:
            assert plane.slices.array.shape == plane.slices.brain.shape == plane.labels.shape
            assert len(plane.labels) == 1
            assert not plane.slices.grid.axial
            assert plane.slices.grid.axes[0] == axis
            assert set(np.unique(plane.labels)) == set(np.unique(reference.take(plane.index, axis)))
        assert sum(not plane.labels.any() for plane in found) == ACROSS_PLANES[1]
        with_lesion = [plane.labels[0] for plane in found if plane.labels.any()]
        assert len(with_lesion) == 2
        for labels in with_lesion:
            (number,) = np.setdiff1d(labels, 0)
            box = ndimage.find_objects((labels == number).astype(int))[0]
            seen = tuple(part.stop - part.start for part in box)
            lesion = ndimage.find_objects((reference == number).astype(int))[0]
            voxels = [lesion[side].stop - lesion[side].start for side in sides]
            # Two millimetres of a slice are four pixels.
            assert seen == (voxels[0], voxels[1] * 4)


def test_one_slice_has_no_planes_across(rng: np.random.Generator) -> None:
    shape = (60, 70, 1)
    assert not list(planes_across(noise(rng, shape), brain(shape), brain(shape) * 1, SETTINGS))
