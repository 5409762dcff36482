"""Registration of a scan to MNI152: affine, mutual information, the same result each time.

The scan, its brain alone, is resampled to 2 mm along the world's axes; SimpleITK finds position
and size first, then all twelve parameters. What comes out is checked before it is believed.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.errors import DependencyError
from mmocnet.locate.head import MARGIN_MM, STEP_MM, Head, resampled
from mmocnet.locate.maps import target
from mmocnet.types import FloatArray, Mask3D
from mmocnet.volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813

BINS = 32
SAMPLED = {4: 1.0, 2: 0.4, 1: 0.1}
"""Share of the voxels that the metric reads, by how many are joined to one along each axis."""
AFFINE_STEP = 0.5
"""First step of the optimiser with all parameters: twice as far, some scans come apart."""
SEED = 20221117
START_SHARES = (0.0, -0.5, 0.5, -1.0, 1.0)
"""Starts up and down for a slab, in shares of the way from the brain's middle to its ends."""
WHOLE_MM = 115.0
"""Height of the brain in a scan from which its middle is taken for the brain's middle."""

HEIGHT_MM = 145.0
"""Of a whole brain, brainstem included."""

MINIMUM_DICE = 0.85
MINIMUM_INFORMATION = 0.45
"""Of simulated scans those that are right have 0.6 to 0.95 nats, those that are wrong 0.45."""
SURE_INFORMATION = 0.7
"""Below it the head may be turned, which some of those that are wrong are: other starts follow."""
START_TURN_DEG = 25.0
"""Of those starts, about each axis, to either side."""
MINIMUM_COVERAGE = 0.25
WHOLE_COVERAGE = 0.5
"""A scan that covers less of the target, as a slab, is not tried in a mirror."""
SCALES = (0.75, 1.3)
MAXIMUM_STRETCH = 1.35
MAXIMUM_TURN_DEG = 40.0
MINIMUM_BRAIN_ML = 150.0


@dataclass(frozen=True)
class Registration:
    """Where a scan lies in MNI152 space.

    Attributes:
        matrix: Shape (4, 4), world RAS+ mm to MNI mm; NaN where none was found.
        quality: Dice of the brain masks where the scan covers the target, NaN where none.
        coverage: Share of the target's brain that the scan covers.
        information: Mutual information of scan and target in nats, NaN where none.
        ok: Whether it is to be relied on.
        why: One sentence.
    """

    matrix: FloatArray
    quality: float
    coverage: float
    information: float
    ok: bool
    why: str

    def to_mni(self, world_mm: FloatArray) -> FloatArray:
        """Return MNI mm of world mm, both of shape (..., 3)."""
        return np.asarray(world_mm @ self.matrix[:3, :3].T + self.matrix[:3, 3])


def failed(why: str) -> Registration:
    """Return that there is no registration, and why."""
    nan = float("nan")
    return Registration(np.full((4, 4), nan), nan, nan, nan, False, why)


def has_simpleitk() -> bool:
    """Return whether the optional SimpleITK is installed."""
    import importlib.util

    return importlib.util.find_spec("SimpleITK") is not None


def register_to_mni(volume: Volume, brain: Mask3D) -> Registration:
    """Register a scan to MNI152 by its brain.

    Args:
        volume: SWI or T2*-weighted magnitude, shape (I, J, K), several slices.
        brain: Its brain, shape (I, J, K).

    Returns:
        The registration; `ok` is False where it must not be used.

    Raises:
        DependencyError: If SimpleITK is not installed.
    """
    if not has_simpleitk():
        raise DependencyError("location needs SimpleITK: pip install 'mmocnet[location]'")
    if 1 in volume.shape:
        return failed("a single slice cannot be placed in the brain")
    millilitres = float(brain.sum()) * volume.voxel_mm3 / 1000
    if millilitres < MINIMUM_BRAIN_ML:
        return failed(f"only {millilitres:.0f} ml of brain, expected {MINIMUM_BRAIN_ML:.0f} ml")
    head = resampled(volume, brain)
    found = _registered(head)
    return found if found.ok else _or_mirrored(found, head)


def _registered(head: Head) -> Registration:
    try:
        matrix, information = _best(head)
    except RuntimeError:
        # SimpleITK's way to say that scan and target came apart.
        return failed("the registration did not converge")
    return _checked(matrix, information, head)


def _or_mirrored(found: Registration, head: Head) -> Registration:
    """Return a registration that is not to be relied on, and whether the header's axes are why.

    Left and right are too alike to be told, and as doubtful then.
    """
    if not found.coverage >= WHOLE_COVERAGE:
        return found
    for ends, axis in (("front and back", 1), ("top and bottom", 2)):
        image, brain, seen = (np.flip(one, axis) for one in (head.image, head.brain, head.seen))
        if _registered(Head(image, brain, seen, head.low_mm)).ok:
            why = f"the header seems to exchange {ends}, so left and right are in doubt, too"
            return replace(found, why=why)
    return found


def _best(head: Head) -> tuple[FloatArray, float]:
    """Return world to MNI and its mutual information, of the start that ends best."""
    pair, goal = _pair(head), target()
    middle = goal.world(np.argwhere(goal.array > 0).astype(np.float64)).mean(0)
    places = head.low_mm + STEP_MM * np.argwhere(head.brain)
    moved, height = places.mean(0) - middle, float(np.ptp(places[:, 2]))
    shares = START_SHARES[: 1 if height >= WHOLE_MM else None]
    upright = [_start(middle, moved - [0, 0, share * (HEIGHT_MM - height) / 2]) for share in shares]
    best = _refined(pair, upright, (4, 2))
    if best[0] < SURE_INFORMATION:
        turns = np.radians(START_TURN_DEG) * np.vstack([np.eye(3), -np.eye(3)])
        turned = [_start(middle, moved, turn) for turn in turns]
        # Where they come apart, what the upright ones found stands.
        with suppress(RuntimeError):
            best = max(best, _refined(pair, turned, (4,)), key=lambda end: end[0])
    information, fine = best
    to_scan = np.eye(4)
    to_scan[:3, 3] = fine.TransformPoint((0.0, 0.0, 0.0))
    for axis in range(3):
        to_scan[:3, axis] = fine.TransformPoint(np.eye(3)[axis]) - to_scan[:3, 3]
    return np.asarray(np.linalg.inv(to_scan)), information


def _start(
    middle: FloatArray, moved: FloatArray, turn: FloatArray | None = None
) -> "sitk.Euler3DTransform":
    """Return a rigid transform, MNI to world: mm moved, and radians turned about the middle."""
    import SimpleITK as sitk  # noqa: N813

    start = sitk.Euler3DTransform()
    start.SetCenter(middle)
    start.SetTranslation(moved)
    if turn is not None:
        start.SetRotation(*turn.tolist())
    return start


def _refined(
    pair: tuple["sitk.Image", ...], starts: list["sitk.Euler3DTransform"], shrink: tuple[int, ...]
) -> tuple[float, "sitk.AffineTransform"]:
    """Return the best of rigid starts with all parameters fitted, after its information."""
    _, best = min(((_run(pair, one, shrink), one) for one in starts), key=lambda end: end[0])
    fine = _as_affine(best)
    return -_run(pair, fine, (2, 1), AFFINE_STEP), fine


def _pair(head: Head) -> tuple["sitk.Image", ...]:
    """Return target, where it counts, scan, where it is seen."""
    goal = target()
    low = goal.affine[:3, 3]
    reach = ndimage.binary_dilation(goal.array > 0, iterations=round(MARGIN_MM / STEP_MM))
    return (
        _image(goal.array.astype(np.float32) / goal.array.max(), low),
        _image(reach.astype(np.uint8), low),
        _image(head.image.astype(np.float32), head.low_mm),
        _image(head.seen.astype(np.uint8), head.low_mm),
    )


def _image(array: NDArray[Any], low_mm: FloatArray) -> "sitk.Image":
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetOrigin([float(v) for v in low_mm])
    image.SetSpacing([STEP_MM] * 3)
    return image


def _as_affine(rigid: "sitk.Euler3DTransform") -> "sitk.AffineTransform":
    import SimpleITK as sitk  # noqa: N813

    affine = sitk.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    return affine


def _run(
    pair: tuple["sitk.Image", ...],
    start: "sitk.Transform",
    shrink: tuple[int, ...],
    step: float = 2.0,
) -> float:
    """Improve a start, MNI to world, in place; return the metric: minus mutual information."""
    import SimpleITK as sitk  # noqa: N813

    fixed, fixed_mask, moving, moving_mask = pair
    method = sitk.ImageRegistrationMethod()
    # More threads add up in an order of their own: another result each time.
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(fixed_mask)
    method.SetMetricMovingMask(moving_mask)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel([SAMPLED[factor] for factor in shrink], SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel([float(factor) for factor in shrink])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step,
        minStep=0.03,
        numberOfIterations=100,
        relaxationFactor=0.5,
        gradientMagnitudeTolerance=1e-6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return float(method.GetMetricValue())


def _checked(matrix: FloatArray, information: float, head: Head) -> Registration:
    """Return the registration, judged by overlap, coverage and shape."""
    dice, coverage = _overlap(matrix, head)
    why = _doubt(matrix, dice, coverage)
    if why is None and information < MINIMUM_INFORMATION:
        why = f"brain and template tell {information:.2f} nats of each other only"
    ok = why is None
    return Registration(
        matrix, dice, coverage, information, ok, "registered to MNI152" if why is None else why
    )


def _overlap(matrix: FloatArray, head: Head) -> tuple[float, float]:
    """Return Dice of the brains where the scan sees the target, and how much of it it sees."""
    goal = target()
    index = np.stack(np.meshgrid(*(np.arange(n) for n in goal.shape), indexing="ij"), -1)
    back = np.linalg.inv(matrix)
    world = goal.world(index.astype(np.float64)) @ back[:3, :3].T + back[:3, 3]
    at = np.moveaxis((world - head.low_mm) / STEP_MM, -1, 0)
    seen, brain = (
        ndimage.map_coordinates(mask.astype(np.uint8), at, order=0) > 0
        for mask in (head.seen, head.brain)
    )
    wanted = (goal.array > 0) & seen
    total = int(brain.sum()) + int(wanted.sum())
    dice = 2 * int((brain & wanted).sum()) / total if total else 0.0
    return dice, int(wanted.sum()) / int((goal.array > 0).sum())


def _doubt(matrix: FloatArray, dice: float, coverage: float) -> str | None:
    """Return why a registration is not to be relied on, None where it is."""
    left, scales, right = np.linalg.svd(matrix[:3, :3])
    if np.linalg.det(matrix[:3, :3]) <= 0 or not np.isfinite(matrix).all():
        return "the registration turned the brain inside out"
    if scales.min() < SCALES[0] or scales.max() > SCALES[1]:
        return f"a brain of {1 / scales.max():.2f} to {1 / scales.min():.2f} of the usual size"
    if scales.max() / scales.min() > MAXIMUM_STRETCH:
        return f"the registration stretched the brain by {scales.max() / scales.min():.2f}"
    turn = np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1)))
    if turn > MAXIMUM_TURN_DEG:
        return f"a head turned by {turn:.0f} degrees"
    if coverage < MINIMUM_COVERAGE:
        return f"the scan covers {coverage:.0%} of the brain"
    if dice < MINIMUM_DICE:
        return f"brain and template overlap by {dice:.2f} only"
    return None
