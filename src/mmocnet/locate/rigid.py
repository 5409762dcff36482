"""Rigid registration of two visits of one person, by their brains and mutual information.

Both scans are resampled to 1.5 mm along the world's axes. Several starts are tried, as the head
lies otherwise each time; the one whose brains correlate best is refined, and checked.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from mmocnet.errors import DependencyError
from mmocnet.locate.head import Head
from mmocnet.types import FloatArray, Mask3D
from mmocnet.volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813

STEP_MM = 1.5
MARGIN_MM = 6.0
BINS = 32
SAMPLED = 0.25
"""Share of the voxels that the metric reads, on a regular lattice: no lots are drawn."""
SEED = 20221117
START_SHIFTS_MM = (0.0, -15.0, 15.0)
"""Starts up and down for scans that show less than the whole brain."""
WHOLE_MM = 115.0

MINIMUM_CORRELATION = 0.4
"""Simulated visits of one person reach 0.6 to 0.98; of two people as a rule less than this, but up
to 0.71 where slabs lie alike."""
SURE_DETAIL = 0.4
"""Simulated visits of one person reach 0.93 with one protocol and 0.39 to 0.80 with two, but 0.03
to 0.08 of SWI and thick T2*; of two people at most 0.35."""
CLEAR_DETAIL = 0.6
"""Below it a mirror is tried: simulated visits with left and right exchanged reach 0.29 to 0.46."""
MIRROR_GAIN = 0.1
"""By so much more have fine structures to correlate in a mirror."""
MIRRORS = (("left and right", 0), ("front and back", 1), ("top and bottom", 2))
DETAIL_SIGMA = 2.5
"""What is smoother than this, in steps, is no detail."""
SURE_CORRELATION = 0.65
"""Below it a registration can be off by some mm."""
MINIMUM_OVERLAP = 0.25


@dataclass(frozen=True)
class RigidAlignment:
    """How the second scan lies to the first.

    Attributes:
        matrix: Shape (4, 4), rigid: world mm of the second scan to world mm of the first.
        correlation: Of the two images where both show brain, -1 to 1; NaN where nowhere.
        overlap: Share of the smaller brain that both show.
        turn_deg: Angle of the turn.
        shift_mm: How far the middle of the second brain moves.
        ok: Whether it is to be relied on.
        why: One sentence.
        detail: Correlation of what is finer than 4 mm, veins and sulci; NaN where nowhere.
        exchanged: Ends that a header seems to exchange, as "left and right", since the scans fit
            clearly better in a mirror; "" where they do not, or no mirror was tried.
    """

    matrix: FloatArray
    correlation: float
    overlap: float
    turn_deg: float
    shift_mm: float
    ok: bool
    why: str
    detail: float = float("nan")
    exchanged: str = ""

    def to_first(self, world_mm: FloatArray) -> FloatArray:
        """Return world mm of the first scan of those of the second, both of shape (..., 3)."""
        return np.asarray(world_mm @ self.matrix[:3, :3].T + self.matrix[:3, 3])


class _Head(Head):
    """A scan on a grid of `STEP_MM`, its brain and what is around it."""

    def middle(self) -> FloatArray:
        """Return world mm of the brain's middle, shape (3,)."""
        return np.asarray(self.low_mm + STEP_MM * np.argwhere(self.brain).mean(0))

    def height_mm(self) -> float:
        """Return how high the brain is."""
        rows = np.flatnonzero(self.brain.any(axis=(0, 1)))
        return STEP_MM * float(rows[-1] - rows[0] + 1)


def align(
    first: Volume, first_brain: Mask3D, second: Volume, second_brain: Mask3D
) -> RigidAlignment:
    """Return how the second scan of a person lies to the first.

    Args:
        first: Of several slices, like the second; shape (I, J, K).
        first_brain: Its brain, same shape.
        second: On a grid of its own.
        second_brain: Its brain.

    Raises:
        DependencyError: If SimpleITK is not installed.
    """
    try:
        import SimpleITK  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            "registration needs SimpleITK: pip install 'mmocnet[location]'"
        ) from error
    fixed, moving = _resampled(first, first_brain), _resampled(second, second_brain)
    found = _registered(fixed, moving)
    if found.ok and found.detail >= CLEAR_DETAIL:
        return found
    return _or_mirrored(found, fixed, moving)


def _registered(fixed: _Head, moving: _Head) -> RigidAlignment:
    images = (_image(fixed.image, fixed), _image(_reach(fixed), fixed))
    others = (_image(moving.image, moving), _image(_reach(moving), moving))
    best, seen = None, (-2.0, 0.0)
    for start in _starts(fixed, moving):
        try:
            found = _run((*images, *others), start, (6, 3))
        except RuntimeError:
            continue  # SimpleITK's way to say that the scans came apart
        score = _agreement(fixed, moving, _matrix(found))
        if score[1] >= MINIMUM_OVERLAP and score[0] > seen[0]:
            best, seen = found, score
    if best is None:
        return _failed("the scans could not be laid on each other")
    best = _run((*images, *others), best, (2, 1))
    return _checked(fixed, moving, _matrix(best))


def _or_mirrored(found: RigidAlignment, fixed: _Head, moving: _Head) -> RigidAlignment:
    """Return an alignment that is not beyond doubt, and whether a header's axes are why."""
    for ends, axis in MIRRORS:
        image, brain, seen = (
            np.flip(one, axis) for one in (moving.image, moving.brain, moving.seen)
        )
        other = _registered(fixed, _Head(image, brain, seen, moving.low_mm))
        if other.ok and other.detail >= np.fmax(SURE_DETAIL, found.detail + MIRROR_GAIN):
            why = (
                f"{found.why}; the header of one seems to exchange {ends}, as in a mirror they fit"
            )
            return replace(found, exchanged=ends, why=found.why if found.ok else why)
    return found


def _failed(why: str) -> RigidAlignment:
    nan = float("nan")
    return RigidAlignment(np.full((4, 4), nan), nan, 0.0, nan, nan, False, why)


def _resampled(volume: Volume, brain: Mask3D) -> _Head:
    """Return a scan's brain and its surroundings on the common kind of grid."""
    spacing = np.asarray(volume.spacing_mm)
    blur = 0.4 * STEP_MM / spacing * (spacing < STEP_MM)
    top = float(np.percentile(volume.array[brain], 99.0)) or 1.0
    corners = volume.world(np.argwhere(brain).astype(np.float64))
    low, high = corners.min(0) - MARGIN_MM, corners.max(0) + MARGIN_MM
    shape = tuple((np.ceil((high - low) / STEP_MM).astype(int) + 1).tolist())
    inverse = np.linalg.inv(volume.affine)
    matrix, offset = inverse[:3, :3] * STEP_MM, inverse[:3, :3] @ low + inverse[:3, 3]
    array = np.clip(np.asarray(volume.array, np.float32) / top, 0, 1.2)
    smooth = ndimage.gaussian_filter(array, blur, mode="nearest")
    seen = np.ones(volume.shape, np.float32)
    return _Head(
        # What ends with the scan goes on beyond it: an end smoothed into black would be a mark.
        image=ndimage.affine_transform(smooth, matrix, offset, shape, order=1, mode="nearest"),
        brain=ndimage.affine_transform(brain.astype(np.uint8), matrix, offset, shape, order=0) > 0,
        # Less than 1 where a voxel outside the scan has a share.
        seen=ndimage.affine_transform(seen, matrix, offset, shape, order=1) > 0.999,
        low_mm=low,
    )


def _reach(head: _Head) -> FloatArray:
    """Return where the metric looks: the brain and a little around, whose edge tells place.

    Never beyond the scan: the ends of two slabs would be laid on each other, not what they show.
    """
    near = ndimage.binary_dilation(head.brain, iterations=2)
    return np.asarray(near & head.seen, np.uint8)


def _image(array: FloatArray, head: _Head) -> "sitk.Image":
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetOrigin([float(value) for value in head.low_mm])
    image.SetSpacing([STEP_MM] * 3)
    return image


def _starts(fixed: _Head, moving: _Head) -> Iterator["sitk.Euler3DTransform"]:
    """Give transforms of the first's world to the second's: as they lie, and middle on middle."""
    import SimpleITK as sitk  # noqa: N813

    middle, step = fixed.middle(), moving.middle() - fixed.middle()
    whole = min(fixed.height_mm(), moving.height_mm()) >= WHOLE_MM
    ups = START_SHIFTS_MM[:1] if whole else START_SHIFTS_MM
    shifts = [np.zeros(3), *(step + np.array([0.0, 0.0, up]) for up in ups)]
    for shift in shifts:
        start = sitk.Euler3DTransform()
        start.SetCenter([float(value) for value in middle])
        start.SetTranslation([float(value) for value in shift])
        yield start


def _run(
    images: tuple["sitk.Image", ...], start: "sitk.Euler3DTransform", shrink: tuple[int, ...]
) -> "sitk.Euler3DTransform":
    """Return the transform of the first's world to the second's, improved from a start."""
    import SimpleITK as sitk  # noqa: N813

    fixed, fixed_mask, moving, moving_mask = images
    method = sitk.ImageRegistrationMethod()
    # More threads add up in an order of their own: another result each time.
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(fixed_mask)
    method.SetMetricMovingMask(moving_mask)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED if shrink[-1] == 1 else 1.0, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel([0.5 * STEP_MM * factor for factor in shrink])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0,
        minStep=0.01,
        numberOfIterations=80,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return start


def _matrix(transform: "sitk.Euler3DTransform") -> FloatArray:
    """Return the second's world to the first's, shape (4, 4)."""
    forward = np.eye(4)
    forward[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    forward[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    return np.asarray(np.linalg.inv(forward))


def _agreement(fixed: _Head, moving: _Head, matrix: FloatArray) -> tuple[float, float]:
    """Return the correlation where both show brain, and that part of the smaller brain."""
    back = np.linalg.inv(matrix)
    index = np.argwhere(fixed.brain)
    world = fixed.low_mm + STEP_MM * index
    at = ((world @ back[:3, :3].T + back[:3, 3] - moving.low_mm) / STEP_MM).T
    both = ndimage.map_coordinates(moving.brain.astype(np.uint8), at, order=0) > 0
    overlap = float(both.sum()) / max(1, min(len(index), int(moving.brain.sum())))
    if both.sum() < 2:
        return float("nan"), overlap
    one = fixed.image[tuple(index[both].T)]
    other = ndimage.map_coordinates(moving.image, at[:, both], order=1)
    if one.std() == 0 or other.std() == 0:
        return float("nan"), overlap
    return float(np.corrcoef(one, other)[0, 1]), overlap


def _details(head: _Head) -> _Head:
    """Return what of a head is finer than 4 mm, away from the brain's edge."""
    weight = head.brain.astype(np.float32)
    share = np.maximum(ndimage.gaussian_filter(weight, DETAIL_SIGMA), 1e-3)
    smooth = ndimage.gaussian_filter(head.image * weight, DETAIL_SIGMA) / share
    inside = ndimage.binary_erosion(head.brain, iterations=2)
    return _Head(head.image - smooth, np.asarray(inside), head.seen, head.low_mm)


def _checked(fixed: _Head, moving: _Head, matrix: FloatArray) -> RigidAlignment:
    correlation, overlap = _agreement(fixed, moving, matrix)
    detail, _ = _agreement(_details(fixed), _details(moving), matrix)
    turn = np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1)))
    middle = moving.middle()
    shift = np.linalg.norm(matrix[:3, :3] @ middle + matrix[:3, 3] - middle)
    why = "registered"
    if overlap < MINIMUM_OVERLAP:
        why = f"the scans share {overlap:.0%} of the smaller brain"
    elif not correlation >= MINIMUM_CORRELATION:
        why = f"the registered scans correlate by {correlation:.2f} only"
    ok = why == "registered"
    return RigidAlignment(matrix, correlation, overlap, float(turn), float(shift), ok, why, detail)
