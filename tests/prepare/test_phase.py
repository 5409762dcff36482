"""Phase of a slab of brain by the equations of a sphere and a cylinder, and of simulated scans."""

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.prepare.geometry import working_grid
from mmocnet.prepare.phase import high_passed_phase
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.study import simulate_study
from mmocnet.volume import Volume

SHAPE, SPACING_MM = (128, 128, 20), (0.8, 0.8, 1.6)
RAD_PER_PPM = 2 * np.pi * 42.577 * 3.0 * 0.020
MICROBLEED, CALCIUM = (-20.0, 10.0, 0.0), (20.0, 10.0, 0.0)
RADIUS_MM = 1.2


def mm() -> np.ndarray:
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(SHAPE, SPACING_MM, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def sphere_ppm(centre, chi_ppm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where a sphere is, and its field."""
    x, y, z = mm() - np.reshape(centre, (3, 1, 1, 1))
    r = np.sqrt(x**2 + y**2 + z**2)
    inside = r <= RADIUS_MM
    outside = chi_ppm / 3 * RADIUS_MM**3 * (3 * z**2 - r**2) / np.maximum(r, 0.1) ** 5
    return inside, np.where(inside, 0.0, outside)


@cache
def slab() -> tuple[Volume, Volume, np.ndarray]:
    """Return phase in rad with s = +1, magnitude and brain: six veins, a microbleed, calcium."""
    x, y, z = mm()
    brain = np.hypot(x, y) < 48
    rng = np.random.default_rng(7)
    magnitude = np.where(brain, 500.0, 15.0)
    # A smooth background of several turns.
    radians = 0.004 * (x**2 + 0.5 * y**2) + 0.05 * y + 0.02 * z
    for angle in np.arange(6) * np.pi / 3:
        vein = np.hypot(x - 30 * np.cos(angle), y - 30 * np.sin(angle)) < 0.9
        magnitude[vein] *= 0.5
        radians[vein] += RAD_PER_PPM * 0.4 / 3
    for centre, chi_ppm in ((MICROBLEED, 1.5), (CALCIUM, -1.5)):
        inside, field = sphere_ppm(centre, chi_ppm)
        magnitude[inside] *= 0.3
        radians += RAD_PER_PPM * field
    image = magnitude * np.exp(1j * radians)
    image += 12 * (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE))
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = -mm().max(axis=(1, 2, 3))
    return Volume(np.angle(image), affine, "phase"), Volume(abs(image), affine, "scan"), brain


def at_poles(array: np.ndarray, volume: Volume, centre) -> float:
    """Return the mean above and below a lesion, where its field is strongest."""
    poles = [np.add(centre, (0, 0, side * 1.6 * RADIUS_MM)) for side in (1, -1)]
    voxels = np.round(volume.voxel(np.array(poles))).astype(int)
    return float(np.mean([array[tuple(voxel)] for voxel in voxels]))


@pytest.mark.parametrize("sign", [1, -1])
def test_microbleed_and_calcium_differ_in_sign_whatever_the_scanner(sign):
    phase, scan, brain = slab()
    found = high_passed_phase(phase.like(sign * phase.array), scan, brain)
    assert found.sure
    assert found.sign == sign
    assert found.warnings == ()
    assert at_poles(found.volume.array, phase, MICROBLEED) > 0.3
    assert at_poles(found.volume.array, phase, CALCIUM) < -0.3


def test_background_and_wraps_are_gone_and_outside_is_0():
    phase, scan, brain = slab()
    found = high_passed_phase(phase, scan, brain).volume
    assert found.array.dtype == np.float32
    assert not found.array[~brain].any()
    quiet = np.hypot(*(mm()[:2])) < 6
    assert np.ptp(phase.array[brain]) > 6.2
    assert abs(found.array[quiet].mean()) < 0.06
    assert found.array[quiet].std() < 0.1


@pytest.mark.parametrize(
    ("per_rad", "offset", "kind"),
    [
        (2048 / np.pi, 2048, np.int16),
        (4096 / np.pi, 0, np.int16),
        (1000.0, 0, np.int16),
        (180 / np.pi, 0, np.float32),
        (855.0**-1, 0, np.float64),
    ],
    ids=["0..4095", "-4096..4095", "rad x 1000", "degrees", "unheard of"],
)
def test_every_unit_gives_the_same_phase(per_rad, offset, kind):
    phase, scan, brain = slab()
    expected = high_passed_phase(phase, scan, brain).volume.array
    stored = phase.array * per_rad + offset
    stored = np.round(stored).astype(kind) if np.issubdtype(kind, np.integer) else stored
    found = high_passed_phase(phase.like(stored), scan, brain).volume.array
    assert float(np.median(abs(found - expected))) < 2e-3
    assert float(np.quantile(abs(found - expected), 0.999)) < 0.02


@cache
def simulated(protocol: str, seed: int):
    return simulate_study(StudySettings(protocol, 0.0, (3, 3), slab_mm=12.0), seed)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("protocol", "seed"), [("ukb", 1), ("reference3t", 2), ("1.5t", 3)])
def test_the_sign_of_simulated_scans_is_found(protocol, seed, sign):
    study = simulated(protocol, seed)
    stored = study.phase_rad.like(sign * study.phase_rad.array)
    found = high_passed_phase(stored, study.swi, study.brain.array)
    assert found.sure
    assert found.sign == sign * study.protocol.phase_sign


def test_where_nothing_tells_the_sign_phase_is_not_used(rng):
    phase, scan, brain = slab()
    flat = scan.like(np.where(brain, 500.0, 5.0) + rng.normal(size=SHAPE))
    found = high_passed_phase(phase, flat, brain)
    assert not found.sure
    assert found.agreement < 0.05
    (warning,) = found.warnings
    assert "phase is not used" in warning
    grid = working_grid(scan, 0.8, (96, 96), brain)
    assert not found.slices(grid).any()
    assert high_passed_phase(phase, flat, brain, "+1").slices(grid).any()


@pytest.mark.parametrize("sign", ["+1", "-1"])
def test_a_given_sign_is_taken(sign):
    phase, scan, brain = slab()
    found = high_passed_phase(phase, scan, brain, sign)
    assert found.sure
    assert np.isnan(found.agreement)
    assert at_poles(found.volume.array, phase, MICROBLEED) * int(sign) > 0.3


def test_slices_lie_on_the_working_grid():
    phase, scan, brain = slab()
    grid = working_grid(scan, 0.5, (96, 96), brain)
    slices = high_passed_phase(phase, scan, brain).slices(grid)
    assert slices.shape == grid.shape
    assert slices.dtype == np.float32
    back = scan.like(grid.to_input(slices))
    assert at_poles(back.array, scan, MICROBLEED) > 0.3
    assert at_poles(back.array, scan, CALCIUM) < -0.3


def test_phase_that_wraps_survives_the_working_grid():
    _, scan, brain = slab()
    found = high_passed_phase(*slab())
    strong = np.where(mm()[0] % 2 < 1, 3.1, -3.1).astype(np.float32)
    wrapped = type(found)(scan.like(strong), 1, 1.0, True)
    slices = wrapped.slices(working_grid(scan, 0.5, (96, 96), brain))
    assert float(np.abs(slices[slices != 0]).min()) > 3.0


def refused(phase: Volume, scan: Volume, brain: np.ndarray) -> str:
    with pytest.raises(InputError) as caught:
        high_passed_phase(phase, scan, brain)
    return str(caught.value)


def test_what_is_no_phase_of_the_scan_is_refused():
    phase, scan, brain = slab()
    assert "what looks like magnitude" in refused(scan, scan, brain)
    smooth = scan.like(ndimage.gaussian_filter(scan.array, 2.0))
    assert "without wraps" in refused(smooth, scan, brain)
    assert "without wraps" in refused(phase.like(np.zeros(SHAPE)), scan, brain)
    gaps = phase.array.copy()
    gaps[0, 0, 0] = np.nan
    assert "finite" in refused(phase.like(gaps), scan, brain)


def test_phase_on_another_grid_is_refused():
    phase, scan, brain = slab()
    shorter = Volume(phase.array[..., 1:], phase.affine, "phase")
    assert "(128, 128, 19)" in refused(shorter, scan, brain)
    moved = phase.affine.copy()
    moved[0, 3] += 5
    assert "affine" in refused(Volume(phase.array, moved, "phase"), scan, brain)


@pytest.mark.parametrize("hint", [1, -1, None])
def test_a_hint_counts_only_where_the_scan_does_not_tell(hint):
    phase, scan, brain = slab()
    assert high_passed_phase(phase, scan, brain, hint=hint).sign == 1
    flat = scan.like(np.where(brain, 500.0, 15.0) + np.arange(SHAPE[2]))
    unsure = high_passed_phase(phase, flat, brain, hint=hint)
    assert unsure.sure == (hint is not None)
    assert unsure.by_vendor == unsure.sure
    assert ("vendor" in unsure.warnings[0]) == unsure.sure
    if hint is not None:
        assert unsure.sign == hint


def test_a_sign_that_is_none_is_refused():
    with pytest.raises(InputError, match="sign"):
        high_passed_phase(*slab(), sign="2")
